const MAX_SHOWN = 200;

/**
 * A reference or pattern for an error message: quoted, cut to 200 characters, and without what
 * stands before an `@`, where people put user names and passwords.
 */
export function quoted(text: string): string {
  const digest = text.lastIndexOf("@sha");
  const end = digest < 0 ? text.length : digest;
  const at = text.lastIndexOf("@", end - 1);
  const shown = at < 0 || end === 0 ? text : `[hidden]${text.slice(at)}`;
  return JSON.stringify(shown.length > MAX_SHOWN ? `${shown.slice(0, MAX_SHOWN)}…` : shown);
}
