/**
 * An image, and where it is read from if that is elsewhere than at its own registry: each place has
 * a credential and troubles of its own.
 */
export function imageLabel(
  { image, endpoint }: { readonly image: string; readonly endpoint?: string },
): string {
  return endpoint === undefined ? image : `${image} (read from ${endpoint})`;
}
