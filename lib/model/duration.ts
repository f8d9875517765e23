import { AgentError } from "./errors.ts";

const UNIT_NANOSECONDS: ReadonlyMap<string, bigint> = new Map([
  ["ns", 1n],
  ["us", 1_000n],
  ["\u00b5s", 1_000n], // micro sign
  ["\u03bcs", 1_000n], // Greek mu
  ["ms", 1_000_000n],
  ["s", 1_000_000_000n],
  ["m", 60_000_000_000n],
  ["h", 3_600_000_000_000n],
]);
const INT64_MAX = 2n ** 63n - 1n;
/** Go sums the magnitude first, so that the smallest int64 is valid as well. */
const MAX_MAGNITUDE = 2n ** 63n;
const MAX_MAGNITUDE_DIGITS = 19;

function invalid(text: string, why: string): AgentError {
  const shown = JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text);
  return new AgentError("invalid-duration", `failed to parse duration ${shown}: ${why}`);
}

/**
 * Parses a Go duration into nanoseconds, by the rules of `time.ParseDuration`: an optional sign,
 * then numbers with optional fractions and units (`1h30m`, `1.5h`, `-500ms`), or `0`.
 *
 * @throws {AgentError} `invalid-duration` if the text is invalid or the value exceeds 64 bits.
 */
export function parseGoDuration(text: string): bigint {
  const negative = text.startsWith("-");
  let at = negative || text.startsWith("+") ? 1 : 0;
  if (text.slice(at) === "0") return 0n;
  if (at === text.length) throw invalid(text, "no number");
  const part = /([0-9]*)(?:\.([0-9]*))?([^0-9.]*)/y;
  let total = 0n;
  while (at < text.length) {
    part.lastIndex = at;
    const [, whole = "", fraction = "", unit = ""] = part.exec(text) ?? [];
    if (whole === "" && fraction === "") throw invalid(text, "no number");
    const nanoseconds = UNIT_NANOSECONDS.get(unit);
    if (nanoseconds === undefined) {
      throw invalid(text, unit === "" ? "missing unit" : "unknown unit");
    }
    const digits = whole.replace(/^0+/, "");
    if (digits.length > MAX_MAGNITUDE_DIGITS) throw invalid(text, "too large");
    total += BigInt(digits) * nanoseconds + fractionOf(fraction, nanoseconds);
    if (total > MAX_MAGNITUDE) throw invalid(text, "too large");
    at = part.lastIndex;
  }
  if (!negative && total > INT64_MAX) throw invalid(text, "too large");
  return negative ? -total : total;
}

/**
 * Converts the fraction in floating point like Go, where `0.3333333333333333333h` is exactly 20
 * minutes. Digits beyond 64 bits are dropped.
 */
function fractionOf(digits: string, unit: bigint): bigint {
  let value = 0n;
  let scale = 1;
  for (const digit of digits) {
    const next = value * 10n + BigInt(digit);
    if (next > MAX_MAGNITUDE) break;
    value = next;
    scale *= 10;
  }
  return BigInt(Math.trunc(Number(value) * (Number(unit) / scale)));
}

/**
 * Parses a Go duration into milliseconds, with a fraction for nanoseconds.
 *
 * @throws {AgentError} `invalid-duration`.
 */
export function parseDurationMs(text: string): number {
  return Number(parseGoDuration(text)) / 1_000_000;
}

/** Formats milliseconds with the two largest units, such as `3h12m` or `45s`. */
export function formatDuration(ms: number): string {
  if (Number.isNaN(ms)) return "unknown";
  const whole = Math.round(ms);
  if (whole < 0) return `-${formatDuration(-whole)}`;
  if (whole === Infinity) return "indefinitely";
  if (whole < 1_000) return `${whole}ms`;
  if (whole < 10_000) return `${Math.floor(whole / 100) / 10}s`;
  const seconds = Math.floor(whole / 1_000);
  if (seconds < 60) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return joined(minutes, "m", seconds % 60, "s");
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return joined(hours, "h", minutes % 60, "m");
  return joined(Math.floor(hours / 24), "d", hours % 24, "h");
}

function joined(large: number, largeUnit: string, small: number, smallUnit: string): string {
  return `${large}${largeUnit}${small === 0 ? "" : `${small}${smallUnit}`}`;
}
