# SPDX-License-Identifier: MIT
#
# What scripts have in common that start a server of their own: sourced. Needs bash and util-linux.

# wait_for COMMAND...: until it succeeds, at most half a minute.
wait_for() {
    local deadline=$((SECONDS + 30))
    until "$@"; do
        ((SECONDS < deadline)) || { echo "waited too long for: $*"; [[ ! -f ${server_log:-} ]] || tail -n 20 "$server_log"; exit 1; }
        sleep 0.05
    done
}

# take_port: sets $server_port to one that nobody listens on, and that no other script has taken: $server_lock says so,
# a file that whoever takes it removes in the end. It is none of those that the system gives to clients, which could have
# it while the server is away.
take_port() {
    local tries
    for tries in {1..100}; do
        server_port=$((20000 + RANDOM % 10000))
        server_lock=${TMPDIR:-/tmp}/tidefall-port-$server_port.lock
        exec 8>"$server_lock"
        if flock -n 8; then
            if ! (exec 7<>"/dev/tcp/127.0.0.1/$server_port") 2>/dev/null; then return; fi
            rm -f "$server_lock"
        fi
    done
    echo "no port is free"
    exit 1
}
