import { AgentError } from "./errors.ts";

const UNIT_NANOSECONDS: ReadonlyMap<string, number> = new Map([
  ["ns", 1],
  ["us", 1e3],
  ["\u00b5s", 1e3], // micro sign
  ["\u03bcs", 1e3], // Greek mu
  ["ms", 1e6],
  ["s", 1e9],
  ["m", 60e9],
  ["h", 3_600e9],
]);
/** The range of Go's int64. */
const MAX_NANOSECONDS = 2 ** 63;

function invalid(text: string, why: string): AgentError {
  const shown = JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text);
  return new AgentError("invalid-duration", `failed to parse duration ${shown}: ${why}`);
}

/**
 * Parses a Go duration into milliseconds, by the rules of `time.ParseDuration`: an optional sign,
 * then numbers with optional fractions and units (`1h30m`, `1.5h`, `-500ms`), or `0`.
 *
 * @throws {AgentError} `invalid-duration` if the text is invalid or the value exceeds 64 bits.
 */
export function parseDurationMs(text: string): number {
  const parts = text.replace(/^[+-]/, "");
  if (parts === "0") return 0;
  const part = /([0-9]*\.?[0-9]*)([^0-9.]*)/y;
  let total = 0;
  do {
    const [, number = "", unit = ""] = part.exec(parts) ?? [];
    if (!/[0-9]/.test(number)) throw invalid(text, "no number");
    const nanoseconds = UNIT_NANOSECONDS.get(unit);
    if (nanoseconds === undefined) {
      throw invalid(text, unit === "" ? "missing unit" : "unknown unit");
    }
    total += Math.round(Number(number) * nanoseconds);
  } while (part.lastIndex < parts.length);
  if (total >= MAX_NANOSECONDS) throw invalid(text, "too large");
  return (text.startsWith("-") ? -total : total) / 1e6;
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
