import type { AgentEvent, Observer } from "../../lib/model/mod.ts";

/** Records every event. */
export class FakeObserver implements Observer {
  readonly events: AgentEvent[] = [];

  notify(event: AgentEvent): void {
    this.events.push(event);
  }

  of<K extends AgentEvent["kind"]>(kind: K): Extract<AgentEvent, { kind: K }>[] {
    return this.events.filter((e): e is Extract<AgentEvent, { kind: K }> => e.kind === kind);
  }
}
