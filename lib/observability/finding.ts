/** Something that is wrong outside the agent's own loop. */
export interface Finding {
  readonly area:
    | "configuration"
    | "credentials"
    | "deliveries"
    | "reads"
    | "daemons"
    | "sources"
    | "discovery"
    | "cri-proxy";
  readonly level: "warning" | "critical";
  /** What it is about, the same for as long as the trouble lasts. */
  readonly key: string;
  /** The image that it harms, where it is known. */
  readonly image?: string;
  /** What, until when, and since when where the state itself tells. */
  readonly text: string;
  /** Whether `text` says since when. */
  readonly reportedSinceMs?: true;
  /** What to do. */
  readonly remedy: string;
}
