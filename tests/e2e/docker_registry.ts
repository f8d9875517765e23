/** Debian's `docker-registry`, for tests against a real registry. */
import { ok } from "node:assert/strict";
import { join } from "@std/path";
import type { Certificates } from "../fakes/certificates.ts";
import { accepts, freePort } from "../../lib/simulator/ports.ts";
import { pause } from "./stage.ts";

const PROGRAM = "/usr/bin/docker-registry";
/** Whether it is installed here. */
export const HAS_DOCKER_REGISTRY: boolean = await Deno.stat(PROGRAM).then(() => true, () => false);

const BLOB_TEXT = "a layer\n";
/** The digest of the layer of {@linkcode push}. */
export const BLOB_DIGEST = `sha256:${await sha256(BLOB_TEXT)}`;
const MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json";

async function sha256(text: string): Promise<string> {
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return new Uint8Array(hash).toHex();
}

/** A running registry. */
export interface Running extends AsyncDisposable {
  readonly host: string;
}

/** Starts a registry with its files in a folder. */
export async function dockerRegistry(
  folder: string,
  { auth, tls = false }: { readonly auth: string; readonly tls?: boolean },
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
  for (let tries = 0; tries < 200 && !await accepts(port); tries++) await pause(25);
  return {
    host,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.status;
    },
  };
}

/** Pushes an image. Returns the digest of its layer. */
export async function push(
  base: string,
  authorization: string,
  client: Deno.HttpClient,
  repository = "team/app",
): Promise<string> {
  const send = async (method: string, url: string, body?: string, type?: string) => {
    const response = await fetch(url, {
      client,
      method,
      headers: { authorization, ...(type !== undefined && { "content-type": type }) },
      ...(body !== undefined && { body }),
    });
    ok(response.ok, `${method} ${url}: ${response.status} ${await response.text()}`);
    return response.headers.get("location") ?? "";
  };
  const digest = BLOB_DIGEST;
  const upload = await send("POST", `${base}/v2/${repository}/blobs/uploads/`);
  const url = new URL(upload, base);
  url.searchParams.set("digest", digest);
  await send("PUT", url.href, BLOB_TEXT, "application/octet-stream");
  const layer = { mediaType: "application/octet-stream", digest, size: BLOB_TEXT.length };
  const manifest = { schemaVersion: 2, mediaType: MANIFEST_TYPE, config: layer, layers: [layer] };
  await send(
    "PUT",
    `${base}/v2/${repository}/manifests/v1`,
    JSON.stringify(manifest),
    MANIFEST_TYPE,
  );
  return digest;
}

/** A token for a registry with `auth: token`, signed by the key of the tests' certificate. */
export async function signedToken(
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
