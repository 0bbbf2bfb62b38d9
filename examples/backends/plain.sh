#!/bin/sh
# Starts the plain backend as a child and waits for it, as the start scripts of many real backends do. And it is nasty: it
# starts a worker in a session of its own, which ignores SIGTERM.
here="$(dirname "$0")/../../build/examples/backends"
if command -v setsid > /dev/null; then
  setsid "$NODE" "$here/worker.js" &
else
  "$NODE" "$here/worker.js" &
fi
"$NODE" "$here/plain.js" "$@"
status=$?
echo "plain.sh: the backend ended with $status"
exit $status
