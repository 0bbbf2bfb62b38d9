/** Of what is sent while it happens: between here and its reader, nobody is to keep it, to pack it, or to hold it back. */
export const LIVE_HEADERS = { "Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no" };
