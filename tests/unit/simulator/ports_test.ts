import { throws } from "node:assert/strict";
import { reservePort } from "../../../lib/simulator/ports.ts";

Deno.test("reservePort: no other caller gets the port until it is disposed", () => {
  const reserved = reservePort();
  const { port } = reserved;
  const again = () => Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port });
  throws(again, Deno.errors.AddrInUse);
  Deno.listen({ hostname: "127.0.0.1", port }).close();
  reserved[Symbol.dispose]();
  again().close();
});
