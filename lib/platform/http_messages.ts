import { type HttpRequest, RequestError } from "./http_request.ts";

/** @throws {RequestError} 400 for what `Request` does not accept. */
export function requestOf({ method, target, headers, body }: HttpRequest): Request {
  try {
    const url = `http://${headers.get("host") || "localhost"}${target}`;
    const hasBody = method !== "GET" && method !== "HEAD" && body.length > 0;
    return new Request(url, { method, headers, ...(hasBody && { body }) });
  } catch {
    throw new RequestError(400);
  }
}

/** The head of a response; the body has to follow as its headers say. */
export function headOf(status: number, headers: Headers, goesOn: boolean): Uint8Array {
  const lines = [`HTTP/1.1 ${status} `, `date: ${new Date().toUTCString()}`];
  for (const [name, value] of headers) {
    if (name !== "connection" && name !== "transfer-encoding") lines.push(`${name}: ${value}`);
  }
  lines.push(`connection: ${goesOn ? "keep-alive" : "close"}`, "", "");
  return new TextEncoder().encode(lines.join("\r\n"));
}

/** The response when a limit is reached. */
export function busyResponse(): Uint8Array {
  return headOf(503, new Headers({ "retry-after": "1", "content-length": "0" }), false);
}
