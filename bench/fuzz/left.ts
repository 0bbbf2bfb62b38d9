import { getChannelzHandlers } from "@grpc/grpc-js";

/** How many there are of each kind of what can be left: handles, timers, channels and listeners. */
export function resources(): Record<string, number> {
  const counts: Record<string, number> = {};
  const add = (kind: string, by = 1) => {
    counts[kind] = (counts[kind] ?? 0) + by;
  };
  for (const kind of process.getActiveResourcesInfo()) add(kind);
  for (const event of process.eventNames()) add(`listener of ${String(event)}`, process.listenerCount(event));
  for (const _channel of openChannels()) add("channel");
  return counts;
}

/** The addresses of all channels, by gRPC's own list, which it keeps for whoever debugs it. */
export function openChannels(): (string | undefined)[] {
  let open: (string | undefined)[] = [];
  const { GetTopChannels } = getChannelzHandlers();
  const call = { request: { start_channel_id: "0", max_results: "0" } } as Partial<
    Parameters<typeof GetTopChannels>[0]
  >;
  GetTopChannels(call as Parameters<typeof GetTopChannels>[0], (_error, reply) => {
    open = reply?.channel?.map(({ data }) => data?.target) ?? [];
  });
  return open;
}
