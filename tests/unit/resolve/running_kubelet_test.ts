import { deepEqual, equal } from "node:assert/strict";
import { kubeletOf, pluginDifferences, pluginMatches } from "../../../lib/resolve/mod.ts";
import { readProviderConfig } from "../../../lib/resolve/provider_config.ts";
import { configText, type PluginText } from "./plugins.ts";

const CONFIG = "--image-credential-provider-config";
const ROOT = "/var/lib/kubelet";
const BIN = "--image-credential-provider-bin-dir";

Deno.test("kubeletOf: flags in every form, the last one counts", () => {
  const paths = { configPath: "/c", binDir: "/b" };
  for (
    const argv of [
      ["/usr/bin/kubelet", `${CONFIG}=/c`, `${BIN}=/b`],
      ["kubelet", "--v=2", CONFIG, "/c", BIN, "/b"],
      ["kubelet", CONFIG.slice(1), "/c", `${BIN.slice(1)}=/b`],
      ["kubelet", `${CONFIG}=/old`, `${CONFIG}=/c`, BIN, "/b"],
      ["/bin/k3s", "agent", `${CONFIG}=/c`, `${BIN}=/b`],
      ["k3s", `--kubelet-arg=${CONFIG.slice(2)}=/c`, `--kubelet-arg=${BIN.slice(2)}=/b`],
    ]
  ) deepEqual(kubeletOf(7, argv), { pid: 7, program: argv[0], rootDir: ROOT, ...paths });
  deepEqual(kubeletOf(7, ["kubelet", "--v=2"]), { pid: 7, program: "kubelet", rootDir: ROOT });
  equal(kubeletOf(7, ["kubelet", "--root-dir=/data"])?.rootDir, "/data");
  equal(kubeletOf(7, ["/bin/sh", "-c", "kubelet"]), undefined);
  equal(kubeletOf(7, ["grep", CONFIG, "/x"]), undefined);
  equal(kubeletOf(7, ["kubelet-exporter"]), undefined);
  equal(kubeletOf(7, []), undefined);
});

Deno.test("pluginMatches: the kubelet's rules; a pattern that does not parse matches nothing", () => {
  const { plugins } = readProviderConfig(
    configText(
      { name: "a", matchImages: ["*.io", "reg.io/team"] },
      { name: "b", matchImages: ["other.io", "[reg.io"] },
    ),
    "/c",
  );
  const matches = pluginMatches(plugins, "reg.io/team/app:1");
  deepEqual(matches.map(({ plugin, patterns }) => [plugin.name, patterns]), [
    ["a", ["reg.io/team", "*.io"]],
    ["b", []],
  ]);
});

Deno.test("pluginDifferences: what is missing on either side, and which fields differ", () => {
  const read = (...plugins: readonly PluginText[]) =>
    readProviderConfig(configText(...plugins), "/c").plugins;
  const ecr = { name: "ecr", matchImages: ["*.io"] };
  deepEqual(pluginDifferences(read(ecr), read(ecr)), []);
  deepEqual(
    pluginDifferences(
      read(ecr, { name: "gcr", matchImages: ["gcr.io"] }),
      read({ name: "ecr", matchImages: ["*.io", "a.io"], duration: "2h" }, {
        name: "acr",
        matchImages: ["*.azurecr.io"],
      }),
    ),
    [
      "plugin ecr: matchImages differ",
      "plugin ecr: the default cache durations differ",
      "plugin gcr is the kubelet's alone",
      "plugin acr is the agent's alone",
    ],
  );
});
