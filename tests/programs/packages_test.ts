/**
 * Tests the `.deb` and the `.rpm` of a release under a real systemd: installation, upgrade, removal.
 * `NYDUS_AUTH_AGENT_RELEASE` is the folder of the release.
 */
import { deepEqual, equal, match, notEqual } from "node:assert/strict";
import { missing as missingForMachine, SystemdMachine } from "./systemd_machine.ts";

const RELEASE = Deno.env.get("NYDUS_AUTH_AGENT_RELEASE");
const missing = missingForMachine ??
  (RELEASE === undefined ? "NYDUS_AUTH_AGENT_RELEASE" : undefined);
const DEB = "/opt/release/nydus-auth-agent_*_amd64.deb";
const RPM = "/opt/release/nydus-auth-agent-*.x86_64.rpm";
const CONFIG = "/etc/nydus-auth-agent/config.toml";
const LINK = "/run/nydus-auth-agent-cri/image.sock";
const SOCKET = "/run/nydus-auth-agent/cri.sock";
const RUNTIME = "/run/containerd/containerd.sock";

function test(name: string, fn: (machine: SystemdMachine) => Promise<void>): void {
  Deno.test({
    name: `package: ${name}${missing === undefined ? "" : ` (ignored: requires ${missing})`}`,
    ignore: missing !== undefined,
    async fn() {
      await using machine = await SystemdMachine.boot([`--bind-ro=${RELEASE}:/opt/release`]);
      await fn(machine);
    },
  });
}

/** Asserts that the package is installed, and has neither enabled nor started the service. */
async function expectNoDecision(machine: SystemdMachine): Promise<void> {
  equal((await machine.run("systemctl", "is-enabled", "nydus-auth-agent")).out, "disabled");
  equal(await machine.property("ActiveState"), "inactive");
  equal(await machine.must("stat", "-c", "%a %U", CONFIG), "600 root");
  equal(await machine.must("readlink", LINK), RUNTIME);
  match(await machine.must("nydus-auth-agent", "version"), /^nydus-auth-agent \d/);
  const { code, err } = await machine.run("nydus-auth-agent", "uninstall", "--purge");
  equal(code, 2);
  match(err, /belongs to the package nydus-auth-agent/);
}

/** Starts the agent with the CRI proxy, and returns its process id. */
async function startWithProxy(machine: SystemdMachine): Promise<string> {
  await machine.write(CONFIG, '[snapshotter]\nconfig = "off"\n[providers.cri]\nenabled = true\n');
  await machine.must("systemctl", "enable", "--now", "nydus-auth-agent");
  await machine.until("the CRI proxy", async () => await machine.must("readlink", LINK) === SOCKET);
  return await machine.property("MainPID");
}

/** Asserts that an upgrade has restarted the agent, and has kept its configuration and the link. */
async function expectUpgraded(machine: SystemdMachine, oldPid: string): Promise<void> {
  const pid = await machine.property("MainPID");
  notEqual(pid, oldPid);
  equal(await machine.property("ActiveState"), "active");
  await machine.sh(`[ /proc/${pid}/exe -ef /usr/bin/nydus-auth-agent ]`);
  match(await machine.read(CONFIG), /enabled = true/);
  await machine.until("the CRI proxy", async () => await machine.must("readlink", LINK) === SOCKET);
}

/** Asserts that a removal has stopped the agent, and pointed the kubelet's link at the runtime. */
async function expectRemoved(machine: SystemdMachine): Promise<void> {
  equal(await machine.must("readlink", LINK), RUNTIME);
  equal((await machine.run("pgrep", "-f", "nydus-auth-agent run")).out, "");
}

/** Returns the paths of the product; `/run/nydus-auth-agent-cri` stays until the next boot. */
async function leftovers(machine: SystemdMachine): Promise<string[]> {
  const found = await machine.sh(
    "find / -xdev \\( -path /src -o -path /opt -o -path /proc -o -path /var/log \\) -prune -o " +
      "-name '*nydus-auth*' -print; find /run -name '*nydus-auth*' -print",
  );
  return found.split("\n").filter((path) => !/^\/run\/(?:host|systemd)\//.test(path));
}

test("deb: installs, upgrades and purges without a decision of its own", async (machine) => {
  await machine.sh(`dpkg-deb -R ${DEB} /var/tmp/old
    sed -i 's/^Version: .*/Version: 0.0.1-1/' /var/tmp/old/DEBIAN/control
    rm /var/tmp/old/DEBIAN/conffiles # an empty line, which dpkg-deb rejects
    dpkg-deb -Znone -b /var/tmp/old /var/tmp/old.deb
    rm -r /var/tmp/old
    dpkg -i /var/tmp/old.deb && rm /var/tmp/old.deb`);
  await expectNoDecision(machine);
  const pid = await startWithProxy(machine);
  await machine.sh(`dpkg -i ${DEB}`);
  await expectUpgraded(machine, pid);
  await machine.must("dpkg", "--remove", "nydus-auth-agent");
  await expectRemoved(machine);
  deepEqual(
    (await leftovers(machine)).filter((path) => !path.startsWith("/var/lib/dpkg/")),
    ["/etc/nydus-auth-agent", "/run/nydus-auth-agent-cri"],
  );
  await machine.must("dpkg", "--purge", "nydus-auth-agent");
  deepEqual(await leftovers(machine), ["/run/nydus-auth-agent-cri"]);
});

test("deb: enables the service, without a start, when a preset of the site does", async (machine) => {
  await machine.write(
    "/etc/systemd/system-preset/10-site.preset",
    "enable nydus-auth-agent.service\n",
  );
  await machine.sh(`dpkg -i ${DEB}`);
  equal(await machine.must("systemctl", "is-enabled", "nydus-auth-agent"), "enabled");
  equal(await machine.property("ActiveState"), "inactive");
});

test("rpm: installs, upgrades and removes without a decision of its own", async (machine) => {
  // The tree is a Debian, so rpm does not know what provides glibc.
  await machine.sh(`rpm -i --nodeps ${RPM}`);
  await expectNoDecision(machine);
  const pid = await startWithProxy(machine);
  await machine.sh(`rpm -U --nodeps --replacepkgs ${RPM}`);
  await expectUpgraded(machine, pid);
  await machine.must("rpm", "-e", "nydus-auth-agent");
  await expectRemoved(machine);
  deepEqual(await leftovers(machine), ["/etc/nydus-auth-agent", "/run/nydus-auth-agent-cri"]);

  // An unchanged sample is removed too.
  await machine.must("rm", CONFIG);
  await machine.sh(`rpm -i --nodeps ${RPM}`);
  await machine.must("rpm", "-e", "nydus-auth-agent");
  deepEqual(await leftovers(machine), ["/run/nydus-auth-agent-cri"]);
});
