/**
 * Runs the probe against a real registry (Debian's `docker-registry`), with a password file and with a
 * token service. Ignored where it is not installed.
 */
import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { join } from "@std/path";
import { createRegistryHttp, systemClock } from "../../lib/platform/mod.ts";
import { type Credential, Secret, type VerdictKind } from "../../lib/model/mod.ts";
import { RegistryProbe } from "../../lib/verification/mod.ts";
import { type Certificates, certificates, HAS_OPENSSL } from "../fakes/certificates.ts";
import { dockerRegistry, HAS_DOCKER_REGISTRY, push, signedToken } from "./docker_registry.ts";

const ignore = !HAS_OPENSSL || !HAS_DOCKER_REGISTRY;
/** bcrypt of "good". */
const PASSWORDS = "robot:$2y$05$DnPwTxlN4VdblqU1sm7fvuldiUO.edYkE5j/NZX/dclg7ckKVhKD2\n";

function basic(password: string): Credential {
  return { kind: "basic", username: "robot", password: new Secret(password) };
}

async function inFolder(work: (folder: string, pems: Certificates) => Promise<void>) {
  const folder = await Deno.makeTempDir();
  const pems = await certificates();
  const files = { "ca.pem": pems.ca, "cert.pem": pems.cert, "key.pem": pems.key };
  for (const [name, text] of Object.entries({ ...files, passwords: PASSWORDS })) {
    await Deno.writeTextFile(join(folder, name), text);
  }
  try {
    await work(folder, pems);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

for (const tls of [false, true]) {
  Deno.test({
    name: `RegistryProbe: returns every verdict of docker-registry with a password file, ${
      tls ? "over TLS" : "in plain"
    }`,
    ignore,
    async fn() {
      await inFolder(async (folder) => {
        const auth = `{htpasswd: {realm: r, path: ${join(folder, "passwords")}}}`;
        await using running = await dockerRegistry(folder, { auth, tls });
        const scheme = tls ? "https" : "http";
        const caFile = join(folder, "ca.pem");
        const client = Deno.createHttpClient({ caCerts: [await Deno.readTextFile(caFile)] });
        const base = `${scheme}://${running.host}`;
        await push(base, `Basic ${btoa("robot:good")}`, client);
        client.close();
        const probe = new RegistryProbe({ http: createRegistryHttp(), clock: systemClock });
        const probeWith = async (credential: Credential | undefined, more = {}) => {
          const target = { scheme, host: running.host, repository: "team/app" } as const;
          const trust = { skipVerify: false, caFiles: tls ? [caFile] : [] };
          return (await probe.probe({ ...target, ...trust, ...more }, credential)).kind;
        };
        const verdicts: Record<string, VerdictKind> = {
          manifest: await probeWith(basic("good"), { reference: "v1" }),
          tags: await probeWith(basic("good")),
          wrong: await probeWith(basic("bad"), { reference: "v1" }),
          anonymous: await probeWith(undefined, { reference: "v1" }),
          missing: await probeWith(basic("good"), { reference: "v2" }),
          unverified: await probeWith(basic("good"), { skipVerify: true, caFiles: [] }),
        };
        deepStrictEqual(verdicts, {
          manifest: "accepted",
          tags: "accepted",
          wrong: "refused",
          anonymous: "refused",
          missing: "not-found",
          unverified: "accepted",
        });
        if (tls) strictEqual(await probeWith(basic("good"), { caFiles: [] }), "unreachable");
      });
    },
  });
}

Deno.test({
  name: "RegistryProbe: returns the verdicts of docker-registry with a token service",
  ignore,
  async fn() {
    await inFolder(async (folder, pems) => {
      const service = Deno.serve(
        { hostname: "127.0.0.1", port: 0, onListen: () => {} },
        async (request) => {
          const auth = request.headers.get("authorization");
          const { searchParams } = new URL(request.url);
          if (auth === `Basic ${btoa("robot:bad")}`) return new Response("no", { status: 401 });
          const scope = searchParams.get("scope") ?? "";
          const granted = auth === `Basic ${btoa("robot:low")}` ? "" : scope;
          return Response.json({ token: await signedToken(pems, "r", granted) });
        },
      );
      const realm = `http://127.0.0.1:${service.addr.port}/token`;
      const bundle = join(folder, "ca.pem");
      const auth =
        `{token: {realm: "${realm}", service: r, issuer: tests, rootcertbundle: ${bundle}}}`;
      await using running = await dockerRegistry(folder, { auth });
      const client = Deno.createHttpClient({});
      const token = await signedToken(pems, "r", "repository:team/app:pull,push");
      await push(`http://${running.host}`, `Bearer ${token}`, client);
      client.close();
      const probe = new RegistryProbe({ http: createRegistryHttp(), clock: systemClock });
      const probeWith = async (credential: Credential) => {
        const target = { scheme: "http", host: running.host, repository: "team/app" } as const;
        const more = { reference: "v1", skipVerify: false, caFiles: [] };
        return (await probe.probe({ ...target, ...more }, credential)).kind;
      };
      strictEqual(await probeWith(basic("good")), "accepted");
      strictEqual(await probeWith(basic("bad")), "refused");
      strictEqual(await probeWith(basic("low")), "forbidden");
      strictEqual(
        await probeWith({ kind: "registry-token", token: new Secret(token) }),
        "accepted",
      );
      const invalid = { kind: "registry-token", token: new Secret("nonsense") } as const;
      strictEqual(await probeWith(invalid), "refused");
      await service.shutdown();
    });
  },
});
