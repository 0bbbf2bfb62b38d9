/** States as `Status` reports them. A backend of a later protocol may report others. */
export const BackendState = { UNINITIALIZED: 0, BUSY: 1, READY: 2, ERROR: -1 } as const;

/** Memory that a backend says it holds. */
export interface MemoryUsage {
  /** In bytes. */
  total: bigint;
  /** The parts of it by name, in bytes. A name may be any string. */
  breakdown: Record<string, bigint>;
}

/** A backend's answer to `Status`. */
export interface BackendStatus {
  /** One of {@link BackendState}, or a number that the protocol adds later. */
  state: number;
  /** Absent where the backend sent none. */
  memory?: MemoryUsage;
}
