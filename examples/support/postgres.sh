# SPDX-License-Identifier: MIT
#
# A PostgreSQL server of a script's own: sourced, with $server_directory set to a directory that is there. It listens on
# a free port of 127.0.0.1, has its data in that directory, and ends with the script, whatever ends that. Needs bash,
# util-linux and Debian's postgresql.

source "$(dirname "${BASH_SOURCE[0]}")/servers.sh"

# Debian keeps the server out of PATH; others do not.
postgres_bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
[[ -n $postgres_bin ]] || postgres_bin=$(dirname "$(command -v postgres || echo /nowhere/postgres)")
if [[ ! -x $postgres_bin/postgres ]]; then
    echo "PostgreSQL's server is not installed: apt-get install postgresql"
    exit 77
fi

# The server refuses to run as root. It ends at once when the script is gone.
as_server=(setpriv --pdeathsig QUIT)
[[ $(id -u) != 0 ]] || as_server+=(--reuid=postgres --regid=postgres --clear-groups)

# server_processes: those whose working directory is the data, the postmaster's orphans among them.
server_processes() {
    { ls -l /proc/[0-9]*/cwd 2>/dev/null || true; } | sed -n "s|.* /proc/\([0-9]*\)/cwd -> $server_data\$|\1|p"
}

server_is_gone() { [[ -z $(server_processes) ]]; }

# server_init: makes the data. The directory has to be one that the server's user can reach.
server_init() {
    take_port
    server_data=$(realpath "$server_directory")/data server_log=$(realpath "$server_directory")/server.log
    mkdir "$server_data"
    if [[ $(id -u) == 0 ]]; then
        chown postgres "$server_data"
        if ! "${as_server[@]}" test -x "$server_data"; then
            rmdir "$server_data"
            server_data=$(mktemp -d "${TMPDIR:-/tmp}/tidefall-postgres.XXXXXX")
            chown postgres "$server_data"
        fi
    fi
    (cd "$server_data" && "${as_server[@]}" "$postgres_bin/initdb" -D "$server_data" -U tidefall -A trust -N -E UTF8 \
        --no-locale >"$server_log" 2>&1) || { cat "$server_log"; exit 1; }
    trap server_end EXIT
}

# What a test need not wait for: a process that is killed leaves what it wrote to the system.
server_options=(-c fsync=off)

# server_start: returns when the server answers. As long as a process of one that was killed lives, it cannot start.
server_start() {
    local deadline=$((SECONDS + 30))
    until server_answers; do
        if [[ -z ${server_pid:-} ]] || ! kill -0 "$server_pid" 2>/dev/null; then
            ((SECONDS < deadline)) || { echo "the server does not start"; tail "$server_log"; exit 1; }
            cd "$server_data"
            "${as_server[@]}" "$postgres_bin/postgres" -D "$server_data" -p "$server_port" -c listen_addresses=127.0.0.1 \
                -c unix_socket_directories= "${server_options[@]}" >>"$server_log" 2>&1 3>&- 8>&- &
            server_pid=$!
            cd "$OLDPWD"
        fi
        sleep 0.05
    done
}

server_answers() {
    "$postgres_bin/pg_isready" -q -h 127.0.0.1 -p "$server_port" -U tidefall && [[ -n ${server_pid:-} ]] &&
        kill -0 "$server_pid" 2>/dev/null
}

# server_kill: the postmaster, by SIGKILL. Its children notice, and end.
server_kill() {
    kill -KILL "$server_pid"
    wait "$server_pid" 2>/dev/null || true
}

# server_kill_all: every process at once, and those that were made meanwhile.
server_kill_all() {
    until server_is_gone; do kill -KILL $(server_processes) 2>/dev/null || true; done
    wait "$server_pid" 2>/dev/null || true
}

# server_stop: in order. server_end: at once, and the data goes.
server_stop() {
    kill -INT "$server_pid"
    wait "$server_pid" 2>/dev/null || true
}

server_end() {
    local left
    left=$(server_processes)
    if [[ -n $left ]]; then
        kill -CONT $left 2>/dev/null || true
        kill -QUIT "$server_pid" 2>/dev/null || true
        for _ in {1..100}; do
            ! server_is_gone || break
            sleep 0.05
        done
        left=$(server_processes)
        [[ -z $left ]] || kill -KILL $left 2>/dev/null || true
    fi
    rm -rf "$server_data" "$server_lock" || true
}

# For libpq: how to get there.
server_connection() { echo "host=127.0.0.1 port=$server_port user=tidefall dbname=postgres"; }

# sql STATEMENT: what it answers, without decoration.
sql() { "$postgres_bin/psql" -qAtX -v ON_ERROR_STOP=1 "$(server_connection)" -c "$1"; }
