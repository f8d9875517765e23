/**
 * Tests the service under a real systemd: installation, sandbox, reload and the link for CRI clients.
 * Each test boots a machine; the tests are ignored where that is impossible.
 */
import { deepEqual, doesNotMatch, equal, match, notEqual, ok } from "node:assert/strict";
import { missing, SystemdMachine } from "./systemd_machine.ts";

const SOCKET = "/run/nydus-auth-agent/cri.sock";
const UPSTREAM = "/run/containerd/containerd.sock";
const AGENT = "/usr/local/bin/nydus-auth-agent";
const CONFIG = "/etc/nydus-auth-agent/config.toml";
const ROOT = "/var/lib/containerd/io.containerd.snapshotter.v1.nydus";
const DOCKER_CONFIG =
  '[providers.docker]\nconfig = "/etc/nydus-auth-agent/docker.json"\n[renewal]\ncheck_interval = "1s"\n';

function test(name: string, fn: (machine: SystemdMachine) => Promise<void>): void {
  Deno.test({
    name: `systemd: ${name}${missing === undefined ? "" : ` (ignored: requires ${missing})`}`,
    ignore: missing !== undefined,
    async fn() {
      await using machine = await SystemdMachine.boot();
      await fn(machine);
    },
  });
}

/** Returns the decoded credential in the mount's file; empty if there is no file. */
async function fileCredential(machine: SystemdMachine, root = ROOT): Promise<string> {
  const { out } = await machine.run("cat", `${root}/config/d1/config.json`);
  return out === "" ? "" : atob(JSON.parse(out).device.backend.config.auth);
}

test("install --now: replaces the running agent when the binary or the unit changed", async (machine) => {
  // An equivalent but different binary: a byte of padding in the ELF header differs.
  await machine.sh(`mkdir /opt/old && cp /opt/new/nydus-auth-agent /opt/old/
    printf '\\001' | dd of=/opt/old/nydus-auth-agent bs=1 seek=15 conv=notrunc status=none`);
  await machine.must("/opt/old/nydus-auth-agent", "install", "--now");
  const oldPid = await machine.property("MainPID");
  await machine.must("/opt/new/nydus-auth-agent", "install");
  equal(await machine.property("MainPID"), oldPid);
  await machine.must("/opt/new/nydus-auth-agent", "install", "--now");
  const pid = await machine.property("MainPID");
  notEqual(pid, oldPid);
  await machine.must("cmp", `/proc/${pid}/exe`, "/opt/new/nydus-auth-agent");

  await machine.must("touch", "/etc/systemd/system/nydus-auth-agent.service");
  equal(await machine.property("NeedDaemonReload"), "yes");
  await machine.must("/opt/new/nydus-auth-agent", "install", "--now");
  equal(await machine.property("NeedDaemonReload"), "no");
  notEqual(await machine.property("MainPID"), pid);
});

test("uninstall --purge: removes every file when the installation has a prefix", async (machine) => {
  await machine.write(CONFIG, "[providers.cri]\nenabled = true\npersist = true\n");
  await machine.must("/opt/new/nydus-auth-agent", "install", "--now", "--prefix", "/opt/agent");
  await machine.write("/run/nydus-auth-agent/cri-pulls.json", "{}");
  await machine.must("/opt/new/nydus-auth-agent", "uninstall", "--purge");
  const left = await machine.sh(
    "find / -xdev -path /src -prune -o -path /opt/new -prune -o -path /proc -prune -o " +
      "-path /var/log -prune -o -name '*nydus-auth*' -print; find /run -name '*nydus-auth*' -print",
  );
  // The link for the kubelet stays until the next boot: without it pulls would fail.
  deepEqual(left.split("\n").filter((path) => !/^\/run\/(?:host|systemd)\//.test(path)), [
    "/run/nydus-auth-agent-cri",
  ]);
  await machine.until("the link to the runtime, after the fallback delay", async () => {
    return await machine.must("readlink", "/run/nydus-auth-agent-cri/image.sock") === UPSTREAM;
  });
});

