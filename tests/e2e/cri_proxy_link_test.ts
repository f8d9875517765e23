/** The target of the CRI link while the proxy is not available, disabled, or not started yet. */
import { equal, match } from "node:assert/strict";
import { AgentProcess } from "./stage.ts";
import { callOnce, criProxyStage, echoOn } from "./cri_proxy_stage.ts";

Deno.test("CRI proxy: creates a removed socket again, and retries one that it failed to bind", async () => {
  await criProxyStage(async ({ dir, link, upstream, criProxy, start, kill }) => {
    const listener = echoOn(upstream);
    const socket = `${dir}/cri.sock`;
    const agent = await start();
    await Deno.remove(socket);
    await agent.until("the socket", () => Deno.stat(socket).then(() => true, () => false));
    await agent.until("the link", async () => await Deno.readLink(link) === socket);
    await callOnce(link);
    match(agent.log, /cri\.sock was removed; creating it again/);
    await kill(agent);
    const late = await start({ more: criProxy.replace(socket, `${dir}/later/cri.sock`) });
    equal((await late.status()).criProxy?.state, "not-serving");
    await callOnce(link);
    await Deno.mkdir(`${dir}/later`);
    await late.until(
      "the CRI proxy",
      async () => (await late.status()).criProxy?.state === "in-path",
    );
    await callOnce(link);
    await kill(late);
    listener.close();
  });
});

Deno.test("CRI proxy: an agent that fails to start does not change the link", async () => {
  await criProxyStage(async ({ node, link, upstream, criProxy }) => {
    await Deno.symlink(upstream, link);
    const { ino } = await Deno.lstat(link);
    const taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const env = { NYDUS_AUTH_AGENT_SERVER_ADDRESS: `127.0.0.1:${taken.addr.port}` };
    const options = { more: criProxy, env };
    await using agent = await AgentProcess.start(node, options, { waitReady: false });
    equal(await agent.ended(), 1);
    match(agent.log, /the port is in use/);
    equal((await Deno.lstat(link)).ino, ino, "the link was replaced");
    taken.close();
  });
});

Deno.test("CRI proxy: when disabled, leaves no link to a socket without a listener", async () => {
  await criProxyStage(async ({ dir, link, upstream, start, kill }) => {
    const listener = echoOn(upstream);
    await Deno.symlink(`${dir}/cri.sock`, link); // of an agent that was killed without its unit
    const agent = await start({
      bare: true,
      more: `[providers.cri]\nenabled = false\nsocket = "${dir}/cri.sock"\nlink = "${link}"\n` +
        `image_service = "${upstream}"`,
    });
    equal(await Deno.readLink(link), upstream);
    equal((await agent.status()).criProxy, undefined);
    await callOnce(link);
    await kill(agent);
    listener.close();
  });
});

const TMPFILES = "/usr/bin/systemd-tmpfiles";

Deno.test({
  name: "CRI proxy: tmpfiles creates the link to the runtime at boot, and keeps an existing one",
  ignore: Deno.uid() !== 0 || !await Deno.stat(TMPFILES).then(() => true, () => false),
  async fn() {
    const root = await Deno.makeTempDir({ prefix: "boot-" });
    const conf = new URL("../../lib/assets/nydus-auth-agent.tmpfiles.conf", import.meta.url);
    const boot = () =>
      new Deno.Command(TMPFILES, { args: ["--create", `--root=${root}`, conf.pathname] }).output();
    await Deno.mkdir(`${root}/etc`);
    await Deno.writeTextFile(`${root}/etc/passwd`, "root:x:0:0::/root:/bin/sh\n");
    await Deno.writeTextFile(`${root}/etc/group`, "root:x:0:\n");
    const folder = `${root}/run/nydus-auth-agent-cri`;
    equal((await boot()).code, 0);
    equal(await Deno.readLink(`${folder}/image.sock`), "/run/containerd/containerd.sock");
    equal(((await Deno.stat(folder)).mode ?? 0) & 0o777, 0o700);
    await Deno.remove(`${folder}/image.sock`);
    await Deno.symlink("/of/a/running/agent", `${folder}/image.sock`);
    equal((await boot()).code, 0);
    equal(await Deno.readLink(`${folder}/image.sock`), "/of/a/running/agent");
    await Deno.remove(root, { recursive: true });
  },
});
