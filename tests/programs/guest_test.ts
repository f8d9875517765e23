/**
 * Tests what only a kernel of its own enforces: memory limits and address filters of the service.
 * `NYDUS_TEST_KERNEL` is a folder with an unpacked kernel package of Debian; the emulated machine
 * takes minutes.
 */
import { equal, match } from "node:assert/strict";
import { join } from "node:path";
import { buildTree, runOnHost, TREE } from "./systemd_machine.ts";

const KERNEL = Deno.env.get("NYDUS_TEST_KERNEL");
const BINARY = Deno.env.get("NYDUS_AUTH_AGENT_BINARY");
const MODULES = [
  "virtio/virtio_ring",
  "virtio/virtio",
  "virtio/virtio_pci_legacy_dev",
  "virtio/virtio_pci_modern_dev",
  "virtio/virtio_pci",
  "block/virtio_blk",
];

/** Mounts both disks and starts systemd. */
const INIT = `#!/bin/busybox sh
/bin/busybox --install -s /bin
mkdir -p /proc /dev /root
mount -t proc proc /proc
mount -t devtmpfs dev /dev
for name in ${MODULES.map((path) => path.split("/")[1]).join(" ")}; do insmod /$name.ko; done
until [ -b /dev/vda ] && [ -b /dev/vdb ]; do sleep 0.1; done
mount -t ext4 /dev/vda /root
mkdir -p /root/opt/guest
mount -t ext4 -o ro /dev/vdb /root/opt/guest
exec switch_root /root /lib/systemd/systemd
`;

/** A plugin that reports which addresses it reached, and for one image takes all memory. */
const PLUGIN = `#!/bin/sh
box=/opt/guest/busybox
case $(cat) in *hog*) $box dd if=/dev/zero of=/dev/null bs=600M count=1 ;; esac
reach() { $box nc -w 2 $1 80 </dev/null >/dev/null 2>&1 && echo reached || echo denied; }
printf '{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1",'
printf '"cacheKeyType":"Image","cacheDuration":"1h",'
printf '"auth":{"registry.test":{"username":"%s-%s","password":"x"}}}' \\
  $(reach 127.0.0.1) $(reach 192.0.2.1)
`;

const PROVIDERS = `apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
- name: plugin
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  matchImages: [registry.test]
  defaultCacheDuration: 1h
`;

const CONFIG = `[providers.kubelet]
config = "/opt/guest/providers.yaml"
bin_dir = "/opt/guest"
timeout = "1m"
[api]
socket = "/run/nydus-auth-agent/api.sock"
`;

/** Of docs/systemd.md, with the memory limit of the Helm chart. */
const DROP_IN = `[Service]
MemoryMax=384M
IPAddressDeny=any
IPAddressAllow=localhost
`;

/** Prints \`name=value\` lines to the serial console. */
const SCRIPT = `exec >/dev/ttyS0 2>&1
agent=/usr/local/bin/nydus-auth-agent
unit=nydus-auth-agent.service
group=/sys/fs/cgroup/system.slice/$unit
result() { echo "result $1=$(eval "$2")"; }
get() { $agent get registry.test/$1 --output json 2>/dev/null | tr -d "[:space:]"; }
# The emulated plugin is slow, so the first call may not wait for its answer.
wait_for() { for try in 1 2 3 4 5 6 7 8 9 10; do get $1 | grep username && break; done; }
/opt/guest/busybox ip addr add 192.0.2.1/32 dev lo
/opt/guest/busybox nc -ll -p 80 -e /bin/true &
mkdir -p /etc/nydus-auth-agent /etc/systemd/system/$unit.d
cp /opt/guest/config.toml /etc/nydus-auth-agent/config.toml
cp /opt/guest/drop-in.conf /etc/systemd/system/$unit.d/limits.conf
/opt/guest/nydus-auth-agent install --now
pid() { systemctl show --value --property MainPID $unit; }
before=$(pid)
result memory_max "cat $group/memory.max"
result swap_max "cat $group/memory.swap.max"
result outside "/opt/guest/busybox nc -w 5 192.0.2.1 80 </dev/null && echo reached"
result credential "wait_for app:1"
result hog "$agent get registry.test/hog:1 >/dev/null 2>&1; echo \\$?"
oom_kills() { sed -n 's/^oom_kill //p' $group/memory.events; }
for second in $(seq 60); do [ $(oom_kills) = 0 ] && sleep 1; done
result oom_kills oom_kills
result after "wait_for app:2"
result same_process "[ $before = \\$(pid) ] && echo yes"
result ready "systemctl is-active $unit"
journalctl --no-pager -n 40 -u $unit
`;

