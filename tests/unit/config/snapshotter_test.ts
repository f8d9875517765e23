import { deepEqual, equal, match } from "node:assert/strict";
import { load, problemOf, problemsOf, THEIRS } from "./sources.ts";

const COMPLETE = `
version = 1
root = "/data/nydus"
address = "/run/containerd-nydus/containerd-nydus-grpc.sock"
daemon_mode = "shared"
cleanup_on_close = false
[system]
enable = true
address = "/run/nydus/system.sock"
[daemon]
fs_driver = "fscache"
nydusd_config = "/etc/nydus/template.json"
threads_number = 4
[metrics]
address = ":9110"
[remote]
convert_vpc_registry = true
[remote.mirrors_config]
dir = "/etc/nydus/certs.d"
[remote.auth]
enable_kubeconfig_keychain = true
kubeconfig_path = "/etc/kube.conf"
enable_cri_keychain = true
image_service_address = "/run/containerd/containerd.sock"
enable_kubelet_credential_providers = true
credential_provider_config = "/etc/providers.yaml"
credential_provider_bin_dir = "/opt/providers"
credential_renewal_interval = "0s"
[experimental.tarfs]
enable_tarfs = false
[a_table_of_the_future]
key = 1
`;

Deno.test("readSnapshotterTables: reads the known keys and ignores all others", async () => {
  const { node, providers, delivery, warnings } = await load({ theirs: COMPLETE });
  deepEqual(warnings, []);
  deepEqual(node, {
    root: "/data/nydus",
    systemSocket: "/run/nydus/system.sock",
    fsDriver: "fscache",
    daemonMode: "shared",
    daemons: [],
    mirrorsDir: "/etc/nydus/certs.d",
    daemonTemplate: "/etc/nydus/template.json",
    vpcRegistry: true,
  });
  deepEqual(providers.kubesecret, {
    enabled: true,
    kubeconfigPath: "/etc/kube.conf",
  });
  deepEqual(providers.cri, {
    enabled: true,
    socket: "/run/nydus-auth-agent/cri.sock",
    link: "/run/nydus-auth-agent-cri/image.sock",
    imageServiceSocket: "/run/containerd/containerd.sock",
    fallbackDelayMs: 0,
    persist: true,
  });
  deepEqual(providers.kubelet, {
    enabled: true,
    configPath: "/etc/providers.yaml",
    binDir: "/opt/providers",
    timeoutMs: 60_000,
    maxParallel: 4,
  });
  equal(delivery.configFiles, "auto");
});

Deno.test("readSnapshotterTables: has a lower precedence than the agent's settings", async () => {
  const { node, providers } = await load({
    theirs: COMPLETE,
    ours: `
      [snapshotter]
      system_address = "off"
      fs_driver = "fusedev"
      daemon_mode = "multiple"
      [providers.cri]
      enabled = false
      [providers.kubelet]
      bin_dir = "/own/bin"
      [providers.kubesecret]
      enabled = false
      kubeconfig = "/own.conf"`,
  });
  equal(node.systemSocket, undefined);
  equal(node.fsDriver, "fusedev");
  equal(node.daemonMode, "dedicated");
  equal(providers.cri.enabled, false);
  equal(providers.kubelet.binDir, "/own/bin");
  equal(providers.kubelet.configPath, "/etc/providers.yaml");
  deepEqual(providers.kubesecret, {
    enabled: false,
    kubeconfigPath: "/own.conf",
  });
});

Deno.test("readSnapshotterTables: determines the socket of the system API", async () => {
  const standard = "/run/containerd-nydus/system.sock";
  const cases = [
    [undefined, standard],
    ["", undefined],
    [`[system]\nenable = true`, standard],
    [`[system]\nenable = true\naddress = ""`, standard],
    [`[system]\nenable = true\naddress = "/a.sock"`, "/a.sock"],
    [`[system]\nenable = false\naddress = "/a.sock"`, undefined],
    [`[system]\naddress = "/a.sock"`, "/a.sock"],
  ] as const;
  for (const [theirs, socket] of cases) {
    const config = await load(theirs === undefined ? {} : { theirs });
    equal(config.node.systemSocket, socket, theirs);
  }
});

Deno.test("readSnapshotterTables: treats an empty text as not set", async () => {
  const config = await load({
    theirs: `root = ""\ndaemon_mode = ""\n[daemon]\nfs_driver = ""\n[remote.auth]
      kubeconfig_path = ""\ncredential_renewal_interval = ""`,
  });
  match(config.node.root, /^\/var\/lib\/containerd/);
  equal(config.node.daemonMode, "dedicated");
  equal(config.node.fsDriver, "fusedev");
  deepEqual(config.providers.kubesecret, { enabled: false });
});

Deno.test("readSnapshotterTables: rejects wrong types of known keys", async () => {
  const problems = await problemsOf({
    theirs: `
      root = 1
      daemon_mode = "many"
      [daemon]
      fs_driver = true
      nydusd_config = 1
      [system]
      enable = "yes"
      address = "system.sock"
      [remote]
      convert_vpc_registry = "yes"
      [remote.auth]
      enable_kubeconfig_keychain = 1
      kubeconfig_path = []
      enable_cri_keychain = "on"
      image_service_address = 5
      enable_kubelet_credential_providers = {}
      credential_provider_config = 1
      credential_provider_bin_dir = 1
      credential_renewal_interval = "often"
      [remote.mirrors_config]
      dir = 1
      [experimental]
      enable_backend_source = 1`,
  });
  equal(problems.length, 17);
  for (const { file, problem, remedy } of problems) {
    equal(file, THEIRS);
    match(problem, /^found /);
    match(remedy, /^the snapshotter expects /);
  }
  equal(problems[0]?.remedy, "the snapshotter expects an absolute path");
});

Deno.test("readSnapshotterTables: reports a value in place of a table once", async () => {
  deepEqual(await problemOf({ theirs: `remote = "docker.io"` }), {
    file: THEIRS,
    place: "remote",
    problem: `found the text "docker.io", expected a table`,
    remedy: "write [remote]",
  });
  equal((await problemOf({ theirs: `remote.auth = 1` })).place, "remote.auth");
});

Deno.test("readSnapshotterTables: warns when the snapshotter also renews credentials", async () => {
  for (const value of [`"10m"`, "600000000000", `"1ms"`]) {
    const theirs = `[remote.auth]\ncredential_renewal_interval = ${value}`;
    const [warning, ...more] = (await load({ theirs })).warnings;
    deepEqual(more, []);
    equal(warning?.file, THEIRS);
    equal(warning?.place, "remote.auth.credential_renewal_interval");
    match(warning?.problem ?? "", /also renews/);
    const off = await load({ theirs, flags: { credentialRenewalInterval: "0s" } });
    deepEqual(off.warnings, []);
  }
  for (const value of [`"0s"`, "0", `"-1s"`]) {
    const theirs = `[remote.auth]\ncredential_renewal_interval = ${value}`;
    deepEqual((await load({ theirs })).warnings, [], value);
  }
});
