#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# demo.sh [PROGRAM]: starts a PostgreSQL server of its own, has the program store a log there, kills the server in the
# middle with all its processes, has the program end without it, starts the server again, and the program once more.
# Each time it shows that every line is in the table, in the spill file, or no line of a log.
set -euo pipefail
here=$(realpath "$(dirname "$0")")
program=$(realpath "${1:-$here/../../build/example/examples/06_postgres_ingest}")
server_directory=$(mktemp -d "${TMPDIR:-/tmp}/06_postgres_ingest.XXXXXX")
chmod 755 "$server_directory"
cd "$server_directory"
source "$here/../support/postgres.sh"
lines=300000

# show TABLE: adds up the table's count, the program's of the spill file, and the lines of the file of rejects.
show() {
    local spilled rejected
    spilled=$(sed -n 's/^kept  *\([0-9,]*\) .*/\1/p' report | tr -d ,)
    rejected=$(wc -l <access_log.rejects)
    echo "    lines = table + spill + rejects: $lines = $1 + ${spilled:-0} + $rejected"
    (($1 + ${spilled:-0} + rejected == lines)) || { echo "    that is not so"; exit 1; }
}

rows() { sql "SELECT count(*) FROM access_log" 2>/dev/null || echo 0; }
has_rows() { (($(rows) > 0)); }

server_init
trap 'server_end; rm -rf "$server_directory"' EXIT
server_start
"$program" --generate "$lines" --output log
mkfifo input

echo "The program stores a log of $lines lines."
"$program" -d "$(server_connection)" --attempts 2 - <input >report 2>said &
ingest=$!
cat log >input &
wait_for has_rows
echo "kill -9, in the middle: all processes of the server."
server_kill_all
echo "The program reads on. What the server does not take goes to the spill file."
wait "$ingest" || true
sed 's/^/    /' report
server_start
echo "The server is back, without a hand on its table."
show "$(rows)"
echo "The program starts again, without input: what waits goes in."
"$program" -d "$(server_connection)" - </dev/null >report
sed 's/^/    /' report
show "$(rows)"
echo "The program starts again, with the same log: nothing is there twice."
"$program" -d "$(server_connection)" log >report
sed 's/^/    /' report
show "$(rows)"
