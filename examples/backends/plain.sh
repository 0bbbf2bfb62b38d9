#!/bin/sh
# Starts the plain backend as a child and waits for it, as the start scripts of many real backends do.
"$NODE" "$(dirname "$0")/../../build/examples/backends/plain.js" "$@"
status=$?
echo "plain.sh: the backend ended with $status"
exit $status
