import { deepEqual, equal, match, ok, throws } from "node:assert/strict";
import fc from "fast-check";
import {
  AgentError,
  imageAt,
  parseImageReference,
  repositoryReference,
} from "../../../lib/model/mod.ts";

const SHA256 = `sha256:${"a3".repeat(32)}`;

function messageOfRefusal(ref: string): string {
  try {
    parseImageReference(ref);
  } catch (error) {
    ok(error instanceof AgentError);
    equal(error.code, "invalid-reference");
    return error.message;
  }
  throw new Error(`parsed: ${ref}`);
}

Deno.test("parseImageReference: adds Docker's defaults", () => {
  deepEqual(parseImageReference("nginx"), {
    text: "docker.io/library/nginx:latest",
    registry: "docker.io",
    repository: "library/nginx",
    tag: "latest",
  });
  equal(parseImageReference("index.docker.io/nginx").text, "docker.io/library/nginx:latest");
  equal(parseImageReference("team/app:v1").text, "docker.io/team/app:v1");
  equal(parseImageReference("Team/app:v1").registry, "Team");
});

Deno.test("parseImageReference: drops a tag next to a digest", () => {
  deepEqual(parseImageReference(`reg.io:5000/app:v1@${SHA256}`), {
    text: `reg.io:5000/app@${SHA256}`,
    registry: "reg.io:5000",
    repository: "app",
    digest: SHA256,
  });
});

Deno.test("parseImageReference: accepts three digest algorithms with their lengths", () => {
  for (const [algorithm, length] of [["sha256", 64], ["sha384", 96], ["sha512", 128]] as const) {
    const ref = (hex: string) => `reg.io/app@${algorithm}:${hex}`;
    equal(parseImageReference(ref("0".repeat(length))).text, ref("0".repeat(length)));
    messageOfRefusal(ref("0".repeat(length - 1)));
    messageOfRefusal(ref("0".repeat(length + 1)));
    messageOfRefusal(ref("A".repeat(length)));
    messageOfRefusal(ref("g".repeat(length)));
  }
  for (const algorithm of ["md5", "SHA256", "constructor", "__proto__", ""]) {
    messageOfRefusal(`reg.io/app@${algorithm}:${"0".repeat(64)}`);
  }
});

Deno.test("parseImageReference: limits the repository to 255 characters, but not the host", () => {
  const host = `${"h".repeat(60)}.${"h".repeat(60)}.io:5000`;
  equal(parseImageReference(`${host}/${"a".repeat(255)}`).repository.length, 255);
  match(messageOfRefusal(`${host}/${"a".repeat(256)}`), /longer than 255/);
  // Includes "library/".
  match(messageOfRefusal("a".repeat(248)), /longer than 255/);
});

Deno.test("parseImageReference: accepts at most 4,096 characters", () => {
  const host = (length: number) => `${"h".repeat(length - 5)}.io/a`;
  equal(parseImageReference(host(4_096)).repository, "a");
  match(messageOfRefusal(host(4_097)), /too long/);
});

Deno.test("parseImageReference: accepts brackets only around an IPv6 address", () => {
  equal(parseImageReference("[2001:DB8::1]:5000/a").registry, "[2001:DB8::1]:5000");
  for (const host of ["[]", "[::1", "[:::1]", "[1.2.3.4]", "[abc]", "[::1]x", "x[::1]", "::1"]) {
    messageOfRefusal(`${host}/a`);
  }
});

Deno.test("parseImageReference: rejects an invalid reference with the reason", () => {
  match(messageOfRefusal("a".repeat(64)), /image ID/);
  match(messageOfRefusal("reg.io/App"), /lower case/);
  match(messageOfRefusal("https://reg.io/app"), /invalid registry host/);
  match(messageOfRefusal("reg.io/app:"), /tag/);
  match(messageOfRefusal("my_reg.io/app"), /host/);
  match(messageOfRefusal(""), /invalid repository/);
  match(messageOfRefusal(`reg.io/${"a".repeat(100_000)}`), /too long/);
  for (const tail of ["\n", " ", "\u0000", "/", ":", "@"]) messageOfRefusal(`reg.io/app${tail}`);
});

