import { join } from "@std/path";
import type { SimNode } from "../../lib/simulator/mod.ts";
import { type Certificates, certificates } from "../fakes/certificates.ts";
import {
  BLOB_DIGEST,
  dockerRegistry,
  push,
  type Running,
  signedToken,
} from "../e2e/docker_registry.ts";

const SERVICE = "soak";

/**
 * Runs Debian's `docker-registry` and a token service that accepts the tokens of a node's plugin. They
 * replace the simulated registry for the node's mounts. Every read requests a token, so every read
 * verifies the credential of its mount.
 */
export class RealRegistry implements AsyncDisposable {
  /** Addresses that serve the registry hosts of the mounts' images; set when the registry runs. */
  readonly hosts: Record<string, string> = {};
  readonly blob = BLOB_DIGEST;
  /** Number of token requests that the token service rejected. */
  refused = 0;
  granted = 0;
  readonly #repositories: readonly string[];
  #stack = new AsyncDisposableStack();

  /** @param repositories Repositories that the mounts read. */
  constructor(repositories: readonly string[]) {
    this.#repositories = repositories;
  }

  /** Starts both for a node, and pushes the repositories. */
  async open(node: SimNode): Promise<void> {
    const stack = this.#stack;
    const folder = await Deno.makeTempDir({ prefix: "soak-registry-" });
    stack.defer(() => Deno.remove(folder, { recursive: true }));
    const pems = await certificates();
    await Deno.writeTextFile(join(folder, "ca.pem"), pems.ca);
    const service = stack.use(this.#serveTokens(join(node.pluginDir, "issued"), pems));
    const realm = `http://127.0.0.1:${service.addr.port}/token`;
    const names = `realm: "${realm}", service: ${SERVICE}, issuer: tests`;
    const auth = `{token: {${names}, rootcertbundle: ${join(folder, "ca.pem")}}}`;
    const registry: Running = stack.use(await dockerRegistry(folder, { auth }));
    const client = Deno.createHttpClient({});
    for (const repository of this.#repositories) {
      const token = await signedToken(pems, SERVICE, `repository:${repository}:pull,push`);
      await push(`http://${registry.host}`, `Bearer ${token}`, client, repository);
    }
    client.close();
    this.hosts[node.tokenRegistry.host] = registry.host;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack[Symbol.asyncDispose]();
  }

  #serveTokens(issuedPath: string, pems: Certificates) {
    const options = { hostname: "127.0.0.1", port: 0, onListen: () => {} };
    return Deno.serve(options, async (request) => {
      const basic = (request.headers.get("authorization") ?? "").replace(/^Basic /, "");
      if (!await isValid(issuedPath, basic)) {
        this.refused++;
        return new Response(null, { status: 401 });
      }
      this.granted++;
      const scope = new URL(request.url).searchParams.get("scope") ?? "";
      return Response.json({ token: await signedToken(pems, SERVICE, scope) });
    });
  }
}

async function isValid(issuedPath: string, basic: string): Promise<boolean> {
  const [user, token] = new TextDecoder().decode(Uint8Array.fromBase64(basic)).split(":");
  const lines = (await Deno.readTextFile(issuedPath)).split("\n").map((line) => line.split(" "));
  const [untilMs] = lines.findLast(([, known]) => known === token) ?? [];
  return user === "token" && token !== "" && Number(untilMs ?? 0) > Date.now();
}
