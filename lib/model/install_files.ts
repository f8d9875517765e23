/** What is at a path; a link is looked at, not followed. */
export interface InstalledFile {
  readonly kind: "file" | "directory" | "symlink" | "other";
  /** Where a link points to, as it is written in it. */
  readonly linkTarget?: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/**
 * The file operations of an installation. Every failure is an `AgentError` with code `io` whose
 * message names the path and how to mend it.
 */
export interface InstallFiles {
  stat(path: string): Promise<InstalledFile | undefined>;
  readText(path: string): Promise<string>;
  /** Whether two files hold the same bytes. */
  sameBytes(a: string, b: string): Promise<boolean>;
  /** Makes one folder whose parent exists. */
  makeDirectory(path: string, mode: number): Promise<void>;
  /** Replaces `to` whole by a copy of `from`; a program that runs from `to` is not disturbed. */
  copyFile(from: string, to: string, mode: number): Promise<void>;
  /** Replaces a file whole: temporary file in the same folder, fsync, rename. */
  writeText(path: string, text: string, mode: number): Promise<void>;
  /** Replaces whatever is at `path`, but a folder, by a symbolic link. */
  symlink(path: string, target: string): Promise<void>;
  /** Gives a file a second name in the same folder, from which it can be brought back. */
  backUp(path: string): Promise<string>;
  /** Moves a file or link over whatever is at `to`. */
  move(from: string, to: string): Promise<void>;
  /** Removes a file, a link, or an empty folder. */
  remove(path: string): Promise<void>;
  /** Names in a folder. */
  list(path: string): Promise<readonly string[]>;
}
