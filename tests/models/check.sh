#!/bin/bash
# SPDX-License-Identifier: MIT
#
# check.sh DIRECTORY: has spin go through all states of the models, in DIRECTORY. The right one has no fault, and each
# of the broken ones has one.
set -euo pipefail
models=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1" && cd "$1"
cp "$models/biased_lock.pml" .

# faults BREAK...: prints how many faults are found, and in how many states
faults() {
  spin -a "$@" biased_lock.pml >/dev/null
  cc -O2 -DSAFETY -DCOLLAPSE -w -o pan pan.c
  ./pan -m1000000 >result
  if grep -q "max search depth too small\|out of memory" result; then
    echo "the search was cut short" >&2
    return 1
  fi
  sed -n 's/.*errors: \([0-9]*\)$/\1/p; s/ *\([0-9]*\) states, stored$/\1/p' result | paste -sd ' '
}

failed=0
read -r errors states < <(faults)
echo "as it is: $errors faults in $states states"
[ "$errors" = 0 ] || failed=1
for break in NO_BARRIER NO_BARRIER_OF_WRITERS BARRIER_BEFORE_MARK TWO_ASKERS LEANS_WHILE_WANTED NO_WAIT NO_LOOK \
  SAME_NUMBER ONE_FLAG; do
  read -r errors states < <(faults -D$break)
  echo "$break: $errors faults in $states states"
  [ "$errors" != 0 ] || failed=1
done
exit $failed
