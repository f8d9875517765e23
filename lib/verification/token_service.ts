import {
  type Credential,
  type ProbeTarget,
  type ProbeVerdict,
  type RegistryHttpRequest,
  Secret,
} from "../model/mod.ts";
import { readRefusal } from "../model/mod.ts";
import { type Answer, errorText } from "./registry_responses.ts";
import type { Challenge } from "./challenge.ts";
import { isLoopback } from "./target.ts";

/** What a question to a token service needs, apart from how it is sent. */
export type TokenRequest = Pick<RegistryHttpRequest, "method" | "url" | "headers" | "body">;

const MAX_TOKEN = 64 * 1024;
const CLIENT_ID = "nydus-auth-agent";

/**
 * Where the token service is that the registry named, if a credential may go there; otherwise why
 * not. Whoever can speak for the registry can send credentials anywhere: so another host is
 * believed only where the registry proved who it is (verified TLS), and the service does as well.
 * Without that, it must be the registry's own host, or both be on loopback.
 */
export function trustedRealm(
  target: ProbeTarget,
  challenge: Challenge,
): { readonly kind: "url"; readonly url: URL } | { readonly kind: "no"; readonly why: string } {
  const realm = challenge.params.get("realm") ?? "";
  const no = (why: string) => ({ kind: "no", why } as const);
  if (!URL.canParse(realm)) return no("the registry names no usable token service");
  const url = new URL(realm);
  if (url.username !== "" || url.password !== "") {
    return no("its token service's URL holds a login");
  }
  const own = new URL(`${target.scheme}://${target.host}`);
  if (url.protocol !== "https:" && !(url.protocol === "http:" && target.scheme === "http")) {
    return no(`the token service at ${url.host} is not reached over TLS`);
  }
  const verified = target.scheme === "https" && !target.skipVerify && url.protocol === "https:";
  const same = url.hostname === own.hostname;
  const near = isLoopback(url.host) && isLoopback(own.host);
  if (verified || same || near) return { kind: "url", url };
  return no(`the registry's identity is not verified, so the token service at ${url.host} is not`);
}

/** The question for a token that may pull one repository; anonymous without a credential. */
export function tokenRequest(
  realm: URL,
  challenge: Challenge,
  repository: string,
  credential: Credential | undefined,
): TokenRequest {
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

/** `Authorization: Basic …`. */
export function basicHeader(
  { username, password }: Extract<Credential, { readonly kind: "basic" }>,
): readonly [string, Secret] {
  const bytes = new TextEncoder().encode(`${username}:${password.reveal()}`);
  return ["authorization", new Secret(`Basic ${bytes.toBase64()}`)];
}

/** The token in an answer, or what the answer says of the credential. */
export function readTokenAnswer(
  { status, body }: Answer,
): { readonly kind: "token"; readonly token: Secret } | {
  readonly kind: "verdict";
  readonly verdict: ProbeVerdict;
} {
  const verdict = (
    kind: "refused" | "forbidden" | "unknown",
    detail: string,
  ) => ({ kind: "verdict", verdict: { kind, detail } } as const);
  const words = errorText(body.reveal());
  const said = `the token service answered ${status}${words === "" ? "" : ` (${words})`}`;
  if (status === 200) {
    const token = tokenIn(body.reveal());
    return token === undefined
      ? verdict("unknown", "the token service's answer holds no token")
      : { kind: "token", token };
  }
  if (status === 401) return verdict("refused", said);
  if (status === 403) return verdict(readRefusal(words) ?? "forbidden", said);
  if (status === 400 && /invalid_grant/.test(body.reveal())) return verdict("refused", said);
  if (status >= 300 && status < 400) {
    return verdict("unknown", `${said}, and a credential follows no redirect`);
  }
  return verdict("unknown", said);
}

function tokenIn(text: string): Secret | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { token, access_token: access } = value as Record<string, unknown>;
  const found = [token, access].find((item) => typeof item === "string" && item !== "");
  if (typeof found !== "string" || found.length > MAX_TOKEN) return undefined;
  return /^[\x21-\x7e]+$/.test(found) ? new Secret(found) : undefined;
}
