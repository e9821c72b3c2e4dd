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

# What stands before the client is understood where it is told, and else refused: each line has its reason.
case_layouts() {
    local end='[10/Jul/2024:21:25:43 +0700] "GET / HTTP/1.1" 200 615 "-" "curl/8"'
    {
        echo "203.0.113.1 - - $end"
        echo "example.org:443 203.0.113.2 - - $end"
        echo "203.0.113.3, 198.51.100.7, 198.51.100.8 - - $end"
        echo "<133>Jul  9 21:25:44 host01 access 203.0.113.4 - - $end"
        echo "web_1  | 203.0.113.5 - - $end"
    } >mixed.log
    local before=('' 'nothing before the client' 'a virtual host before the client'
        "an X-Forwarded-For in the client's place" 'a head of syslog before the client'
        "a container's name before the client")
    local layouts=('' common vhost forwarded syslog compose) i other
    for i in 1 2 3 4 5; do
        run "${layouts[i]}" 0 --replace --layout "${layouts[i]}" mixed.log
        for other in 1 2 3 4 5; do
            # A list of one is a client alone.
            ((other != i)) && [[ $i$other != 31 ]] || continue
            has "${layouts[i]}.out" "mixed.log:$other: ${before[other]}: for --layout ${layouts[other]}"
        done
    done
    has common.out "requests 1" "clients 1" "malformed 4"
    has vhost.out "requests 1" "malformed 4"
    has forwarded.out "requests 2" "clients 2" "malformed 3"
    run default 0 --replace mixed.log
    has default.out "requests 1" "malformed 4"

    # Each layout's lines, as they differ. The client is what is left of them all.
    stored() {
        local layout=$1
        shift
        printf "%s - - $end\n" "$@" >"$layout.log"
        run "$layout.all" 0 --replace --database "$layout.db" --layout "$layout" "$layout.log"
        has "$layout.all.out" "requests $#" "clients 1" "malformed 0"
        grep -qaF 203.0.113.9 "$layout.db" || fail "not the client is stored"
    }
    stored vhost "example.org 203.0.113.9" "www.example.org:80 203.0.113.9" "192.0.2.1:8080 203.0.113.9" \
        "[2001:db8::1]:443 203.0.113.9" "2001:db8::1 203.0.113.9" "_ 203.0.113.9"
    stored forwarded "203.0.113.9" "203.0.113.9, 10.0.0.1" "203.0.113.9,10.0.0.1, 2001:db8::1" "203.0.113.9, unknown"
    stored syslog "<133>Dec 23 15:31:15 host01 access 203.0.113.9" "Dec  3 15:31:15 192.0.2.1 nginx: 203.0.113.9" \
        "2024-07-10T21:25:43.123456+07:00 host01 httpd[77]: 203.0.113.9" "<6>2024-07-10T21:25:43Z a.b c 203.0.113.9" \
        "2024-07-10T14:25:43.123456789Z stdout F 203.0.113.9"  # the last as Kubernetes keeps them
    stored compose "web_1  | 203.0.113.9" "project-web-1 | 203.0.113.9" "web    | 203.0.113.9"
    run unknown 2 --layout other mixed.log
    grep -q "^--layout: other not in {common,vhost,forwarded,syslog,compose}" unknown.err || fail "no layout is named"
}

# Lines that are almost good ones: what is wrong with each is told, and nothing of them is taken for a client.
case_look_alikes() {
    local end='[10/Jul/2024:21:25:43 +0700] "GET / HTTP/1.1" 200 615 "-" "curl/8"' number=0 line
    local not_a_client="the client is neither an address nor a host's name"
    local too_many="more than client, identity and user before the [time]"
    refused() {
        local before
        number=$((number + 1))
        for before in "${@:2}"; do
            printf "%s $end\n" "$before" >"$number.log"
            run "$number" 0 --replace "$number.log"
            has "$number.out" "requests 0" "malformed 1" "$number.log:1: $1"
            number=$((number + 1))
        done
    }
    refused "$not_a_client" "1.2.3 - -" "256.1.1.1 - -" "1720621543.123 - -" "0.123 192.0.2.1 - -" "2001:db8::1::2 - -" \
        "192.0.2.1:51234 - -" "[2001:db8::1] - -" "a..b - -" "caf"$'\xc3\xa9'" - -" $'\xef\xbb\xbf'"192.0.2.1 - -" \
        "-host - -" "\"192.0.2.1\" - -" "[pod/web/nginx] 192.0.2.1 - -" "{\"log\":\"192.0.2.1 - -" \
        "192.0.2.1; - -" "192.0.2.1%eth0 - -" \
        "$(printf 'a%.0s' {1..64}).org - -"
    refused "$too_many" "Dec 23 15:31:15 192.0.2.1 - -" "stdout F 192.0.2.1 - -" "host01 nginx 192.0.2.1 - -" \
        "192.0.2.1 - - 0.123"
    refused "no identity after the client address" "192.0.2.1  - -"
    refused "an X-Forwarded-For in the client's place: for --layout forwarded" "- - -" "192.0.2.1,192.0.2.2 - -"
    refused "no client address" " 192.0.2.1 - -"
    printf "%s $end\n" "192.0.2.1 - -" "2001:db8::1 - -" "::ffff:192.0.2.1 - -" "fe80::1%eth0 - -" "localhost - -" \
        "a-b_c.example.org. - -" "unix: - -" "xn--caf-dma.example - frank" "192.0.2.1 ident frank" "192.0.2.1 - a b" \
        '192.0.2.1 - ""' >good.log
    run good 0 --replace good.log
    has good.out "requests 11" "clients 8" "malformed 0"
}

