import { Secret } from "../../model/mod.ts";
import { type Fields, goField, isFields } from "../../formats/mod.ts";
import { goString } from "../../formats/mod.ts";

/** The headers by which a kubeconfig's user (`as`, `as-groups` …) asks to act as someone else. */
export function impersonationOf(user: Fields): [name: string, value: Secret][] {
  const headers: [string, Secret][] = [];
  const add = (name: string, value: unknown) => {
    const text = goString(value) ?? "";
    if (text !== "") headers.push([name, new Secret(text)]);
  };
  add("Impersonate-User", goField(user, "as"));
  add("Impersonate-Uid", goField(user, "as-uid"));
  const groups = goField(user, "as-groups");
  for (const group of Array.isArray(groups) ? groups : []) add("Impersonate-Group", group);
  const extra = goField(user, "as-user-extra");
  for (const [name, values] of Object.entries(isFields(extra) ? extra : {})) {
    const header = `Impersonate-Extra-${encodeURIComponent(name.toLowerCase())}`;
    for (const value of Array.isArray(values) ? values : []) add(header, value);
  }
  return headers;
}
