/**
 * Preloaded into every test module: gives each test a time limit, so that one that hangs fails with
 * its name. A test that needs longer sets `timeout` itself.
 *
 * @module
 */
const LIMIT_MS = Number(Deno.env.get("NYDUS_TEST_TIMEOUT_MS") ?? 180_000);

Object.defineProperty(Deno, "test", {
  value: new Proxy(Deno.test, {
    apply: (test, self, args: unknown[]) => Reflect.apply(test, self, limited(args)),
  }),
});

/** The arguments of `Deno.test`, with a time limit among the options. */
function limited(args: readonly unknown[]): readonly unknown[] {
  const isOptions = (arg: unknown) => typeof arg === "object" && arg !== null;
  if (args.some(isOptions)) {
    return args.map((arg) => isOptions(arg) ? { timeout: LIMIT_MS, ...arg as object } : arg);
  }
  return args.flatMap((arg) => typeof arg === "function" ? [{ timeout: LIMIT_MS }, arg] : [arg]);
}
