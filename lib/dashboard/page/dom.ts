/** Text and attributes are written only where they are not what they were: most figures are, most of the time. */

import { UNKNOWN } from "./format.js";

/** The part of the page, or of a copy of a template, that has this name in its `data-part`. */
export function part<T extends Element>(root: ParentNode, name: string, kind: new () => T): T {
  const found = root.querySelector(`[data-part="${name}"]`);
  if (!(found instanceof kind)) throw new Error(`the page has no part "${name}" of this kind`);
  return found;
}

/** A copy of what a template has in it. */
export function copyOf<T extends Element>(template: string, kind: new () => T): T {
  const copy = part(document, template, HTMLTemplateElement).content.firstElementChild?.cloneNode(true);
  if (!(copy instanceof kind)) throw new Error(`the page has no template "${template}" of this kind`);
  return copy;
}

/** An element with nothing but text in it, and a class. */
export function textElement(tag: string, text: string, className = ""): HTMLElement {
  const element = document.createElement(tag);
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** One that may be unknown. */
export function setFigure(element: Element, text: string): void {
  setText(element, text);
  const isUnknown = text === UNKNOWN;
  if (element.classList.contains("unknown") !== isUnknown) element.classList.toggle("unknown");
}

export function setAttribute(element: Element, name: string, value: string): void {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** A part that is there only where it has something to say. */
export function setNote(element: HTMLElement, text: string): void {
  setText(element, text);
  setAttribute(element, "title", text);
  setHidden(element, text === "");
}

export function setHidden(element: HTMLElement, isHidden: boolean): void {
  if (element.hidden !== isHidden) element.hidden = isHidden;
}
