#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# test.sh PROGRAM DIRECTORY CASE: runs one test case of the example in a fresh directory.
source "$(dirname "$0")/../support/testing.sh" "$@"

# without_gaps FILE: each thread's lines are there in its order, from the first one on; the others are notes.
without_gaps() {
    grep -o 'line [0-9]* of thread [0-9]*:' "$1" |
        awk '{ if ($2 != next_of[$5]++) { print "thread " $5 " has line " $2; exit 1 } }' || fail "lines are missing: $1"
}

lines_of() { grep -c 'line [0-9]* of thread' "$1" || true; }

# lost_in FILE: what its notes add up to.
lost_in() { awk '/ lines lost here: / { sum += $NF } END { print sum + 0 }' "$1"; }

grouped() { sed ':a; s/\B[0-9]\{3\}\>/,&/; ta' <<<"$1"; }

case_default() {
    run first 0
    is_empty first.err
    has first.out "100,000 lines logged"
    grep -qE '^08_logger.log has 100,000 by [0-9]+ writes?, 0 are lost$' first.out || fail "another report"
    [[ $(wc -l <08_logger.log) == 100000 ]] || fail "not 100,000 lines"
    without_gaps 08_logger.log
    grep -qE '^\[[0-9-]+ [0-9:.]+\] \[server\] \[info\] line 0 of thread 3: GET /index.html took 0 us$' 08_logger.log ||
        fail "another layout"
    # A queue of one line, of which each has to make room for the next.
    run small 0 --capacity 1 --lines 300 small.log
    [[ $(lines_of small.log) == 300 ]] || fail "not 300 lines"
    without_gaps small.log
    # Another run adds to the file.
    run second 0 --capacity 1 --lines 100 small.log
    [[ $(lines_of small.log) == 400 ]] || fail "not 400 lines"
    run none 0 --lines 0 none.log
    has none.out "0 lines logged" "none.log has 0 by 0 writes, 0 are lost"
}

# The log is a pipe that nobody reads until all is logged, or, where that would wait for ever, until the queue is full.
case_full_queue() {
    local policy reader lost code
    for policy in drop_newest drop_oldest; do
        mkfifo "$policy.log"
        "$program" --overflow "$policy" --capacity 1000 --lines 100000 "$policy.log" >"$policy.out" 2>"$policy.err" &
        started=$!
        exec 4<"$policy.log"
        until_has "$policy.out" '^100,000 lines logged$'  # though nobody reads
        cat <&4 >"$policy.received"
        exec 4<&-
        code=0
        wait "$started" || code=$?
        [[ $code == 1 ]] || fail "exit code $code instead of 1: lines were lost"
        lost=$(lost_in "$policy.received")
        (($(lines_of "$policy.received") + lost == 100000)) || fail "lines and notes do not add up: $policy"
        ((lost > 90000)) || fail "not many were lost"
        grep -q ", $(grouped "$lost") are lost$" "$policy.out" || fail "the report has another number"
    done
    # Who blocks loses nothing.
    mkfifo block.log
    "$program" --overflow block --capacity 1000 --lines 100000 block.log >block.out 2>block.err &
    started=$!
    cat block.log >block.received
    wait "$started" || fail "exit code $?"
    [[ $(lines_of block.received) == 100000 ]] || fail "lines are missing"
    without_gaps block.received
}

# A file that has reached its limit is like a disk that is full, but for the text of the error.
case_full_disk() {
    local code=0 stored lost
    (ulimit -f 64 && exec "$program" --lines 1000 --capacity 100 full.log) >full.out 2>full.err || code=$?
    [[ $code == 1 ]] || fail "exit code $code instead of 1"
    has full.err "the log loses lines: cannot write to full.log: File too large"
    has_one_line full.err
    # What was written is whole lines: none was cut.
    [[ $(tail -c 1 full.log | od -An -c) == *\\n ]] || fail "the last line has no end"
    stored=$(lines_of full.log)
    [[ $(grep -c ' us$' full.log) == "$stored" ]] || fail "a line was cut"
    lost=$((1000 - stored))
    ((stored > 0 && lost > 0)) || fail "$stored are stored"
    grep -q ", $(grouped "$lost") are lost$" full.out || fail "the report has another number"
    # Each batch is tried thrice.
    [[ ! -c /dev/full ]] || run device 1 --lines 10 /dev/full
    [[ ! -c /dev/full ]] || has device.err "the log loses lines: cannot write to /dev/full: No space left on device"
}

case_endings() {
    run short 0 --endings --lines 1500
    has short.out "nothing is lost but what waited in memory, and that by a crash alone" \
        "a critical line, then abort 1,501 1,501 0 0"
    # No tick comes before the end: all that was logged waits, and an orderly end loses none of it.
    run exact 0 --endings --lines 200 --interval 3600000
    has exact.out "the logger goes out of scope 200 200 0 200" "std::exit 200 200 0 200" \
        "an exception that nobody catches 200 200 0 200" "a critical line, then abort 201 201 0 0" \
        "abort 200 0 200 200" "SIGSEGV 200 0 200 200" "_exit 200 0 200 200"
    # Ctrl-C is no crash.
    "$program" --lines 1000000000 --interval 20 interrupted.log >interrupted.out 2>interrupted.err &
    started=$!
    until [[ -s interrupted.log ]]; do
        kill -0 "$started" || fail "it ended"
        sleep 0.05
    done
    kill -INT "$started"
    local code=0
    wait "$started" || code=$?
    [[ $code == 130 ]] || fail "exit code $code instead of 130"
    grep -q ', 0 are lost$' interrupted.out || fail "lines were lost"
    without_gaps interrupted.log
}

# It runs, and each has its row; figures are for a quiet machine.
case_compare() {
    run small 0 --compare --lines 4000 --rounds 1
    [[ $(grep -c '^| queue_sink, block |' small.out) == 5 ]] || fail "rows are missing"
    [[ $(grep -c '^| async, overrun_oldest |' small.out) == 5 ]] || fail "rows are missing"
    [[ ! -e 08_logger.log ]] || fail "a file was left"
}

case_unwritable() {
    run directory 1 --lines 1 none/app.log
    has directory.err "08_logger: cannot open none/app.log: No such file or directory"
    cannot_write report "" --lines 1 @.log
    [[ $(lines_of pipe.log) == 1 ]] || fail "the line is missing"
    run command_line 2 --threads 0
    run policy 2 --overflow sometimes
}

"case_$3"
