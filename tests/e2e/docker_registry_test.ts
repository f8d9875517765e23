/**
 * The probe against a real registry (Debian's `docker-registry`), with a password file and with a
 * token service. Ignored where it is not installed.
 */
import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { join } from "@std/path";
import { createRegistryHttp, systemClock } from "../../lib/edge/mod.ts";
import { type Credential, Secret, type VerdictKind } from "../../lib/model/mod.ts";
import { RegistryProbe } from "../../lib/resolve/mod.ts";
import { type Certificates, certificates, HAS_OPENSSL } from "../fakes/certificates.ts";
import { freePort, pause } from "./stage.ts";

const PROGRAM = "/usr/bin/docker-registry";
const ignore = !HAS_OPENSSL || !await Deno.stat(PROGRAM).then(() => true, () => false);
/** bcrypt of "good". */
const PASSWORDS = "robot:$2y$05$DnPwTxlN4VdblqU1sm7fvuldiUO.edYkE5j/NZX/dclg7ckKVhKD2\n";
const BLOB_TEXT = "a layer\n";
const MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json";

function basic(password: string): Credential {
  return { kind: "basic", username: "robot", password: new Secret(password) };
}

interface Running extends AsyncDisposable {
  readonly host: string;
}

/** Runs it with a part of its configuration. */
async function registry(
  folder: string,
  { auth, tls }: { readonly auth: string; readonly tls: boolean },
): Promise<Running> {
  const port = freePort();
  const host = `127.0.0.1:${port}`;
  const files = `{certificate: ${join(folder, "cert.pem")}, key: ${join(folder, "key.pem")}}`;
  await Deno.writeTextFile(
    join(folder, "config.yml"),
    `version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: ${join(folder, "data")}}}
http: {addr: "${host}"${tls ? `, tls: ${files}` : ""}}
auth: ${auth}
`,
  );
  const child = new Deno.Command(PROGRAM, {
    args: ["serve", join(folder, "config.yml")],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  for (let tries = 0; tries < 200; tries++) {
    const connection = await Deno.connect({ hostname: "127.0.0.1", port }).catch(() => undefined);
    connection?.close();
    if (connection !== undefined) break;
    await pause(25);
  }
  return {
    host,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.status;
    },
  };
}

/** Puts an image there, as a push does. Returns the digest of its layer. */
async function push(base: string, authorization: string, client: Deno.HttpClient): Promise<string> {
  const ask = async (method: string, url: string, body?: string, type?: string) => {
    const response = await fetch(url, {
      client,
      method,
      headers: { authorization, ...(type !== undefined && { "content-type": type }) },
      ...(body !== undefined && { body }),
    });
    ok(response.ok, `${method} ${url}: ${response.status} ${await response.text()}`);
    return response.headers.get("location") ?? "";
  };
  const bytes = new TextEncoder().encode(BLOB_TEXT);
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const digest = `sha256:${hash.toHex()}`;
  const upload = await ask("POST", `${base}/v2/team/app/blobs/uploads/`);
  const url = new URL(upload, base);
  url.searchParams.set("digest", digest);
  await ask("PUT", url.href, BLOB_TEXT, "application/octet-stream");
  const layer = { mediaType: "application/octet-stream", digest, size: bytes.length };
  const manifest = { schemaVersion: 2, mediaType: MANIFEST_TYPE, config: layer, layers: [layer] };
  await ask("PUT", `${base}/v2/team/app/manifests/v1`, JSON.stringify(manifest), MANIFEST_TYPE);
  return digest;
}

/** A token for a registry with `auth: token`, signed by the key of the tests' certificate. */
async function signedToken(
  { cert, key }: Certificates,
  service: string,
  scope: string,
): Promise<string> {
  const der = (pem: string) => Uint8Array.fromBase64(pem.replaceAll(/-----[^-]+-----|\s/g, ""));
  const encode = (value: unknown) =>
    new TextEncoder().encode(JSON.stringify(value)).toBase64({
      alphabet: "base64url",
      omitPadding: true,
    });
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const signing = await crypto.subtle.importKey("pkcs8", der(key), algorithm, false, ["sign"]);
  const [, name = "", actions = ""] = /^repository:([^:]+):(.+)$/.exec(scope) ?? [];
  const now = Math.floor(Date.now() / 1_000);
  const head = encode({ alg: "ES256", typ: "JWT", x5c: [der(cert).toBase64()] });
  const body = encode({
    iss: "tests",
    aud: service,
    sub: "robot",
    nbf: now - 10,
    exp: now + 300,
    access: name === "" ? [] : [{ type: "repository", name, actions: actions.split(",") }],
  });
  const signed = new TextEncoder().encode(`${head}.${body}`);
  const signature = new Uint8Array(await crypto.subtle.sign(algorithm, signing, signed));
  return `${head}.${body}.${signature.toBase64({ alphabet: "base64url", omitPadding: true })}`;
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
    name: `docker-registry with a password file, ${tls ? "over TLS" : "in plain"}: every verdict`,
    ignore,
    async fn() {
      await inFolder(async (folder) => {
        const auth = `{htpasswd: {realm: r, path: ${join(folder, "passwords")}}}`;
        await using running = await registry(folder, { auth, tls });
        const scheme = tls ? "https" : "http";
        const caFile = join(folder, "ca.pem");
        const client = Deno.createHttpClient({ caCerts: [await Deno.readTextFile(caFile)] });
        const base = `${scheme}://${running.host}`;
        const blob = await push(base, `Basic ${btoa("robot:good")}`, client);
        client.close();
        const probe = new RegistryProbe({ http: createRegistryHttp(), clock: systemClock });
        const ask = async (credential: Credential | undefined, more = {}) => {
          const target = { scheme, host: running.host, repository: "team/app" } as const;
          const trust = { skipVerify: false, caFiles: tls ? [caFile] : [] };
          return (await probe.probe({ ...target, ...trust, ...more }, credential)).kind;
        };
        const verdicts: Record<string, VerdictKind> = {
          manifest: await ask(basic("good"), { reference: "v1" }),
          blob: await ask(basic("good"), { blob }),
          tags: await ask(basic("good")),
          wrong: await ask(basic("bad"), { reference: "v1" }),
          nobody: await ask(undefined, { reference: "v1" }),
          missing: await ask(basic("good"), { reference: "v2" }),
          unverified: await ask(basic("good"), { skipVerify: true, caFiles: [], blob }),
        };
        deepStrictEqual(verdicts, {
          manifest: "accepted",
          blob: "accepted",
          tags: "accepted",
          wrong: "refused",
          nobody: "refused",
          missing: "not-found",
          unverified: "accepted",
        });
        if (tls) strictEqual(await ask(basic("good"), { caFiles: [], blob }), "unreachable");
      });
    },
  });
}

Deno.test({
  name: "docker-registry with a token service: accepted, refused, and forbidden",
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
      await using running = await registry(folder, { auth, tls: false });
      const client = Deno.createHttpClient({});
      const token = await signedToken(pems, "r", "repository:team/app:pull,push");
      await push(`http://${running.host}`, `Bearer ${token}`, client);
      client.close();
      const probe = new RegistryProbe({ http: createRegistryHttp(), clock: systemClock });
      const ask = async (credential: Credential) => {
        const target = { scheme: "http", host: running.host, repository: "team/app" } as const;
        const more = { reference: "v1", skipVerify: false, caFiles: [] };
        return (await probe.probe({ ...target, ...more }, credential)).kind;
      };
      strictEqual(await ask(basic("good")), "accepted");
      strictEqual(await ask(basic("bad")), "refused");
      strictEqual(await ask(basic("low")), "forbidden");
      strictEqual(await ask({ kind: "registry-token", token: new Secret(token) }), "accepted");
      const dead = { kind: "registry-token", token: new Secret("nonsense") } as const;
      strictEqual(await ask(dead), "refused");
      await service.shutdown();
    });
  },
});
