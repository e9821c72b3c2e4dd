#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# measure.sh [PROGRAM [LINES]]: lines a second into a NATS server of its own, which stores them in files, and into a
# Kafka cluster that librdkafka makes up in another process, all on this machine. The median of three.
set -euo pipefail
here=$(realpath "$(dirname "$0")")
program=$(realpath "${1:-$here/../../build/example/examples/09_broker_bridge}")
lines=${2:-500000}
server_directory=$(mktemp -d "${TMPDIR:-/tmp}/09_broker_bridge.XXXXXX")
cd "$server_directory"
source "$here/../support/nats.sh"
server_init
trap 'server_end; rm -rf "$server_directory"' EXIT
server_start
mkfifo commands
setpriv --pdeathsig KILL "${program}_cluster" kafka <commands >cluster 2>/dev/null &
exec 4>commands
wait_for test -s cluster
brokers=$(head -n 1 cluster)

# As long as a line of an access log.
awk -v lines="$lines" 'BEGIN {
    for (i = 1; i <= lines; ++i) {
        printf "192.0.2.%d - - [17/May/2015:10:05:03 +0000] \"GET /download/tidefall.tar.gz HTTP/1.1\" 200 %d ", i % 251, i
        print "\"https://example.org/\" \"Mozilla/5.0 (X11; Linux x86_64) Firefox/128.0\""
    } }' >log

# row NAME ARGUMENT...
row() {
    local name=$1 rates=() _
    shift
    for _ in 1 2 3; do
        "$program" "$@" <log >report
        rates+=("$(sed -n 's/^lines\/s *//p' report | tr -d ,)")
    done
    printf '| %s | %s |\n' "$name" \
        "$(printf '%s\n' "${rates[@]}" | sort -n | sed -n 2p | sed -E ':a; s/([0-9])([0-9]{3})(,|$)/\1,\2\3/; ta')"
}

echo "| what | lines a second |"
echo "| --- | --- |"
row "NATS JetStream, batches of 100" --brokers "$server_url" --batch 100
row "NATS JetStream, batches of 1,000" --brokers "$server_url"
row "NATS JetStream, batches of 1,000, one at a time" --brokers "$server_url" --in-flight 1
row "Kafka's protocol, batches of 100" --brokers "$brokers" --batch 100
row "Kafka's protocol, batches of 1,000" --brokers "$brokers"
row "Kafka's protocol, batches of 1,000, one at a time" --brokers "$brokers" --in-flight 1
