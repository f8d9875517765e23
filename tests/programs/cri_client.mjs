// A CRI client for Node: grpc-js, which no agent code touches. Every line of standard input is a
// task in JSON, every line of standard output its result, in the order in which they end.
//
//   node cri_client.mjs <folder with node_modules> <cri.proto> <socket>
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";

const [modules, proto, socket] = process.argv.slice(2);
const require = createRequire(join(modules, "client.cjs"));
const grpc = require("@grpc/grpc-js");
const loaded = require("@grpc/proto-loader").loadSync(proto, { keepCase: true, longs: String });
const { RuntimeService, ImageService } = grpc.loadPackageDefinition(loaded).runtime.v1;

const UNBOUNDED = -1;
/** What the kubelet sets, but for the sizes: its reconnects wait 100 ms at first, 3 s at most. */
const OPTIONS = {
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 3_000,
  "grpc.max_receive_message_length": UNBOUNDED,
  "grpc.max_send_message_length": UNBOUNDED,
  // A connection of its own for each client, so that a new one follows the link anew.
  "grpc.use_local_subchannel_pool": 1,
};

function connect() {
  const credentials = grpc.credentials.createInsecure();
  const make = (Service) => new Service(`unix:${socket}`, credentials, OPTIONS);
  const services = [make(RuntimeService), make(ImageService)];
  const call = (method, request) => {
    const service = services.find((one) => typeof one[method] === "function");
    return new Promise((resolve) => {
      const deadline = new Date(Date.now() + 60_000);
      service[method](request, { deadline }, (error, answer) => {
        resolve(error ? { code: error.code, details: error.details } : { answer });
      });
    });
  };
  return { call, close: () => services.forEach((one) => one.close()) };
}

const kept = connect();

/** One call, or `times` of them side by side, over the kept connection or one of their own. */
async function ask({ method, request, times = 1, padBytes = 0, fresh = false }) {
  const asked = structuredClone(request);
  if (padBytes > 0) asked.image.annotations = { pad: "p".repeat(padBytes) };
  const client = fresh ? connect() : kept;
  const results = await Promise.all(
    Array.from({ length: times }, () => client.call(method, asked)),
  );
  if (fresh) client.close();
  return results;
}

/**
 * Calls one after another by several workers, each with its connection, and judges every answer.
 * Now and then a worker connects anew, so that it follows the link again. After a failure it waits
 * before its next call, which is still far sooner than a kubelet.
 */
async function endure({ questions, calls, workers, everyMs, callsEach, afterFailureMs }) {
  const counts = { calls: 0, failed: 0, inRow: 0, wrong: 0 };
  const codes = {};
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const work = async () => {
    let client = connect();
    for (let failures = 0, done = 0; counts.calls < calls;) {
      if (failures === 0 && ++done % callsEach === 0) {
        client.close();
        client = connect();
      }
      const { method, request, expected } = questions[counts.calls++ % questions.length];
      const { answer, code, details } = await client.call(method, request);
      if (answer === undefined) {
        counts.failed++;
        codes[`${code} ${details}`] = (codes[`${code} ${details}`] ?? 0) + 1;
        counts.inRow = Math.max(counts.inRow, ++failures);
        await pause(afterFailureMs);
        continue;
      }
      failures = 0;
      if (JSON.stringify(answer) !== expected) counts.wrong++;
      if (everyMs > 0) await pause(everyMs);
    }
    client.close();
  };
  await Promise.all(Array.from({ length: workers }, () => work()));
  return { ...counts, codes };
}

for await (const line of createInterface({ input: process.stdin })) {
  const { id, task, ...rest } = JSON.parse(line);
  const result = task === "endure" ? endure(rest) : ask(rest);
  result.then((value) => process.stdout.write(`${JSON.stringify({ id, value })}\n`));
}
kept.close();
