const kills = new Set<() => void>();

/**
 * Has something killed when this process exits in the ordinary way: by `process.exit()`, an uncaught exception, or with
 * nothing left to do. A signal without a handler of the host's is none of these. Returns what takes it back.
 */
export function killAtExit(kill: () => void): () => void {
  if (kills.size === 0) process.on("exit", killAll);
  kills.add(kill);
  return () => {
    kills.delete(kill);
    if (kills.size === 0) process.off("exit", killAll);
  };
}

function killAll(): void {
  for (const kill of kills) {
    try {
      kill();
    } catch {
      // The others are killed all the same; there is nobody left to tell.
    }
  }
}
