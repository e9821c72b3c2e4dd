# SPDX-License-Identifier: MIT
#
# A NATS server of a script's own, with JetStream: sourced, with $server_directory set to a directory that is there. It
# listens on a free port of 127.0.0.1, has its data in that directory, and ends with the script, whatever ends that.
# Needs bash, util-linux and Debian's nats-server.
source "$(dirname "${BASH_SOURCE[0]}")/servers.sh"

nats_server=$(PATH=$PATH:/usr/sbin command -v nats-server || true)
if [[ -z $nats_server ]]; then
    echo "The NATS server is not installed: apt-get install nats-server"
    exit 77
fi

server_init() {
    take_port
    server_log=$server_directory/server.log
    server_url=nats://127.0.0.1:$server_port
    trap server_end EXIT
}

# server_start: returns when the server listens, with JetStream.
server_start() {
    setpriv --pdeathsig KILL "$nats_server" -a 127.0.0.1 -p "$server_port" -js -sd "$server_directory/data" \
        >>"$server_log" 2>&1 3>&- 8>&- &
    server_pid=$!
    wait_for server_answers
}

server_answers() {
    kill -0 "$server_pid" && (exec 7<>"/dev/tcp/127.0.0.1/$server_port" && read -r _ <&7) 2>/dev/null
}

server_kill() {
    kill -KILL "$server_pid"
    wait "$server_pid" 2>/dev/null || true
}

server_end() {
    [[ -z ${server_pid:-} ]] || ! kill -0 "$server_pid" 2>/dev/null || server_kill
    rm -rf "$server_directory/data" "$server_lock"
}
