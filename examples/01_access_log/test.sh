#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# test.sh PROGRAM DIRECTORY CASE: runs one test case of the example in a fresh directory.
source "$(dirname "$0")/../support/testing.sh" "$@"

# Without an argument: a small log, into access_log.db. A second run adds to it and reports on itself alone.
case_default() {
    run first 0
    is_empty first.err
    has first.out "run 1" "requests 4,980" "malformed 20"
    [[ -f access_log.db ]] || fail "no access_log.db"
    run second 0
    has second.out "run 2; the database keeps 1 other" "requests 4,980" "malformed 20"
    run third 0 --replace
    has third.out "run 1" "requests 4,980"
}

case_stdin() {
    "$program" --generate 20000 --seed 7 --output - >log
    [[ $(wc -l <log) == 20000 ]] || fail "not 20,000 lines generated"
    cat log log | run piped 0 --threads 4 --batch 300 -
    has piped.out "requests 39,840" "malformed 160" "-:250: text directly after the user agent's closing quote"
    run direct 0 --replace --generate 20000 --seed 7
    has direct.out "requests 19,920" "malformed 80"
    # The same lines from two files and a pipe.
    run files 0 --replace log - log <log
    has files.out "requests 59,760" "malformed 240"
}

# Lines as real logs have them, and lines that are none.
case_lines() {
    local at='[17/May/2015:10:05:03 +0000]'
    {
        printf '%s\n' "192.0.2.1 - - $at \"GET /common HTTP/1.0\" 200 1000"
        printf '%s\r\n' "2001:db8::1 - frank lee $at \"GET /crlf HTTP/1.1\" 301 - \"-\" \"-\""
        printf '\n \r\n'
        printf '%s\n' "192.0.2.2 - - $at \"GET /a \\\"b\\\" c HTTP/1.1\" 404 20 \"\" \"agent \\\"x\\\\\""
        printf '%s\n' "192.0.2.2 - - $at \"-\" 408 - \"-\" \"-\""
        printf '%s\n' "192.0.2.2 - - $at \"\\x16\\x03\\x01 \\x00\" 400 3 \"-\" \"-\""
        printf '%s\n' "192.0.2.2 - - $at \"GET /09\" 500 4 \"-\" \"-\" 0.123 \"extra\""
        printf '%s\n' "nonsense"
        printf '%s\n' "192.0.2.3 - - $at \"GET /nul HTTP/1.1\" 200 1 \"-\" \"@\"" | tr @ '\0'
        printf '%s\n' "192.0.2.3 - - [29/Feb/2015:10:05:03 +0000] \"GET / HTTP/1.1\" 200 1"
        printf '%s\n' "192.0.2.3 - - $at \"GET / HTTP/1.1\" 200 -1"
        printf 'x%.0s' {1..200000}
        printf '\n%s' "192.0.2.4 - - $at \"GET /no-end HTTP/1.1\" 200 5 \"-\" \"-\""
    } >odd.log
    run odd 0 odd.log
    has odd.out "requests 7" "not HTTP 2" "bytes 1,032 (1.0 KiB)" "clients 4" "malformed 5" \
        "2xx 2 28.6 % 1005 bytes" "3xx 1 14.3 % 0 bytes" "4xx 3 42.9 % 23 bytes" "5xx 1 14.3 % 4 bytes" \
        '1 20 bytes /a \"b\" c' "1 4 bytes /09" "1 5 bytes /no-end" \
        "odd.log:9: no client address" "odd.log:10: a NUL byte in the line" \
        "odd.log:11: the time is not dd/Mon/yyyy:hh:mm:ss +zzzz" "odd.log:12: the size is neither a number nor -" \
        "odd.log:13: the line is longer than 64 KiB"
    : >empty.log
    run empty 0 empty.log
    has empty.out "requests 0" "malformed 0"
}

# No batch has more records than may wait, and one more for each parser.
case_capacity() {
    local batches
    run small 0 --generate 5000 --threads 4 --capacity 6 --batch 1000
    has small.out "requests 4,980" "malformed 20"
    batches=$(sed -n 's/^5,000 lines in .* s, \(.*\) batches, to .*/\1/p' small.out | tr -d ,)
    ((batches >= 500)) || fail "$batches batches instead of 5,000 / (6 + 4) or more"
    run command_line 2 --capacity 0
}

case_unreadable_file() {
    local code=0
    "$program" --generate 10 --output good.log
    run missing 1 good.log missing.log
    has missing.err "01_access_log: cannot read missing.log: No such file or directory"
    has_one_line missing.err
    is_empty missing.out
    run directory 1 .
    has directory.err "01_access_log: cannot read .: Is a directory"
    [[ ! -e access_log.db ]] || fail "a database was made"
    # A file that can be opened and not read: what was read before is stored.
    if [[ -r /proc/self/mem ]]; then
        run unreadable 1 good.log /proc/self/mem
        has unreadable.err "01_access_log: cannot read /proc/self/mem: Input/output error"
        has_one_line unreadable.err
    fi
    run command_line 2 --threads 0 good.log
}

case_unwritable_database() {
    run directory 1 --database .
    begins directory.err "01_access_log: cannot use the database .: "
    has_one_line directory.err
    echo "no database, but longer than the header of one would be; $(printf 'x%.0s' {1..200})" >text
    run text 1 --database text
    has text.err "01_access_log: cannot use the database text: file is not a database"
    # A disk that is full: no file may grow beyond 1 MiB.
    (
        trap '' XFSZ
        ulimit -f 1024
        run full 1 --generate 50000 --database full.db
    )
    begins full.err "01_access_log: cannot use the database full.db: "
    grep -q '; .* of .* parsed lines are stored$' full.err || fail "no count of what was stored"
    has_one_line full.err
    is_empty full.out
}

# What standard input gave until the signal is stored.
case_interrupt() {
    local signal
    interrupted_by INT 130 INT.err --verbose
    interrupted_by TERM 143 TERM.err --verbose
    for signal in INT TERM; do
        has "$signal.out" "requests 996" "malformed 4"
        has "$signal.err" "01_access_log: interrupted; everything that was parsed is stored"
    done
}

"case_$3"
