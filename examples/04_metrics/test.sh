#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# test.sh PROGRAM DIRECTORY CASE: runs one test case of the example in a fresh directory.
source "$(dirname "$0")/../support/testing.sh" "$@"

beside=()
trap '((${#beside[@]} == 0)) || kill "${beside[@]}" 2>/dev/null || true' EXIT

# serve ARGUMENT...: starts the program; $port is where it serves.
serve() {
    start served --port 0 "$@"
    beside+=("$started")
    until_has served.out '^serving '
    port=$(sed -n 's|^serving http://127.0.0.1:\([0-9]*\)/metrics$|\1|p' served.out)
}

# get PATH: what the program answers, as it comes.
get() {
    exec 4<>"/dev/tcp/127.0.0.1/$port"
    printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$1" >&4
    cat <&4
    exec 4>&-
}

body() { sed '1,/^\r$/d'; }

# value NAME: of the sample in what was scraped last; the sum where several series have the name and these labels.
value() { awk -v name="$1" 'index($0, name) == 1 { sum += $NF } END { print sum + 0 }' scraped; }

scrape() { get /metrics | body >scraped; }

case_endpoint() {
    local none=0
    serve --events 10003 --writers 3 --fail-every 5 --duration 60
    until scrape && (($(value 'tidefall_buffer_processed_values_total') +
        $(value 'tidefall_undelivered_values_total{') == 10003)); do
        kill -0 "$started" || fail "ended before all was processed"
        sleep 0.05
    done
    [[ $(value 'tidefall_drained_values_total{buffer="events",') == 10003 ]] || fail "not 10,003 drained"
    [[ $(value 'tidefall_buffer_accepted_values_total{buffer="events"}') == 10003 ]] || fail "not 10,003 accepted"
    [[ $(value 'tidefall_buffer_pending_values{buffer="events"}') == 0 ]] || fail "some are pending"
    (($(value 'tidefall_exceptions_total{') > 0)) || fail "no exception"
    get /metrics >answer.out
    grep -q $'^Content-Type: text/plain; version=0.0.4; charset=utf-8\r$' answer.out || fail "another content type"
    get /other >other.out
    grep -q '^HTTP/1.[01] 404 ' other.out || fail "no 404"
    # The port is taken.
    run taken 1 --port "$port"
    begins taken.err "04_metrics: cannot listen on 127.0.0.1:$port"
    kill -INT "$started"
    wait "$started" || none=$?
    [[ $none == 130 ]] || fail "exit code $none instead of 130"
    beside=()
    grep -q '^10003 accepted, ' served.out || fail "no report"
    run command_line 2 --writers 0
    run ends 0 --port 0 --duration 1
}

# Who opens the address alone finds the way.
case_front_page() {
    serve --duration 60
    get / >front.out
    grep -q '^HTTP/1.[01] 200 ' front.out || fail "not 200"
    grep -q $'^Content-Type: text/html; charset=utf-8\r$' front.out || fail "another content type"
    get "$(body <front.out | sed -n 's/.*href="\([^"]*\)".*/\1/p')" >metrics.out
    grep -q '^tidefall_buffer_accepted_values_total{' metrics.out || fail "the link leads elsewhere"
}

case_unwritable_output() {
    local code=0
    cannot_write serving "" --port 0
    cannot_write help "" --help
    # The first line is read, and then nobody is there.
    mkfifo output
    "$program" --port 0 --duration 60 >output 2>report.err &
    started=$!
    beside+=("$started")
    exec 5<output
    read -r _ <&5
    exec 5<&-
    kill -INT "$started"
    wait "$started" || code=$?
    [[ $code == 1 ]] || fail "exit code $code instead of 1"
    has report.err "04_metrics: cannot write to standard output: Broken pipe"
}

# shows QUERY VALUE: waits until Prometheus answers it with that number.
shows() {
    until promtool query instant "$prometheus" "$1" >query.out 2>&1 && grep -q -- "=> $2 @" query.out; do
        ((SECONDS < 50)) || fail "no $2 for $1"
        sleep 0.2
    done
}

# A real Prometheus (Debian's package prometheus) scrapes the program.
case_prometheus() {
    if ! type prometheus promtool >/dev/null 2>&1; then
        echo "Prometheus is not installed: apt-get install prometheus"
        exit 77
    fi
    # A name that needs every escape, and whose last byte is no text.
    serve --events 10003 --writers 3 --fail-every 5 --name $'the "events"\nof C:\\new\xFF'
    local events='{buffer="the \"events\"\nof C:\\new\uFFFD"}'
    scrape
    promtool check metrics <scraped >check.out 2>&1 || fail "promtool finds fault with the text"
    is_empty check.out
    cat >prometheus.yml <<END
global:
  scrape_interval: 1s
scrape_configs:
  - job_name: tidefall
    static_configs:
      - targets: ["127.0.0.1:$port"]
END
    prometheus --config.file=prometheus.yml --storage.tsdb.path=data --web.listen-address=127.0.0.1:0 \
        --log.format=logfmt >prometheus.out 2>prometheus.err &
    beside+=($!)
    until grep -q 'msg="Listening on"' prometheus.err; do
        kill -0 "${beside[-1]}" || fail "Prometheus ended"
        sleep 0.1
    done
    prometheus=http://$(sed -n 's/.*msg="Listening on".* address=\([^ ]*\).*/\1/p' prometheus.err)
    shows 'up{job="tidefall"}' 1
    shows "sum(tidefall_drained_values_total$events)" 10003
    shows 'sum(tidefall_buffer_processed_values_total) + sum(tidefall_undelivered_values_total)' 10003
    shows "sum(tidefall_buffer_pending_values$events)" 0
    shows 'sum(tidefall_exceptions_total) > bool 0' 1
    shows 'sum(tidefall_processing_duration_seconds_count) == bool sum(tidefall_drains_total)' 1
    shows 'histogram_quantile(0.99, sum by (le) (tidefall_processing_duration_seconds_bucket)) > bool 0' 1
}

"case_$3"
