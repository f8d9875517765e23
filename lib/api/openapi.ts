import { toJsonSchema } from "@valibot/to-json-schema";
import { ROUTES } from "./routes.ts";
import { ANSWERS, REQUESTS } from "./schemas.ts";

type Schema = Parameters<typeof toJsonSchema>[0];

/** The OpenAPI 3.1 document of the local API, out of the schemas that it checks requests with. */
export function openApiDocument(version: string): object {
  const paths: Record<string, Record<string, object>> = {};
  for (const { method, path, summary, body, answer } of ROUTES) {
    paths[path] ??= {};
    paths[path][method.toLowerCase()] = {
      operationId: operationId(method, path),
      summary,
      ...(body && {
        requestBody: { required: true, content: json(reference("requests", body)) },
      }),
      responses: {
        "200": { description: "Done.", content: json(reference("answers", answer)) },
        "default": { description: "Not done.", content: json(reference("answers", "error")) },
      },
    };
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "nydus-auth-agent",
      version,
      description: "The local API, over a unix socket. Answers may hold secrets.",
    },
    servers: [{ url: "http://localhost", description: "over the unix socket `api.socket`" }],
    paths,
    components: { schemas: { ...named("requests", REQUESTS), ...named("answers", ANSWERS) } },
  };
}

function named(kind: string, schemas: Readonly<Record<string, Schema>>): Record<string, object> {
  return Object.fromEntries(
    Object.entries(schemas).map(([name, schema]) => {
      // What a schema checks beyond its form has no words in JSON Schema.
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
