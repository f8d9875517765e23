import { BUILD_INFO } from "../assets/mod.ts";
import type { AgentConfig } from "../config/mod.ts";
import {
  AgentError,
  credentialSecret,
  credentialUsername,
  type ImageReference,
  messageOf,
  repositoryReference,
} from "../model/mod.ts";
import { CALLED_BY_AGENT, dockerServer } from "../providers/docker/mod.ts";
import { queryApi, requireApi } from "./api_client.ts";
import { openChain } from "../agent/mod.ts";
import type { Context } from "../platform/mod.ts";
import { EXIT } from "../model/mod.ts";
import { loadClientConfig, loadConfig } from "../config/mod.ts";
import type { ServedCredential } from "./get.ts";
import { CREDENTIAL_HELPER } from "./installation.ts";
import { printable } from "./table.ts";

const USAGE = `Usage: ${CREDENTIAL_HELPER} <store|get|erase|list|version>`;
/** The words by which docker's tools know that there is nothing (docker-credential-helpers). */
const NOT_FOUND = "credentials not found in native keychain";
const NO_SERVER = "no credentials server URL";
const NO_USERNAME = "no credentials username";
/** In the protocol, the user name of an identity token. */
const TOKEN_USERNAME = "<token>";
/** A helper is asked for a registry, a provider for an image: this repository stands for all. */
const ANY_REPOSITORY = "library/any";

/**
 * The docker credential helper protocol. What is wrong goes to the standard output, as the protocol
 * has it.
 *
 * - `get`: what the running agent would use, or what the chain finds where none runs.
 * - `store`: puts a credential for a registry into the running agent.
 * - `erase`: forgets what was stored; else says that the registry refused what `get` gives.
 * - `list`: what was stored.
 * - `version`: which program this is.
 */
export async function dockerCredential(
  context: Context,
  args: readonly string[],
): Promise<number> {
  const { host } = context;
  const [action = ""] = args;
  try {
    if (args.length !== 1) return failed(context, USAGE);
    switch (action) {
      case "--help":
      case "-h":
        host.out(`${USAGE}\n`);
        return EXIT.ok;
      case "version":
      case "--version":
      case "-v":
        host.out(`${CREDENTIAL_HELPER} (nydus-auth-agent) ${BUILD_INFO.version}\n`);
        return EXIT.ok;
      case "get":
        return await get(context, (await host.readInput()).trim());
      case "list":
        return await list(context);
      case "store":
        return await store(context, await host.readInput());
      case "erase":
        return await erase(context, (await host.readInput()).trim());
      default:
        return failed(context, printable(`${CREDENTIAL_HELPER}: unknown action: ${action}`));
    }
  } catch (error) {
    host.out(`${messageOf(error)}\n`);
    return EXIT.failed;
  }
}

async function get(context: Context, server: string): Promise<number> {
  const { host } = context;
  if (server === "") return failed(context, NO_SERVER);
  const { registry } = imageOf(server);
  // The agent asks a helper that asks us: whatever we said would be its own words.
  if (CALLED_BY_AGENT in host.env) return failed(context, NOT_FOUND);
  const config = await loadClientConfig(context, {});
  const given = await ask(config, registry);
  const pair = given === "no-agent" ? await queryChain(context, server) : given && pairOf(given);
  if (pair === undefined) return failed(context, NOT_FOUND);
  host.out(`${JSON.stringify({ ServerURL: server, ...pair })}\n`);
  return EXIT.ok;
}

interface Pair {
  readonly Username: string;
  readonly Secret: string;
}

/** Undefined: the agent has none. */
async function ask(
  config: AgentConfig,
  registry: string,
): Promise<ServedCredential | "no-agent" | undefined> {
  const asked = await queryApi<ServedCredential>(config, {
    method: "POST",
    path: "/v1/credentials/get",
    body: { registry },
  });
  if (asked.kind === "answered") return asked.body;
  if (asked.kind === "no-agent") return "no-agent";
  if (asked.code === "no-credential") return undefined;
  throw new AgentError("refused", `the agent refuses: ${asked.message}`);
}

