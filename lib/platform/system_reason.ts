/** The name of an error of the system, without its text: that may quote what it should not. */
export function systemReason(error: unknown): string {
  if (!(error instanceof Error)) return "unknown error";
  const code = (error as Error & { code?: unknown }).code;
  return typeof code === "string" ? code : error.name;
}
