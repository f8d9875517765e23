/**
 * Tests the CRI proxy of a running agent with Debian's containerd and docker-registry a gRPC client on
 * Node, and crictl. `.ci/run` installs them; the tests are ignored without them.
 */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { pause } from "../e2e/stage.ts";
import { type CriProxyStage, criProxyStage } from "../e2e/cri_proxy_stage.ts";
import {
  type Called,
  CriClient,
  type CriRequest,
  GRPC_MODULES,
  PASSWORD,
  pushImage,
  startContainerd,
  startRegistry,
  USER,
} from "./containerd_stage.ts";

const MIB = 1024 * 1024;
const AUTH = { username: USER, password: PASSWORD };
/** Sizes of the endurance test; the environment can override them. */
const CALLS = Number(Deno.env.get("NYDUS_AUTH_AGENT_CRI_PROXY_CALLS") ?? "10000");
const KILL_EVERY_MS = 2_000;
const RESTARTS = Number(Deno.env.get("NYDUS_AUTH_AGENT_CRI_PROXY_RESTARTS") ?? "3");

interface Stage extends CriProxyStage {
  readonly host: string;
  readonly small: string;
  readonly large: string;
  readonly direct: CriClient;
  /** Creates a client that connects through the link. */
  client(): CriClient;
  /** Stops containerd, and starts it again after the callback. */
  restart(meanwhile: () => Promise<void>): Promise<void>;
}

const HAS_CRICTL = await new Deno.Command("crictl", { args: ["--version"], stdout: "null" })
  .output()
  .then(({ success }) => success, () => false);

function program(name: string, run: (stage: Stage) => Promise<void>, hasMore = true): void {
  Deno.test({
    name: `CRI proxy with containerd: ${name}`,
    ignore: GRPC_MODULES === undefined || !hasMore,
    async fn() {
      const dir = await Deno.makeTempDir({ prefix: "containerd-" });
      await using stack = new AsyncDisposableStack();
      stack.defer(() => Deno.remove(dir, { recursive: true }));
      const { host, service: registry } = await startRegistry(dir);
      stack.use(registry);
      let containerd = await startContainerd(dir);
      const { socket } = containerd;
      stack.defer(() => containerd.service[Symbol.asyncDispose]());
      const restart = async (meanwhile: () => Promise<void>) => {
        await containerd.service[Symbol.asyncDispose]();
        await meanwhile();
        containerd = await startContainerd(dir);
      };
      const small = await pushImage(host, "team/app");
      const large = await pushImage(host, "team/large", { labelBytes: 16 * MIB });
      const direct = stack.use(new CriClient(socket));
      await criProxyStage(async (stage) => {
        await Deno.symlink(socket, stage.link);
        const client = () => stack.use(new CriClient(stage.link));
        await run({ ...stage, host, small, large, direct, client, restart });
      }, { upstream: socket });
    },
  });
}

const pull = (image: string, auth: object = AUTH): CriRequest => ({
  method: "PullImage",
  request: {
    image: { image },
    auth,
    sandbox_config: { metadata: { name: "pod", uid: "uid-1", namespace: "team" } },
  },
});
const status = (image: string, verbose = false): CriRequest => ({
  method: "ImageStatus",
  request: { image: { image }, verbose },
});

/** Sorts the images of a response: containerd lists them in random order. */
function ordered(called: Called | undefined): Called | undefined {
  const images = called?.answer?.["images"];
  if (!Array.isArray(images)) return called;
  return { answer: { images: images.toSorted((a, b) => a.id < b.id ? -1 : 1) } };
}

