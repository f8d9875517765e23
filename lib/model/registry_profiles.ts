/** An environment variable that mends a plugin's default. */
export interface PluginRemedy {
  readonly name: string;
  readonly value: string;
  /** What it changes, for people. */
  readonly why: string;
}

/** What a kind of registry and the plugin for it are known to do. */
export interface RegistryProfile {
  readonly name: string;
  /** Its hosts, without port. */
  readonly hosts: RegExp;
  /** Names under which its exec plugin is installed; empty where there is none. */
  readonly plugins: readonly string[];
  /** The scope and the soft clock that the plugin answers by itself, for people. */
  readonly scope?: string;
  readonly clock: string;
  /** A pattern under which the plugin answers an entry without user name and password. */
  readonly anonymousEntry?: string;
  /** Words by which it refuses a credential, also where the status is another than 401. */
  readonly refused: readonly RegExp[];
  /** Words by which it forbids a repository to someone whom it knows. */
  readonly forbidden: readonly RegExp[];
  readonly remedies: readonly PluginRemedy[];
  /** Where all this was read. */
  readonly sources: readonly string[];
}

/** As ECR's own plugin has it (`ecrPattern`), with the public registry and the newer names. */
const ECR_HOST = (() => {
  const suffix = "(?:amazonaws\\.com(?:\\.cn)?|on\\.aws|sc2s\\.sgov\\.gov|c2s\\.ic\\.gov)";
  const own = `\\d{12}\\.dkr[.-]ecr(?:-fips)?\\.[a-z0-9][a-z0-9-_]*\\.${suffix}`;
  return new RegExp(`^(?:${own}|public\\.ecr\\.aws)$`);
})();

/** The registries whose habits count, each with its sources. */
export const REGISTRY_PROFILES: readonly RegistryProfile[] = [
  {
    name: "Amazon ECR",
    hosts: ECR_HOST,
    plugins: ["ecr-credential-provider"],
    scope: "Registry",
    clock: "half of what is left of the token's 12 hours; the token tells its own end",
    refused: [/authorization token has expired/i, /authorization token is invalid/i],
    forbidden: [/is not authorized to perform: ecr/i],
    remedies: [],
    sources: [
      "kubernetes/cloud-provider-aws: cmd/ecr-credential-provider/main.go",
      "github.com/aws/aws-cli/issues/6580",
    ],
  },
  {
    name: "Google Artifact Registry",
    hosts: /^(?:[a-z0-9-]+-docker\.pkg\.dev|(?:[a-z]+\.)?gcr\.io)$/,
    plugins: ["auth-provider-gcp", "gcp-credential-provider"],
    scope: "Image",
    clock: "0, do not cache; the token lives up to an hour and does not tell its end",
    refused: [/unauthenticated requests? (?:do|does) not have permission/i, /^unauthenticated\b/i],
    forbidden: [/permission "artifactregistry\.[^"]+" denied on resource/i],
    remedies: [
      {
        name: "KUBE_SIDECAR_CACHE_TYPE",
        value: "registry",
        why: "by default every image causes an execution of its own",
      },
      {
        name: "KUBE_SIDECAR_CACHE_DURATION",
        value: "4m",
        why: "by default it says that nothing may be cached",
      },
    ],
    sources: [
      "kubernetes/cloud-provider-gcp: cmd/auth-provider-gcp/provider/provider.go",
      "github.com/GoogleCloudPlatform/aactl/issues/233",
      "github.com/googleapis/google-cloud-python/issues/10663",
    ],
  },
  {
    name: "Azure Container Registry",
    hosts: /^[a-z0-9-]+(?:\.[a-z0-9-]+)*\.azurecr\.(?:io|cn|de|us)$/,
    plugins: ["acr-credential-provider"],
    scope: "Registry",
    clock: "a fixed time, whatever is left of the token's 3 hours",
    anonymousEntry: "*.azurecr.*",
    refused: [/authentication required, visit https:\/\/aka\.ms\/acr\/authorization/i],
    forbidden: [/requested access to the resource is denied/i],
    remedies: [],
    sources: [
      "kubernetes-sigs/cloud-provider-azure: pkg/credentialprovider/azure_credentials.go",
      "github.com/MicrosoftDocs/azure-docs/pull/128528",
    ],
  },
  {
    name: "Docker Hub",
    hosts: /^(?:docker\.io|index\.docker\.io|registry-1\.docker\.io|registry\.hub\.docker\.com)$/,
    plugins: [],
    clock: "passwords and access tokens live until they are revoked",
    refused: [/incorrect username or password/i, /personal access token is expired/i],
    forbidden: [/requested access to the resource is denied/i],
    remedies: [],
    sources: ["distribution.github.io/distribution/spec/auth/token/"],
  },
  {
    name: "Harbor",
    hosts: /(?:^|\.)harbor\./,
    plugins: [],
    clock: "robot accounts live as long as their project says",
    refused: [],
    // With 401: its token service gives anyone a token, without the right.
    forbidden: [/unauthorized to access repository: /i],
    remedies: [],
    sources: [
      "goharbor/harbor: src/server/middleware/v2auth/auth.go",
    ],
  },
];

/** The habits of the registry with this host (a port does not count). */
export function profileOfHost(host: string): RegistryProfile | undefined {
  const name = host.replace(/:\d+$/, "").toLowerCase();
  return REGISTRY_PROFILES.find(({ hosts }) => hosts.test(name));
}

/** The habits of an exec plugin, by the name of its program. */
export function profileOfPlugin(name: string): RegistryProfile | undefined {
  const bare = name.replace(/\.exe$/, "");
  return REGISTRY_PROFILES.find(({ plugins }) => plugins.includes(bare));
}

/**
 * What a registry's words mean for a credential: clouds say with 403, and Harbor with 401, what the
 * status alone does not. Whoever passes the words on (a mirror, a pull-through cache) does not
 * matter, so all words count for every host.
 */
export function readRefusal(words: string): "refused" | "forbidden" | undefined {
  const said = (patterns: readonly RegExp[]) => patterns.some((pattern) => pattern.test(words));
  if (REGISTRY_PROFILES.some(({ refused }) => said(refused))) return "refused";
  if (REGISTRY_PROFILES.some(({ forbidden }) => said(forbidden))) return "forbidden";
  return undefined;
}
