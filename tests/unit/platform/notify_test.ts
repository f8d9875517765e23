import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { createNotifier, watchdogIntervalMs } from "../../../lib/platform/notify.ts";
import { replacing } from "../../fakes/runtime.ts";

/** Simulates the service manager with a real datagram socket. */
async function withSupervisor(
  run: (supervisor: {
    readonly folder: string;
    readonly path: string;
    next(): Promise<string>;
  }) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/notify`;
  const socket = Deno.listenDatagram({ transport: "unixpacket", path });
  const next = async () => {
    const [bytes] = await socket.receive();
    return new TextDecoder().decode(bytes);
  };
  try {
    await run({ folder, path, next });
  } finally {
    socket.close();
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("createNotifier: sends every message over a real socket", async () => {
  await withSupervisor(async ({ folder, path, next }) => {
    const warnings: string[] = [];
    using notifier = createNotifier(
      { NOTIFY_SOCKET: path, RUNTIME_DIRECTORY: `${folder}:/other` },
      { warn: (text) => warnings.push(text) },
    );
    await notifier.ready();
    equal(await next(), "READY=1");
    await notifier.ready("3 daemons");
    equal(await next(), "READY=1\nSTATUS=3 daemons");
    await notifier.status("two\nlines");
    equal(await next(), "STATUS=two lines");
    await notifier.watchdog();
    equal(await next(), "WATCHDOG=1");
    await notifier.stopping();
    equal(await next(), "STOPPING=1");
    deepEqual(warnings, []);
  });
});

Deno.test("createNotifier: reloading sends a monotonic time that is not in the past", async () => {
  await withSupervisor(async ({ path, next }) => {
    using notifier = createNotifier({ NOTIFY_SOCKET: path });
    const beforeUs = (Deno.osUptime() - 1) * 1e6;
    await notifier.reloading();
    const fields = /^RELOADING=1\nMONOTONIC_USEC=([0-9]+)$/.exec(await next());
    ok(fields !== null);
    ok(Number(fields[1]) > beforeUs);
  });
});

Deno.test("createNotifier: leaves no socket file in the runtime directory", async () => {
  await withSupervisor(async ({ folder, path, next }) => {
    using notifier = createNotifier({ NOTIFY_SOCKET: path, RUNTIME_DIRECTORY: folder });
    const makeTempDirSync = () => {
      throw new Error("not called");
    };
    await replacing(Deno, { makeTempDirSync }, () => notifier.ready());
    await next();
    const entries = await Array.fromAsync(Deno.readDir(folder));
    deepEqual(entries.map((entry) => entry.name), ["notify"]);
  });
});

Deno.test("createNotifier: closes its socket when it is disposed, and sends nothing afterwards", async () => {
  await withSupervisor(async ({ path }) => {
    const { listenDatagram } = Deno;
    const sockets: Deno.DatagramConn[] = [];
    const recording = ((options: Deno.UnixListenOptions & { transport: "unixpacket" }) => {
      const socket = listenDatagram(options);
      sockets.push(socket);
      return socket;
    }) as typeof Deno.listenDatagram;
    await replacing(Deno, { listenDatagram: recording }, async () => {
      const notifier = createNotifier({ NOTIFY_SOCKET: path });
      await notifier.ready();
      notifier[Symbol.dispose]();
      notifier[Symbol.dispose]();
      await notifier.watchdog();
    });
    equal(sockets.length, 1);
    await rejects(sockets[0]!.receive());
  });
});

Deno.test("createNotifier: does nothing without NOTIFY_SOCKET", async () => {
  const warnings: string[] = [];
  for (const env of [{}, { NOTIFY_SOCKET: "" }, { WATCHDOG_USEC: "1000000" }]) {
    using notifier = createNotifier(env, { warn: (text) => warnings.push(text) });
    equal(notifier.watchdogIntervalMs, undefined);
    await notifier.ready();
    await notifier.watchdog();
  }
  deepEqual(warnings, []);
});

Deno.test("createNotifier: warns once about a missing socket and continues", async () => {
  const warnings: string[] = [];
  using notifier = createNotifier(
    { NOTIFY_SOCKET: "/nonexistent/notify" },
    { warn: (text) => warnings.push(text) },
  );
  await Promise.all([notifier.ready(), notifier.status("x"), notifier.watchdog()]);
  await notifier.stopping();
  equal(warnings.length, 1);
  match(
    warnings[0] ?? "",
    /^failed to notify the service manager at \/nonexistent\/notify: .*without$/,
  );
});

Deno.test("createNotifier: sends again when the service manager is back", async () => {
  await withSupervisor(async ({ folder, path, next }) => {
    const warnings: string[] = [];
    const gone = `${folder}/gone`;
    using notifier = createNotifier(
      { NOTIFY_SOCKET: gone },
      { warn: (text) => warnings.push(text) },
    );
    await notifier.ready();
    equal(warnings.length, 1);
    await Deno.symlink(path, gone);
    await notifier.watchdog();
    equal(await next(), "WATCHDOG=1");
    equal(warnings.length, 1);
  });
});

Deno.test("createNotifier: rejects a relative socket name with one warning", async () => {
  const warnings: string[] = [];
  using notifier = createNotifier(
    { NOTIFY_SOCKET: "relative/notify" },
    { warn: (text) => warnings.push(text) },
  );
  await notifier.ready();
  equal(warnings.length, 1);
  match(warnings[0] ?? "", /neither a path nor an abstract name/);
});

// Some versions of Deno support the abstract namespace and some do not: either the message arrives,
// or there is one warning.
Deno.test("createNotifier: sends to an abstract socket, or warns once", async () => {
  const name = `nydus-auth-agent-test-${crypto.randomUUID()}`;
  let listener: Deno.DatagramConn | undefined;
  try {
    listener = Deno.listenDatagram({ transport: "unixpacket", path: `\0${name}` });
  } catch {
    listener = undefined;
  }
  const warnings: string[] = [];
  using notifier = createNotifier(
    { NOTIFY_SOCKET: `@${name}` },
    { warn: (text) => warnings.push(text) },
  );
  await notifier.ready();
  await notifier.watchdog();
  if (listener === undefined) {
    equal(warnings.length, 1);
    match(warnings[0] ?? "", new RegExp(`@${name}: this build does not support`));
  } else {
    const [bytes] = await listener.receive();
    equal(new TextDecoder().decode(bytes), "READY=1");
    deepEqual(warnings, []);
    listener.close();
  }
});

Deno.test("createNotifier: sends nothing after it was disposed", async () => {
  const warnings: string[] = [];
  const notifier = createNotifier(
    { NOTIFY_SOCKET: "/nonexistent/notify" },
    { warn: (text) => warnings.push(text) },
  );
  notifier[Symbol.dispose]();
  await notifier.ready();
  deepEqual(warnings, []);
});

Deno.test("watchdogIntervalMs: is half of the timeout, for this process only", () => {
  equal(watchdogIntervalMs({ WATCHDOG_USEC: "60000000" }, 7), 30_000);
  equal(watchdogIntervalMs({ WATCHDOG_USEC: "60000000", WATCHDOG_PID: "7" }, 7), 30_000);
  equal(watchdogIntervalMs({ WATCHDOG_USEC: "1" }, 7), 1);
  for (
    const env of [
      {},
      { WATCHDOG_USEC: "" },
      { WATCHDOG_USEC: "0" },
      { WATCHDOG_USEC: "-1" },
      { WATCHDOG_USEC: "1e6" },
      { WATCHDOG_USEC: "99999999999999999999" },
      { WATCHDOG_USEC: "60000000", WATCHDOG_PID: "8" },
      { WATCHDOG_USEC: "60000000", WATCHDOG_PID: "x" },
    ]
  ) equal(watchdogIntervalMs(env, 7), undefined, JSON.stringify(env));
});
