/** A value that is at hand, or the promise of one: what is at hand costs no turn of the queue. */
export type Soon<T> = T | Promise<T>;

/** What follows from a value: at once where it is at hand. */
export function whenKnown<T, U>(value: Soon<T>, next: (value: T) => Soon<U>): Soon<U> {
  return value instanceof Promise ? value.then(next) : next(value);
}

/** All values: at once where every one is at hand. */
export function allKnown<T>(values: readonly Soon<T>[]): Soon<readonly T[]> {
  const known: T[] = [];
  for (const value of values) {
    if (value instanceof Promise) return Promise.all(values);
    known.push(value);
  }
  return known;
}
