import { gzipSync } from "node:zlib";
import { BuildError } from "./toolchain.ts";

/** An entry of an archive: a file, a folder without `data`, or a symbolic link. */
export interface Entry {
  /** Without a leading slash; at most 100 characters. */
  readonly path: string;
  /** Default: 0644 for files, 0755 for folders, 0777 for links. */
  readonly mode?: number;
  readonly data?: Uint8Array | string;
  readonly linkTarget?: string;
}

const BLOCK = 512;

/**
 * Returns a tar archive (ustar). Owners are root and all times equal, so that equal entries produce
 * equal bytes.
 *
 * @param time Seconds since 1970.
 * @throws {BuildError} when a path is too long.
 */
export function tar(entries: readonly Entry[], time: number): Uint8Array {
  const encoder = new TextEncoder();
  const blocks: Uint8Array[] = [];
  for (const { path, mode, data, linkTarget } of entries) {
    const content = typeof data === "string" ? encoder.encode(data) : data ?? new Uint8Array();
    const type = linkTarget !== undefined ? "2" : data === undefined ? "5" : "0";
    const defaultMode = { "0": 0o644, "2": 0o777, "5": 0o755 }[type] ?? 0;
    const header = new Uint8Array(BLOCK);
    const put = (at: number, length: number, value: string | number) => {
      const text = typeof value === "string" ? value : value.toString(8).padStart(length - 1, "0");
      const bytes = encoder.encode(text);
      if (bytes.length > length) throw new BuildError(`failed to archive ${path}: path too long`);
      header.set(bytes, at);
    };
    put(0, 100, type === "5" ? `${path}/` : path);
    put(100, 8, mode ?? defaultMode);
    put(108, 8, 0);
    put(116, 8, 0);
    put(124, 12, content.length);
    put(136, 12, time);
    put(148, 8, " ".repeat(8));
    put(156, 1, type);
    put(157, 100, linkTarget ?? "");
    put(257, 8, "ustar\x0000");
    put(265, 32, "root");
    put(297, 32, "root");
    put(148, 7, header.reduce((sum, byte) => sum + byte, 0));
    header[155] = 0x20;
    blocks.push(header, content, new Uint8Array(-content.length & (BLOCK - 1)));
  }
  return concatenate([...blocks, new Uint8Array(2 * BLOCK)]);
}

/** Compresses with gzip; the header has no time and no operating system. */
export function gzip(data: Uint8Array, level = 6): Uint8Array {
  const bytes = new Uint8Array(gzipSync(data, { level }));
  bytes.set([0, 0, 0, 0], 4);
  bytes[9] = 255;
  return bytes;
}

function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