async function run(command: string, ...args: readonly string[]): Promise<void> {
  const { code, err } = await runOnHost(command, ...args);
  equal(code, 0, `${command}: ${err}`);
}

/** Boots the machine, runs the script in it, and returns the console. */
async function boot(kernel: string, binary: string): Promise<string> {
  await buildTree();
  const folder = await Deno.makeTempDir();
  try {
    const initial = join(folder, "initial");
    const guest = join(folder, "guest");
    await Deno.mkdir(join(initial, "bin"), { recursive: true });
    await Deno.mkdir(guest);
    const busybox = "/bin/busybox";
    await Deno.copyFile(busybox, join(initial, busybox));
    await Deno.copyFile(busybox, join(guest, "busybox"));
    await Deno.writeTextFile(join(initial, "init"), INIT, { mode: 0o755 });
    const modules = join(kernel, "lib/modules");
    const [{ name: version } = { name: "" }] = await Array.fromAsync(Deno.readDir(modules));
    for (const path of MODULES) {
      const file = join(modules, version, "kernel/drivers", `${path}.ko`);
      await Deno.copyFile(file, join(initial, `${path.split("/")[1]}.ko`));
    }
    await Deno.copyFile(binary, join(guest, "nydus-auth-agent"));
    await Deno.writeTextFile(join(guest, "plugin"), PLUGIN, { mode: 0o755 });
    await Deno.writeTextFile(join(guest, "providers.yaml"), PROVIDERS);
    await Deno.writeTextFile(join(guest, "config.toml"), CONFIG);
    await Deno.writeTextFile(join(guest, "drop-in.conf"), DROP_IN);
    await Deno.writeTextFile(join(guest, "script"), SCRIPT);
    const initrd = join(folder, "initrd");
    await run("sh", "-c", `cd ${initial} && find . | busybox cpio -o -H newc >${initrd}`);
    const disks = [[TREE, "2G"], [guest, "512M"]].map(([source = "", size = ""], index) => {
      return { source, size, path: join(folder, `disk${index}`) };
    });
    for (const { source, size, path } of disks) {
      await run("mke2fs", "-q", "-t", "ext4", "-d", source, path, size);
    }
    const { out, err } = await runOnHost(
      "timeout",
      ...["900", "qemu-system-x86_64", "-machine", "q35", "-cpu", "max", "-smp", "2"],
      ...["-m", "1536", "-nographic", "-no-reboot", "-nic", "none"],
      ...["-kernel", join(kernel, "boot", `vmlinuz-${version}`), "-initrd", initrd],
      ...disks.flatMap(({ path }) => ["-drive", `file=${path},format=raw,if=virtio`]),
      "-append",
      [
        "console=ttyS0 loglevel=4 panic=-1",
        'systemd.run="/bin/sh /opt/guest/script"',
        "systemd.run_success_action=poweroff systemd.run_failure_action=poweroff",
      ].join(" "),
    );
    return out + err;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test({
  name:
    "systemd: enforces the memory limit and the address filter; a plugin out of memory does not " +
    `stop the agent${KERNEL === undefined ? " (ignored: requires NYDUS_TEST_KERNEL)" : ""}`,
  ignore: KERNEL === undefined || BINARY === undefined,
  timeout: 1_200_000,
  async fn() {
    const console = await boot(KERNEL ?? "", BINARY ?? "");
    const result = (name: string) =>
      new RegExp(`^result ${name}=(.*?)\r?$`, "m").exec(console)?.[1] ?? console;
    equal(result("memory_max"), String(384 * 1024 * 1024));
    equal(result("swap_max"), "0");
    equal(result("outside"), "reached");
    match(result("credential"), /"username":"reached-denied"/);
    equal(result("hog"), "1");
    equal(result("oom_kills"), "1");
    match(result("after"), /"username":"reached-denied"/);
    equal(result("same_process"), "yes");
    equal(result("ready"), "active");
  },
});
