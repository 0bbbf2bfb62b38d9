import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import { expect } from "vitest";
import type { OpenApiDocument } from "../../lib/index.js";
import type { Answer } from "./http.js";

// biome-ignore lint/suspicious/noExplicitAny: any part of the document, of which OpenAPI's own schema says what it has
type Part = any;

/** One thing that may come of a request, by the document. */
interface Outcome {
  name: string;
  path: string;
  method: string;
  status: number;
  headers: Record<string, ValidateFunction>;
  /** Absent where there is no body. */
  isBody?: ValidateFunction;
}

interface Example {
  where: string;
  value: Part;
  schema: object;
}

/** What comes of the way an answer is sent, not of what is answered. */
const TRANSPORT = ["connection", "content-length", "content-type", "date", "keep-alive", "x-powered-by"];

/** An OpenAPI document as JSON Schema has it: what may come of a request, and what is a valid value. */
export class Description {
  readonly outcomes: readonly Outcome[];
  readonly #document: Part;
  readonly #ajv = new Ajv2020({ strictTypes: false, formats: { uint64: true } });

  constructor(document: OpenApiDocument) {
    this.#document = document;
    this.#ajv.addSchema(standingAlone({ $defs: document.components.schemas }), "components");
    this.outcomes = Object.entries(document.paths).flatMap(([path, operations]) =>
      Object.entries(operations).flatMap(([method, { responses }]) =>
        Object.entries(responses).flatMap(([status, response]) =>
          this.#outcomesOf(path, method.toUpperCase(), Number(status), this.#resolve(response)),
        ),
      ),
    );
  }

  /** Holds an answer against the document, and returns the name of the one outcome that it is. */
  check(method: string, path: string, answer: Answer): string {
    const what = `${method} ${path}: ${answer.status} ${answer.text}`;
    const possible = this.#possible(method, path).filter(({ status }) => status === answer.status);
    const isIt = ({ isBody }: Outcome) =>
      isBody && method !== "HEAD" ? isBody(answer.json) : answer.text === "";
    const [outcome, another] = possible.filter(isIt);
    if (!outcome) {
      const errors = possible.map(({ name, isBody }) => `${name}: ${this.#ajv.errorsText(isBody?.errors)}`);
      throw new Error(`${what} is not what the document says\n${errors.join("\n")}`);
    }
    expect(another, what).toBeUndefined();

    expect(answer.headers["content-type"], what).toBe("application/json; charset=utf-8");
    const undocumented = new Set(Object.keys(answer.headers).filter((name) => !TRANSPORT.includes(name)));
    for (const [name, isHeader] of Object.entries(outcome.headers)) {
      expect(isHeader(answer.headers[name]), `${what} ${name}: ${answer.headers[name]}`).toBe(true);
      undocumented.delete(name);
    }
    expect([...undocumented], what).toEqual([]);
    return outcome.name;
  }

  /** What is said of 405 on a path is of the methods that it does not have. */
  #possible(method: string, path: string): Outcome[] {
    const onPath = this.outcomes.filter((outcome) => outcome.path === path);
    const own = onPath.filter((outcome) => outcome.method === method);
    return own.length > 0
      ? own.filter(({ status }) => status !== 405)
      : onPath.filter(({ status }) => status === 405);
  }

  /** All examples, each with the schema that it is an example of. */
  examples(): Example[] {
    return [...objectsIn(this.#document)].flatMap(([where, object]) => {
      const { schema, examples } = object;
      if (Array.isArray(examples)) return examples.map((value) => ({ where, value, schema: object }));
      return Object.entries<Part>(examples ?? {}).map(([name, { value }]) => {
        return { where: `${where} ${name}`, value, schema };
      });
    });
  }

  /** What it has in the place of a reference. */
  #resolve(part: Part): Part {
    if (!part.$ref) return part;
    const found = part.$ref
      .slice("#/".length)
      .split("/")
      .reduce((parent: Part, key: string) => parent?.[key], this.#document);
    expect(found, part.$ref).toBeDefined();
    return found;
  }

  /** Whether a value is valid by all of these schemas. */
  validator(...schemas: object[]): ValidateFunction {
    return this.#ajv.compile(standingAlone({ allOf: schemas }));
  }

  #outcomesOf(path: string, method: string, status: number, response: Part): Outcome[] {
    const headers = Object.fromEntries(
      Object.entries<Part>(response.headers ?? {}).map(([name, header]) => {
        const { required, schema } = this.#resolve(header);
        expect(required, name).toBe(true);
        return [name.toLowerCase(), this.validator(schema)];
      }),
    );
    const outcome = { path, method, status, headers };
    const name = `${method} ${path} ${status}`;
    const schema = response.content?.["application/json"].schema;
    if (!schema) return [{ ...outcome, name }];
    return this.#kindsOf(schema).map(([kind, ...schemas]) => {
      return { ...outcome, name: `${name} ${kind}`, isBody: this.validator(schema, ...schemas) };
    });
  }

  /** The kinds of answers that have one status: those of a success by their schemas, those of an error by their types. */
  #kindsOf(schema: Part): [kind: string, ...schemas: object[]][] {
    const { oneOf, allOf } = this.#resolve(schema);
    if (oneOf) return oneOf.map((part: { $ref: string }) => [part.$ref.split("/").at(-1), part]);
    const types: string[] | undefined = allOf?.[1].properties.error.properties.type.enum;
    if (!types) return [[schema.$ref.split("/").at(-1)]];
    return types.map((type) => {
      return [type, { properties: { error: { properties: { type: { const: type } } } } }];
    });
  }
}

/** A schema of the document that refers to the others where Ajv has them. */
function standingAlone(schema: object): object {
  return JSON.parse(JSON.stringify(schema).replaceAll('"#/components/schemas/', '"components#/$defs/'));
}

/** Every object in a document, with where it is. */
export function* objectsIn(value: unknown, where = "#"): Generator<[where: string, object: Part]> {
  if (typeof value !== "object" || value === null) return;
  yield [where, value];
  for (const [key, member] of Object.entries(value)) yield* objectsIn(member, `${where}/${key}`);
}
