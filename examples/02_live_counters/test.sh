#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# test.sh PROGRAM DIRECTORY CASE: runs one test case of the example in a fresh directory.
source "$(dirname "$0")/../support/testing.sh" "$@"

# line CLIENT MINUTE PATH STATUS: of the log.
line() { echo "$1 - - [17/May/2015:10:$2:00 +0000] \"GET $3 HTTP/1.1\" $4 10"; }

# Without an argument: a small log, into live_counters.db. A second run adds to it.
case_default() {
    run first 0
    is_empty first.err
    has first.out "requests 4,980" "errors 719" "bytes 107,039,330 (102.1 MiB)" "paths 11" "clients 677" \
        "malformed 20" "921 127 18.9 MiB /" "72 72 4.6 KiB (not HTTP)" "2025-01-01 01:23:47 200 192.0.2.164 /" \
        "sample log:250: text directly after the user agent's closing quote"
    grep -q '^5,000 lines .* live_counters.db; checked$' first.out || fail "not checked"
    [[ -f live_counters.db ]] || fail "no live_counters.db"
    run second 0 --interval 1
    has second.out "requests 9,960" "errors 1,438" "clients 677" "malformed 20"
    run third 0 --replace
    has third.out "requests 4,980"
    : >empty.log
    run empty 0 --database empty.db empty.log
    has empty.out "requests 0" "clients 0" "malformed 0"
}

case_stdin() {
    "$program" --generate 20000 --seed 7 --output - >log
    cat log log | run piped 0 --threads 4 --interval 1 -
    has piped.out "requests 39,840" "malformed 160" "-:250: text directly after the user agent's closing quote"
    run direct 0 --replace --generate 20000 --seed 7
    has direct.out "requests 19,920" "malformed 80"
    # The same lines from two files and a pipe.
    run files 0 --replace log - log <log
    has files.out "requests 59,760" "malformed 240"
}

# As in 01_access_log: the reader is the same.
case_layouts() {
    local end='- - [10/Jul/2024:21:25:43 +0700] "GET / HTTP/1.1" 200 615 "-" "curl/8"'
    { echo "example.org:443 203.0.113.2 $end"; echo "web_1  | 203.0.113.5 $end"; } >mixed.log
    run none 0 mixed.log
    has none.out "requests 0" "malformed 2" \
        "mixed.log:1: a virtual host before the client: for --layout vhost" \
        "mixed.log:2: a container's name before the client: for --layout compose"
    run vhost 0 --layout vhost mixed.log
    has vhost.out "requests 1" "malformed 1" "2024-07-10 14:25:43 200 203.0.113.2 /"
}

case_compressed() {
    "$program" --generate 100 --output log
    gzip -n -c log >log.1
    run file 1 log.1
    has file.err "02_live_counters: cannot read log.1: it is compressed by gzip: zcat log.1 | 02_live_counters -"
    [[ ! -e live_counters.db ]] || fail "a database was made"
}

# The report is lost, and what shows the counting; the counting is not.
case_unwritable_output() {
    local one
    cannot_write report "; everything that was parsed is stored" --database @.db --interval 3600000
    for one in full pipe closed; do
        [[ -e $one.db ]] || continue
        run "$one.after" 0 --database "$one.db"
        has "$one.after.out" "requests 9,960" "clients 677"
    done
    unread_pipe
    mkfifo input
    "$program" --database live.db --interval 50 - <input >&6 2>live.err &
    started=$!
    exec 3>input
    line 192.0.2.1 30 /new 200 >&3
    until_has live.err '^02_live_counters: cannot write to standard output: Broken pipe; the counting goes on$'
    line 192.0.2.1 20 /old 404 >&3
    ends 1
    has live.err "02_live_counters: cannot write to standard output: Broken pipe; everything that was parsed is stored"
    : >empty.log
    run after 0 --database live.db empty.log
    has after.out "requests 2" "errors 1" "2015-05-17 10:30:00 200 192.0.2.1 /new"
}

