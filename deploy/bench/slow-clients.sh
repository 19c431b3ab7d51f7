#!/usr/bin/env bash
# Lets thousands of clients send a byte now and then, or stop, before a usher process that
# others ask meanwhile, and reports what each costs it. Usage: slow-clients.sh [clients]
set -euo pipefail
cd "$(dirname "$0")/../.."

clients=${1:-10000}
# usher takes three quarters of its descriptors for clients; the test's process, which has
# as many, holds the clients and the other end of every seventh.
needed=$((clients * 4 / 3 + 500))
hard=$(ulimit -Hn)
if [ "$hard" != unlimited ] && [ "$hard" -lt "$needed" ]; then
	echo "slow-clients: $clients clients need $needed descriptors; the hard limit is $hard" >&2
	exit 1
fi
USHER_TEST_SLOW_CLIENTS=$clients \
	"${GO:-go}" test -count=1 -timeout=15m -v -run='^TestSlowClients$' ./cmd/usher
