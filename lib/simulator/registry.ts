import { refusalResponse, type SimDialect } from "./refusals.ts";

/** The registry's decision about a credential. */
type Verdict = "accepted" | "refused" | "forbidden";

/** A received request, for assertions. Contains credentials. */
export interface SimRegistryCall {
  readonly what: "root" | "blob" | "manifest" | "token";
  readonly repository: string;
  /** The value after `Basic` or `Bearer`; the refresh token of a POST to the token service. */
  readonly auth: string;
  readonly verdict: Verdict;
}

/** Settings of a {@linkcode SimRegistry}. */
export interface SimRegistrySettings {
  /** `bearer`: tokens of its token service, by GET or POST; `basic`: user name and password. */
  login: "basic" | "bearer";
  dialect: SimDialect;
}

interface Token {
  readonly pair: string;
  readonly repository: string;
}

const MAX_SEEN = 100_000;
const RESOURCE = /^\/v2\/(.+)\/(blobs\/[a-z0-9]+:[a-f0-9]+|manifests\/[A-Za-z0-9._:-]+)$/;

/**
 * A simulated registry on loopback. Serves blobs and manifests for a valid user name and password or
 * a token, and refuses expired, revoked and unknown credentials.
 */
export class SimRegistry implements AsyncDisposable {
  /** May be changed at any time. */
  readonly settings: SimRegistrySettings = { login: "basic", dialect: "plain" };
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #passwords = new Map<string, number>();
  readonly #identityTokens = new Map<string, string>();
  readonly #tokens = new Map<string, Token>();
  /** Repositories with the users that must not pull from them. */
  readonly #forbidden = new Map<string, Set<string>>();
  readonly #issuedPath: string | undefined;
  readonly #seen: SimRegistryCall[] = [];

  /**
   * @param issuedPath File with the tokens of a plugin: lines of expiry (Unix ms), token and image
   * (`-` for any).
   */
  constructor(issuedPath?: string) {
    this.#issuedPath = issuedPath;
    const options = { hostname: "127.0.0.1", port: 0, onListen: () => {} };
    this.#server = Deno.serve(options, (request) => this.#answer(request));
  }

  /** Host and port, as in image references. */
  get host(): string {
    return `127.0.0.1:${this.#server.addr.port}`;
  }

  /** All received requests. */
  get seen(): readonly SimRegistryCall[] {
    return this.#seen;
  }

  /** Accepts a password until `untilMs` (wall time; default: indefinitely). */
  accept(username: string, password: string, untilMs = Infinity): void {
    this.#passwords.set(`${username}:${password}`, untilMs);
  }

  /** Accepts an identity token of a user at the token service. */
  acceptIdentity(token: string, username: string): void {
    this.#identityTokens.set(token, `${username}:`);
  }

  /** Refuses a user's password from now on. */
  revoke(username: string, password: string): void {
    this.#passwords.set(`${username}:${password}`, 0);
  }

  /** Forbids a user to pull from a repository from now on. */
  forbid(username: string, repository: string): void {
    const users = this.#forbidden.get(repository) ?? new Set();
    this.#forbidden.set(repository, users.add(username));
  }

  /**
   * Returns the newest token as `user:password`, or undefined without one. With `image`: the newest
   * token for this image, if tokens are issued per image.
   */
  newestToken(image?: string): string | undefined {
    const issued = this.#issued();
    const serves = (token: { readonly image: string }) =>
      image === undefined || token.image === "-" || token.image === image;
    return (issued.findLast(serves) ?? issued.at(-1))?.pair;
  }

