import {
  AgentError,
  credentialSecret,
  credentialUsername,
  type ImageReference,
  messageOf,
  repositoryReference,
} from "../model/mod.ts";
import { openChain } from "./chain.ts";
import { type Context, EXIT, loadConfig } from "./context.ts";

/** The words by which docker's tools know that there is nothing (docker-credential-helpers). */
const NOT_FOUND = "credentials not found in native keychain";
/** A helper is asked for a registry, a provider for an image: this repository stands for all. */
const ANY_REPOSITORY = "library/any";

/**
 * The docker credential helper protocol: `get` with a server on the standard input. What is wrong
 * goes to the standard output, as the protocol has it. `list` knows no names beforehand and answers
 * none; `store` and `erase` are refused, since the agent's sources are not ours to write.
 */
export async function dockerCredential(context: Context, action: string): Promise<number> {
  const { host } = context;
  try {
    switch (action) {
      case "get":
        return await get(context, (await host.readInput()).trim());
      case "list":
        host.out("{}\n");
        return EXIT.ok;
      case "store":
      case "erase":
        host.out(`${action}: credentials come from the agent's providers and cannot be written\n`);
        return EXIT.failed;
      default:
        host.out("unknown credential action: use get, list, store or erase\n");
        return EXIT.failed;
    }
  } catch (error) {
    host.out(`${messageOf(error)}\n`);
    return EXIT.failed;
  }
}

async function get(context: Context, server: string): Promise<number> {
  const { host } = context;
  if (server === "") {
    host.out("no credentials server URL\n");
    return EXIT.failed;
  }
  const image = imageOf(server);
  const config = await loadConfig(context, {});
  await using chain = await openChain(context, config);
  const { winner } = await chain.chain.resolve({ image, labels: {} });
  const credential = winner?.candidates[0].credential;
  // The protocol has no form for a bearer token of the registry itself.
  if (credential === undefined || credential.kind === "registry-token") {
    host.out(`${NOT_FOUND}\n`);
    return EXIT.failed;
  }
  const username = credential.kind === "basic" ? credentialUsername(credential) : "<token>";
  const secret = credentialSecret(credential).reveal();
  host.out(`${JSON.stringify({ ServerURL: server, Username: username, Secret: secret })}\n`);
  return EXIT.ok;
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
