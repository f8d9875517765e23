/** Where the CRI proxy stands, in the path of the pulls or out of it. */
export type CriProxyState =
  | "in-path" // what clients are given leads to us
  | "stepped-out" // a person took it out of the path, and has not put it back
  | "bypassed" // we serve, but the clients' link leads elsewhere
  | "not-serving"; // it could not be started

/** The CRI proxy of a running agent, where the configuration enables it. */
export interface CriProxyStatus {
  readonly state: CriProxyState;
  /** Why it does not serve, or what the link is instead. */
  readonly detail?: string;
  readonly socket: string;
  /** What clients are given; undefined when they are given the socket itself. */
  readonly link?: string;
  /** Where that link leads. */
  readonly leadsTo?: string;
  /** Wall time since when no client has been connected; undefined while one is. */
  readonly idleSinceMs?: number;
  /** Images with a pull credential that was restored after the agent's last restart. */
  readonly restoredImages: number;
  readonly openConnections: number;
  readonly connections: number;
  readonly refusedConnections: number;
  readonly bytesToRuntime: number;
  readonly bytesToClients: number;
  /** `PullImage` requests that were read, with a credential or without. */
  readonly pulls: number;
  /** Directions of connections whose thread was lost. */
  readonly lostReadings: number;
  /** Messages, or credentials in them, that were left out. */
  readonly skippedMessages: number;
}
