#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# test.sh PROGRAM DIRECTORY CASE: runs one test case of the example in a fresh directory, with a NATS server of its own,
# or a Kafka cluster that librdkafka makes up in a process of its own.
support=$(realpath "$(dirname "$0")/../support")
source "$support/testing.sh" "$@"
server_directory=$PWD
tool=${program}_cluster

lines=20000
# Some hundred keys; each line has its number as its last word.
make_lines() {
    awk -v lines="$1" 'BEGIN { for (i = 1; i <= lines; ++i) print "host" i * 7919 % 307, "GET /some/path/or/other", i }' >log
}

count_of() { sed -n "s/^$1  *\([0-9,]*\).*/\1/p" "$2" | tr -d , | grep . || echo 0; }

# adds_up NAME: the report's law.
adds_up() {
    local in=0 out=0 one
    for one in lines waited; do in=$((in + $(count_of "$one" "$1.out"))); done
    for one in confirmed kept lost; do out=$((out + $(count_of "$one" "$1.out"))); done
    [[ $in == "$out" && $(count_of lost "$1.out") == 0 ]] || fail "$in lines came, and $out went"
}

# all_are_there DOUBLES: each line is in dump, with its key, and so many at most are there twice.
all_are_there() {
    local doubles
    cut -f 4 dump | sort | uniq >there
    sort log | cmp -s - there || fail "$(wc -l <there) of $(wc -l <log) lines are there"
    awk -F '\t' '{ split($4, word, " "); if (word[1] != $2) exit 1 }' dump || fail "not the first word is the key"
    doubles=$(($(wc -l <dump) - $(wc -l <there)))
    ((doubles <= $1)) || fail "$doubles lines are there twice, and $1 may be"
}

# in_order: the lines of a key are in one partition, in their order.
in_order() {
    awk -F '\t' '{ n = split($4, word, " ")
        if (($2 in at && at[$2] != $1) || word[n] + 0 <= last[$2]) exit 1
        at[$2] = $1; last[$2] = word[n] + 0 }' dump || fail "not in order"
}

spills() { until_has "$1.err" ' lines wait in lines.spill: '; }

# Of the made-up cluster. ask COMMAND: returns when it is done.
cluster_start() {
    source "$support/servers.sh"
    mkfifo commands
    setpriv --pdeathsig KILL "$tool" kafka <commands >cluster.said 2>cluster.err &
    exec 4>commands
    wait_for test -s cluster.said
    brokers=$(head -n 1 cluster.said)
}

asked=0
ask() {
    asked=$((asked + 1))
    echo "$1" >&4
    wait_for is_done
}
is_done() { (($(wc -l <cluster.said) > asked)); }
has_messages() {
    if [[ ${brokers:-} ]]; then ask "dump dump"; else timeout 20 "$tool" nats "$server_url" dump 2>dump.err; fi
    (($(wc -l <dump) >= $1))
}

case_kafka() {
    cluster_start
    make_lines "$lines"
    run sent 0 --brokers "$brokers" <log
    adds_up sent
    ask "dump dump"
    all_are_there 0
    in_order
}

# What a broker answers for a while is up to the client, which tries again: not the leader, a timeout, too few replicas.
case_kafka_errors() {
    cluster_start
    make_lines "$lines"
    ask "errors 60 6 7 19 5"
    run sent 0 --brokers "$brokers" --batch 100 <log
    adds_up sent
    [[ $(count_of doubtful sent.out) == 0 ]] || fail "some are doubtful"
    ask "dump dump"
    all_are_there 0
}

# No broker is there for longer than the client and the queue try. The next start brings the spill file in.
case_kafka_away() {
    cluster_start
    make_lines "$lines"
    start sent --brokers "$brokers" --timeout 1 --attempts 2 -X reconnect.backoff.max.ms 200
    head -n $((lines / 2)) log >&3
    wait_for has_messages 1
    ask down
    tail -n +$((lines / 2 + 1)) log >&3
    spills sent
    ends 75
    adds_up sent
    ask up
    run back 0 --brokers "$brokers" </dev/null
    adds_up back
    ask "dump dump"
    all_are_there $(($(count_of doubtful sent.out) + $(count_of doubtful back.out)))
}

# The server goes in the middle and comes back. What it had and did not answer comes again, and is left out.
case_nats_killed() {
    local code=0
    source "$support/nats.sh"
    server_init
    server_start
    make_lines "$lines"
    start sent --brokers "$server_url" --attempts 2 --batch 100
    head -n $((lines / 2)) log >&3
    wait_for has_messages 1
    server_kill
    tail -n +$((lines / 2 + 1)) log >&3
    spills sent
    server_start
    exec 3>&-
    wait "$started" || code=$?
    [[ $code == 0 || $code == 75 ]] || fail "exit code $code"
    adds_up sent
    # It may not have noticed yet that the server is back.
    run back 0 --brokers "$server_url" </dev/null
    adds_up back
    has_messages 0
    all_are_there 0
}

# With ids that are the same again, a second start sends nothing twice.
case_program_killed() {
    source "$support/nats.sh"
    server_init
    server_start
    make_lines "$lines"
    start first --brokers "$server_url" --id log-1
    head -n $((lines / 2)) log >&3
    wait_for has_messages 1
    kill -KILL "$started"
    ends 137
    run second 0 --brokers "$server_url" --id log-1 <log
    adds_up second
    (($(count_of doubtful second.out) > 0)) || fail "the server had nothing"
    has_messages 0
    all_are_there 0
}

# Neither the start nor the end needs the server, not when a signal comes while the reader waits for room either.
case_nats_away() {
    local code=0
    source "$support/nats.sh"
    server_init
    make_lines "$lines"
    run away 75 --brokers "$server_url" --attempts 1 <log
    adds_up away
    has away.out "confirmed 0"
    rm lines.spill
    start ended --brokers "$server_url" --attempts 1000 --batch 100 --verbose
    cat log >&3 2>/dev/null &
    until_has ended.err ' partition_full '
    kill -TERM "$started"
    wait "$started" || code=$?
    exec 3>&-
    [[ $code == 143 ]] || fail "exit code $code instead of 143"
    adds_up ended
    head -n "$(count_of lines ended.out)" log >read.log
    mv read.log log
    server_start
    run back 0 --brokers "$server_url" </dev/null
    adds_up back
    has_messages 0
    all_are_there 0
}

case_listen() {
    local code=0
    source "$support/nats.sh"
    server_init
    server_start
    make_lines 1000
    start served --brokers "$server_url" --listen 0
    until_has served.out '^listening '
    local port
    port=$(sed -n 's/^listening to 127.0.0.1://p' served.out)
    exec 5<>"/dev/tcp/127.0.0.1/$port" 6<>"/dev/tcp/127.0.0.1/$port"
    head -n 600 log >&5
    tail -n 400 log | head -c -1 >&6  # the last line has no end
    exec 5>&- 6>&-
    wait_for has_messages 1000
    kill -TERM "$started"
    wait "$started" || code=$?
    [[ $code == 143 ]] || fail "exit code $code instead of 143"
    adds_up served
    all_are_there 0
    run command_line 2 --brokers "$server_url" --batch 0
}

"case_$3"
