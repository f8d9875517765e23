const LIFETIME_MS = 1_000;
/** Different pages per second; requests for more of them get 503. */
const MAX_PAGES = 32;

interface Rendered {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Uint8Array<ArrayBuffer>;
}

/**
 * Renders each page at most once a second, and shares its bytes between all responses: neither
 * processor time nor memory grows with the number of clients.
 */
export class RenderedPages {
  readonly #now: () => number;
  readonly #pages = new Map<string, { readonly atMs: number; readonly page: Promise<Rendered> }>();

  /** @param now Monotonic time in ms. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Responds with the page of a key, from `render` unless it was rendered less than 1 s ago. */
  async respond(key: string, render: () => Response | Promise<Response>): Promise<Response> {
    const nowMs = this.#now();
    for (const [key, { atMs }] of this.#pages) {
      if (nowMs - atMs >= LIFETIME_MS) this.#pages.delete(key);
    }
    let page = this.#pages.get(key)?.page;
    if (page === undefined) {
      if (this.#pages.size >= MAX_PAGES) {
        return new Response(null, { status: 503, headers: { "retry-after": "1" } });
      }
      page = readPage(render);
      this.#pages.set(key, { atMs: nowMs, page });
      page.catch(() => this.#pages.delete(key));
    }
    const { status, headers, body } = await page;
    // A stream passes the bytes on; a body of bytes would be copied for each response.
    const stream = new ReadableStream<Uint8Array>({
      pull(controller) {
        controller.enqueue(body);
        controller.close();
      },
    }, { highWaterMark: 0 });
    return new Response(stream, { status, headers });
  }
}

async function readPage(render: () => Response | Promise<Response>): Promise<Rendered> {
  const response = await render();
  const body = new Uint8Array(await response.arrayBuffer());
  const headers = new Headers(response.headers);
  headers.set("content-length", String(body.length));
  return { status: response.status, headers, body };
}
