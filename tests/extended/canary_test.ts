import { HAS_OPENSSL } from "../fakes/certificates.ts";
import { disclosesNothing } from "../e2e/canary_stage.ts";

Deno.test({
  name: "canary: the agent discloses no secret of any provider, with json logs",
  ignore: !HAS_OPENSSL, // no API server without certificates
  timeout: 600_000,
  fn: () => disclosesNothing("json"),
});
