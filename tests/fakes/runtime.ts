/** Replaces functions of an object, such as `Deno`, while `run` runs. */
export async function replacing<T extends object>(
  target: T,
  functions: Partial<T>,
  run: () => Promise<void>,
): Promise<void> {
  const before = { ...target };
  Object.assign(target, functions);
  try {
    await run();
  } finally {
    const own = Object.keys(functions) as (keyof T)[];
    Object.assign(target, Object.fromEntries(own.map((name) => [name, before[name]])));
  }
}
