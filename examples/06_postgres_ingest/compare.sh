#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# compare.sh [PROGRAM [LINES]]: lines a second into an empty table of a PostgreSQL server of its own, with the server's
# default options: by the program with batches of 10, 500 and 5,000 lines, and by psql's \copy of the rows alone, which
# are made before. The median of three, one after the other in turns.
set -euo pipefail
here=$(realpath "$(dirname "$0")")
program=$(realpath "${1:-$here/../../build/example/examples/06_postgres_ingest}")
lines=${2:-1000000}
server_directory=$(mktemp -d "${TMPDIR:-/tmp}/06_postgres_ingest.XXXXXX")
chmod 755 "$server_directory"
cd "$server_directory"
source "$here/../support/postgres.sh"
server_init
trap 'server_end; rm -rf "$server_directory"' EXIT
server_options=()  # fsync, too
server_start
"$program" --generate "$lines" --output log
head -n $((lines / 10)) log >short

# A batch of 10 has a tenth of the lines, or it would take a minute.
"$program" -d "$(server_connection)" log >first
sql "COPY (SELECT * FROM access_log ORDER BY log, line) TO STDOUT" >rows

empty() {
    sql "TRUNCATE access_log; CHECKPOINT"
    rm -f access_log.rejects
}

# timed NAME LINES COMMAND...: adds the lines a second to the file of that name.
timed() {
    local name=$1 count=$2 from to
    shift 2
    empty
    from=$(date +%s%N)
    "$@" >report
    to=$(date +%s%N)
    echo $((count * 1000000000 / (to - from))) >>"$name.rates"
}

for _ in 1 2 3; do
    timed 10 $((lines / 10)) "$program" -d "$(server_connection)" --batch 10 short
    timed 500 "$lines" "$program" -d "$(server_connection)" --batch 500 log
    timed 5000 "$lines" "$program" -d "$(server_connection)" --batch 5000 log
    timed copy "$(wc -l <rows)" "$postgres_bin/psql" -qX "$(server_connection)" -c '\copy access_log from rows'
done

row() { printf '| %s | %s |\n' "$1" "$(sort -n "$2.rates" | sed -n 2p | sed -E ':a; s/([0-9])([0-9]{3})(,|$)/\1,\2\3/; ta')"; }
echo "| what | lines a second |"
echo "| --- | --- |"
row "06_postgres_ingest, batches of 10" 10
row "06_postgres_ingest, batches of 500" 500
row "06_postgres_ingest, batches of 5,000" 5000
row '`psql \copy` of rows that are made, one connection, one transaction' copy
