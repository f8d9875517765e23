/** Exit codes of the commands, as the manual lists them. */
export const EXIT = { ok: 0, failed: 1, badConfig: 2, warning: 3, critical: 4 } as const;
