// A CRI client for Node with grpc-js, independent of the agent's code. Each line of standard input is
// a task in JSON; each line of standard output is a result, in the order of completion.
//
//   node cri_client.mjs <folder with node_modules> <cri.proto> <socket>
import { createHash } from "node:crypto";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";

const [modules, proto, socket] = process.argv.slice(2);
const require = createRequire(join(modules, "client.cjs"));
const grpc = require("@grpc/grpc-js");
const loaded = require("@grpc/proto-loader").loadSync(proto, { keepCase: true, longs: String });
const { RuntimeService, ImageService } = grpc.loadPackageDefinition(loaded).runtime.v1;

const UNBOUNDED = -1;
/** The kubelet's options, except for the sizes: its reconnect backoff is 100 ms to 3 s. */
const OPTIONS = {
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 3_000,
  "grpc.max_receive_message_length": UNBOUNDED,
  "grpc.max_send_message_length": UNBOUNDED,
  // A separate connection for each client, so that a new client resolves the link again.
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

const shared = connect();

/** Replaces long texts by their length and digest. */
function shortened(_key, value) {
  if (typeof value !== "string" || value.length < 65_536) return value;
  return `${value.length} characters ${createHash("sha256").update(value).digest("hex")}`;
}

/** Executes a call `times` in parallel, over the shared connection or a new one. */
async function execute({ method, request, times = 1, padBytes = 0, fresh = false }) {
  const copy = structuredClone(request);
  if (padBytes > 0) copy.image.annotations = { pad: "p".repeat(padBytes) };
  const client = fresh ? connect() : shared;
  const results = await Promise.all(
    Array.from({ length: times }, () => client.call(method, copy)),
  );
  if (fresh) client.close();
  return results;
}

/**
 * Executes calls with several workers, each with its own connection, and checks every response. A
 * worker reconnects after `callsEach` calls, so that it resolves the link again. After a failure it
 * waits before its next call, but much less than a kubelet.
 */
async function endure({ requests, calls, workers, everyMs, callsEach, afterFailureMs }) {
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
      const { method, request, expected } = requests[counts.calls++ % requests.length];
      const { answer, code, details } = await client.call(method, request);
      if (answer === undefined) {
        counts.failed++;
        const kind = `${code} ${details.replace(/ \(.*| \/\S+|\. Resolution note.*/g, "")}`;
        codes[kind] = (codes[kind] ?? 0) + 1;
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
  const result = task === "endure" ? endure(rest) : execute(rest);
  result.then((value) => process.stdout.write(`${JSON.stringify({ id, value }, shortened)}\n`));
}
shared.close();
