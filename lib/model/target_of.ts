import { type CredentialRequest } from "./provider.ts";
import { type ImageReference } from "./image_reference.ts";
import { type ImageTarget, parseImageTarget } from "./image_target.ts";

/** Taken apart once for each image, as patterns are once for each configuration. */
const targets = new WeakMap<ImageReference, ImageTarget>();

/** What patterns are matched with; undefined where an image does not parse: it matches none. */
export function targetOf({ image }: CredentialRequest): ImageTarget | undefined {
  const known = targets.get(image);
  if (known !== undefined) return known;
  try {
    const target = parseImageTarget(image.text);
    targets.set(image, target);
    return target;
  } catch {
    return undefined;
  }
}
