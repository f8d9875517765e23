/**
 * Debian's containerd and docker-registry, and a gRPC client on Node, through the CRI proxy of a running
 * agent. `.ci/run` installs what it takes; without it the tests are skipped.
 */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { pause } from "../e2e/stage.ts";
import { type CriProxyStage, criProxyStage } from "../e2e/cri_proxy_stage.ts";
import {
  type Called,
  CriClient,
  GRPC_MODULES,
  PASSWORD,
  pushImage,
  type RenewalRequest,
  startContainerd,
  startRegistry,
  USER,
} from "./containerd_stage.ts";

const MIB = 1024 * 1024;
const AUTH = { username: USER, password: PASSWORD };
/** Sizes of the endurance test, which the environment can change. */
const CALLS = Number(Deno.env.get("NYDUS_AUTH_AGENT_CRI_PROXY_CALLS") ?? "10000");
const KILL_EVERY_MS = 2_000;
const RESTARTS = Number(Deno.env.get("NYDUS_AUTH_AGENT_CRI_PROXY_RESTARTS") ?? "3");

interface Stage extends CriProxyStage {
  readonly host: string;
  readonly small: string;
  readonly large: string;
  readonly direct: CriClient;
  /** A client of the link. */
  client(): CriClient;
  /** Ends containerd, and starts it anew after what is to happen in between. */
  restart(meanwhile: () => Promise<void>): Promise<void>;
}

