#!/usr/bin/env bash
# Replays the hostile corpus three times and sends many mutations of it, then compares
# memory and goroutines with what they were. Usage: hostile.sh [mutations]
set -euo pipefail
cd "$(dirname "$0")/../.."

USHER_TEST_MUTATIONS=${1:-100000} \
	"${GO:-go}" test -count=1 -timeout=60m -v -run='^TestHostileCorpus$' ./proxy
