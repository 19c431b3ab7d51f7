#!/usr/bin/env bash
# Holds thousands of connections that send their heads a byte at a time beside a client
# that keeps asking, and reports what a connection costs. Usage: slow-connections.sh
# [connections] [requests beside each byte]
set -euo pipefail
cd "$(dirname "$0")/../.."

connections=${1:-5000}
requests=${2:-400}
# Both ends of a connection are in the test's process.
needed=$((2 * connections + 500))
hard=$(ulimit -Hn)
if [ "$hard" != unlimited ] && [ "$hard" -lt "$needed" ]; then
	echo "slow-connections: $connections connections need $needed descriptors; the hard limit is $hard" >&2
	exit 1
fi
USHER_TEST_SLOW=$connections USHER_TEST_REQUESTS=$requests \
	"${GO:-go}" test -count=1 -timeout=15m -v -run='^TestSlowConnections$' ./proxy
