/** What the registry thinks of a credential. */
type Verdict = "accepted" | "refused";

/**
 * A small registry on loopback: it serves blobs to those who bring a valid user name and password,
 * and refuses what is expired, revoked or unknown.
 */
export class SimRegistry implements AsyncDisposable {
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #passwords = new Map<string, number>();
  readonly #issuedPath: string | undefined;
  /** What it answers to a credential that it does not take; ECR says 403 to one that expired. */
  refusal: 401 | 403 = 401;
  readonly #seen: {
    readonly repository: string;
    readonly auth: string;
    readonly verdict: Verdict;
  }[] = [];

  /**
   * @param issuedPath File in which a plugin notes its tokens: lines of expiry (Unix ms) and token.
   */
  constructor(issuedPath?: string) {
    this.#issuedPath = issuedPath;
    const options = { hostname: "127.0.0.1", port: 0, onListen: () => {} };
    this.#server = Deno.serve(options, (request) => this.#answer(request));
  }

  /** Host and port, as it stands in image references. */
  get host(): string {
    return `127.0.0.1:${this.#server.addr.port}`;
  }

  /** What was brought, by whom for what: for assertions. Holds credentials. */
  get seen(): readonly {
    readonly repository: string;
    readonly auth: string;
    readonly verdict: Verdict;
  }[] {
    return this.#seen;
  }

  /** Accepts a password from now on, until `untilMs` (wall time; default for ever). */
  accept(username: string, password: string, untilMs = Infinity): void {
    this.#passwords.set(`${username}:${password}`, untilMs);
  }

  /** Refuses a user's password from now on. */
  revoke(username: string, password: string): void {
    this.#passwords.set(`${username}:${password}`, 0);
  }

  /** The token issued last, as `user:password`; undefined before the first. */
  newestToken(): string | undefined {
    return this.#issued().at(-1)?.pair;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }

  #answer(request: Request): Response {
    const { pathname } = new URL(request.url);
    const blob = /^\/v2\/(.+)\/blobs\/[a-z0-9]+:[a-f0-9]+$/.exec(pathname);
    if (pathname !== "/v2/" && blob === null) return new Response("not found", { status: 404 });
    const auth = (request.headers.get("authorization") ?? "").replace(/^Basic /, "");
    const verdict = this.#judge(auth);
    if (this.#seen.length < 100_000) {
      this.#seen.push({ repository: blob?.[1] ?? "", auth, verdict });
    }
    if (verdict === "refused") {
      const headers = { "www-authenticate": 'Basic realm="simulated"' };
      return new Response("refused", { status: this.refusal, headers });
    }
    return new Response("blob");
  }

  #judge(auth: string): Verdict {
    let pair: string;
    try {
      pair = new TextDecoder().decode(Uint8Array.fromBase64(auth));
    } catch {
      return "refused";
    }
    const untilMs = this.#passwords.get(pair) ??
      this.#issued().findLast((token) => token.pair === pair)?.untilMs ?? 0;
    return Date.now() < untilMs ? "accepted" : "refused";
  }

  #issued(): readonly { readonly pair: string; readonly untilMs: number }[] {
    if (this.#issuedPath === undefined) return [];
    let text: string;
    try {
      text = Deno.readTextFileSync(this.#issuedPath);
    } catch {
      return [];
    }
    return text.trimEnd().split("\n").map((line) => {
      const [untilMs = "", token = ""] = line.split(" ");
      return { pair: `token:${token}`, untilMs: Number(untilMs) };
    });
  }
}
