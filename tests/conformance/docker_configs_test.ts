import { deepEqual, throws } from "node:assert/strict";
import { findAuth, parseDockerConfig } from "../../lib/providers/mod.ts";
import { runVectors } from "./vectors.ts";

interface DockerConfigVector {
  readonly name: string;
  readonly text: string;
  readonly error?: true;
  readonly lookups?: readonly {
    readonly registry: string;
    readonly username: string;
    readonly password: string;
    readonly identityToken: string;
    readonly registryToken: string;
  }[];
}

// Source: docker/cli `cli/config/configfile/file.go` and `cli/config/credentials/file_store.go`.
Deno.test("parseDockerConfig, findAuth: agree with every vector of docker-configs.json", () => {
  runVectors<DockerConfigVector>("docker-configs", ({ text, error, lookups = [] }) => {
    if (error) {
      throws(() => parseDockerConfig(text), { code: "invalid-config" });
      return;
    }
    const config = parseDockerConfig(text);
    for (const { registry, username, password, identityToken, registryToken } of lookups) {
      const auth = findAuth(config, registry)?.auth;
      deepEqual(
        {
          username: auth?.username ?? "",
          password: auth?.password.reveal() ?? "",
          identityToken: auth?.identityToken.reveal() ?? "",
          registryToken: auth?.registryToken.reveal() ?? "",
        },
        { username, password, identityToken, registryToken },
        registry,
      );
    }
  });
});
