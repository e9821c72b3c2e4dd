#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# test.sh PROGRAM DIRECTORY CASE: runs one test case of the example in a fresh directory, with a PostgreSQL server of
# its own.
export LC_ALL=C  # the log has bytes that are no text
support=$(realpath "$(dirname "$0")/../support")
source "$support/testing.sh" "$@"
server_directory=$PWD
source "$support/postgres.sh"

# ingest NAME EXIT_CODE ARGUMENT...
ingest() { run "$1" "$2" --database "$(server_connection)" "${@:3}"; }

# The lines are made by the program: one of 250 is no line of a log. They differ in what they say, but not in their
# first line.
lines=30000
make_log() { "$program" --generate "$lines" --output log; }

rows() { sql "SELECT count(*) FROM access_log" 2>/dev/null || echo 0; }
has_rows() { (($(rows) >= $1)); }

# count_of NAME FILE: a number of the report, 0 where it is not in it.
count_of() { sed -n "s/^$1  *\([0-9,]*\).*/\1/p" "$2" | tr -d , | grep . || echo 0; }

grouped() { sed 's/...$/,&/' <<<"$1"; }

# adds_up NAME: the report's law.
adds_up() {
    local in=0 out=0 one
    for one in lines waited; do in=$((in + $(count_of "$one" "$1.out"))); done
    for one in stored known rejected kept lost; do out=$((out + $(count_of "$one" "$1.out"))); done
    [[ $in == "$out" ]] || fail "$in lines came, and $out went"
    [[ $(count_of lost "$1.out") == 0 ]] || fail "some are lost"
}

# Each line of the log is in the table or in the file of rejects, and in one of them. The table's key lets none in twice.
all_are_there() {
    local expected=$1
    sql "SELECT line FROM access_log" >there
    cut -f 2 access_log.rejects >>there
    [[ $(wc -l <there) == "$expected" && $(sort -nu there | wc -l) == "$expected" && $(sort -nu there | tail -n 1) == \
        "$expected" ]] || fail "$(wc -l <there) lines instead of $expected, $(sort -nu there | wc -l) of them once"
    [[ $(sql "SELECT count(DISTINCT log) FROM access_log") == 1 ]] || fail "one log is several"
}

# refused LINE REASON
refused() {
    cut -f 2-3 access_log.rejects | grep -qxF "$1	$2" || fail "no line $1 for: $2"
}

# spills NAME: waits until the program says so.
spills() { until_has "$1.err" ' lines wait in access_log.spill: '; }

# What is stored is what the log says; a second time nothing is; what the server refuses is put aside.
case_default() {
    local at='[17/May/2015:10:05:03 +0200]'
    server_init
    server_start
    make_log
    lines=$((lines + 3))
    {
        printf '%s\n' "192.0.2.1 - frank lee $at \"GET /tab$(printf '\t')and\\x5c HTTP/1.1\" 200 1000 \"-\" \"a\\\\b\""
        printf '%s\n' "192.0.2.1 - - $at \"GET /caf$(printf '\xe9') HTTP/1.1\" 200 1000 \"-\" \"-\""
        printf '%s\n' "192.0.2.1 - - $at \"GET /forbidden HTTP/1.1\" 200 1000 \"-\" \"-\""
    } >>log
    ingest made 0 --generate 10
    sql "TRUNCATE access_log"
    sql "ALTER TABLE access_log ADD CHECK (path <> '/forbidden')"
    ingest first 0 log
    adds_up first
    all_are_there "$lines"
    is_empty first.err
    refused $((lines - 1)) 'invalid byte sequence for encoding "UTF8": 0xe9 0x09 0x48'
    refused "$lines" 'new row for relation "access_log" violates check constraint "access_log_path_check"'
    [[ $(sql "SELECT time AT TIME ZONE 'UTC', client, \"user\", method, path, protocol, status, bytes, referrer, agent
              FROM access_log WHERE line = $((lines - 2))") == \
        "2015-05-17 08:05:03|192.0.2.1|frank lee|GET|/tab	and\\x5c|HTTP/1.1|200|1000|-|a\\\\b" ]] || fail "not as the log says"
    cp access_log.rejects rejects
    mv log log.1  # as logrotate does
    ingest second 0 log.1
    adds_up second
    has second.out "stored 0" "known $(grouped "$(rows)"), which were in the table"
    cmp -s access_log.rejects rejects || fail "a line was rejected twice"
    ingest other 0 --seed 2
    has other.out "stored 4,980"
}

# killed FUNCTION: the server goes in the middle, by that function, and comes back.
killed() {
    server_init
    server_start
    make_log
    start fed --database "$(server_connection)" --batch 500 --attempts 2 -
    head -n $((lines / 2)) log >&3
    wait_for has_rows 1
    "$1"
    tail -n +$((lines / 2 + 1)) log >&3 &
    local feeder=$!
    spills fed
    server_start
    wait "$feeder"
    ends 0
    adds_up fed
    all_are_there "$lines"
}

case_postmaster_killed() { killed server_kill; }
case_server_killed() { killed server_kill_all; }

# The program goes in the middle, twice, the second time with rows in the spill file; its next start has the same log.
case_program_killed() {
    server_init
    server_start
    make_log
    start first --database "$(server_connection)" --batch 500 -
    head -n $((lines / 2)) log >&3
    wait_for has_rows 1
    kill -KILL "$started"
    ends 137
    server_kill_all
    start second --database "$(server_connection)" --batch 500 --attempts 2 -
    head -n $((lines / 2)) log >&3 &
    spills second
    kill -KILL "$started"
    wait $! || true
    ends 137
    server_start
    ingest third 0 log
    adds_up third
    (($(count_of known third.out) > 0 && $(count_of waited third.out) > 0)) || fail "nothing was left by the others"
    all_are_there "$lines"
}

# Neither the start nor the end of the program needs the server. A signal leaves the time for one attempt.
case_server_away() {
    local code=0
    server_init
    make_log
    ingest away 75 --attempts 1 log
    adds_up away
    has away.out "stored 0" "kept $(grouped $((lines - $(wc -l <access_log.rejects)))) in access_log.spill"
    server_start
    ingest back 0 - </dev/null
    adds_up back
    all_are_there "$lines"
    # The end comes while batches wait for their next attempt, the queue is full, and the reader waits.
    sql "TRUNCATE access_log"
    server_stop
    start ended --database "$(server_connection)" --attempts 1000 --batch 500 --verbose -
    cat log >&3 2>/dev/null &
    until_has ended.err ' partition_full '
    kill -TERM "$started"
    wait "$started" || code=$?
    exec 3>&-
    [[ $code == 143 ]] || fail "exit code $code instead of 143"
    adds_up ended
    server_start
    ingest last 0 log
    adds_up last
    all_are_there "$lines"
}

# A server that does not answer is left after its time, and the rows are in the spill file. It may have stored them.
case_server_hangs() {
    local code=0
    server_init
    server_start
    lines=5000
    make_log
    start fed --database "$(server_connection) connect_timeout=2" --timeout 1 -
    head -n $((lines / 2)) log >&3
    wait_for has_rows 1
    kill -STOP $(server_processes) 2>/dev/null
    tail -n +$((lines / 2 + 1)) log >&3
    spills fed
    exec 3>&-
    wait "$started" || code=$?
    kill -CONT $(server_processes)
    [[ $code == 75 ]] || fail "exit code $code instead of 75"
    ingest back 0 - </dev/null
    adds_up back
    all_are_there "$lines"
}

"case_$3"
