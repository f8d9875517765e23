import { asset, assetNames, describeAsset } from "../assets/mod.ts";
import { alignColumns } from "./table.ts";

/** Where `show` writes. */
export interface ShowOutput {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
}

/**
 * Prints one of the texts that the program carries, or without a name the list of them.
 *
 * @returns The exit code: 0, or 2 when there is no text of that name.
 */
export function show(name: string | undefined, { out, err }: ShowOutput): number {
  if (name === undefined) {
    out(alignColumns(assetNames().map((known) => [known, describeAsset(known)])));
    return 0;
  }
  const known = assetNames().find((candidate) => candidate === name);
  if (known === undefined) {
    err(
      `nydus-auth-agent: show ${name}: no such text (run "nydus-auth-agent show" for the list)\n`,
    );
    return 2;
  }
  out(asset(known));
  return 0;
}
