/** How many connections each listener may have open. */
export interface DescriptorBudget {
  /** Of each HTTP server. */
  readonly httpConnections: number;
  /** Of the CRI proxy; each takes two descriptors. */
  readonly criConnections: number;
}

const MAX_HTTP_CONNECTIONS = 128;
/** The documented limit of the CRI proxy. */
export const MAX_CRI_CONNECTIONS = 1_024;

/**
 * Divides the process's file descriptors: 3/8 for the CRI proxy, 1/4 for at most three HTTP servers,
 * and 3/8 stay reserved for the agent's own work (daemons, registries, plugins, files).
 */
export function divideDescriptors(limit: number): DescriptorBudget {
  return {
    httpConnections: Math.max(4, Math.min(MAX_HTTP_CONNECTIONS, Math.floor(limit / 12))),
    criConnections: Math.max(4, Math.min(MAX_CRI_CONNECTIONS, Math.floor(limit * 3 / 16))),
  };
}
