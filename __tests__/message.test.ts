import { describe, expect, it } from "vitest";
import { describe as describeValue, detail, printable, quote } from "../lib/message.js";

describe("quote", () => {
  it.each([
    ["plain", '"plain"'],
    ['say "hi"\\', '"say \\"hi\\"\\\\"'],
    ["模型 🦙", '"模型 🦙"'],
    [
      "<b>&\u0000\u0085\u202e\u200b\ufeff\ud800",
      '"\\u003cb\\u003e\\u0026\\u0000\\u0085\\u202e\\u200b\\ufeff\\ud800"',
    ],
    ["🦙".repeat(101), `"${"🦙".repeat(100)}…"`],
  ])("%j", (text, quoted) => expect(quote(text)).toBe(quoted));
});

describe("detail", () => {
  it.each([
    ["connect ECONNREFUSED 127.0.0.1:50051", "connect ECONNREFUSED 127.0.0.1:50051"],
    ["connect ENOENT /run/llama.sock", "connect ENOENT (path)"],
    ["connect ENOENT /llama.sock", "connect ENOENT (path)"],
    ["first line\n    at file:///srv/app/x.js:1:2", "first line"],
    ["in file:///srv/app/x.js:1:2 it broke", "in (path) it broke"],
    ["can't open '/home/my user/model.gguf'", "can't open (path)"],
    ['can\'t open "C:\\Users\\me\\model.gguf"', "can't open (path)"],
    ["can't open C:\\models\\a.gguf now", "can't open (path) now"],
    ["can't open \\\\nas\\models\\a.gguf", "can't open (path)"],
    ["path=/etc/passwd, (see /var/log/x.log)", "path=(path), (see (path))"],
    ["failed to open /home/John Doe/models/secret.gguf today", "failed to open (path) today"],
    [
      "‘/srv/models/secret.gguf’ {/srv/a} |/srv/b ;/srv/c @/srv/d -m=/srv/e </srv/f> x,/srv/g )/srv/h",
      "‘(path)’ {(path)} |(path) ;(path) \\u003c(path)\\u003e x,(path) )(path)",
    ],
    ["dns:///nowhere:5 and http://example.org/x", "dns:///nowhere:5 and http://example.org/x"],
    ["unix:/run/a.sock refused", "unix:(path) refused"],
    [
      "does not implement the method /backend.Backend/Status",
      "does not implement the method /backend.Backend/Status",
    ],
    ["either/or, 3 / 4, https://example.org/a", "either/or, 3 / 4, https://example.org/a"],
    ["<b>\u0007\u202e\u{e0001}", "\\u003cb\\u003e\\u0007\\u202e\\udb40\\udc01"],
    ["x".repeat(400), `${"x".repeat(300)}…`],
    ["", ""],
  ])("%j", (said, shown) => expect(detail(said)).toBe(shown));

  it("takes any length in no time", () => {
    for (const evil of ["/".repeat(1e6), "'/".repeat(5e5), "C:\\".repeat(3e5), " ".repeat(1e6)]) {
      const since = performance.now();
      detail(evil);
      expect(performance.now() - since).toBeLessThan(2000);
    }
  });
});

describe("printable", () => {
  it.each([
    ["two lines\n    at one (/srv/app.js:1:2)", "two lines\n    at one (/srv/app.js:1:2)"],
    ["<b> & 模型 🦙", "<b> & 模型 🦙"],
    ["\u001b[2J\u0007\r\t\u0000\u009b", "\\u001b[2J\\u0007\\u000d\\u0009\\u0000\\u009b"],
    ["\u2028\u2029\u202e\ufeff\u{e0001}\ud800", "\\u2028\\u2029\\u202e\\ufeff\\udb40\\udc01\\ud800"],
  ])("%j", (text, printed) => expect(printable(text)).toBe(printed));
});

describe("describe", () => {
  it.each([
    [undefined, "undefined"],
    [null, "null"],
    ["a", 'the string "a"'],
    [4.5, "the number 4.5"],
    [true, "the boolean true"],
    [7n, "the bigint 7"],
    [[1], "an array"],
    [{}, "an object"],
    [() => 1, "a function"],
    [Symbol("s"), "a symbol"],
  ])("%s", (value, words) => expect(describeValue(value)).toBe(words));
});