Deno.test("parseImageReference: hides user info and cuts long text in its message", () => {
  for (
    const ref of ["me:hunter2@reg.io/app", "https://me:hunt/er2@reg.io/app", "hunter2@reg.io/a"]
  ) {
    const message = messageOfRefusal(ref);
    ok(!/hunt|er2/.test(message), message);
    match(message, /@reg\.io/);
  }
  ok(!messageOfRefusal(`me:hunter2@reg.io/app@sha256:short`).includes("hunter2"));
  match(messageOfRefusal("reg.io/app@sha256:short"), /"reg\.io\/app@sha256:short"/);
  match(messageOfRefusal("@sha256:short"), /"@sha256:short"/);
  ok(messageOfRefusal("x!".repeat(50_000)).length < 300);
});

Deno.test("parseImageReference: is idempotent and throws only AgentError", () => {
  const piece = fc.constantFrom(
    ..."ab1/:@.-_[]A%é\n ".split(""),
    "docker.io",
    "localhost",
    "library",
    "sha256:",
    "__",
    SHA256,
  );
  const ref = fc.oneof(fc.array(piece, { maxLength: 12 }).map((a) => a.join("")), fc.string());
  fc.assert(
    fc.property(ref, (text) => {
      try {
        const parsed = parseImageReference(text);
        deepEqual(parseImageReference(parsed.text), parsed);
        const end = parsed.digest === undefined ? `:${parsed.tag}` : `@${parsed.digest}`;
        equal(parsed.text, `${parsed.registry}/${parsed.repository}${end}`);
      } catch (error) {
        ok(error instanceof AgentError, String(error));
      }
    }),
    { numRuns: 2_000 },
  );
});

Deno.test("parseImageReference: accepts every reference of the grammar", () => {
  const word = fc.stringMatching(/^[a-z0-9]{1,5}$/);
  const component = fc.array(word, { minLength: 1, maxLength: 3 })
    .chain((words) => fc.constantFrom(".", "_", "__", "-", "---").map((s) => words.join(s)));
  const host = fc.constantFrom("reg.io", "localhost", "REG.IO:443", "[::1]:5000", "10.0.0.1");
  const path = fc.array(component, { minLength: 1, maxLength: 4 }).map((a) => a.join("/"));
  const tag = fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}$/);
  fc.assert(fc.property(host, path, tag, (registry, repository, tag) => {
    const text = `${registry}/${repository}:${tag}`;
    deepEqual(parseImageReference(text), { text, registry, repository, tag });
  }));
});

Deno.test("repositoryReference: has neither tag nor digest in its text", () => {
  deepEqual(repositoryReference("reg.io:5000", "team/app"), {
    text: "reg.io:5000/team/app",
    registry: "reg.io:5000",
    repository: "team/app",
  });
});

Deno.test("repositoryReference: maps Docker Hub's hosts to docker.io", () => {
  for (const host of ["docker.io", "index.docker.io", "registry-1.docker.io"]) {
    equal(repositoryReference(host, "library/nginx").text, "docker.io/library/nginx");
  }
  equal(repositoryReference("registry-1.docker.io", "nginx").text, "docker.io/library/nginx");
  equal(repositoryReference("registry-2.docker.io", "nginx").registry, "registry-2.docker.io");
});

Deno.test("imageAt: accepts a reference of at most 4,096 characters", () => {
  const image = parseImageReference("reg.io/app:v1");
  const host = (length: number) => `${"a.".repeat(length / 2 - 2)}aa.b`;
  const longest = 4_096 - "/app".length;
  equal(imageAt(host(longest), "app", image).text, `${host(longest)}/app:v1`);
  throws(() => imageAt(`a${host(longest)}`, "app", image), /too long/);
});

Deno.test("repositoryReference: rejects an invalid host or repository", () => {
  const refused = [
    ["", "app"],
    ["reg", "app"],
    ["reg.io", ""],
    ["reg.io/team", "app"],
    ["reg.io", "app:v1"],
    ["reg.io", `app@${SHA256}`],
    ["reg.io", "App"],
    ["https://reg.io", "app"],
    ["me:hunter2@reg.io", "app"],
  ] as const;
  for (const [registry, repository] of refused) {
    throws(() => repositoryReference(registry, repository), (error) => {
      ok(error instanceof AgentError && error.code === "invalid-reference");
      return !error.message.includes("hunter2");
    }, `${registry} ${repository}`);
  }
});
