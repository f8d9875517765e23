/** Replaces functions of the runtime while `run` runs. */
export async function replacing(
  functions: Partial<typeof Deno>,
  run: () => Promise<void>,
): Promise<void> {
  const before = { ...Deno };
  Object.assign(Deno, functions);
  try {
    await run();
  } finally {
    const own = Object.keys(functions) as (keyof typeof Deno)[];
    Object.assign(Deno, Object.fromEntries(own.map((name) => [name, before[name]])));
  }
}
