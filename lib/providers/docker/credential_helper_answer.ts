import {
  type Credential,
  credentialFromPair,
  type ProcessResult,
  type ReasonCode,
  Secret,
} from "../../model/mod.ts";
import { firstJsonValue, goField, isFields } from "../../formats/mod.ts";

/** What a helper answered, or why it did not. */
export type HelperAnswer =
  | { readonly kind: "found"; readonly credential: Credential }
  | { readonly kind: "none"; readonly reason: ReasonCode }
  | { readonly kind: "failed"; readonly reason: ReasonCode; readonly detail: string };

const NOT_FOUND = "credentials not found in native keychain";
const TOKEN_USERNAME = "<token>";

/**
 * Reads the end of `docker-credential-NAME get` (docker/docker-credential-helpers,
 * `client/client.go`). Its stdout may hold the secret, and so may its complaints: neither is ever
 * quoted.
 */
export function readHelperAnswer(result: ProcessResult): HelperAnswer {
  const failed = (reason: ReasonCode, detail: string) =>
    ({ kind: "failed", reason, detail }) as const;
  switch (result.kind) {
    case "not-started":
      return result.reason === "missing"
        ? failed("helper-missing", "it is not there")
        : failed("helper-failed", "it cannot be executed");
    case "timed-out":
      return failed("helper-timeout", "it did not end in time and was stopped");
    case "too-much-output":
      return failed("helper-invalid-response", "it printed more than the limit and was stopped");
    case "exited":
      break;
    default:
      return result satisfies never;
  }
  if (result.code !== 0) {
    return result.stdout.trim() === NOT_FOUND
      ? { kind: "none", reason: "helper-not-found" }
      : failed("helper-failed", `it exited with code ${result.code}`);
  }
  let body: unknown;
  try {
    body = firstJsonValue(result.stdout);
  } catch {
    return failed("helper-invalid-response", "it did not print JSON");
  }
  if (!isFields(body)) return failed("helper-invalid-response", "it printed no JSON object");
  const username = goField(body, "Username") ?? "";
  const secret = goField(body, "Secret") ?? "";
  if (typeof username !== "string" || typeof secret !== "string") {
    return failed("helper-invalid-response", "its Username or Secret is not a string");
  }
  return answerOf(username, secret);
}

function answerOf(username: string, secret: string): HelperAnswer {
  if (username === TOKEN_USERNAME && secret !== "") {
    const credential = { kind: "identity-token", username: "", token: new Secret(secret) } as const;
    return { kind: "found", credential };
  }
  const credential = credentialFromPair(username, secret);
  if (credential !== undefined) return { kind: "found", credential };
  return { kind: "none", reason: username === "" ? "anonymous-entry" : "incomplete-entry" };
}
