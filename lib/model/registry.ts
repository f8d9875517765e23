import type { Secret } from "./credential.ts";
import type { CallOptions } from "./ports.ts";

/** The target of a registry probe, with nydusd's connection settings. */
export interface ProbeTarget {
  readonly scheme: "http" | "https";
  /** Host, with the port if there is one. */
  readonly host: string;
  readonly repository: string;
  /** Tag or digest of the manifest to request; without it the list of tags is requested. */
  readonly reference?: string;
  /** Whether to skip certificate verification. */
  readonly skipVerify: boolean;
  /** PEM files with CA certificates that are trusted in addition to the system's. */
  readonly caFiles: readonly string[];
  /** URL of the proxy; may contain a password. */
  readonly proxyUrl?: Secret;
  /** The target that nydusd falls back to if this one is unreachable. */
  readonly fallback?: ProbeTarget;
}

/**
 * Kinds of verdicts of a registry on a credential. `accepted`: it serves the image with it;
 * `anonymous`: it serves the image without a credential; `refused`: the credential is invalid or
 * expired; `forbidden`: the credential is valid, but not for this repository; `not-found`: the
 * credential is valid, and the image does not exist. The others are inconclusive: `unreachable`,
 * `throttled`, and `unknown` for any other response.
 */
export const VERDICT_KINDS = [
  "accepted",
  "anonymous",
  "refused",
  "forbidden",
  "not-found",
  "unreachable",
  "throttled",
  "unknown",
] as const;
/** One of {@linkcode VERDICT_KINDS}. */
export type VerdictKind = (typeof VERDICT_KINDS)[number];

/** A verdict. `detail` contains no credential and is limited in length. */
export type ProbeVerdict =
  | { readonly kind: Exclude<VerdictKind, "throttled">; readonly detail: string }
  | {
    readonly kind: "throttled";
    readonly detail: string;
    /** Wall time before which a retry cannot succeed. */
    readonly retryAtMs: number;
  };

/** An HTTP request to a registry or its token service. Redirects are not followed. */
export interface RegistryHttpRequest {
  readonly method: "GET" | "HEAD" | "POST";
  /** Never contains a secret. */
  readonly url: string;
  /** Names and values; a value may be a credential. */
  readonly headers: readonly (readonly [name: string, value: Secret])[];
  /** Sent unchanged; its content type is in the headers. */
  readonly body?: Secret;
  readonly skipVerify: boolean;
  readonly caFiles: readonly string[];
  readonly proxyUrl?: Secret;
  readonly timeoutMs: number;
  /** The rest of a longer body is ignored. */
  readonly maxBytes: number;
}

/** A response, or why there is none. The body may contain a token. */
export type RegistryHttpResult =
  | {
    readonly kind: "answered";
    readonly status: number;
    /** By lower-case name; repeated headers are joined with `, `. */
    readonly headers: ReadonlyMap<string, string>;
    readonly body: Secret;
  }
  | { readonly kind: "timed-out" }
  | { readonly kind: "unreachable"; readonly detail: string };

/** HTTP client for registries. Rejects only if `signal` aborts. */
export interface RegistryHttp {
  request(request: RegistryHttpRequest, options?: CallOptions): Promise<RegistryHttpResult>;
}

/** An environment variable that improves a plugin's default behavior. */
interface PluginRemedy {
  readonly name: string;
  readonly value: string;
  /** What is wrong with the default, for display. */
  readonly why: string;
}

/** Known behavior of a kind of registry and of its exec plugin. */
export interface RegistryProfile {
  readonly name: string;
  /** Its hosts, without port. */
  readonly hosts: RegExp;
  /** A host that {@linkcode RegistryProfile.hosts} matches, with the usual number of labels. */
  readonly example: string;
  /** File names of its exec plugin; empty if there is none. */
  readonly plugins: readonly string[];
  /** Cache duration of the plugin and lifetime of the token, for display. */
  readonly lifetime: string;
  /** Messages of responses that refuse the credential, also with a status other than 401. */
  readonly refused: readonly RegExp[];
  /** Messages of responses that deny access to the repository with a valid credential. */
  readonly forbidden: readonly RegExp[];
  readonly remedies: readonly PluginRemedy[];
  /** The annotation or variable without which the plugin ignores a service account token. */
  readonly tokenRole?: { readonly annotation: string; readonly variable: string };
}

/** `ecrPrivateHostPattern` and `ecrPublicHosts` of ECR's plugin. */
const ECR_HOST = (() => {
  const domains = [
    "amazonaws\\.(?:com(?:\\.cn)?|eu)",
    "on\\.(?:aws|amazonwebservices\\.com\\.cn)",
    "sc2s\\.sgov\\.gov",
    "c2s\\.ic\\.gov",
    "cloud\\.adc-e\\.uk",
    "csp\\.hci\\.ic\\.gov",
  ];
  const own = `\\d{12}\\.dkr[.-]ecr(?:-fips)?\\.[a-z0-9][a-z0-9-_]*\\.(?:${domains.join("|")})`;
  return new RegExp(`^(?:${own}|public\\.ecr\\.aws|ecr-public\\.aws\\.com)$`);
})();

