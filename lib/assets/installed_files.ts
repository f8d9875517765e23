/** A text of the program (`show NAME`) that `install`, the packages and the archives put in a file. */
interface InstalledFile {
  readonly name: string;
  readonly folder: keyof InstallFolders;
  readonly path: string;
}

/** Folders of an installation. */
export interface InstallFolders {
  readonly units: string;
  readonly tmpfiles: string;
  /** `share` below the prefix. */
  readonly share: string;
}

const PROGRAM = "nydus-auth-agent";

const INSTALLED_FILES: readonly InstalledFile[] = [
  { name: `${PROGRAM}.service`, folder: "units", path: `${PROGRAM}.service` },
  { name: `${PROGRAM}.tmpfiles.conf`, folder: "tmpfiles", path: `${PROGRAM}.conf` },
  { name: `${PROGRAM}.1`, folder: "share", path: `man/man1/${PROGRAM}.1` },
  { name: "completion.bash", folder: "share", path: `bash-completion/completions/${PROGRAM}` },
  { name: "completion.zsh", folder: "share", path: `zsh/site-functions/_${PROGRAM}` },
  { name: "completion.fish", folder: "share", path: `fish/vendor_completions.d/${PROGRAM}.fish` },
];

/** Returns the names of the installed texts, each with its path in these folders. */
export function installedFiles(
  folders: InstallFolders,
): readonly { readonly name: string; readonly path: string }[] {
  return INSTALLED_FILES.map(({ name, folder, path }) => ({
    name,
    path: `${folders[folder]}/${path}`,
  }));
}

/** Returns an installed text; units start the binary at `binary`. */
export function installedText(text: string, binary: string): string {
  return text.replaceAll(`/usr/local/bin/${PROGRAM}`, binary);
}
