import type { Command } from "commander";
import { asset, assetNames, describeAsset } from "../assets/mod.ts";
import { completionScript, SHELLS } from "./completions.ts";
import { manualPage } from "./manual.ts";
import { alignColumns } from "./table.ts";

/** Where `show` writes. */
export interface ShowOutput {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
}

interface Text {
  readonly description: string;
  readonly text: () => string;
}

/** Every text that the program carries, by its name: assets, and what is generated. */
export function texts(program: Command): ReadonlyMap<string, Text> {
  const found = new Map<string, Text>();
  for (const name of assetNames()) {
    found.set(name, { description: describeAsset(name), text: () => asset(name) });
  }
  found.set("nydus-auth-agent.1", { description: "man page", text: () => manualPage(program) });
  for (const shell of SHELLS) {
    const text = () => completionScript(program, shell, [...found.keys()]);
    found.set(`completion.${shell}`, { description: `completions for ${shell}`, text });
  }
  return found;
}

/**
 * Prints one of the texts that the program carries, or the list of them without a name.
 *
 * @returns The exit code: 0, or 2 when there is no text of that name.
 */
export function show(name: string | undefined, program: Command, { out, err }: ShowOutput): number {
  const known = texts(program);
  if (name === undefined) {
    out(alignColumns([...known].map(([name, { description }]) => [name, description])));
    return 0;
  }
  const found = known.get(name);
  if (found === undefined) {
    err(
      `nydus-auth-agent: show ${name}: no such text (run "nydus-auth-agent show" for the list)\n`,
    );
    return 2;
  }
  out(found.text());
  return 0;
}
