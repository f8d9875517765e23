import {
  type Candidate,
  type CredentialProvider,
  type ProviderName,
  Secret,
} from "../../lib/model/mod.ts";

/** Creates a provider that returns these `user:password` pairs for every image. */
export function givenProvider(
  name: ProviderName,
  pairs: readonly string[],
  more: Partial<Candidate> = {},
): CredentialProvider {
  const [first, ...rest] = pairs.map((pair): Candidate => {
    const [username = "", password = ""] = pair.split(":");
    const credential = { kind: "basic", username, password: new Secret(password) } as const;
    const origin = `${name} ${username}`;
    return { credential, origin, fetchedAtMs: 0, watched: true, ...more };
  });
  return {
    name,
    renewable: true,
    provide: () =>
      Promise.resolve(
        first === undefined
          ? { kind: "none", reason: "no-entry-for-registry", notes: [] }
          : { kind: "found", reason: "found", candidates: [first, ...rest], notes: [] },
      ),
  };
}
