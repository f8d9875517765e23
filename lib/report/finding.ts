/** Something that is wrong outside the agent's own loop. */
export interface Finding {
  readonly area: "credentials" | "deliveries" | "daemons" | "discovery" | "tap";
  readonly level: "warning" | "critical";
  /** What, since when, until when. */
  readonly text: string;
  /** What to do. */
  readonly mend: string;
}
