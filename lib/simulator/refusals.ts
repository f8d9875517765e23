/** The registry product whose error texts are used. */
export type SimDialect = "plain" | "ecr" | "gar" | "acr" | "harbor" | "hub";

/** The reason of an error response. */
export type SimRefusal = "refused" | "forbidden";

interface Refusal {
  readonly status: number;
  readonly code: string;
  readonly message: string;
}

const GAR_ACTION = "artifactregistry.repositories.downloadArtifacts";
const HUB_DENIED = "requested access to the resource is denied";

/** Verbatim errors of real registries. */
const REFUSALS: Readonly<Record<SimDialect, Readonly<Record<SimRefusal, Refusal>>>> = {
  plain: {
    refused: { status: 401, code: "UNAUTHORIZED", message: "authentication required" },
    forbidden: { status: 403, code: "DENIED", message: HUB_DENIED },
  },
  ecr: {
    refused: {
      status: 403,
      code: "DENIED",
      message: "Your authorization token has expired. Reauthenticate and try again.",
    },
    forbidden: {
      status: 403,
      code: "DENIED",
      message: "User: arn:aws:iam::123456789012:role/node is not authorized to perform: " +
        "ecr:BatchGetImage on resource: arn:aws:ecr:eu-west-1:123456789012:repository/x",
    },
  },
  gar: {
    refused: {
      status: 403,
      code: "DENIED",
      message: "Unauthenticated request. Unauthenticated requests do not have permission " +
        `"${GAR_ACTION}" on resource "projects/p" (or it may not exist)`,
    },
    forbidden: {
      status: 403,
      code: "DENIED",
      message: `Permission "${GAR_ACTION}" denied on resource "projects/p" (or it may not exist)`,
    },
  },
  acr: {
    refused: {
      status: 401,
      code: "UNAUTHORIZED",
      message: "authentication required, visit https://aka.ms/acr/authorization for more " +
        "information.",
    },
    forbidden: { status: 403, code: "DENIED", message: HUB_DENIED },
  },
  harbor: {
    refused: { status: 401, code: "UNAUTHORIZED", message: "unauthorized" },
    forbidden: {
      status: 401,
      code: "UNAUTHORIZED",
      message: "unauthorized to access repository: team/app, action: pull",
    },
  },
  hub: {
    refused: { status: 401, code: "UNAUTHORIZED", message: "incorrect username or password" },
    forbidden: { status: 401, code: "UNAUTHORIZED", message: HUB_DENIED },
  },
};

/** Returns the error response of a registry. `challenge` is only sent with 401. */
export function refusalResponse(
  dialect: SimDialect,
  refusal: SimRefusal,
  challenge: string,
): Response {
  const { status, code, message } = REFUSALS[dialect][refusal];
  return Response.json({ errors: [{ code, message }] }, {
    status,
    ...(status === 401 && { headers: { "www-authenticate": challenge } }),
  });
}