test("sandbox: allows writes to the snapshotter root when it is created after the start", async (machine) => {
  await machine.addSnapshotter();
  await machine.write(CONFIG, DOCKER_CONFIG);
  await machine.setPassword("fresh");
  await machine.must("/opt/new/nydus-auth-agent", "install", "--now");
  equal(await machine.must("stat", "-c", "%a", ROOT), "700");
  equal(await machine.must("stat", "-c", "%a", "/var/lib/containerd"), "711");
  await machine.startSnapshotter();
  await machine.until("the rewritten file", async () => {
    return await fileCredential(machine) === "robot:fresh";
  });
  match(await machine.must(AGENT, "check"), /^ok: the running agent: all checks pass$/m);
});

test("check: reports a read-only root when only the running agent's sandbox denies it", async (machine) => {
  await machine.addSnapshotter("/data/nydus");
  await machine.write(CONFIG, DOCKER_CONFIG);
  await machine.setPassword("fresh");
  await machine.must("/opt/new/nydus-auth-agent", "install", "--now");
  await machine.startSnapshotter();
  const check = async () => (await machine.run(AGENT, "check")).out;
  await machine.until("the finding", async () => {
    return /the running agent: its check "deliveries" fails: .*EROFS/.test(await check());
  });
  equal(await fileCredential(machine, "/data/nydus"), "robot:old");

  // The drop-in of docs/systemd.md; the folder may be missing.
  await machine.sh("systemctl stop nydus-snapshotter && rm -r /data");
  await machine.write(
    "/etc/systemd/system/nydus-auth-agent.service.d/root.conf",
    "[Service]\nExecStartPre=-+/bin/mkdir -p -m 0700 /data/nydus\nReadWritePaths=-/data/nydus\n",
  );
  await machine.sh("systemctl daemon-reload && systemctl restart nydus-auth-agent");
  await machine.startSnapshotter();
  await machine.until("the rewritten file", async () => {
    return await fileCredential(machine, "/data/nydus") === "robot:fresh";
  });
});

test("sandbox: denies writes when the folder is not the agent's", async (machine) => {
  await machine.must("/opt/new/nydus-auth-agent", "install", "--now");
  const pid = await machine.property("MainPID");
  const canWrite = async (folder: string) => {
    const { code } = await machine.run("nsenter", "-t", pid, "-m", "touch", `${folder}/probe`);
    return code === 0;
  };
  for (const folder of ["/run", "/run/lock", "/dev/shm", "/etc", "/usr", "/var/lib", "/root"]) {
    equal(await canWrite(folder), false, folder);
  }
  for (const folder of ["/run/nydus-auth-agent", "/run/nydus-auth-agent-cri", "/tmp", ROOT]) {
    ok(await canWrite(folder), folder);
  }
});

test("reload: reports a failure in STATUS and status when the configuration is invalid", async (machine) => {
  await machine.must("/opt/new/nydus-auth-agent", "install", "--now");
  const good = await machine.read(CONFIG);
  const reload = () => machine.must("systemctl", "reload", "nydus-auth-agent");
  await machine.write(CONFIG, `${good}\nnonsense`);
  await reload();
  await machine.until("STATUS", async () => {
    return (await machine.property("StatusText")).startsWith("failed to reload the configuration");
  });
  const { code, out, err } = await machine.run(AGENT, "status");
  equal(code, 3);
  match(
    out,
    /^warning: failed to reload the configuration; the previous configuration stays in effect: .*config\.toml/m,
  );
  match(err, /^warning: .*config\.toml/m);
  await machine.write(CONFIG, good);
  await reload();
  await machine.until("STATUS", async () => {
    return !(await machine.property("StatusText")).includes("failed to reload");
  });
  doesNotMatch((await machine.run(AGENT, "status")).out, /failed to reload/);
});

test("status: reports the host name when the service runs in its sandbox", async (machine) => {
  await machine.must("/opt/new/nydus-auth-agent", "install", "--now");
  const name = await machine.sh("tr -d '\\n' </etc/hostname");
  equal((await machine.status()).hostname, name);
});

