import { AgentError } from "./errors.ts";

const UNIT_NANOSECONDS: Readonly<Record<string, bigint>> = {
  "ns": 1n,
  "us": 1_000n,
  "\u00b5s": 1_000n, // micro sign
  "\u03bcs": 1_000n, // Greek mu
  "ms": 1_000_000n,
  "s": 1_000_000_000n,
  "m": 60_000_000_000n,
  "h": 3_600_000_000_000n,
};
const INT64_MAX = 2n ** 63n - 1n;
const INT64_MIN_MAGNITUDE = 2n ** 63n;
/** Longer texts are refused unread; Go's own longest output has 21 characters. */
const MAX_LENGTH = 256;

function invalid(text: string, why: string): AgentError {
  const shown = JSON.stringify(text.slice(0, 40));
  return new AgentError("invalid-duration", `parse duration ${shown}: ${why}`);
}

/**
 * A Go duration in nanoseconds, by the rules of `time.ParseDuration`: a sign, then numbers with
 * optional fractions and units (`1h30m`, `1.5h`, `-500ms`), or `0`.
 *
 * @throws {AgentError} `invalid-duration` when it is none, or does not fit 64 bits.
 */
export function parseGoDuration(text: string): bigint {
  if (text.length > MAX_LENGTH) throw invalid(text, "it is too long");
  const negative = text.startsWith("-");
  let rest = negative || text.startsWith("+") ? text.slice(1) : text;
  if (rest === "0") return 0n;
  if (rest === "") throw invalid(text, "there is no number");
  let total = 0n;
  while (rest !== "") {
    const part = /^([0-9]*)(\.([0-9]*))?([^0-9.]*)/.exec(rest);
    const whole = part?.[1] ?? "";
    const fraction = part?.[3] ?? "";
    if (part === null || (whole === "" && fraction === "")) {
      throw invalid(text, "there is no number");
    }
    const unit = UNIT_NANOSECONDS[part[4] ?? ""];
    if (unit === undefined) {
      throw invalid(text, part[4] === "" ? "a unit is missing" : "there is no such unit");
    }
    if (whole !== "" && BigInt(whole) > INT64_MIN_MAGNITUDE) throw invalid(text, "it is too large");
    total += BigInt(whole || "0") * unit + fractionOf(fraction, unit);
    if (total > INT64_MIN_MAGNITUDE) throw invalid(text, "it is too large");
    rest = rest.slice(part[0].length);
  }
  if (!negative && total > INT64_MAX) throw invalid(text, "it is too large");
  return negative ? -total : total;
}

/** What Go makes of the digits behind the point: those beyond 18 places are worth nothing. */
function fractionOf(digits: string, unit: bigint): bigint {
  const kept = digits.slice(0, 18);
  return kept === "" ? 0n : BigInt(kept) * unit / 10n ** BigInt(kept.length);
}

/**
 * The same in milliseconds; nanoseconds become a fraction.
 *
 * @throws {AgentError} `invalid-duration`.
 */
export function parseDurationMs(text: string): number {
  return Number(parseGoDuration(text)) / 1_000_000;
}

/** A span in milliseconds as a person reads it: the two largest units, such as `3h12m` or `45s`. */
export function formatDuration(ms: number): string {
  if (!Number.isFinite(ms)) return "for ever";
  if (ms < 0) return `-${formatDuration(-ms)}`;
  if (ms < 1_000) return `${Math.round(ms)}ms`;
  if (ms < 10_000) return `${Math.floor(ms / 100) / 10}s`;
  const seconds = Math.floor(ms / 1_000);
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