# A compressed file is refused whatever its name is, before anything is stored; so is a pipe.
case_compressed() {
    "$program" --generate 100 --output log
    gzip -n -c log >log.1
    local cannot="01_access_log: cannot read"
    run file 1 log log.1
    has file.err "$cannot log.1: it is compressed by gzip: zcat log.1 | 01_access_log -"
    has_one_line file.err
    is_empty file.out
    [[ ! -e access_log.db ]] || fail "a database was made"
    run stdin 1 - <log.1
    has stdin.err "$cannot -: it is compressed by gzip: zcat | 01_access_log -"
    # One byte, and later the others.
    start slow -
    head -c 1 log.1 >&3
    tail -c +2 log.1 >&3
    ends 1
    has slow.err "$cannot -: it is compressed by gzip: zcat | 01_access_log -"
    printf '\xfd7zXZ\0x' >a
    run xz 1 a
    has xz.err "$cannot a: it is compressed by xz: xzcat a | 01_access_log -"
    printf '\x28\xb5\x2f\xfdx' >b
    run zstd 1 b
    has zstd.err "$cannot b: it is compressed by zstd: zstdcat b | 01_access_log -"
    printf 'BZh91AY&SYx' >c
    run bzip2 1 c
    has bzip2.err "$cannot c: it is compressed by bzip2: bzcat c | 01_access_log -"
    # What the message says works.
    zcat <log.1 | run piped 0 -
    has piped.out "requests 100"
}

# One of a thing is not several.
case_one() {
    run one 0 --generate 1
    grep -q '^1 line in .* s, 1 batch, to access_log.db$' one.out || fail "not singular"
    run none 0 --generate 0
    grep -q '^0 lines in .* s, 0 batches, to access_log.db$' none.out || fail "not plural"
    echo '192.0.2.1 - - [10/Jul/2024:21:25:43 +0700] "GET / HTTP/1.1" 200 1' >byte.log
    run byte 0 byte.log
    has byte.out "bytes 1 (1 byte)" "2xx 1 100.0 % 1 byte" "1 1 byte /"
}

# The report is lost, what was parsed is not.
case_unwritable_output() {
    local one
    cannot_write report "; everything that was parsed is stored" --database @.db
    for one in full pipe closed; do
        [[ -e $one.db ]] || continue
        # The protocol of each request; SQLite's command need not be installed.
        (($(grep -ao 'HTTP/1\.1' "$one.db" | wc -l) > 4800)) || fail "$one: the requests are not stored"
        run "$one.after" 0 --database "$one.db"
        has "$one.after.out" "run 2; the database keeps 1 other" "requests 4,980"
    done
    cannot_write sample "" --generate 10 --output -
    cannot_write help "" --help
    # A log that is made is a file like any other.
    if [[ -c /dev/full ]]; then
        run full 1 --generate 10 --output /dev/full
        has full.err "01_access_log: cannot write to /dev/full: No space left on device"
    fi
    run missing 1 --generate 10 --output none/log
    has missing.err "01_access_log: cannot write to none/log: No such file or directory"
    # A signal's exit code does not hide it.
    unread_pipe
    mkfifo input
    "$program" --database signal.db --verbose - <input >&6 2>signal.err &
    started=$!
    exec 3>input
    "$program" --generate 1000 --output - >&3
    until_has signal.err '^1,000 lines'
    kill -INT "$started"
    ends 1
    grep -q 'Broken pipe; everything that was parsed is stored$' signal.err || fail "no reason"
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
    grep -q '; [0-9,]* of [0-9,]* parsed lines stored$' full.err || fail "no count of what was stored"
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
