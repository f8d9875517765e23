import {
  type RegistryHttp,
  type RegistryHttpRequest,
  type RegistryHttpResult,
  Secret,
} from "../../lib/model/mod.ts";

/** Short form of a response. */
export interface FakeAnswer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

/** An HTTP client with responses that a test defines; records every request. */
export class FakeRegistryHttp implements RegistryHttp {
  readonly requests: RegistryHttpRequest[] = [];
  readonly #answer: (request: RegistryHttpRequest) => FakeAnswer | RegistryHttpResult;

  constructor(answer: (request: RegistryHttpRequest) => FakeAnswer | RegistryHttpResult) {
    this.#answer = answer;
  }

  request(request: RegistryHttpRequest): Promise<RegistryHttpResult> {
    this.requests.push(request);
    const answer = this.#answer(request);
    if ("kind" in answer) return Promise.resolve(answer);
    const { status, headers = {}, body = "" } = answer;
    const text = request.method === "HEAD" ? "" : body;
    return Promise.resolve({
      kind: "answered",
      status,
      headers: new Map(Object.entries(headers)),
      body: new Secret(typeof text === "string" ? text : JSON.stringify(text)),
    });
  }

  /** `method url authorization` of every request. */
  get sent(): readonly string[] {
    return this.requests.map((request) => {
      const auth = authorizationOf(request);
      return `${request.method} ${request.url}${auth === undefined ? "" : ` ${auth}`}`;
    });
  }
}

/** Returns the `Authorization` header of a request. */
export function authorizationOf({ headers }: RegistryHttpRequest): string | undefined {
  return headers.find(([name]) => name === "authorization")?.[1].reveal();
}
