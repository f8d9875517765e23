import type { CallOptions } from "../../model/mod.ts";
import { type Fields, isFields } from "../../formats/mod.ts";
import type { KubeCallSpec, KubeClient, KubeFailure } from "./kube_client.ts";
import { metadataOf, versionOf } from "./kube_object.ts";

/** More objects than this are not kept. */
export const MAX_OBJECTS = 50_000;
const PAGE_SIZE = 500;

/** Reads lists page by page, in smaller ones where a page turned out too large. */
export class KubePages {
  readonly #client: KubeClient;
  #size = PAGE_SIZE;

  constructor(client: KubeClient) {
    this.#client = client;
  }

  /** The version of the whole list, or why it could not be read. */
  async read(
    spec: KubeCallSpec,
    { cached, take, ...options }: CallOptions & {
      /** From the server's cache, which gives one page only. */
      readonly cached: boolean;
      readonly take: (object: Fields) => void;
    },
  ): Promise<string | KubeFailure> {
    let page: Readonly<Record<string, string>> = cached
      ? { resourceVersion: "0" }
      : { limit: String(this.#size) };
    let count = 0;
    while (true) {
      const query = { ...spec.query, ...page };
      const answer = await this.#client.call({ ...spec, query }, options);
      if (answer.kind === "failed") {
        if (answer.failure.tooLarge) this.#size = Math.max(1, Math.floor(this.#size / 4));
        return answer.failure;
      }
      const { items } = answer.value;
      const objects = Array.isArray(items) ? items.filter(isFields) : [];
      count += objects.length;
      if (count > MAX_OBJECTS) {
        const detail = `there are more than ${MAX_OBJECTS} ${spec.resource}; name namespaces`;
        return { reason: "source-unreachable", detail };
      }
      objects.forEach(take);
      const next = metadataOf(answer.value)["continue"];
      if (typeof next !== "string" || next === "") return versionOf(answer.value) ?? "0";
      page = { limit: String(this.#size), continue: next };
    }
  }
}
