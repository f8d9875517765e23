import assert from "node:assert/strict";
import { type Credential, parseImageReference } from "../../../lib/model/mod.ts";
import { type AuthConfig, pullCredential, registryOf } from "../../../lib/cri/cri_messages.ts";
import { WireError } from "../../../lib/cri/http2_frames.ts";

const NONE: AuthConfig = {
  username: "",
  password: "",
  auth: "",
  serverAddress: "",
  identityToken: "",
  registryToken: "",
};

function shown(credential: Credential): string {
  switch (credential.kind) {
    case "basic":
      return `basic ${credential.username} ${credential.password.reveal()}`;
    case "identity-token":
      return `identity ${credential.username} ${credential.token.reveal()}`;
    case "registry-token":
      return `registry ${credential.token.reveal()}`;
    default: {
      const unknown: never = credential;
      return unknown;
    }
  }
}

function read(auth: Partial<AuthConfig>, image = "quay.io/team/app"): string {
  try {
    const found = pullCredential({ ...NONE, ...auth }, parseImageReference(image));
    return found === undefined ? "anonymous" : shown(found);
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    return error.reason;
  }
}

Deno.test("pullCredential: uses the fields in containerd's order", () => {
  const all = {
    username: "u",
    password: "p",
    auth: btoa("a:b:c"),
    identityToken: "i",
    registryToken: "r",
  };
  assert.equal(read(all), "basic u p");
  assert.equal(read({ ...all, password: "" }), "identity u i");
  assert.equal(read({ ...all, username: "" }), "identity  i");
  assert.equal(read({ ...all, username: "", identityToken: "" }), "basic a b:c");
  assert.equal(read({ username: "u", auth: btoa("a:b") }), "basic a b");
  assert.equal(read({ registryToken: "r" }), "registry r");
  assert.equal(read({}), "anonymous");
  assert.equal(read({ username: "u" }), "anonymous");
  assert.equal(read({ password: "p" }), "anonymous");
  assert.equal(read({ serverAddress: "elsewhere.example" }), "anonymous");
});

Deno.test("pullCredential: decodes auth like Go and trims trailing NULs", () => {
  const utf8 = new TextEncoder().encode("ü:pä:ß").toBase64();
  assert.equal(read({ auth: utf8 }), "basic ü pä:ß");
  assert.equal(read({ auth: btoa("u:p\0\0") }), "basic u p");
  assert.equal(read({ auth: btoa("u:") }), "anonymous");
  assert.equal(read({ auth: btoa(":p") }), "registry p");
  for (const bad of ["%%%", btoa("no colon"), btoa("u:\xff")]) {
    assert.equal(read({ auth: bad }), "malformed-auth");
  }
});

Deno.test("pullCredential: skips credentials that are too large for nydusd", () => {
  const password = "p".repeat(32 * 1_024 - 1);
  assert.equal(read({ username: "u", password }), `basic u ${password}`);
  assert.equal(read({ username: "uu", password }), "credential-too-large");
});

Deno.test("pullCredential: uses a credential only for its registry", () => {
  const pair = { username: "u", password: "p" };
  const matching = (image: string, ...servers: string[]) => {
    for (const serverAddress of servers) {
      assert.equal(read({ ...pair, serverAddress }, image), "basic u p", serverAddress);
    }
  };
  const other = (image: string, ...servers: string[]) => {
    for (const serverAddress of servers) {
      assert.equal(read({ ...pair, serverAddress }, image), "other-registry", serverAddress);
    }
  };
  matching("quay.io/team/app", "", "quay.io", "https://quay.io", "https://quay.io/v2/", "QUAY.io");
  matching("quay.io/team/app", "http://quay.io", "https://u@quay.io", "https://quay.io:443/x?y#z");
  other("quay.io/team/app", "quay.io:5000", "http://quay.io:443", "docker.io", "io", "xquay.io");
  other("quay.io/team/app", "https://", "/quay.io", "quay.io.evil.example", "a@b@c");
  matching("localhost:5000/app", "localhost:5000", "http://localhost:5000/v2");
  other("localhost:5000/app", "localhost", "localhost:5001", "https://localhost");
  const hub = ["docker.io", "index.docker.io", "https://index.docker.io/v1/"];
  matching("nginx", ...hub, "https://registry-1.docker.io", "registry-1.docker.io/v2/");
  other("nginx", "https://hub.docker.example", "docker.io:5000");
  matching("quay.io:443/team/app", "quay.io", "quay.io:443");
});

Deno.test("registryOf: does not change IPv6 addresses and invalid text", () => {
  assert.equal(registryOf("http://[::1]:5000/v2"), "[::1]:5000");
  assert.equal(registryOf("http://[::1]:80"), "[::1]");
  assert.equal(registryOf("//quay.io/x"), "quay.io");
  assert.equal(registryOf(""), "");
  assert.equal(registryOf("a b"), "a b");
});
