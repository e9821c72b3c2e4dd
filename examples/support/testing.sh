# SPDX-License-Identifier: MIT
#
# What the examples' test.sh have in common: `source testing.sh PROGRAM DIRECTORY CASE` enters a fresh directory and
# defines what a case is made of. Needs bash and coreutils.
set -euo pipefail

program=$1 directory=$2/$3
rm -rf "$directory"
mkdir -p "$directory"
cd "$directory"

fail() {
    echo "FAILED: $*"
    head -n 60 -- *.out *.err 2>/dev/null || true
    exit 1
}

# run NAME EXIT_CODE ARGUMENT...: what the program writes goes to NAME.out and NAME.err.
run() {
    local name=$1 expected=$2 code=0
    shift 2
    "$program" "$@" >"$name.out" 2>"$name.err" || code=$?
    [[ $code == "$expected" ]] || fail "exit code $code instead of $expected: $*"
}

# unread_pipe: from now on descriptor 6 is the writing end of a pipe that nobody reads.
unread_pipe() {
    mkfifo unread
    exec 5<>unread 6>unread
    exec 5>&-
    rm unread
}

# cannot_write NAME TEXT ARGUMENT...: with a standard output that is a full disk, a pipe that nobody reads, or closed,
# the exit code is 1, and the one line on standard error tells the reason, and TEXT after it. Each ARGUMENT may have
# @, for the name of what standard output is.
cannot_write() {
    local name=$1 text=$2 output code
    shift 2
    unread_pipe
    for output in full pipe closed; do
        [[ $output != full || -c /dev/full ]] || continue
        code=0
        case $output in
            full) "$program" "${@//@/$output}" >/dev/full 2>"$name.$output.err" || code=$? ;;
            pipe) "$program" "${@//@/$output}" >&6 2>"$name.$output.err" || code=$? ;;
            closed) "$program" "${@//@/$output}" >&- 2>"$name.$output.err" || code=$? ;;
        esac
        [[ $code == 1 ]] || fail "exit code $code instead of 1: $output, $*"
        has_one_line "$name.$output.err"
    done
    local begins=${program##*/}": cannot write to standard output: "
    [[ ! -c /dev/full ]] || has "$name.full.err" "${begins}No space left on device$text"
    has "$name.pipe.err" "${begins}Broken pipe$text"
    has "$name.closed.err" "${begins}Bad file descriptor$text"
    exec 6>&-
}

# start NAME ARGUMENT...: runs the program beside the test, with what is written to descriptor 3 on its standard input.
start() {
    local name=$1
    shift
    mkfifo "$name.pipe"
    "$program" "$@" <"$name.pipe" >"$name.out" 2>"$name.err" &
    started=$!
    exec 3>"$name.pipe"
}

# until_has FILE PATTERN: waits until a line of what the started program writes matches.
until_has() {
    until grep -q -- "$2" "$1"; do
        kill -0 "$started" || fail "ended before it wrote $2"
        sleep 0.05
    done
}

# ends EXIT_CODE: closes the started program's standard input and waits.
ends() {
    local code=0
    exec 3>&-
    wait "$started" || code=$?
    [[ $code == "$1" ]] || fail "exit code $code instead of $1"
}

# has FILE TEXT...: the file has a line that is each of these texts, counting a run of spaces as one.
has() {
    local file=$1 text
    shift
    for text in "$@"; do
        tr -s ' ' <"$file" | sed 's/^ //' | grep -qxF -- "$text" || fail "$file has no line: $text"
    done
}

has_one_line() { [[ $(wc -l <"$1") == 1 ]] || fail "$1 is not one line"; }
is_empty() { [[ ! -s $1 ]] || fail "$1 is not empty"; }
begins() { [[ $(<"$1") == "$2"* ]] || fail "$1 does not begin with: $2"; }

# interrupted_by SIGNAL EXIT_CODE FILE ARGUMENT...: standard input stays open and silent; the signal comes when FILE
# has shown 1,000 lines. A last line that has no end yet is left out.
interrupted_by() {
    local signal=$1 expected=$2 shows=$3 code=0
    shift 3
    start "$signal" --database "$signal.db" "$@" -
    "$program" --generate 1000 --output - >&3
    printf 'no end' >&3
    until_has "$shows" '^1,000 lines'
    kill -"$signal" "$started"
    wait "$started" || code=$?
    exec 3>&-
    [[ $code == "$expected" ]] || fail "exit code $code instead of $expected"
}
