import { deepEqual, equal } from "node:assert/strict";
import * as fc from "fast-check";
import { editMembers, hasObject, memberAt } from "../../../lib/delivery/json_edit.ts";

const PATH = ["device", "backend", "config"];

function wrapped(object: string): string {
  return `{"device":{"backend":{"config":${object}}}}`;
}

function edit(object: string, changes: Record<string, string | undefined>): string | undefined {
  return editMembers(wrapped(object), PATH, changes);
}

const KEPT = [
  '"retry_limit":0',
  '"empty":""',
  '"nothing":null',
  '"no":false',
  '"big":9007199254740993',
  '"float":1.0',
  '"huge":1e400',
  '"small":-0.0E-07',
  '"escape\\u0064":"\\u00e9\\/\\"\\\\\\n}"',
  '"braces":"}{][,:"',
  '"deep":[{"auth":"not this one"},[],{}]',
];

Deno.test("editMembers: keeps every other character", () => {
  for (const kept of KEPT) {
    for (const [left, right] of [[`${kept} ,\t`, ""], ["", ` ,\r\n${kept}`]]) {
      const text = `{ ${left}"auth" : "old"${right} }`;
      equal(
        edit(text, { auth: "new" }),
        wrapped(text.replace('"auth" : "old"', '"auth" : "new"')),
        text,
      );
    }
  }
});

Deno.test("editMembers: adds a missing member, even to an empty object", () => {
  equal(edit("{}", { auth: "a" }), wrapped('{"auth":"a"}'));
  equal(edit('{ "b":1}', { auth: "a" }), wrapped('{"auth":"a", "b":1}'));
  equal(edit("{ }", { auth: 'q"\\\n' }), wrapped('{"auth":"q\\"\\\\\\n" }'));
});

Deno.test("editMembers: removes a member at the start, in the middle, at the end and alone", () => {
  equal(edit('{"x":1,"b":2,"c":3}', { x: undefined }), wrapped('{"b":2,"c":3}'));
  equal(edit('{"a":1, "x":2, "c":3}', { x: undefined }), wrapped('{"a":1, "c":3}'));
  equal(edit('{"a":1, "x":2 }', { x: undefined }), wrapped('{"a":1 }'));
  equal(edit('{ "x":[1,{"x":2}] }', { x: undefined }), wrapped("{  }"));
  equal(edit('{"a":1}', { x: undefined }), wrapped('{"a":1}'));
});

Deno.test("editMembers: sets the last of equal keys, and removes all of them", () => {
  const twice = '{"auth":"1","b":2,"auth":"3"}';
  equal(memberAt(wrapped(twice), PATH, "auth"), "3");
  equal(edit(twice, { auth: "4" }), wrapped('{"auth":"1","b":2,"auth":"4"}'));
  equal(edit(twice, { auth: undefined }), wrapped('{"b":2}'));
  equal(edit('{"x":1,"x":2,"x":3}', { x: undefined }), wrapped("{}"));
  equal(memberAt(wrapped('{"\\u0061uth":"1"}'), PATH, "auth"), "1");
});

Deno.test("editMembers: returns undefined for a text that is not JSON or has no such object", () => {
  const texts = [
    "",
    "{",
    "null",
    "[]",
    '"device"',
    '{"device":{"backend":{"config":{}}}} x',
    '{"device":{"backend":{"config":[]}}}',
    '{"device":{"backend":{"config":null}}}',
    '{"device":[{"backend":{"config":{}}}]}',
    '{"device":{"backend":{}}}',
    '{"device":{"backend":{"config":{"a":01}}}}',
  ];
  for (const text of texts) {
    equal(editMembers(text, PATH, { auth: "a" }), undefined, text);
    equal(hasObject(text, PATH), false, text);
    equal(memberAt(text, PATH, "auth"), undefined, text);
  }
});

Deno.test("editMembers: changes only the given members in any document", () => {
  const spaces = fc.constantFrom("", " ", "\n\t", "    ");
  const change = fc.constantFrom("auth", "registry_token", "", "__proto__", "constructor", "é");
  const changes = fc.dictionary(change, fc.option(fc.string(), { nil: undefined }));
  const object = fc.dictionary(fc.oneof(change, fc.string()), fc.jsonValue());
  fc.assert(
    fc.property(object, fc.jsonValue(), changes, spaces, (config, other, wanted, space) => {
      const text = JSON.stringify(
        { other, device: { backend: { a: other, config } } },
        null,
        space,
      );
      const edited = editMembers(text, PATH, wanted);
      const expected = new Map(Object.entries(JSON.parse(JSON.stringify(config))));
      for (const [key, value] of Object.entries(wanted)) {
        if (value === undefined) expected.delete(key);
        else expected.set(key, value);
      }
      const now = JSON.parse(edited ?? "");
      const before = JSON.parse(text);
      deepEqual(new Map(Object.entries(now.device.backend.config)), expected);
      deepEqual(now.other, before.other);
      deepEqual(now.device.backend.a, before.device.backend.a);
      deepEqual(Object.keys(now), Object.keys(before));
    }),
    { numRuns: 300 },
  );
});

Deno.test("editMembers: removing an added member restores the document", () => {
  const object = fc.dictionary(fc.string().map((key) => `k${key}`), fc.jsonValue());
  fc.assert(
    fc.property(object, fc.constantFrom(undefined, 1, 4), (config, indent) => {
      const text = wrapped(JSON.stringify(config, null, indent));
      const added = editMembers(text, PATH, { auth: "x" });
      const back = editMembers(added ?? "", PATH, { auth: undefined });
      deepEqual(JSON.parse(back ?? ""), JSON.parse(text));
      equal(editMembers(added ?? "", PATH, { auth: "x" }), added);
    }),
    { numRuns: 200 },
  );
});
