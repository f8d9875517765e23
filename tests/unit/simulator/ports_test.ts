import { equal, throws } from "node:assert/strict";
import { portIsFree, reservePort } from "../../../lib/simulator/ports.ts";

Deno.test("reservePort: no other caller gets the port until it is disposed", () => {
  const reserved = reservePort();
  const { port } = reserved;
  const again = () => Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port });
  throws(again, Deno.errors.AddrInUse);
  Deno.listen({ hostname: "127.0.0.1", port }).close();
  reserved[Symbol.dispose]();
  again().close();
});

Deno.test("portIsFree: waits until a server has closed", async () => {
  using reserved = reservePort();
  const { port } = reserved;
  await portIsFree(port);
  const listener = Deno.listen({ hostname: "127.0.0.1", port });
  let isFree = false;
  const waiting = portIsFree(port).then(() => isFree = true);
  (await listener.accept()).close();
  equal(isFree, false);
  listener.close();
  await waiting;
});
