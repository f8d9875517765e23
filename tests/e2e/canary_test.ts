import { HAS_OPENSSL } from "../fakes/certificates.ts";
import { disclosesNothing } from "./canary_stage.ts";

Deno.test({
  name: "canary: the agent discloses no secret of any provider, with text logs",
  ignore: !HAS_OPENSSL, // no API server without certificates
  timeout: 600_000,
  fn: () => disclosesNothing("text"),
});
