import { deepEqual, equal, match } from "node:assert/strict";
import { load, OURS, problemOf, type Sources, THEIRS } from "./sources.ts";

type Renewal = Awaited<ReturnType<typeof load>>["renewal"];

const intervalsOf = ({ checkIntervalMs, leadTimeMs, refreshIntervalMs }: Renewal) => [
  checkIntervalMs,
  leadTimeMs,
  refreshIntervalMs,
];

Deno.test("normalize: derives the intervals from credential_renewal_interval", async () => {
  const cases = [
    ["10m", [60_000, 600_000, 600_000]],
    ["30s", [30_000, 30_000, 30_000]],
    ["200ms", [200, 200, 200]],
  ] as const;
  for (const [credentialRenewalInterval, wanted] of cases) {
    const { renewal } = await load({ flags: { credentialRenewalInterval } });
    deepEqual(intervalsOf(renewal), wanted);
    equal(renewal.enabled, true);
  }
});

Deno.test("normalize: keeps intervals that are set explicitly, from any layer", async () => {
  const ours = `[renewal]\ncredential_renewal_interval = "10m"\nlead_time = "auto"`;
  const { renewal } = await load({ ours, flags: { checkInterval: "5m" } });
  deepEqual(intervalsOf(renewal), [300_000, "auto", 600_000]);
  const weaker = `[renewal]\nrefresh_interval = "7m"`;
  const flags = { credentialRenewalInterval: "10m" };
  equal((await load({ ours: weaker, flags })).renewal.refreshIntervalMs, 420_000);
});

Deno.test("normalize: disables renewal with 0s", async () => {
  const { renewal } = await load({ ours: `renewal.credential_renewal_interval = "0s"` });
  deepEqual([renewal.enabled, ...intervalsOf(renewal)], [false, 60_000, "auto", 240_000]);
});

Deno.test("normalize: enables the kubelet's plugins when both paths are set", async () => {
  const flags = { credentialProviderConfig: "/c.yaml", credentialProviderBinDir: "/bin" };
  const { kubelet } = (await load({ flags })).providers;
  deepEqual([kubelet.enabled, kubelet.configPath, kubelet.binDir], [true, "/c.yaml", "/bin"]);
  const off = await load({ flags, ours: "providers.kubelet.enabled = false" });
  deepEqual(off.providers.kubelet, { ...kubelet, enabled: false, configPath: "", binDir: "" });
  deepEqual(off.warnings, []);
});

Deno.test("normalize: does not enable plugins that the snapshotter disables", async () => {
  const theirs = `[remote.auth]\ncredential_provider_config = "/c.yaml"
    credential_provider_bin_dir = "/bin"`;
  equal((await load({ theirs })).providers.kubelet.enabled, false);
  const ours = "providers.kubelet.enabled = true";
  deepEqual((await load({ theirs, ours })).providers.kubelet.configPath, "/c.yaml");
});

Deno.test("normalize: rejects enabled plugins without their paths", async () => {
  const ours = await problemOf({ ours: "providers.kubelet.enabled = true" });
  deepEqual([ours.file, ours.place], [OURS, "providers.kubelet.enabled"]);
  match(ours.remedy, /^set providers\.kubelet\.config and providers\.kubelet\.bin_dir, or /);
  const theirs = await problemOf({
    theirs: `[remote.auth]\nenable_kubelet_credential_providers = true
      credential_provider_config = "/c.yaml"`,
  });
  deepEqual([theirs.file, theirs.place], [
    THEIRS,
    "remote.auth.enable_kubelet_credential_providers",
  ]);
});

Deno.test("normalize: does not report an invalid path as missing", async () => {
  const { place } = await problemOf({
    ours: `[providers.kubelet]\nenabled = true\nconfig = "c.yaml"\nbin_dir = "/bin"`,
  });
  equal(place, "providers.kubelet.config");
  const theirs = await problemOf({
    theirs: `[remote.auth]\nenable_kubelet_credential_providers = true
      credential_provider_config = "/c.yaml"\ncredential_provider_bin_dir = 5`,
  });
  match(theirs.problem, /^found the number 5/);
});

Deno.test("normalize: warns when only one of the plugin paths is set", async () => {
  const { warnings } = await load({ ours: `providers.kubelet.config = "/c.yaml"` });
  deepEqual(warnings.map(({ place }) => place), ["providers.kubelet.config"]);
});

Deno.test("normalize: writes no credentials into files that the snapshotter keeps secret-free", async () => {
  const theirs = `[system]\nenable = true\n[experimental]\nenable_backend_source = true`;
  equal((await load({ theirs })).delivery.configFiles, "never");
  const always = await load({ theirs, flags: { configFiles: "always" } });
  equal(always.delivery.configFiles, "always");
  deepEqual(always.warnings.map(({ file }) => file), ["--config-files"]);
  const auto = await load({ theirs, flags: { configFiles: "auto" } });
  deepEqual([auto.delivery.configFiles, auto.warnings], ["auto", []]);
  // Without the system API, the snapshotter writes credentials into the files.
  const alone = `[experimental]\nenable_backend_source = true`;
  equal((await load({ theirs: alone })).delivery.configFiles, "auto");
});

Deno.test("normalize: warns about an address that other machines may reach", async () => {
  const warnings = async (address: string) => (await load({ flags: { address } })).warnings.length;
  for (
    const address of ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[0:0::1]:1", "localhost:1", "off"]
  ) {
    equal(await warnings(address), 0, address);
  }
  for (const address of ["0.0.0.0:1", ":1", "[::]:1", "10.0.0.1:1", "127.example.com:1"]) {
    equal(await warnings(address), 1, address);
  }
});

Deno.test("normalize: warns about a node without daemons", async () => {
  const places = async (sources: Sources) => (await load(sources)).warnings.map((w) => w.place);
  deepEqual(await places({ theirs: `daemon_mode = "none"` }), ["daemon_mode"]);
  deepEqual(await places({ flags: { daemonMode: "none" } }), ["snapshotter.daemon_mode"]);
  const ours = `[[daemons]]\nsocket = "/a.sock"\nref = "nginx"`;
  deepEqual(await places({ theirs: `daemon_mode = "none"`, ours }), []);
});

Deno.test("normalize: reads the kubesecret settings", async () => {
  const { providers } = await load({
    ours: `[providers.kubesecret]\nenabled = true\nnode_name = "n"`,
  });
  deepEqual(providers.kubesecret, { enabled: true, nodeName: "n" });
});
