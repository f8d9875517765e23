import { equal } from "node:assert/strict";
import {
  AgentError,
  alignColumns,
  formatProblem,
  joinNames,
  messageOf,
  printable,
  quoted,
  safeMessageOf,
} from "../../../lib/model/mod.ts";

Deno.test("printable: escapes control characters and marks for the direction of writing", () => {
  equal(printable("a\u001b[31m\u202eb\n"), "a\\u001b[31m\\u202eb\\u000a");
  equal(printable("plain ü"), "plain ü");
});

Deno.test("quoted: hides text before an @, but not a name before a digest, and limits the length", () => {
  const table = [
    ["reg.io/a", '"reg.io/a"'],
    ["me:hunter2@reg.io/a", '"[hidden]@reg.io/a"'],
    ["reg.io/a@sha256:00", '"reg.io/a@sha256:00"'],
    ["u:p@reg.io/a@sha256:00", '"[hidden]@reg.io/a@sha256:00"'],
    ["@sha256:00", '"@sha256:00"'],
    ["@reg.io/a", '"[hidden]@reg.io/a"'],
    ["x".repeat(200), `"${"x".repeat(200)}"`],
    ["x".repeat(201), `"${"x".repeat(200)}…"`],
  ] as const;
  for (const [text, wanted] of table) equal(quoted(text), wanted);
});

Deno.test("joinNames: joins five names, hides users, and cuts long names", () => {
  equal(joinNames(["a", "b"]), "a, b");
  equal(joinNames(["@a"]), "[hidden]@a");
  equal(joinNames(["x".repeat(100)]), "x".repeat(100));
  equal(joinNames(["1", "2", "3", "4", "5"]), "1, 2, 3, 4, 5");
  equal(joinNames(["1", "2", "3", "4", "5", "6", "7"]), "1, 2, 3, 4, 5 and 2 more");
  equal(joinNames(["u:p@reg.io", "x".repeat(101)]), `[hidden]@reg.io, ${"x".repeat(100)}…`);
});

Deno.test("messageOf and safeMessageOf: describe any thrown value", () => {
  equal(messageOf(new TypeError("secret")), "secret");
  equal(messageOf("text"), "text");
  equal(safeMessageOf(new TypeError("secret")), "TypeError");
  equal(safeMessageOf(new AgentError("io", "read: EACCES")), "read: EACCES");
  equal(safeMessageOf("secret"), "a value that is not an error was thrown");
});

Deno.test("formatProblem: leaves out an empty place and remedy", () => {
  const problem = { file: "/f", place: "a.b", problem: "it is wrong", remedy: "fix it" };
  equal(formatProblem(problem), "/f: a.b: it is wrong (fix it)");
  equal(formatProblem({ ...problem, place: "", remedy: "" }), "/f: it is wrong");
});

Deno.test("alignColumns: pads all but the last column", () => {
  equal(alignColumns([["a", "b"], ["ccc", "d", "e"]]), "a    b\nccc  d  e\n");
});
