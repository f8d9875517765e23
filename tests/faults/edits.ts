import { dirname, join } from "@std/path";
import type { SimNode } from "../../lib/simulator/mod.ts";

/** A watched file, and the whole texts that it may have. */
export interface Edited {
  readonly path: string;
  readonly texts: readonly string[];
  /** Takes effect with HUP; the others when they change. */
  readonly byHup: boolean;
}

/** How one edit leaves a file. */
export type EditKind = "renamed" | "written" | "half" | "spoilt" | "emptied" | "removed";

const WHOLE: readonly EditKind[] = ["renamed", "renamed", "renamed", "written"];
const BROKEN: readonly EditKind[] = ["half", "half", "half", "spoilt", "emptied", "removed"];

/** Every file of a node that an agent watches or reads at HUP, each with several good texts. */
export function editedFiles(node: SimNode, mirror: string): readonly Edited[] {
  const read = (path: string) => Deno.readTextFileSync(path);
  const ours = join(node.dir, "agent.toml");
  const hosts = join(node.mirrorsDir, node.passwordRegistry.host.replace(/:(\d+)$/, "_$1_"));
  const named = `[host."http://${mirror}"]\ncapabilities = ["pull"]\n`;
  const provider = read(node.providerConfigPath);
  return [
    {
      path: ours,
      texts: variants(read(ours), '"500ms"', ["300ms", "700ms", "900ms"]),
      byHup: true,
    },
    {
      path: node.snapshotterConfigPath,
      texts: variants(read(node.snapshotterConfigPath), '"dedicated"', ["shared"]),
      byHup: true,
    },
    {
      path: node.providerConfigPath,
      texts: [provider, provider.replace("12h", "1h"), `${provider}${otherPlugin("another")}`],
      byHup: false,
    },
    {
      path: join(hosts, "hosts.toml"),
      texts: [named, `${named}[host."http://other.example.com"]\ncapabilities = ["pull"]\n`],
      byHup: false,
    },
  ];
}

function variants(text: string, place: string, values: readonly string[]): readonly string[] {
  return [text, ...values.map((value) => text.replace(place, `"${value}"`))];
}

function otherPlugin(name: string): string {
  return `- name: ${name}
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  matchImages: ["${name}.example.com"]
  defaultCacheDuration: "1h"
`;
}

/** Docker's configuration with one of several passwords, all of them good. */
export function dockerTexts(node: SimNode, passwords: readonly string[]): readonly string[] {
  const { host } = node.passwordRegistry;
  return passwords.map((password) => {
    node.passwordRegistry.accept("robot", password);
    return JSON.stringify({ auths: { [host]: { auth: btoa(`robot:${password}`) } } });
  });
}

/** Edits a file at random; half of the edits leave it broken. */
export function edit({ path, texts }: Edited, random: () => number): EditKind {
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
  const kind = random() < 0.5 ? pick(WHOLE) : pick(BROKEN);
  const text = pick(texts);
  const cut = Math.floor(random() * text.length);
  switch (kind) {
    case "renamed":
      replaceFile(path, text);
      break;
    case "written":
      Deno.writeTextFileSync(path, text);
      break;
    case "half":
      Deno.writeTextFileSync(path, text.slice(0, cut));
      break;
    case "spoilt":
      Deno.writeTextFileSync(path, `${text.slice(0, cut)}\u0007{[${text.slice(cut + 3)}`);
      break;
    case "emptied":
      Deno.writeTextFileSync(path, "");
      break;
    case "removed":
      removeFile(path);
      break;
  }
  return kind;
}

/** Puts a whole text in the place of a file at once. */
export function replaceFile(path: string, text: string): void {
  Deno.mkdirSync(dirname(path), { recursive: true });
  Deno.writeTextFileSync(`${path}.new`, text, { mode: 0o600 });
  Deno.renameSync(`${path}.new`, path);
}

function removeFile(path: string): void {
  try {
    Deno.removeSync(path);
  } catch {
    // It was not there.
  }
}