/** The known registries, with the sources of their behavior, last reviewed on 2026-11-30. */
export const REGISTRY_PROFILES: readonly RegistryProfile[] = [
  {
    name: "Amazon ECR",
    hosts: ECR_HOST,
    example: "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
    plugins: ["ecr-credential-provider"],
    lifetime: "cached for half of the remaining lifetime of the token, which is valid for 12 hours",
    refused: [/authorization token has expired/i, /authorization token is invalid/i],
    forbidden: [/is not authorized to perform: ecr/i],
    remedies: [],
    tokenRole: { annotation: "eks.amazonaws.com/ecr-role-arn", variable: "AWS_ECR_ROLE_ARN" },
    // kubernetes/cloud-provider-aws (63ec440): cmd/ecr-credential-provider/main.go
    // github.com/aws/aws-cli/issues/6580
  },
  {
    name: "Google Artifact Registry",
    hosts: /^(?:[a-z0-9-]+-docker\.pkg\.dev|(?:[a-z]+\.)?gcr\.io)$/,
    example: "europe-west4-docker.pkg.dev",
    plugins: ["auth-provider-gcp", "gcp-credential-provider"],
    lifetime:
      "not cached; the token is valid for up to an hour, with GKE's workload identity for " +
      "about 15 minutes, and contains no expiry",
    refused: [/unauthenticated requests? (?:do|does) not have permission/i, /^unauthenticated\b/i],
    forbidden: [/permission "artifactregistry\.[^"]+" denied on resource/i],
    remedies: [
      {
        name: "KUBE_SIDECAR_CACHE_TYPE",
        value: "registry",
        why: "by default the plugin is executed for every image",
      },
      {
        name: "KUBE_SIDECAR_CACHE_DURATION",
        value: "4m",
        why: "by default the response must not be cached",
      },
    ],
    // kubernetes/cloud-provider-gcp (4e24531): cmd/auth-provider-gcp/provider/provider.go
    // github.com/GoogleCloudPlatform/aactl/issues/233
    // github.com/googleapis/google-cloud-python/issues/10663
  },
  {
    name: "Azure Container Registry",
    hosts: /^[a-z0-9-]+(?:\.[a-z0-9-]+)*\.azurecr\.(?:io|cn|de|us)$/,
    example: "example.azurecr.io",
    plugins: ["acr-credential-provider"],
    lifetime: "cached for 60 minutes; the token is valid for 3 hours",
    refused: [/authentication required, visit https:\/\/aka\.ms\/acr\/authorization/i],
    forbidden: [/requested access to the resource is denied/i],
    remedies: [],
    // kubernetes-sigs/cloud-provider-azure (7b31c76): pkg/credentialprovider/azure_credentials.go
    // github.com/MicrosoftDocs/azure-docs/pull/128528
  },
  {
    name: "Docker Hub",
    hosts: /^(?:docker\.io|index\.docker\.io|registry-1\.docker\.io|registry\.hub\.docker\.com)$/,
    example: "docker.io",
    plugins: [],
    lifetime: "passwords and access tokens are valid until they are revoked",
    refused: [/incorrect username or password/i, /personal access token is expired/i],
    forbidden: [/requested access to the resource is denied/i],
    remedies: [],
    // distribution.github.io/distribution/spec/auth/token/
  },
  {
    name: "Harbor",
    hosts: /(?:^|\.)harbor\./,
    example: "harbor.example.com",
    // They return the service account token as the password of the user `jwt`.
    plugins: ["credential-provider-harbor", "harbor-credential-provider"],
    lifetime: "robot accounts expire as configured in their project",
    refused: [],
    // With status 401: the token service issues a token to any client, without the access right.
    forbidden: [/unauthorized to access repository: /i],
    remedies: [],
    // goharbor/harbor: src/server/middleware/v2auth/auth.go
    // github.com/container-registry/harbor-workload-identity-federation
    // github.com/siderolabs/extensions/pull/1087
  },
];

/** Returns the profile of a registry host; a port is ignored. */
export function profileOfHost(host: string): RegistryProfile | undefined {
  const name = host.replace(/:\d+$/, "").toLowerCase();
  return REGISTRY_PROFILES.find(({ hosts }) => hosts.test(name));
}

/** Returns the profile of an exec plugin by the name of its executable. */
export function profileOfPlugin(name: string): RegistryProfile | undefined {
  const bare = name.replace(/\.exe$/, "");
  return REGISTRY_PROFILES.find(({ plugins }) => plugins.includes(bare));
}

/**
 * Classifies the error message of a registry. The status alone is ambiguous: clouds also use 403 for
 * an invalid credential, Harbor also 401 for a missing access right. Mirrors and pull-through caches
 * forward such messages, so the patterns of all registries apply to every host.
 */
export function readRefusal(message: string): "refused" | "forbidden" | undefined {
  const matches = (patterns: readonly RegExp[]) => patterns.some((one) => one.test(message));
  if (REGISTRY_PROFILES.some(({ refused }) => matches(refused))) return "refused";
  if (REGISTRY_PROFILES.some(({ forbidden }) => matches(forbidden))) return "forbidden";
  return undefined;
}