program(
  "returns the same responses when called once, 50 times in parallel, and with 16 MiB",
  async (stage) => {
    const { small, large, host, direct, link, upstream } = stage;
    const requests: readonly CriRequest[] = [
      { method: "Version", request: {} },
      pull(small),
      pull(large),
      pull(small, { username: USER, password: "wrong" }),
      pull(`${host}/team/none:v1`),
      { method: "ListImages", request: {} },
      { method: "ListImages", request: { filter: { image: { image: small } } } },
      status(small, true),
      status(`${host}/team/none:v1`),
      status(large, true),
      { ...status(small), padBytes: 16 * MIB },
      { ...pull(small), padBytes: 16 * MIB },
      { method: "RemoveImage", request: { image: { image: `${host}/team/none:v1` } } },
    ];
    for (const image of [small, large]) await direct.answer(pull(image));
    const agent = await stage.start();
    ok(await Deno.readLink(link) !== upstream, "the link must point to the CRI proxy");
    const client = stage.client();
    for (const request of requests) {
      const expected = await direct.execute(request);
      const through = await client.execute(request);
      deepEqual(through.map(ordered), expected.map(ordered), request.method);
      ok(!agent.log.includes("lost"), agent.log);
    }
    const parallel = { ...status(large, true), times: 4 };
    const [expected] = await direct.execute(status(large, true));
    match(JSON.stringify(expected), /"1677\d{4} characters /);
    for (const answer of await client.execute(parallel)) deepEqual(answer, expected);
    for (const request of [requests[0], pull(small), status(small, true), requests[5]]) {
      if (request === undefined) continue;
      const [expected] = await direct.execute(request);
      for (const fresh of [false, true]) {
        const answers = await client.execute({ ...request, times: 50, fresh });
        equal(answers.length, 50);
        for (const answer of answers) {
          deepEqual(
            ordered(answer),
            ordered(expected),
            request.method,
          );
        }
      }
    }
    ok(!agent.log.includes("lost") && !agent.log.includes(PASSWORD), agent.log);
    await agent[Symbol.asyncDispose]();
  },
);

program("uses the credential of a pull when a mount appears later", async (stage) => {
  const { small, node, host, state } = stage;
  const agent = await stage.start();
  const client = stage.client();
  const [refused] = await client.execute(pull(small, { username: USER, password: "wrong" }));
  ok(refused?.details?.includes("401"), JSON.stringify(refused));
  await client.answer(pull(small));
  await agent.until("the state file", async () => {
    const text = await Deno.readTextFile(state).catch(() => "");
    return text.includes("team/app:v1");
  });
  const text = await Deno.readTextFile(state);
  ok(!text.includes("wrong"), "a rejected credential must not be kept");
  ok(text.includes("uid-1"), "the pod must be kept");
  ok(!text.includes(`${host}/team/none`));
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [small], pair: "" });
  await agent.until("the credential of the pull in the mount", async () => {
    const daemon = node.daemons.get("d1");
    const mount = daemon?.instances[0]?.mountId;
    return mount !== undefined && await daemon?.currentAuth(mount) === `${USER}:${PASSWORD}`;
  });
  const { images } = await agent.status();
  equal(images.find(({ image }) => image === small)?.provider, "cri");
  await agent[Symbol.asyncDispose]();
});

program("serves crictl, and uses the credential of its pull", async (stage) => {
  const { small, link, upstream, start, run } = stage;
  const agent = await start();
  ok(await Deno.readLink(link) !== upstream);
  const crictl = async (socket: string, ...args: readonly string[]) => {
    const endpoint = `unix://${socket}`;
    const { code, stdout, stderr } = await new Deno.Command("crictl", {
      args: ["--image-endpoint", endpoint, "--runtime-endpoint", endpoint, ...args],
    }).output();
    return { code, text: new TextDecoder().decode(code === 0 ? stdout : stderr) };
  };
  const wrong = await crictl(link, "pull", "--creds", `${USER}:wrong`, small);
  equal(wrong.code, 1);
  match(wrong.text, /401/);
  const pulled = await crictl(link, "pull", "--creds", `${USER}:${PASSWORD}`, small);
  equal(pulled.code, 0, pulled.text);
  equal((await run("get", small)).code, 0);
  for (const args of [["version"], ["images", "-o", "json"], ["inspecti", small], ["info"]]) {
    const through = await crictl(link, ...args);
    equal(through.code, 0, through.text);
    deepEqual(through, await crictl(upstream, ...args), args.join(" "));
  }
  equal((await crictl(link, "rmi", small)).code, 0);
  await agent.until("the removal", async () => (await run("get", small)).code !== 0);
  await agent[Symbol.asyncDispose]();
}, HAS_CRICTL);

program("fails only calls in flight when the agent is killed repeatedly", async (stage) => {
  const { small, host, direct, link, upstream, kill } = stage;
  await direct.answer(pull(small));
  const none = status(`${host}/team/none:v1`);
  const requests = [status(small), none, status(small, true), { method: "Version", request: {} }];
  const mix = [...Array.from({ length: 10 }, () => requests).flat(), pull(small)];
  const expectations = await Promise.all(mix.map(async (request) => ({
    ...request,
    expected: JSON.stringify(await direct.answer(request)),
  })));
  const workers = 12;
  const work = {
    requests: expectations,
    calls: CALLS,
    workers,
    everyMs: 10,
    callsEach: 40,
    afterFailureMs: 1_000,
  };
  let over = false;
  const enduring = stage.client().endure(work).finally(() => over = true);
  let kills = 0;
  let killedInPath = 0;
  while (!over) {
    const agent = await stage.start({ waitReady: false });
    for (const untilMs = Date.now() + KILL_EVERY_MS; !over && Date.now() < untilMs;) {
      await pause(20);
    }
    if (await Deno.readLink(link) !== upstream) killedInPath++;
    await kill(agent);
    equal(await Deno.readLink(link), upstream);
    kills++;
  }
  const { calls, failed, inRow, wrong, codes } = await enduring;
  const figures =
    `${calls} calls, ${kills} kills (${killedInPath} while the CRI proxy was in the path), ${failed} failed, ` +
    `at most ${inRow} in a row: ${JSON.stringify(codes)}`;
  // deno-lint-ignore no-console -- prints the measured figures
  console.log(figures);
  ok(calls >= CALLS && killedInPath >= Math.max(1, kills / 2), figures);
  equal(wrong, 0, figures);
  ok(failed <= workers * kills, figures);
  ok(inRow <= 1, figures);
});

