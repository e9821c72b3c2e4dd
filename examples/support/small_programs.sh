#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# small_programs.sh PROGRAM DIRECTORY CASE: runs one test case of an example that is one file, in a fresh directory.
source "$(dirname "$0")/testing.sh" "$@"

case_unwritable_output() { cannot_write report ""; }

# 05_retry_and_spill: what a start leaves in the file, the next one delivers.
case_restart() {
    run first 0 readings.spill
    has first.out "no earlier start left anything; the server is down" \
        "10 spilled: 503 Service Unavailable" "the server has 0, the file keeps 20"
    run second 0 readings.spill
    has second.out "an earlier start left 20; the server fails twice" \
        "20 went back" "the server has 40, the file keeps 0"
    [[ $(sort -n -k 2 readings.spill.received) == "$(numbers 0 39)" ]] || fail "not each reading once"
    run third 0 readings.spill
    has third.out "the server has 40, the file keeps 20"
    run fourth 0 readings.spill
    [[ $(sort -n -k 2 readings.spill.received) == "$(numbers 0 79)" ]] || fail "not each reading once"
}

# numbers FROM TO: the server's lines of these readings.
numbers() {
    local i
    for ((i = $1; i <= $2; i++)); do echo "$((i % 4)) $i"; done
}

# 05_retry_and_spill: SIGKILL takes what is in memory, and nothing that is in the file.
case_killed() {
    run first 137 readings.spill kill
    has first.out "10 spilled: 503 Service Unavailable" "killed: 10 were in memory alone, and are lost"
    [[ ! -s readings.spill.received ]] || fail "something was received"
    run second 0 readings.spill
    has second.out "10 went back" "the server has 30, the file keeps 0"
    [[ $(sort -n -k 2 readings.spill.received) == "$(numbers 0 29)" ]] || fail "not each reading once"
}

# 05_retry_and_spill
case_unwritable_file() {
    local begins="05_retry_and_spill: tidefall: spill file"
    run missing 1 none/readings.spill
    begins missing.err "$begins none/readings.spill cannot be opened"
    has_one_line missing.err
    echo "a text" >text
    run text 1 text
    begins text.err "$begins text is not a spill file"
    [[ $(<text) == "a text" ]] || fail "the file was changed"
    mkdir directory
    run directory 1 directory
    begins directory.err "$begins directory cannot be opened: it is not a regular file"
    run command_line 2 one two three
}

"case_$3"
