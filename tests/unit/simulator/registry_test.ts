import { deepEqual, equal } from "node:assert/strict";
import { join } from "node:path";
import { SimRegistry } from "../../../lib/simulator/registry.ts";

const BLOB = "v2/team/app/blobs/sha256:00ff";

async function status(registry: SimRegistry, pair?: string, path = BLOB): Promise<number> {
  const response = await fetch(`http://${registry.host}/${path}`, {
    headers: pair === undefined ? {} : { authorization: `Basic ${btoa(pair)}` },
  });
  await response.body?.cancel();
  return response.status;
}

Deno.test("SimRegistry: serves a blob only with an accepted pair", async () => {
  await using registry = new SimRegistry();
  registry.accept("robot", "pass:word");
  equal(await status(registry, "robot:pass:word"), 200);
  equal(await status(registry, "robot:wrong"), 401);
  equal(await status(registry, "other:pass:word"), 401);
  equal(await status(registry), 401);
});

Deno.test("SimRegistry: refuses revoked and expired passwords", async () => {
  await using registry = new SimRegistry();
  registry.accept("robot", "first");
  registry.accept("robot", "past", Date.now() - 1);
  registry.accept("robot", "later", Date.now() + 3_600_000);
  equal(await status(registry, "robot:first"), 200);
  registry.revoke("robot", "first");
  equal(await status(registry, "robot:first"), 401);
  equal(await status(registry, "robot:past"), 401);
  equal(await status(registry, "robot:later"), 200);
});

Deno.test("SimRegistry: accepts tokens of the plugin until they expire", async () => {
  const folder = await Deno.makeTempDir();
  const issued = join(folder, "issued");
  await using registry = new SimRegistry(issued);
  equal(registry.newestToken(), undefined);
  equal(await status(registry, "token:a"), 401);
  await Deno.writeTextFile(issued, `${Date.now() + 3_600_000} a\n${Date.now() - 1} b\n`);
  equal(registry.newestToken(), "token:b");
  equal(await status(registry, "token:a"), 200);
  equal(await status(registry, "token:b"), 401);
  registry.revoke("token", "a");
  equal(await status(registry, "token:a"), 401);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("SimRegistry: records the credentials per repository", async () => {
  await using registry = new SimRegistry();
  registry.accept("robot", "right");
  await status(registry, "robot:right");
  await status(registry, "robot:wrong", "v2/other/blobs/sha256:00");
  deepEqual(registry.seen, [
    { what: "blob", repository: "team/app", auth: btoa("robot:right"), verdict: "accepted" },
    { what: "blob", repository: "other", auth: btoa("robot:wrong"), verdict: "refused" },
  ]);
});

Deno.test("SimRegistry: responds with 404 to other paths", async () => {
  await using registry = new SimRegistry();
  registry.accept("robot", "right");
  equal(await status(registry, "robot:right", "v2/"), 200);
  equal(await status(registry, "robot:right", "v2/team/app/manifests/v1"), 200);
  equal(await status(registry, "robot:right", "v2/team/app/tags/list"), 404);
});

Deno.test("SimRegistry: issues tokens for one repository, by GET and by POST", async () => {
  await using registry = new SimRegistry();
  registry.settings.login = "bearer";
  registry.accept("robot", "right");
  registry.acceptIdentity("refresh", "robot");
  const scope = "repository:team/app:pull";
  const got = await fetch(`http://${registry.host}/token?scope=${encodeURIComponent(scope)}`, {
    headers: { authorization: `Basic ${btoa("robot:right")}` },
  });
  const posted = await fetch(`http://${registry.host}/token`, {
    method: "POST",
    body: new URLSearchParams({ scope, refresh_token: "refresh" }),
  });
  for (const token of [(await got.json()).token, (await posted.json()).access_token]) {
    const read = async (path: string) => {
      const headers = { authorization: `Bearer ${token}` };
      const response = await fetch(`http://${registry.host}/${path}`, { headers });
      await response.body?.cancel();
      return response.status;
    };
    equal(await read(BLOB), 200);
    equal(await read("v2/other/blobs/sha256:00"), 401);
  }
  equal(await status(registry, "robot:right"), 401); // pairs are only accepted by the token service
});

Deno.test("SimRegistry: forbids a repository to a known user, with the text of a cloud", async () => {
  await using registry = new SimRegistry();
  registry.settings.dialect = "ecr";
  registry.accept("robot", "right");
  registry.forbid("robot", "team/app");
  equal(await status(registry, "robot:right"), 403);
  equal(await status(registry, "robot:right", "v2/other/blobs/sha256:00"), 200);
  const headers = { authorization: `Basic ${btoa("robot:wrong")}` };
  const expired = await fetch(`http://${registry.host}/${BLOB}`, { headers });
  equal(expired.status, 403);
  equal((await expired.text()).includes("authorization token has expired"), true);
  equal(await status(registry), 401); // a request without a credential is challenged
});