program(
  "reconnects a client to the proxy when the agent restarts or is killed",
  async (stage) => {
    const { small, direct, start } = stage;
    await direct.answer(pull(small));
    let agent = await start();
    const client = stage.client();
    await client.answer(status(small));
    let longestMs = 0;
    for (let i = 0; i < 2 * RESTARTS; i++) {
      const sinceMs = Date.now();
      agent.signal(i % 2 === 0 ? "SIGTERM" : "SIGKILL");
      await agent.ended();
      await agent[Symbol.asyncDispose]();
      await client.execute(status(small)); // fails, so that the client reconnects
      agent = await start({ waitReady: false });
      await agent.until("a response", async () => {
        const [called] = await client.execute(status(small));
        return called?.answer !== undefined;
      });
      longestMs = Math.max(longestMs, Date.now() - sinceMs);
      await agent.until("the client's connection", async () => {
        return ((await agent.status()).criProxy?.openConnections ?? 0) > 0;
      });
    }
    // deno-lint-ignore no-console -- prints the measured figures
    console.log(`${RESTARTS} restarts and ${RESTARTS} kills, a response within ${longestMs} ms`);
    await agent[Symbol.asyncDispose]();
  },
);

program("removes the credential when the image is removed by a short ID", async (stage) => {
  const { small, start, run } = stage;
  const agent = await start();
  const client = stage.client();
  const { image_ref: id } = await client.answer(pull(small));
  const isKnown = async () => (await run("get", small)).code === 0;
  equal(await isKnown(), true);
  const shortId = String(id).slice("sha256:".length, "sha256:".length + 13);
  await client.answer({ method: "RemoveImage", request: { image: { image: shortId } } });
  await agent.until("the removal of the credential", async () => !await isKnown());
  await agent[Symbol.asyncDispose]();
});

program("completes a pull in flight when SIGTERM arrives", async (stage) => {
  const { large, start } = stage;
  const agent = await start();
  const client = stage.client();
  const pulling = client.answer(pull(large));
  await agent.until("the pull", async () => ((await agent.status()).criProxy?.pulls ?? 0) > 0);
  agent.signal("SIGTERM");
  equal(await agent.ended(), 0);
  match(JSON.stringify(await pulling), /sha256:/);
  await agent[Symbol.asyncDispose]();
});

program(
  "pulls succeed when the agent starts late, crashes at start, or is disabled",
  async (stage) => {
    const { small, host, link, upstream, start, kill, fallBack } = stage;
    const other = await pushImage(host, "team/other");
    await stage.client().answer(pull(small)); // before the agent starts
    const agent = await start();
    ok(await Deno.readLink(link) !== upstream);
    await stage.client().answer(pull(other));
    await kill(agent);
    const broken = await start({ waitReady: false, more: "[providers.cri]\nenabled = 7" });
    equal(await broken.ended(), 2);
    await broken[Symbol.asyncDispose]();
    await fallBack();
    await stage.client().answer(pull(small));
    const disabled = await start({ more: "[providers.cri]\nenabled = false" });
    equal(await Deno.readLink(link), upstream);
    await stage.client().answer(pull(other));
    await kill(disabled);
    await stage.client().answer(pull(small));
  },
);

program(
  "returns UNAVAILABLE when the runtime is stopped, and recovers",
  async (stage) => {
    const { small, restart, link, upstream, state, start } = stage;
    const agent = await start();
    const client = stage.client();
    await client.answer(pull(small));
    const UNAVAILABLE = 14;
    const pullFails = async () => {
      const [called] = await client.execute(pull(small));
      equal(called?.code, UNAVAILABLE, JSON.stringify(called));
    };
    await restart(async () => {
      for (let i = 0; i < 3; i++) await pullFails();
      ok(await Deno.readLink(link) !== upstream, "the CRI proxy must stay in the path");
    });
    await agent.until("a response", async () => {
      const [called] = await client.execute(status(small));
      return called?.answer !== undefined;
    });
    await client.answer(pull(small));
    equal((await agent.status()).criProxy?.lostReadings, 0);
    await agent.until("the state file", () => Deno.stat(state).then(() => true, () => false));
    await agent[Symbol.asyncDispose]();
  },
);