function program(name: string, run: (stage: Stage) => Promise<void>): void {
  Deno.test({
    name: `containerd: ${name}`,
    ignore: GRPC_MODULES === undefined,
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

const pull = (image: string, auth: object = AUTH): RenewalRequest => ({
  method: "PullImage",
  request: {
    image: { image },
    auth,
    sandbox_config: { metadata: { name: "pod", uid: "uid-1", namespace: "team" } },
  },
});
const status = (image: string, verbose = false): RenewalRequest => ({
  method: "ImageStatus",
  request: { image: { image }, verbose },
});

/** The same answer in one order: containerd lists images as a Go map gives them. */
function ordered(called: Called | undefined): Called | undefined {
  const images = called?.answer?.["images"];
  if (!Array.isArray(images)) return called;
  return { answer: { images: images.toSorted((a, b) => a.id < b.id ? -1 : 1) } };
}

program(
  "the answers are those without the CRI proxy, alone, 50 at once, and of 16 MiB",
  async (stage) => {
    const { small, large, host, direct, link, upstream } = stage;
    const questions: readonly RenewalRequest[] = [
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
    ok(await Deno.readLink(link) !== upstream, "the link leads to the CRI proxy");
    const client = stage.client();
    for (const question of questions) {
      const expected = await direct.ask(question);
      const through = await client.ask(question);
      deepEqual(through.map(ordered), expected.map(ordered), question.method);
      ok(!agent.log.includes("lost"), agent.log);
    }
    const most = { ...status(large, true), times: 4 };
    const [expected] = await direct.ask(status(large, true));
    match(JSON.stringify(expected), /"1677\d{4} characters /);
    for (const answer of await client.ask(most)) deepEqual(answer, expected);
    for (const question of [questions[0], pull(small), status(small, true), questions[5]]) {
      if (question === undefined) continue;
      const [expected] = await direct.ask(question);
      for (const fresh of [false, true]) {
        const answers = await client.ask({ ...question, times: 50, fresh });
        equal(answers.length, 50);
        for (const answer of answers) {
          deepEqual(
            ordered(answer),
            ordered(expected),
            question.method,
          );
        }
      }
    }
    ok(!agent.log.includes("lost") && !agent.log.includes(PASSWORD), agent.log);
    await agent[Symbol.asyncDispose]();
  },
);

program("what a pull brought is found for a mount that comes later", async (stage) => {
  const { small, node, host, state } = stage;
  const agent = await stage.start();
  const client = stage.client();
  const [refused] = await client.ask(pull(small, { username: USER, password: "wrong" }));
  ok(refused?.details?.includes("401"), JSON.stringify(refused));
  await client.answer(pull(small));
  await agent.until("the state file", async () => {
    const text = await Deno.readTextFile(state).catch(() => "");
    return text.includes("team/app:v1");
  });
  const text = await Deno.readTextFile(state);
  ok(!text.includes("wrong"), "what the registry refused is not kept");
  ok(text.includes("uid-1"), "the pod is kept");
  ok(!text.includes(`${host}/team/none`));
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [small], pair: "" });
  await agent.until("its credential in the mount", async () => {
    const daemon = node.daemons.get("d1");
    const mount = daemon?.instances[0]?.mountId;
    return mount !== undefined && await daemon?.currentAuth(mount) === `${USER}:${PASSWORD}`;
  });
  const { images } = await agent.status();
  equal(images.find(({ image }) => image === small)?.provider, "cri");
  await agent[Symbol.asyncDispose]();
});

program("calls fail only in flight while the agent is killed again and again", async (stage) => {
  const { small, host, direct, link, upstream, kill } = stage;
  await direct.answer(pull(small));
  const none = status(`${host}/team/none:v1`);
  const asked = [status(small), none, status(small, true), { method: "Version", request: {} }];
  const often = [...Array.from({ length: 10 }, () => asked).flat(), pull(small)];
  const questions = await Promise.all(often.map(async (question) => ({
    ...question,
    expected: JSON.stringify(await direct.answer(question)),
  })));
  const workers = 12;
  const work = {
    questions,
    calls: CALLS,
    workers,
    everyMs: 10,
    callsEach: 40,
    afterFailureMs: 1_000,
  };
  let over = false;
  const enduring = stage.client().endure(work).finally(() => over = true);
  let kills = 0;
  let tapped = 0;
  while (!over) {
    const agent = await stage.start({ waitReady: false });
    for (const untilMs = Date.now() + KILL_EVERY_MS; !over && Date.now() < untilMs;) {
      await pause(20);
    }
    if (await Deno.readLink(link) !== upstream) tapped++;
    await kill(agent);
    equal(await Deno.readLink(link), upstream);
    kills++;
  }
  const { calls, failed, inRow, wrong, codes } = await enduring;
  const told =
    `${calls} calls, ${kills} kills (${tapped} of a CRI proxy in the path), ${failed} failed, ` +
    `at most ${inRow} in a row: ${JSON.stringify(codes)}`;
  // deno-lint-ignore no-console -- the figures are the point
  console.log(told);
  ok(calls >= CALLS && tapped >= Math.max(1, kills / 2), told);
  equal(wrong, 0, told);
  ok(failed <= workers * kills, told);
  ok(inRow <= 1, told);
});

program(
  "a client that keeps its connection is back on the proxy after restarts and kills",
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
      await client.ask(status(small)); // fails, and lets the client connect again
      agent = await start({ waitReady: false });
      await agent.until("an answer", async () => {
        const [called] = await client.ask(status(small));
        return called?.answer !== undefined;
      });
      longestMs = Math.max(longestMs, Date.now() - sinceMs);
      await agent.until("the client", async () => {
        return ((await agent.status()).criProxy?.openConnections ?? 0) > 0;
      });
    }
    // deno-lint-ignore no-console -- the figures are the point
    console.log(`${RESTARTS} restarts and ${RESTARTS} kills, an answer within ${longestMs} ms`);
    await agent[Symbol.asyncDispose]();
  },
);

program("an image that is removed by a short ID takes its credential along", async (stage) => {
  const { small, start, run } = stage;
  const agent = await start();
  const client = stage.client();
  const { image_ref: id } = await client.answer(pull(small));
  const isKnown = async () => (await run("get", small)).code === 0;
  equal(await isKnown(), true);
  const shortId = String(id).slice("sha256:".length, "sha256:".length + 13);
  await client.answer({ method: "RemoveImage", request: { image: { image: shortId } } });
  await agent.until("the end of the credential", async () => !await isKnown());
  await agent[Symbol.asyncDispose]();
});

program("SIGTERM lets a pull complete that is in flight", async (stage) => {
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
  "pulls work with an agent that is late, crashes at start, or is disabled",
  async (stage) => {
    const { small, host, link, upstream, start, kill, fallBack } = stage;
    const other = await pushImage(host, "team/other");
    await stage.client().answer(pull(small)); // nobody has started yet
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
  "a runtime that is away is away through the CRI proxy too, and comes back",
  async (stage) => {
    const { small, restart, link, upstream, state, start } = stage;
    const agent = await start();
    const client = stage.client();
    await client.answer(pull(small));
    const UNAVAILABLE = 14;
    const fails = async () => {
      const [called] = await client.ask(pull(small));
      equal(called?.code, UNAVAILABLE, JSON.stringify(called));
    };
    await restart(async () => {
      for (let i = 0; i < 3; i++) await fails();
      ok(await Deno.readLink(link) !== upstream, "the CRI proxy stays where it is");
    });
    await agent.until("an answer", async () => {
      const [called] = await client.ask(status(small));
      return called?.answer !== undefined;
    });
    await client.answer(pull(small));
    equal((await agent.status()).criProxy?.lostReadings, 0);
    await agent.until("what was seen", () => Deno.stat(state).then(() => true, () => false));
    await agent[Symbol.asyncDispose]();
  },
);
