import { toJsonSchema } from "@valibot/to-json-schema";
import { ROUTES } from "./routes.ts";
import { REQUESTS, RESPONSES } from "./schemas.ts";

type Schema = Parameters<typeof toJsonSchema>[0];

/** Returns the OpenAPI 3.1 document of the local API, generated from its routes and schemas. */
export function openApiDocument(version: string): object {
  const paths: Record<string, Record<string, object>> = {};
  for (const { method, path, summary, body, response } of ROUTES) {
    paths[path] ??= {};
    paths[path][method.toLowerCase()] = {
      operationId: operationId(method, path),
      summary,
      ...(body && {
        requestBody: { required: true, content: json(reference("requests", body)) },
      }),
      responses: {
        "200": { description: "Success", content: json(reference("responses", response)) },
        "default": { description: "Error", content: json(reference("responses", "error")) },
      },
    };
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "nydus-auth-agent",
      version,
      description: "The local API on a unix socket. Responses may contain secrets.",
    },
    servers: [{ url: "http://localhost", description: "on the unix socket `api.socket`" }],
    paths,
    components: { schemas: { ...named("requests", REQUESTS), ...named("responses", RESPONSES) } },
  };
}

function named(kind: string, schemas: Readonly<Record<string, Schema>>): Record<string, object> {
  return Object.fromEntries(
    Object.entries(schemas).map(([name, schema]) => {
      // Custom checks cannot be expressed in JSON Schema.
      const { $schema: _, ...form } = toJsonSchema(schema, {
        errorMode: "ignore",
        typeMode: "input",
      });
      return [`${kind}.${name}`, form];
    }),
  );
}

function reference(kind: string, name: string): object {
  return { $ref: `#/components/schemas/${kind}.${name}` };
}

function json(schema: object): object {
  return { "application/json": { schema } };
}

function operationId(method: string, path: string): string {
  const words = path.split(/[/-]/).slice(2).map((word) => word[0]?.toUpperCase() + word.slice(1));
  return method.toLowerCase() + words.join("");
}
