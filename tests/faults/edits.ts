import { dirname, join } from "@std/path";
import type { SimNode } from "../../lib/simulator/mod.ts";

/** A watched file and its valid texts. */
export interface Edited {
  readonly path: string;
  readonly texts: readonly string[];
  /** Whether changes take effect on SIGHUP only. */
  readonly byHup: boolean;
}

/** State of a file after an edit. */
export type EditKind = "renamed" | "written" | "half" | "corrupted" | "emptied" | "removed";

const VALID: readonly EditKind[] = ["renamed", "renamed", "renamed", "written"];
const BROKEN: readonly EditKind[] = ["half", "half", "half", "corrupted", "emptied", "removed"];

/** Returns the files that an agent watches or reads on SIGHUP, each with several valid texts. */
export function editedFiles(node: SimNode, mirror: string): readonly Edited[] {
  const read = (path: string) => Deno.readTextFileSync(path);
  const agentConfig = join(node.dir, "agent.toml");
  const hosts = join(node.mirrorsDir, node.passwordRegistry.host.replace(/:(\d+)$/, "_$1_"));
  const oneMirror = `[host."http://${mirror}"]\ncapabilities = ["pull"]\n`;
  const provider = read(node.providerConfigPath);
  return [
    {
      path: agentConfig,
      texts: variants(read(agentConfig), '"500ms"', ["300ms", "700ms", "900ms"]),
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
      texts: [
        oneMirror,
        `${oneMirror}[host."http://other.example.com"]\ncapabilities = ["pull"]\n`,
      ],
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

/** Returns Docker configurations, one per password; the registry accepts all of them. */
export function dockerTexts(node: SimNode, passwords: readonly string[]): readonly string[] {
  const { host } = node.passwordRegistry;
  return passwords.map((password) => {
    node.passwordRegistry.accept("robot", password);
    return JSON.stringify({ auths: { [host]: { auth: btoa(`robot:${password}`) } } });
  });
}

/** Edits a file at random; half of the edits leave it invalid. */
export function edit({ path, texts }: Edited, random: () => number): EditKind {
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
  const kind = random() < 0.5 ? pick(VALID) : pick(BROKEN);
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
    case "corrupted":
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

/** Replaces a file atomically. */
export function replaceFile(path: string, text: string): void {
  Deno.mkdirSync(dirname(path), { recursive: true });
  Deno.writeTextFileSync(`${path}.new`, text, { mode: 0o600 });
  Deno.renameSync(`${path}.new`, path);
}

function removeFile(path: string): void {
  try {
    Deno.removeSync(path);
  } catch {
    // The file did not exist.
  }
}
