import { deepEqual, match, rejects } from "node:assert/strict";
import { Listening } from "../../../lib/agent/listening.ts";
import { FakeObserver } from "../../fakes/observer.ts";

function stage() {
  const events: string[] = [];
  const open = (name: string) => () => {
    events.push(`open ${name}`);
    if (name === "taken") return Promise.reject(new Error("taken"));
    return Promise.resolve({
      [Symbol.asyncDispose]() {
        events.push(`close ${name}`);
        return Promise.resolve();
      },
    });
  };
  return { events, open, listening: new Listening() };
}

Deno.test("Listening: opens the next place before it closes the last", async () => {
  const { events, open, listening } = stage();
  await listening.move({ place: "a" }, open("a"));
  await listening.move({ place: "a" }, open("again"));
  await listening.move({ place: "b" }, open("b"));
  await listening.move(undefined, open("never"));
  deepEqual(events, ["open a", "open b", "close a", "close b"]);
});

Deno.test("Listening: closes first where only the settings of a place change", async () => {
  const { events, open, listening } = stage();
  await listening.move({ place: "a", settings: 1 }, open("a1"));
  await listening.move({ place: "a", settings: 2 }, open("a2"));
  deepEqual(events, ["open a1", "close a1", "open a2"]);
});

Deno.test("Listening: after a failure the last listener goes on, and the next move is tried", async () => {
  const { events, open, listening } = stage();
  await listening.move({ place: "a" }, open("a"));
  await rejects(listening.move({ place: "b" }, open("taken")), /taken/);
  await listening.move({ place: "a" }, open("again"));
  await listening.move({ place: "b" }, open("b"));
  deepEqual(events, ["open a", "open taken", "open b", "close a"]);
});

Deno.test("Listening: tryMove reports a failure, and leaves nothing at the last place", async () => {
  const { events, open, listening } = stage();
  const observer = new FakeObserver();
  const failure = { observer, code: "api", text: "the local API", remedy: "do something" } as const;
  await listening.tryMove({ place: "a" }, open("a"), failure);
  await listening.tryMove({ place: "b" }, open("taken"), failure);
  await listening.tryMove({ place: "b" }, open("b"), failure);
  deepEqual(events, ["open a", "open taken", "close a", "open b"]);
  match(JSON.stringify(observer.events), /the local API is not served: taken; do something/);
});
