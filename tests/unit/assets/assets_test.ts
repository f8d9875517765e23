import { deepEqual, equal, match, ok } from "node:assert/strict";
import { parse as parseToml } from "@std/toml";
import { parse as parseYaml } from "yaml";
import { profileOfHost } from "../../../lib/model/mod.ts";
import { ASSETS } from "../../../lib/assets/mod.ts";

Deno.test("ASSETS: has a different text for every name, with one final line feed", () => {
  const assets = Object.entries(ASSETS);
  equal(new Set(assets.map(([, { text }]) => text)).size, assets.length);
  for (const [name, { text, description }] of assets) {
    match(text, /[^\n]\n$/, name);
    ok(description.length > 0);
  }
});

Deno.test("config.toml: parses and sets nothing", () => {
  const tables: Record<string, unknown> = { ...parseToml(ASSETS["config.toml"].text) };
  const leaves = (value: unknown): number =>
    typeof value === "object" && value !== null
      ? Object.values(value).reduce((sum: number, inner) => sum + leaves(inner), 0)
      : 1;
  equal(leaves(tables), 0);
});

const UNITS = ["nydus-auth-agent.service", "nydus-auth-agent-own-user.service"] as const;

for (const name of UNITS) {
  const { text } = ASSETS[name];
  Deno.test(`${name}: has the settings of a hardened service`, () => {
    const lines = text.split("\n");
    for (
      const line of [
        "Type=notify",
        "NotifyAccess=main",
        "Restart=always",
        "RestartSec=2s",
        "WatchdogSec=60s",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "Before=kubelet.service",
        "StartLimitIntervalSec=0",
        "MemorySwapMax=0",
        "LimitCORE=0",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "ProtectSystem=strict",
        "RuntimeDirectoryMode=0700",
        "SystemCallFilter=@system-service",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
      ]
    ) ok(lines.includes(line), line);
    match(text, /^RuntimeDirectory=nydus-auth-agent\b/m);
    match(text, /^RuntimeDirectoryPreserve=(restart|yes)$/m);
    match(text, /^After=.*nydus-snapshotter\.service containerd\.service$/m);
    match(text, /^ExecStart=\/usr\/local\/bin\/nydus-auth-agent run --config \/etc\//m);
    // The JavaScript engine would not start.
    equal(lines.some((line) => line.startsWith("MemoryDenyWriteExecute=")), false);
  });

  Deno.test(`${name}: has no ordering cycle`, () => {
    const names = (key: string) =>
      [...text.matchAll(new RegExp(`^${key}=(.*)$`, "gm"))].flatMap((line) =>
        (line[1] ?? "").split(" ")
      );
    const after = new Set(names("After"));
    deepEqual(names("Before").filter((unit) => after.has(unit)), []);
  });

  Deno.test(`${name}: explains each directive that is not restricted`, () => {
    const open = text.slice(text.indexOf("# Not restricted, and why:"));
    for (
      const directive of [
        "MemoryDenyWriteExecute=",
        "PrivateNetwork=",
        "IPAddressDeny=",
        "RootDirectory=",
      ]
    ) ok(open.includes(`# ${directive}`), directive);
  });
}

Deno.test("nydus-auth-agent-own-user.service: has a user and no writable folder", () => {
  const text = ASSETS["nydus-auth-agent-own-user.service"].text;
  match(text, /^User=nydus-auth-agent$/m);
  match(text, /^PrivateUsers=yes$/m);
  equal(/^ReadWritePaths=/m.test(text), false);
});

Deno.test("credential-provider-config.yaml: is a valid CredentialProviderConfig", () => {
  const config = parseYaml(ASSETS["credential-provider-config.yaml"].text);
  equal(config.apiVersion, "kubelet.config.k8s.io/v1");
  equal(config.kind, "CredentialProviderConfig");
  const names = config.providers.map((provider: { name: string }) => provider.name);
  equal(new Set(names).size, 3);
  for (const provider of config.providers) {
    equal(provider.apiVersion, "credentialprovider.kubelet.k8s.io/v1");
    ok(provider.matchImages.length > 0);
    equal(typeof provider.defaultCacheDuration, "string");
    if (!provider.name.startsWith("ecr")) continue;
    for (const pattern of provider.matchImages) {
      const host = pattern.replace(/^\*/, "123456789012").replace("*", "eu-1");
      equal(profileOfHost(host)?.name, "Amazon ECR", pattern);
    }
  }
});

Deno.test("systemd units: set a limit of open files", () => {
  const units = Object.values(ASSETS).map(({ text }) => text).filter((text) =>
    text.includes("\n[Service]\n")
  );
  equal(units.length, 2);
  for (const text of units) match(text, /^LimitNOFILE=8192:524288$/m);
});
