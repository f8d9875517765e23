import type { ApiPut } from "../api/mod.ts";
import { BUILD_INFO, CREDENTIAL_HELPER } from "../assets/mod.ts";
import { loadClientConfig } from "../config/mod.ts";
import {
  AgentError,
  EXIT,
  type ImageReference,
  messageOf,
  printable,
  repositoryReference,
} from "../model/mod.ts";
import type { Context } from "../platform/mod.ts";
import { CALLED_BY_AGENT, dockerServer } from "../providers/mod.ts";
import { queryApi, requireApi } from "./agent_client.ts";
import { lookUp, type ServedCredential } from "./get.ts";

const USAGE = `Usage: ${CREDENTIAL_HELPER} <store|get|erase|list|version>`;
/** Error texts that docker's tools compare (docker-credential-helpers). */
const NOT_FOUND = "credentials not found in native keychain";
const NO_SERVER = "no credentials server URL";
const NO_USERNAME = "no credentials username";
/** Username of an identity token in the protocol. */
const TOKEN_USERNAME = "<token>";
/** Providers are queried for an image, helpers for a registry: this repository represents it. */
const ANY_REPOSITORY = "library/any";

/**
 * Implements the docker credential helper protocol, in which errors go to the standard output.
 *
 * - `get`: the credential that the running agent uses, or that the provider chain finds without one.
 * - `store`: stores a credential for a registry in the running agent.
 * - `erase`: removes a stored credential, or else reports that the registry rejected the one of
 *   `get`.
 * - `list`: the registries with a stored credential.
 * - `version`: the program and its version.
 */
export async function dockerCredential(
  context: Context,
  args: readonly string[],
): Promise<number> {
  const { host } = context;
  try {
    if (args.length !== 1) throw failure(USAGE);
    const answer = await answerOf(context, args[0] ?? "");
    if (answer !== undefined) host.out(`${answer}\n`);
    return EXIT.ok;
  } catch (error) {
    host.out(`${messageOf(error)}\n`);
    return EXIT.failed;
  }
}

/** Returns the text to print, if there is one. Errors are the texts of the protocol. */
async function answerOf(context: Context, action: string): Promise<string | undefined> {
  const { host } = context;
  switch (action) {
    case "--help":
    case "-h":
      return USAGE;
    case "version":
    case "--version":
    case "-v":
      return `${CREDENTIAL_HELPER} (nydus-auth-agent) ${BUILD_INFO.version}`;
    case "get":
      return await get(context, (await host.readInput()).trim());
    case "list":
      return await list(context);
    case "store":
      return await store(context, await host.readInput());
    case "erase":
      return await erase(context, (await host.readInput()).trim());
    default:
      throw failure(printable(`${CREDENTIAL_HELPER}: unknown action: ${action}`));
  }
}

async function get(context: Context, server: string): Promise<string> {
  const image = imageOf(server);
  // The agent itself called a helper that calls this program: an answer would be circular.
  if (CALLED_BY_AGENT in context.host.env) throw failure(NOT_FOUND);
  const body = { registry: image.registry };
  const lookup = await lookUp(context, {}, { body, lookup: { image, labels: {} } });
  const pair = lookup.kind === "found" ? pairOf(lookup.served) : undefined;
  if (pair === undefined) throw failure(NOT_FOUND);
  return JSON.stringify({ ServerURL: server, ...pair });
}

/** Returns undefined for a registry token, which the protocol cannot express. */
function pairOf({ credential }: ServedCredential) {
  switch (credential.form) {
    case "basic":
      return { Username: credential.username, Secret: credential.password };
    case "identity-token":
      return { Username: TOKEN_USERNAME, Secret: credential.token };
    case "registry-token":
      return undefined;
  }
}

async function store(context: Context, input: string): Promise<undefined> {
  let given: Readonly<Record<string, unknown>>;
  try {
    given = JSON.parse(input);
  } catch {
    throw failure("failed to read the credential: it is not JSON");
  }
  const text = (name: string) => typeof given[name] === "string" ? given[name].trim() : "";
  const [server, username] = [text("ServerURL"), text("Username")];
  const secret = given["Secret"];
  const { registry } = imageOf(server);
  if (username === "") throw failure(NO_USERNAME);
  if (typeof secret !== "string" || secret === "") {
    throw failure("failed to read the credential: it has no secret");
  }
  const credential = username === TOKEN_USERNAME
    ? { form: "identity-token", token: secret }
    : { form: "basic", username, password: secret };
  const config = await loadClientConfig(context, {});
  await requireApi(config, {
    method: "PUT",
    path: "/v1/credentials",
    body: { registry, credential },
  });
}

async function erase(context: Context, server: string): Promise<undefined> {
  const image = imageOf(server);
  const body = { registry: image.registry };
  const config = await loadClientConfig(context, {});
  const { forgotten } = await requireApi<{ readonly forgotten: boolean }>(config, {
    method: "DELETE",
    path: "/v1/credentials",
    body,
  });
  if (forgotten) return;
  const lookup = await lookUp(context, {}, { body, lookup: { image, labels: {} } });
  if (lookup.kind === "none") throw failure(NOT_FOUND);
  await requireApi(config, {
    method: "POST",
    path: "/v1/refused",
    body: { ...body, fingerprint: lookup.served.fingerprint },
  });
}

async function list(context: Context): Promise<string> {
  const config = await loadClientConfig(context, {});
  interface Stored {
    readonly credentials: readonly ApiPut[];
  }
  const result = await queryApi<Stored>(config, { method: "GET", path: "/v1/credentials" });
  const stored = result.kind === "answered" ? result.body.credentials : [];
  const names = stored.flatMap(({ registry, username = TOKEN_USERNAME }) =>
    registry === undefined ? [] : [[dockerServer(registry), username]]
  );
  return JSON.stringify(Object.fromEntries(names));
}

function failure(text: string): AgentError {
  return new AgentError("usage", text);
}

/** Parses a registry as docker's tools name it: with or without scheme and path. */
function imageOf(server: string): ImageReference {
  if (server === "") throw failure(NO_SERVER);
  const registry = server.replace(/^https?:\/\//, "").replace(/\/.*$/, "");
  try {
    return repositoryReference(registry, ANY_REPOSITORY);
  } catch {
    throw failure("failed to parse the server URL: it contains no registry");
  }
}