/** The protocol has no form for a bearer token of the registry itself. */
function pairOf({ credential }: ServedCredential): Pair | undefined {
  switch (credential.form) {
    case "basic":
      return { Username: credential.username, Secret: credential.password };
    case "identity-token":
      return { Username: TOKEN_USERNAME, Secret: credential.token };
    case "registry-token":
      return undefined;
  }
}

async function queryChain(context: Context, server: string): Promise<Pair | undefined> {
  await using chain = await openChain(context, await loadConfig(context, {}));
  const { winner } = await chain.chain.resolve({ image: imageOf(server), labels: {} });
  const credential = winner?.candidates[0].credential;
  if (credential === undefined || credential.kind === "registry-token") return undefined;
  const username = credential.kind === "basic" ? credentialUsername(credential) : TOKEN_USERNAME;
  return { Username: username, Secret: credentialSecret(credential).reveal() };
}

async function store(context: Context, input: string): Promise<number> {
  let given: Readonly<Record<string, unknown>>;
  try {
    given = JSON.parse(input);
  } catch {
    return failed(context, "read the credential: it is not JSON");
  }
  const text = (name: string) => typeof given[name] === "string" ? given[name].trim() : "";
  const [server, username] = [text("ServerURL"), text("Username")];
  const secret = given["Secret"];
  if (server === "") return failed(context, NO_SERVER);
  if (username === "") return failed(context, NO_USERNAME);
  if (typeof secret !== "string" || secret === "") {
    return failed(context, "read the credential: it has no secret");
  }
  const { registry } = imageOf(server);
  const credential = username === TOKEN_USERNAME
    ? { form: "identity-token", token: secret }
    : { form: "basic", username, password: secret };
  const config = await loadClientConfig(context, {});
  await requireApi(config, {
    method: "PUT",
    path: "/v1/credentials",
    body: { registry, credential },
  });
  return EXIT.ok;
}

async function erase(context: Context, server: string): Promise<number> {
  if (server === "") return failed(context, NO_SERVER);
  const { registry } = imageOf(server);
  const config = await loadClientConfig(context, {});
  const { forgotten } = await requireApi<{ readonly forgotten: boolean }>(config, {
    method: "DELETE",
    path: "/v1/credentials",
    body: { registry },
  });
  if (forgotten) return EXIT.ok;
  const given = await ask(config, registry);
  if (given === undefined || given === "no-agent") return failed(context, NOT_FOUND);
  const { fingerprint } = given;
  await requireApi(config, {
    method: "POST",
    path: "/v1/refused",
    body: { registry, fingerprint },
  });
  return EXIT.ok;
}

async function list(context: Context): Promise<number> {
  const config = await loadClientConfig(context, {});
  interface Puts {
    readonly credentials: readonly { readonly registry?: string; readonly username?: string }[];
  }
  const asked = await queryApi<Puts>(config, { method: "GET", path: "/v1/credentials" });
  const stored = asked.kind === "answered" ? asked.body.credentials : [];
  const names = stored.flatMap(({ registry, username = TOKEN_USERNAME }) =>
    registry === undefined ? [] : [[dockerServer(registry), username]]
  );
  context.host.out(`${JSON.stringify(Object.fromEntries(names))}\n`);
  return EXIT.ok;
}

function failed({ host }: Context, words: string): number {
  host.out(`${words}\n`);
  return EXIT.failed;
}

/** A registry as docker's tools name it: with or without scheme and path. */
function imageOf(server: string): ImageReference {
  const registry = server.replace(/^https?:\/\//, "").replace(/\/.*$/, "");
  try {
    return repositoryReference(registry, ANY_REPOSITORY);
  } catch {
    throw new AgentError("usage", "read the server: it names no registry");
  }
}
