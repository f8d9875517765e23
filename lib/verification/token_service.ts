import {
  type Credential,
  type ProbeTarget,
  type ProbeVerdict,
  readRefusal,
  Secret,
} from "../model/mod.ts";
import {
  type Challenge,
  errorText,
  jsonFields,
  type ProbeRequest,
  type RegistryResponse,
} from "./registry_responses.ts";

const MAX_TOKEN = 64 * 1024;
const CLIENT_ID = "nydus-auth-agent";

/**
 * Returns the URL of the registry's token service, if the credential may be sent there. An attacker
 * who can impersonate the registry controls the realm. Another host is therefore trusted only when
 * TLS verifies both the registry and the token service. Otherwise the realm must be on the
 * registry's own host, or both must be on loopback.
 */
export function trustedRealm(
  target: ProbeTarget,
  challenge: Challenge,
):
  | { readonly kind: "trusted"; readonly url: URL }
  | { readonly kind: "untrusted"; readonly detail: string } {
  const untrusted = (detail: string) => ({ kind: "untrusted", detail } as const);
  const url = URL.parse(challenge.params.get("realm") ?? "");
  if (url === null) return untrusted("the registry specifies no valid token service");
  if (url.username !== "" || url.password !== "") {
    return untrusted("the URL of the token service contains a user name or password");
  }
  const registry = new URL(`${target.scheme}://${target.host}`);
  if (url.protocol !== "https:" && !(url.protocol === "http:" && target.scheme === "http")) {
    return untrusted(`the token service at ${url.host} does not use TLS`);
  }
  const isVerified = target.scheme === "https" && !target.skipVerify && url.protocol === "https:";
  const isSameHost = url.hostname === registry.hostname;
  const isLocal = isLoopback(url.host) && isLoopback(registry.host);
  if (isVerified || isSameHost || isLocal) return { kind: "trusted", url };
  return untrusted(
    `the token service at ${url.host} is not trusted without a verified registry certificate`,
  );
}

/** Whether a host, with or without a port, is a loopback address. */
export function isLoopback(host: string): boolean {
  const name = host.replace(/:\d+$/, "").toLowerCase();
  return name === "localhost" || name === "[::1]" || /^127(?:\.\d{1,3}){3}$/.test(name);
}

/** Returns the request for a token to pull a repository; anonymous without a credential. */
export function tokenRequest(
  realm: URL,
  challenge: Challenge,
  repository: string,
  credential: Credential | undefined,
): ProbeRequest {
  const service = challenge.params.get("service");
  const scope = `repository:${repository}:pull`;
  if (credential?.kind === "identity-token") {
    const form = new URLSearchParams({
      grant_type: "refresh_token",
      client_id: CLIENT_ID,
      scope,
      refresh_token: credential.token.reveal(),
      ...(service !== undefined && { service }),
    });
    const type = new Secret("application/x-www-form-urlencoded");
    return {
      method: "POST",
      url: realm.href,
      headers: [["content-type", type]],
      body: new Secret(form.toString()),
    };
  }
  const url = new URL(realm);
  if (service !== undefined) url.searchParams.set("service", service);
  url.searchParams.set("scope", scope);
  const headers = credential?.kind === "basic" ? [basicHeader(credential)] : [];
  return { method: "GET", url: url.href, headers };
}

/** Returns the header `Authorization: Basic …`. */
export function basicHeader(
  { username, password }: Extract<Credential, { readonly kind: "basic" }>,
): readonly [string, Secret] {
  const bytes = new TextEncoder().encode(`${username}:${password.reveal()}`);
  return ["authorization", new Secret(`Basic ${bytes.toBase64()}`)];
}

/** Returns the token in a response, or the verdict on the credential. */
export function readTokenResponse(
  { status, body }: RegistryResponse,
): { readonly kind: "token"; readonly token: Secret } | {
  readonly kind: "verdict";
  readonly verdict: ProbeVerdict;
} {
  const verdict = (
    kind: "refused" | "forbidden" | "unknown",
    detail: string,
  ) => ({ kind: "verdict", verdict: { kind, detail } } as const);
  const message = errorText(body.reveal());
  const detail = `the token service responded with status ${status}` +
    (message === "" ? "" : `: ${message}`);
  if (status === 200) {
    const token = tokenIn(body.reveal());
    return token === undefined
      ? verdict("unknown", "the response of the token service contains no token")
      : { kind: "token", token };
  }
  if (status === 401) return verdict("refused", detail);
  if (status === 403) return verdict(readRefusal(message) ?? "forbidden", detail);
  if (status === 400 && /invalid_grant/.test(body.reveal())) return verdict("refused", detail);
  if (status >= 300 && status < 400) {
    return verdict("unknown", `${detail}, and redirects are not followed`);
  }
  return verdict("unknown", detail);
}

function tokenIn(text: string): Secret | undefined {
  const { token, access_token: access } = jsonFields(text);
  const found = [token, access].find((item) => typeof item === "string" && item !== "");
  if (typeof found !== "string" || found.length > MAX_TOKEN) return undefined;
  return /^[\x21-\x7e]+$/.test(found) ? new Secret(found) : undefined;
}
