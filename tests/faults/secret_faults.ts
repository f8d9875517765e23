import { join } from "@std/path";
import { SimKubeApi } from "../../lib/simulator/kube_api.ts";
import { certificates, HAS_OPENSSL } from "../fakes/certificates.ts";
import {
  kubesecret,
  putPod,
  putSecret,
  putSecretEntries,
  TOKEN,
  USER,
  writeKubeconfig,
} from "../e2e/kube_stage.ts";
import { type Fault, fault } from "./fault.ts";

const HOSTILE_KEYS = 300;

/**
 * Returns keys of one host that differ only in redundant escapes. They are more specific than the
 * host alone, so the agent compares them first.
 */
function hostileKeys(host: string, path: string): readonly string[] {
  return Array.from({ length: HOSTILE_KEYS }, (_, i) => {
    const escaped = i % 2 === 0 ? path : `%${path.charCodeAt(0).toString(16)}${path.slice(1)}`;
    return `${host}/${escaped}?${i}`;
  });
}

/** Faults that tenants can cause through pull secrets. */
export const SECRET_FAULTS: readonly Fault[] = [
  fault("a tenant's pull secret has 300 keys for another's images", 0, async (stage) => {
    if (!HAS_OPENSSL) return undefined;
    const { node, agent } = stage;
    const { host } = node.passwordRegistry;
    const { cert, key } = await certificates();
    const api = await SimKubeApi.start({ cert, key });
    api.tokens.set(TOKEN, USER);
    const rotate = () => {
      stage.rotatePassword();
      const [, password = ""] = node.newestPair(host).split(":");
      putSecret(api, "pull", host, password, "tenant");
    };
    const hostile = ["c", "d"].flatMap((path) => hostileKeys(host, path));
    putSecretEntries(api, "pull", hostile.map((key, i) => [key, `wrong${i}`]), "hostile");
    for (const namespace of ["hostile", "tenant"]) {
      putPod(api, "app", { secrets: ["pull"], namespace });
    }
    rotate();
    // From here on the secrets are the only provider of the password.
    const path = join(node.dir, "agent.toml");
    const good = await Deno.readTextFile(path);
    const withoutDocker = good.replace("[providers.docker]", "[providers.docker]\nenabled = false");
    const secrets = kubesecret(await writeKubeconfig(node.dir, api));
    await Deno.writeTextFile(path, `${withoutDocker}\n${secrets}\n`);
    agent.signal("SIGHUP");
    for (let i = 0; i < 3; i++) {
      await agent.until("the tenant's credential in every mount", () => node.allNewest());
      rotate();
    }
    await agent.until("the tenant's credential in every mount", () => node.allNewest());
    return async () => {
      await Deno.writeTextFile(path, good);
      agent.signal("SIGHUP");
      await agent.until("the end of all watches", () => api.watchCount === 0);
      await api.down();
    };
  }, { keepsPassword: true }),
];