# The newest state of a client stays, whatever order its lines come in.
case_out_of_order() {
    "$program" --generate 20000 --output log
    split --lines 1000 log part.
    cat $(ls -r part.*) >mixed
    run in_order 0 --replace --threads 1 --top 5000 log
    sed -n '/^last clients/,/^$/p' in_order.out | sort >expected
    [[ $(wc -l <expected) == 1739 ]] || fail "clients are missing"
    run out_of_order 0 --replace --threads 4 --interval 1 --top 5000 mixed
    sed -n '/^last clients/,/^$/p' out_of_order.out | sort >actual
    cmp expected actual || fail "the order of the lines made a difference"

    # In one tick: the map refuses the older one.
    { line 192.0.2.1 30 /new 200; line 192.0.2.1 20 /old 404; } >two.log
    run tick 0 --replace --interval 3600000 two.log
    has tick.out "2015-05-17 10:30:00 200 192.0.2.1 /new" \
        "clients: 2 states, 1 older than one of their tick, 1 upsert, 0 older than one of an earlier tick"

    # In a later tick: the map has forgotten the newer one, the database has not. Each line waits for its own tick.
    start ticks --replace --interval 50 -
    line 192.0.2.1 30 /new 200 >&3
    until_has ticks.out 'stored: 1 request, 0 errors, 10 bytes'
    line 192.0.2.1 20 /old 404 >&3
    until_has ticks.out 'stored: 2 requests, 1 error,'
    ends 0
    has ticks.out "requests 2" "errors 1" "2015-05-17 10:30:00 200 192.0.2.1 /new" \
        "clients: 2 states, 0 older than one of their tick, 2 upserts, 1 older than one of an earlier tick"

    # In a later run; of the same second, the later line wins.
    { line 192.0.2.1 25 /old 404; line 192.0.2.2 25 /first 200; line 192.0.2.2 25 /second 200; } >more.log
    run later 0 more.log
    has later.out "requests 5" "2015-05-17 10:30:00 200 192.0.2.1 /new" "2015-05-17 10:25:00 200 192.0.2.2 /second" \
        "clients: 3 states, 0 older than one of their tick, 2 upserts, 1 older than one of an earlier tick"
}

# What the database holds in the end is not what this run read: another one wrote to it meanwhile.
case_mismatch() {
    start first --database shared.db --interval 50 -
    line 192.0.2.1 30 / 200 >&3
    until_has first.out 'stored: 1 request,'
    run second 0 --database shared.db --generate 10
    ends 1
    has first.err "02_live_counters: the database is not what was read, unless another program wrote to it: requests \
are 11 instead of 1"
    has_one_line first.err
    ! grep -q checked first.out || fail "a wrong database was reported"
}

case_unreadable_file() {
    "$program" --generate 10 --output good.log
    run missing 1 good.log missing.log
    has missing.err "02_live_counters: cannot read missing.log: No such file or directory"
    has_one_line missing.err
    is_empty missing.out
    [[ ! -e live_counters.db ]] || fail "a database was made"
    # A file that can be opened and not read: what was read before is stored.
    if [[ -r /proc/self/mem ]]; then
        run unreadable 1 good.log /proc/self/mem
        has unreadable.err "02_live_counters: cannot read /proc/self/mem: Input/output error"
        has_one_line unreadable.err
        run after 0 good.log
        has after.out "requests 20"
    fi
    run command_line 2 --interval 0 good.log
}

case_unwritable_database() {
    run directory 1 --database .
    begins directory.err "02_live_counters: cannot use the database .: "
    has_one_line directory.err
    echo "no database, but longer than the header of one would be; $(printf 'x%.0s' {1..200})" >text
    run text 1 --database text
    has text.err "02_live_counters: cannot use the database text: file is not a database"
    # A disk that is full: no file may grow beyond 128 KiB.
    (
        trap '' XFSZ
        ulimit -f 128
        run full 1 --generate 50000 --database full.db --interval 1
    )
    begins full.err "02_live_counters: cannot use the database full.db: "
    grep -q '; not all that was read is counted in it$' full.err || fail "nothing about what was stored"
    has_one_line full.err
}

# What standard input gave until the signal is stored.
case_interrupt() {
    local signal
    interrupted_by INT 130 INT.out --interval 50
    interrupted_by TERM 143 TERM.out --interval 3600000 --replace
    for signal in INT TERM; do
        has "$signal.out" "requests 996" "malformed 4"
        has "$signal.err" "02_live_counters: interrupted; everything that was parsed is stored"
    done
}

# On a terminal: a table that is redrawn, and gone before the report.
case_terminal() {
    command -v script >/dev/null || exit 77
    mkfifo log.pipe
    script -qefc "'$program' --interval 50 --top 3 log.pipe" /dev/null </dev/null >terminal.out &
    started=$!
    exec 3>log.pipe
    "$program" --generate 1000 --output - >&3
    until_has terminal.out $'\x1b\\[6A\x1b\\[2K1,000 lines, .*; stored: 996 requests'
    ends 0
    grep -q $'\x1b\\[6A\x1b\\[J1,000 lines in .*; checked' terminal.out || fail "no report in the place of the table"
}

"case_$3"