test("separate user: delivers over the socket when set up as in docs/guides/own-user.md", async (machine) => {
  const docs = await Deno.readTextFile(new URL("../../docs/guides/own-user.md", import.meta.url));
  const steps = [...docs.matchAll(/^ {3}```sh\n([^]*?)^ {3}```$/gm)]
    .map(([, script = ""]) => script.replaceAll(/^ {3}/gm, ""));
  const [shareSockets, startAgent, check] = steps;
  if (shareSockets === undefined || startAgent === undefined || check === undefined) {
    throw new Error("docs/guides/own-user.md must have three scripts");
  }
  await machine.addSnapshotter();
  await machine.sh("mkdir -m 0700 /var/lib/containerd"); // as on some hosts
  await machine.startSnapshotter();
  await machine.sh(shareSockets);
  await machine.sh(`install -m 0755 /opt/new/nydus-auth-agent ${AGENT}`);
  await machine.sh(startAgent);
  // Credentials that only its user can read, added by a reload.
  await machine.sh(`printf '${DOCKER_CONFIG.replaceAll("\n", "\\n")}' >>${CONFIG}`);
  await machine.setPassword("fresh");
  await machine.sh("chown nydus-auth-agent: /etc/nydus-auth-agent/docker.json");
  await machine.must("systemctl", "reload", "nydus-auth-agent");
  await machine.until("the delivery", async () => {
    const { daemons = [] } = await machine.status();
    const [mount] = daemons[0]?.instances ?? [];
    return ["stored", "in-use", "proven"].includes(mount?.delivery) && mount?.file === "skipped";
  });
  const pid = await machine.property("MainPID");
  equal(await machine.sh(`ps -o user= -p ${pid} | cut -c1-8`), "nydus-au");
  const findings = await machine.sh(check);
  match(findings, /^ok: sockets: 1 of 1 nydusd answer, with 1 mounts$/m);
  equal(await fileCredential(machine), "robot:old");
});

test("CRI link: points to the proxy or the runtime when the agent is killed, stopped or crashes", async (machine) => {
  await machine.write(
    "/run/agent/config.toml",
    '[snapshotter]\nconfig = "off"\n[providers.cri]\nenabled = true\n',
  );
  await machine.must("/opt/new/nydus-auth-agent", "install");
  await machine.write(
    "/etc/systemd/system/nydus-auth-agent.service.d/test.conf",
    `[Service]
Environment=NYDUS_AUTH_AGENT_CONFIG=/run/agent/config.toml
ExecStart=
ExecStart=${AGENT} run
Environment=NYDUS_AUTH_AGENT_PROVIDERS_CRI_FALLBACK_DELAY=4s
RestartSec=200ms
`,
  );
  await machine.write(
    "/etc/systemd/system/kubelet.service",
    "[Service]\nExecStart=/bin/sh -c 'readlink /run/nydus-auth-agent-cri/image.sock " +
      ">/run/agent/seen; exec sleep infinity'\n",
  );
  // Starts both in one transaction, as at boot: the units define the order.
  await machine.write(
    "/etc/systemd/system/test.target",
    "[Unit]\nWants=kubelet.service nydus-auth-agent.service\n",
  );
  await machine.sh(`mkdir -p /run/containerd && systemd-tmpfiles --create
    readlink /run/nydus-auth-agent-cri/image.sock >/run/agent/laid
    systemctl daemon-reload
    systemctl start --no-block test.target`);
  const out = await machine.sh(
    "DENO_DIR=/var/tmp/deno NO_COLOR=1 /opt/deno run -A --no-check --no-config /src/tests/programs/systemd_client.ts",
  );
  // deno-lint-ignore no-console -- prints the measured figures
  console.log(out);
  const seen = JSON.parse(out);
  equal(seen.laid, UPSTREAM, "created at boot");
  equal(seen.kubelet, SOCKET, "the kubelet must find the proxy");
  equal(seen.leftPath, 0, "the link must stay while the agent restarts");
  equal(seen.timer, "inactive", "no timer may move the link after the restart");
  equal(seen.after, SOCKET);
  equal(seen.stopped, SOCKET, "until the end of the fallback delay");
  equal(seen.crashing, UPSTREAM, "a crashing agent must not be in the path");
  equal(seen.corrupted, 0);
  ok(seen.brokenByKills <= seen.ends, "at most one call in flight fails per exit of the agent");
});

