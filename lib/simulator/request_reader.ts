/** A request as it came over the wire. */
export interface RawRequest {
  readonly method: string;
  /** Path without the query. */
  readonly path: string;
  readonly query: URLSearchParams;
  /** Empty when there is none: the real one does not tell an empty body from none. */
  readonly body: string;
}

/** What came over a connection: a request, or something that the server itself refuses. */
export type RawMessage =
  | { readonly kind: "request"; readonly request: RawRequest }
  | { readonly kind: "refused"; readonly text: string };

/** What the real server (dbs_uhttp) takes at most, in bytes. */
const MAX_BODY = 51_200;
const WINDOW = 1_024;

interface Head {
  readonly method: string;
  readonly target: string;
  length: number;
}

/**
 * Cuts a byte stream into requests, and goes astray where the real server does. That one looks at
 * heads through a window of 1 KiB, throws the window away when it refuses something, and goes on
 * as if in the same head: a body that is too long is taken for header lines, so that nearly the
 * whole of it comes back, 1 KiB an answer, and what is left spoils the connection's next request.
 */
export class RequestReader {
  readonly #source: { read(into: Uint8Array): Promise<number | null> };
  #bytes = new Uint8Array(0);
  /** Undefined between requests. */
  #head: Head | undefined;

  constructor(source: { read(into: Uint8Array): Promise<number | null> }) {
    this.#source = source;
  }

  /** The next message; undefined at the end of the stream. */
  async next(): Promise<RawMessage | undefined> {
    while (true) {
      const line = await this.#line();
      if (line === undefined) return undefined;
      if (line.tooLong) return this.#refuse(header("Invalid content length", line.text));
      if (this.#head === undefined) {
        const [, method, target] = /^([A-Z]+) (\S+) HTTP\/1\.[01]$/.exec(line.text) ?? [];
        if (method === undefined || target === undefined) return this.#refuse("Invalid request.");
        this.#head = { method, target, length: 0 };
        continue;
      }
      const wrong = line.text === "" ? tooLong(this.#head) : this.#header(this.#head, line.text);
      if (wrong !== undefined) return this.#refuse(wrong);
      if (line.text === "") return await this.#request(this.#head);
    }
  }

  /** Takes in a header line; what is wrong with it otherwise. */
  #header(head: Head, line: string): string | undefined {
    const [, name, value = ""] = /^([^:]+):\s*(.*)$/.exec(line) ?? [];
    if (name === undefined) return header("Header is not formatted", line);
    if (name.toLowerCase() === "transfer-encoding") {
      this.#head = undefined;
      return "Invalid request.";
    }
    if (name.toLowerCase() === "content-length") {
      if (!/^\d+$/.test(value)) return header("Invalid content length", line);
      head.length = Number(value);
    }
    return undefined;
  }

  async #request({ method, target, length }: Head): Promise<RawMessage | undefined> {
    this.#head = undefined;
    while (this.#bytes.length < length) {
      if (!await this.#more(length - this.#bytes.length)) return undefined;
    }
    const body = this.#take(length);
    // A client that takes the socket for a proxy sends the absolute form.
    const [path = "", query = ""] = target.replace(/^http:\/\/[^/]*/, "").split("?");
    return {
      kind: "request",
      request: { method, path, query: new URLSearchParams(query), body },
    };
  }

  /** What else is in the window is thrown away with it. */
  #refuse(reason: string): RawMessage {
    this.#bytes = new Uint8Array(0);
    // As the real one says it: with a raw line break in a text, which no JSON parser takes.
    const text = `{ "error": "${reason}\nAll previous unanswered requests will be dropped." }`;
    return { kind: "refused", text };
  }

  async #line(): Promise<{ readonly text: string; readonly tooLong: boolean } | undefined> {
    while (true) {
      const end = lineEnd(this.#bytes);
      if (end !== undefined) {
        const text = this.#take(end);
        this.#take(2);
        return { text, tooLong: false };
      }
      if (this.#bytes.length >= WINDOW) return { text: this.#take(WINDOW), tooLong: true };
      if (!await this.#more()) return undefined;
    }
  }

  #take(length: number): string {
    const text = new TextDecoder().decode(this.#bytes.subarray(0, length));
    this.#bytes = this.#bytes.slice(length);
    return text;
  }

  async #more(atMost = WINDOW - this.#bytes.length): Promise<boolean> {
    const chunk = new Uint8Array(atMost);
    const read = await this.#source.read(chunk);
    if (read === null) return false;
    const joined = new Uint8Array(this.#bytes.length + read);
    joined.set(this.#bytes);
    joined.set(chunk.subarray(0, read), this.#bytes.length);
    this.#bytes = joined;
    return true;
  }
}

function lineEnd(bytes: Uint8Array): number | undefined {
  for (let i = 0; i + 1 < bytes.length; i++) {
    if (bytes[i] === 13 && bytes[i + 1] === 10) return i;
  }
  return undefined;
}

function tooLong({ length }: Head): string | undefined {
  if (length <= MAX_BODY) return undefined;
  return `Request payload with size ${length} is larger than the limit of ${MAX_BODY} ` +
    "allowed by server.";
}

function header(reason: string, line: string): string {
  return `Invalid header. Reason: ${reason}. Header: ${line}`;
}
