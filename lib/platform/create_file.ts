import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";

/**
 * Creates a file, lets `write` fill it, syncs and closes it. Only we may read it until it is
 * complete; then it gets its mode.
 *
 * Owner and mode are set through the handle, never through the path: whoever may write to the
 * folder can replace the file by a symbolic link, and `chown` and `chmod` by path follow it.
 */
export async function createFile(
  path: string,
  mode: number,
  write: (file: FileHandle) => Promise<void>,
): Promise<void> {
  const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants;
  const file = await open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    await write(file);
    await file.chmod(mode);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Creates a folder with exactly this mode, regardless of the umask. */
export async function createFolder(path: string, mode: number): Promise<void> {
  await Deno.mkdir(path, { mode });
  const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = constants;
  const folder = await open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  try {
    await folder.chmod(mode);
  } finally {
    await folder.close();
  }
}

/** Writes all bytes; one `write` may take only a part of them. */
export async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += (await file.write(bytes, at)).bytesWritten;
}
