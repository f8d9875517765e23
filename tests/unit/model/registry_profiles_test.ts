import { equal } from "node:assert/strict";
import {
  profileOfHost,
  profileOfPlugin,
  readRefusal,
  REGISTRY_PROFILES,
} from "../../../lib/model/registry.ts";

Deno.test("profileOfHost: matches the clouds' hosts, but no similar ones", () => {
  const known: Record<string, string> = {
    "123456789012.dkr.ecr.eu-west-1.amazonaws.com": "Amazon ECR",
    "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com:443": "Amazon ECR",
    "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn": "Amazon ECR",
    "123456789012.dkr-ecr.eu-west-1.on.aws": "Amazon ECR",
    "123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu": "Amazon ECR",
    "123456789012.dkr-ecr-fips.us-east-1.on.aws": "Amazon ECR",
    "123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn": "Amazon ECR",
    "123456789012.dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk": "Amazon ECR",
    "123456789012.dkr.ecr.us-isof-east-1.csp.hci.ic.gov": "Amazon ECR",
    "public.ecr.aws": "Amazon ECR",
    "ecr-public.aws.com": "Amazon ECR",
    "europe-west4-docker.pkg.dev": "Google Artifact Registry",
    "eu.gcr.io": "Google Artifact Registry",
    "gcr.io": "Google Artifact Registry",
    "example.azurecr.io": "Azure Container Registry",
    "docker.io": "Docker Hub",
    "registry-1.docker.io": "Docker Hub",
    "harbor.example.com:8443": "Harbor",
  };
  for (const [host, name] of Object.entries(known)) equal(profileOfHost(host)?.name, name, host);
  for (
    const host of [
      "registry.example.com",
      "123.dkr.ecr.eu-west-1.amazonaws.com",
      "123456789012.dkr.ecr.eu-west-1.amazonaws.com.example.com",
      "evil-gcr.io.example.com",
      "azurecr.io",
      "docker.io.example.com",
    ]
  ) equal(profileOfHost(host), undefined, host);
});

Deno.test("profileOfPlugin: matches the name of the executable", () => {
  equal(profileOfPlugin("auth-provider-gcp")?.name, "Google Artifact Registry");
  equal(profileOfPlugin("ecr-credential-provider.exe")?.name, "Amazon ECR");
  equal(profileOfPlugin("credential-provider-harbor")?.name, "Harbor");
  equal(profileOfPlugin("my-plugin"), undefined);
});

Deno.test("readRefusal: distinguishes an expired token from a missing access right", () => {
  const words: [string, "refused" | "forbidden" | undefined][] = [
    ["Your authorization token has expired. Reauthenticate and try again.", "refused"],
    ["Your Authorization Token has expired. Please run 'aws ecr get-login'", "refused"],
    ["User: arn:aws:iam::1:role/x is not authorized to perform: ecr:BatchGetImage", "forbidden"],
    [
      "Unauthenticated request. Unauthenticated requests do not have permission " +
      '"artifactregistry.repositories.downloadArtifacts" on resource "x" (or it may not exist)',
      "refused",
    ],
    [
      'Permission "artifactregistry.repositories.downloadArtifacts" denied on resource "x"',
      "forbidden",
    ],
    [
      "authentication required, visit https://aka.ms/acr/authorization for more information.",
      "refused",
    ],
    ["incorrect username or password", "refused"],
    ["unauthorized to access repository: a/b, action: pull", "forbidden"],
    ["no", undefined],
    ["", undefined],
  ];
  for (const [text, meaning] of words) equal(readRefusal(text), meaning, text);
});

Deno.test("REGISTRY_PROFILES: every profile has an example", () => {
  for (const { name, example } of REGISTRY_PROFILES) equal(profileOfHost(example)?.name, name);
});