test("sandbox: allows shell plugins, docker helpers and LoadCredential=", async (machine) => {
  await machine.addSnapshotter();
  await machine.write(
    "/etc/nydus-auth-agent/docker/config.json",
    '{"credHelpers":{"registry.test":"shell"}}',
  );
  await machine.write(
    "/usr/local/bin/docker-credential-shell",
    `#!/bin/sh\nserver=$(cat); printf '{"ServerURL":"%s","Username":"robot","Secret":"helper"}' "$server"\n`,
  );
  await machine.write(
    "/etc/kubernetes/plugins.yaml",
    `apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
  - name: shell-plugin
    matchImages: ["registry.test"]
    defaultCacheDuration: "0s"
    apiVersion: credentialprovider.kubelet.k8s.io/v1
`,
  );
  const response = {
    kind: "CredentialProviderResponse",
    apiVersion: "credentialprovider.kubelet.k8s.io/v1",
    cacheKeyType: "Registry",
    auth: { "registry.test": { username: "robot", password: "plugin" } },
  };
  await machine.write(
    "/opt/plugins/shell-plugin",
    `#!/bin/sh\ncat >/dev/null; echo '${JSON.stringify(response)}'\n`,
  );
  await machine.sh("chmod 0755 /usr/local/bin/docker-credential-shell /opt/plugins/shell-plugin");
  const start = async (text: string) => {
    await machine.write(CONFIG, text);
    await machine.sh("systemctl daemon-reload && systemctl restart nydus-auth-agent");
  };
  const delivered = (password: string) =>
    machine.until(`the password "${password}"`, async () => {
      return await fileCredential(machine) === `robot:${password}`;
    });
  await machine.must("/opt/new/nydus-auth-agent", "install");
  await machine.startSnapshotter();
  await start('[providers.docker]\nconfig = "/etc/nydus-auth-agent/docker/config.json"\n');
  await delivered("helper");
  await start(
    '[providers.kubelet]\nconfig = "/etc/kubernetes/plugins.yaml"\nbin_dir = "/opt/plugins"\n',
  );
  await delivered("plugin");
  await machine.setPassword("loaded");
  await machine.write(
    "/etc/systemd/system/nydus-auth-agent.service.d/load.conf",
    "[Service]\nLoadCredential=config.json:/etc/nydus-auth-agent/docker.json\n" +
      "Environment=DOCKER_CONFIG=%d\n",
  );
  await start("");
  await delivered("loaded");
});

test("limits: open files; a stop after API requests; a restart by the watchdog", async (machine) => {
  await machine.addSnapshotter();
  await machine.write(CONFIG, DOCKER_CONFIG);
  await machine.setPassword("fresh");
  await machine.must("/opt/new/nydus-auth-agent", "install");
  const dropIn = (lines: string) =>
    machine.write(
      "/etc/systemd/system/nydus-auth-agent.service.d/test.conf",
      `[Service]\n${lines}`,
    );
  await dropIn("TimeoutStopSec=5s\n");
  await machine.startSnapshotter();
  await machine.sh("systemctl daemon-reload && systemctl start nydus-auth-agent");
  const limits = await machine.read(`/proc/${await machine.property("MainPID")}/limits`);
  match(limits, /^Max open files +8192 /m);
  for (const words of [["status"], ["renew", "--all"], ["explain", "registry.test/app:1"]]) {
    await machine.run(AGENT, ...words);
  }
  // systemd kills a service that needs longer than TimeoutStopSec=, and its result is "timeout".
  await machine.must("systemctl", "stop", "nydus-auth-agent");
  equal(await machine.property("Result"), "success");

  await dropIn("WatchdogSec=2s\nTimeoutAbortSec=1s\n");
  await machine.sh("systemctl daemon-reload && systemctl start nydus-auth-agent");
  const pid = await machine.property("MainPID");
  await machine.must("kill", "-STOP", pid);
  await machine.until("a restart", async () => {
    const now = await machine.property("MainPID");
    return now !== pid && now !== "0" && await machine.property("ActiveState") === "active";
  });
  equal(await machine.property("NRestarts"), "1");
  match(await machine.must("journalctl", "-u", "nydus-auth-agent"), /Watchdog timeout/);
});
