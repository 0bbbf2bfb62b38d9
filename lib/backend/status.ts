/** States as `Status` reports them. A backend of a later protocol may report others. */
export const BackendState = {
  /** No model is loaded yet. */
  UNINITIALIZED: 0,
  /** At work for a client; a shutdown waits for it. */
  BUSY: 1,
  /** Loaded, and idle. */
  READY: 2,
  /** Something is wrong. In the answer of a monitor also: the backend did not tell. */
  ERROR: -1,
} as const;

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
  memory?: MemoryUsage | undefined;
}