  /** Unix time (ms) until which it accepts a pair `user:password`; 0 if it never did. */
  expiresAtMs(pair: string): number {
    return this.#passwords.get(pair) ??
      this.#issued().findLast((token) => token.pair === pair)?.untilMs ?? 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }

  async #answer(request: Request): Promise<Response> {
    const url = new URL(request.url);
    if (url.pathname === "/token") return await this.#tokenService(request, url);
    const [, repository = "", rest] = RESOURCE.exec(url.pathname) ?? [];
    if (url.pathname !== "/v2/" && rest === undefined) {
      return new Response("not found", { status: 404 });
    }
    const header = request.headers.get("authorization") ?? "";
    const auth = header.replace(/^(?:Basic|Bearer) /, "");
    const verdict = this.#judge(header, repository);
    const what = rest === undefined ? "root" : rest.startsWith("blobs/") ? "blob" : "manifest";
    this.#note({ what, repository, auth, verdict });
    if (verdict === "accepted") return new Response(what === "manifest" ? "{}" : "blob");
    // The dialect applies to presented credentials; other requests get a plain challenge.
    const wanted = this.settings.login === "bearer" ? "Bearer " : "Basic ";
    const dialect = header.startsWith(wanted) ? this.settings.dialect : "plain";
    return refusalResponse(dialect, verdict, this.#challenge());
  }

  #challenge(): string {
    return this.settings.login === "bearer"
      ? `Bearer realm="http://${this.host}/token",service="${this.host}"`
      : 'Basic realm="simulated"';
  }

  #judge(header: string, repository: string): Verdict {
    const [scheme, value = ""] = header.split(" ");
    if (this.settings.login === "basic") {
      return scheme === "Basic" ? this.#judgePair(decoded(value), repository) : "refused";
    }
    const token = scheme === "Bearer" ? this.#tokens.get(value) : undefined;
    if (token === undefined || token.repository !== repository) return "refused";
    return this.#isForbidden(token.pair, repository) ? "forbidden" : "accepted";
  }

  #judgePair(pair: string, repository: string): Verdict {
    if (Date.now() >= this.expiresAtMs(pair)) return "refused";
    return this.#isForbidden(pair, repository) ? "forbidden" : "accepted";
  }

  #isForbidden(pair: string, repository: string): boolean {
    const users = this.#forbidden.get(repository);
    return users?.has(pair.slice(0, pair.indexOf(":"))) === true;
  }

  /** Issues a token to every known user; authorization is checked when the token is used. */
  async #tokenService(request: Request, { searchParams }: URL): Promise<Response> {
    const form = request.method === "POST"
      ? new URLSearchParams(await request.text())
      : searchParams;
    const auth = request.method === "POST"
      ? form.get("refresh_token") ?? ""
      : (request.headers.get("authorization") ?? "").replace(/^Basic /, "");
    const [, repository = ""] = /^repository:(.+):pull$/.exec(form.get("scope") ?? "") ?? [];
    const pair = request.method === "POST" ? this.#identityTokens.get(auth) : decoded(auth);
    const known = pair !== undefined &&
      (request.method === "POST" || this.#judgePair(pair, "") === "accepted");
    this.#note({ what: "token", repository, auth, verdict: known ? "accepted" : "refused" });
    if (!known) {
      return request.method === "POST"
        ? Response.json({ error: "invalid_grant" }, { status: 400 })
        : auth === "" && this.settings.dialect === "plain"
        ? Response.json({ errors: [{ code: "UNAUTHORIZED", message: "authReq is empty" }] }, {
          status: 401,
        })
        : refusalResponse(this.settings.dialect, "refused", this.#challenge());
    }
    const token = crypto.randomUUID();
    this.#tokens.set(token, { pair, repository });
    return Response.json({ [request.method === "POST" ? "access_token" : "token"]: token });
  }

  #note(call: SimRegistryCall): void {
    if (this.#seen.length < MAX_SEEN) this.#seen.push(call);
  }

  #issued(): readonly IssuedToken[] {
    if (this.#issuedPath === undefined) return [];
    let text: string;
    try {
      text = Deno.readTextFileSync(this.#issuedPath);
    } catch {
      return [];
    }
    return text.trimEnd().split("\n").map((line) => {
      const [untilMs = "", token = "", image = "-"] = line.split(" ");
      return { pair: `token:${token}`, untilMs: Number(untilMs), image };
    });
  }
}

interface IssuedToken {
  readonly pair: string;
  readonly untilMs: number;
  readonly image: string;
}

function decoded(auth: string): string {
  try {
    return new TextDecoder().decode(Uint8Array.fromBase64(auth));
  } catch {
    return "";
  }
}
