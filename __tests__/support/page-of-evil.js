// What a page does in a browser to read what a model costs and to stop it: everything that needs nobody's consent, and what
// the browser has to ask the server for first. Each resolves with what the page got to see, "" where that is nothing.

/** Long enough for a server on this machine; where nothing comes in, the page has seen nothing. */
const GIVE_UP_MS = 2_000;

function within(promise) {
  return Promise.race([promise, new Promise((resolve) => setTimeout(resolve, GIVE_UP_MS, ""))]);
}

async function read(url, options) {
  try {
    return await (await fetch(url, options)).text();
  } catch {
    return "";
  }
}

/** Puts an element into the page, and waits until it has loaded, or failed to. */
function put(tag, attributes) {
  const element = Object.assign(document.createElement(tag), attributes);
  return within(
    new Promise((resolve) => {
      document.body.append(element);
      // A frame without an address has loaded by then.
      element.onload = element.onerror = () => resolve(seenIn(element));
    }),
  );
}

/** Of an image its size, of a frame its text: where that is another origin's, asking for it throws. */
function seenIn(element) {
  try {
    return element.naturalWidth ? "a picture" : (element.contentDocument?.body.innerText ?? "");
  } catch {
    return "";
  }
}

let frames = 0;

/** Sends a form, whose answer goes to a frame of this page, or to a window of its own. */
function submit(action, fields, attributes) {
  const frame = put("iframe", { name: `frame${frames++}` });
  const form = document.createElement("form");
  Object.assign(form, { action, method: "post", target: document.body.lastChild.name, ...attributes });
  for (const [name, value] of Object.entries(fields)) {
    form.append(Object.assign(document.createElement("input"), { name, value }));
  }
  document.body.append(form);
  form.submit();
  return form.target === "_blank" ? "" : frame;
}

function byXhr(url, body) {
  return within(
    new Promise((resolve) => {
      const xhr = new XMLHttpRequest();
      xhr.open("POST", url);
      xhr.setRequestHeader("Content-Type", "application/json");
      xhr.onloadend = () => resolve(xhr.responseText);
      xhr.send(body);
    }),
  );
}

function listen(source) {
  return within(
    new Promise((resolve) => {
      source.onmessage = ({ data }) => resolve(data);
      source.onerror = () => {
        source.close();
        resolve("");
      };
    }),
  );
}

/** @returns the attempts on the server at this origin, by name. */
globalThis.attempts = (origin, model) => {
  const monitor = `${origin}/backend/monitor?model=${model}`;
  const shutdown = `${origin}/backend/shutdown`;
  const json = JSON.stringify({ model, force: true });
  const post = (type, mode) => ({
    method: "POST",
    mode,
    body: json,
    headers: type && { "Content-Type": type },
  });
  // The name and the value of a field have "=" in between: here, in a member that nobody asks for.
  const likeJson = { [`{"model":"${model}","force":true,"x":"`]: '"}' };
  const fields = { model, force: "true" };
  return {
    "a form": () => submit(shutdown, fields),
    "a form with multipart": () => submit(shutdown, fields, { enctype: "multipart/form-data" }),
    "a form of plain text that is JSON": () => submit(shutdown, likeJson, { enctype: "text/plain" }),
    "a form that asks": () => submit(`${origin}/backend/monitor`, { model }, { method: "get" }),
    "a form in a window": () => submit(shutdown, likeJson, { enctype: "text/plain", target: "_blank" }),
    "fetch without CORS": () => read(shutdown, post(undefined, "no-cors")),
    "fetch without CORS, of JSON": () => read(shutdown, post("application/json", "no-cors")),
    "fetch without CORS, of a type that looks like JSON's": () =>
      read(shutdown, post("text/plain; application/json", "no-cors")),
    "fetch without CORS, of bytes": () =>
      read(shutdown, { ...post(undefined, "no-cors"), body: new Blob([json]) }),
    "fetch without CORS, of what a model costs": () => read(monitor, { mode: "no-cors" }),
    "fetch of what a model costs": () => read(monitor),
    "fetch of plain text": () => read(shutdown, post("text/plain")),
    "fetch of JSON": () => read(shutdown, post("application/json")),
    "fetch of JSON with cookies": () =>
      read(shutdown, { ...post("application/json"), credentials: "include" }),
    "fetch of JSON that outlives the page": () =>
      read(shutdown, { ...post("application/json"), keepalive: true }),
    "fetch with another method": () => read(monitor, { method: "DELETE" }),
    "XMLHttpRequest of JSON": () => byXhr(shutdown, json),
    "a beacon": () => navigator.sendBeacon(shutdown, json) && "",
    "a beacon of JSON": () =>
      navigator.sendBeacon(shutdown, new Blob([json], { type: "application/json" })) && "",
    "a picture": () => put("img", { src: monitor }),
    "a picture of a shutdown": () => put("img", { src: `${shutdown}?model=${model}&force=true` }),
    "a script": () => put("script", { src: monitor }),
    "a style sheet": () => put("link", { rel: "stylesheet", href: monitor }),
    "a frame": () => put("iframe", { src: monitor }),
    "an event source": () => listen(new EventSource(monitor)),
    "a web socket": () => listen(new WebSocket(monitor.replace("http", "ws"))),
  };
};

/** Makes all attempts, one after another, and says what each got to see. */
globalThis.attempt = async (origin, model) => {
  const seen = {};
  for (const [name, act] of Object.entries(globalThis.attempts(origin, model))) seen[name] = await act();
  return seen;
};
