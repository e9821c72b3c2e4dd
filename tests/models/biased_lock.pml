/* SPDX-License-Identifier: MIT
 *
 * The protocol of include/tidefall/detail/write/biased_lock.hpp, for the model checker spin: two writers, each of whom
 * may become the owner, and two askers that come twice (swaps, a stop, a look). check.sh runs it, and the broken ones.
 *
 * A writer's stores to its `inside` go through a buffer of its processor's, which empties when it likes, before an atomic
 * operation of that writer, and at a barrier of the process: as on x86-64. That AArch64, where more may pass more, needs
 * nothing else is argued in the header and not checked here. The other variables are changed by atomic operations, or
 * by who has the word.
 *
 * Broken by -D: NO_BARRIER, NO_BARRIER_OF_WRITERS, BARRIER_BEFORE_MARK, TWO_ASKERS, LEANS_WHILE_WANTED, NO_WAIT,
 * NO_LOOK, SAME_NUMBER (a thread is taken for another one), ONE_FLAG.
 */
#define WRITERS 2
#define ASKERS 2
#ifndef WRITES
#define WRITES 2
#endif
#ifndef LOOKS
#define LOOKS 2
#endif

#define wanted 128
#define without_mark(word) ((word) & 127)
#ifdef SAME_NUMBER
#define number(w) 1
#else
#define number(w) ((w) + 1)
#endif
#if defined(SAME_NUMBER) || defined(ONE_FLAG)
#define flag(number) 0
#else
#define flag(number) ((number) - 1)
#endif

bool word = false;    /* stripe_lock */
byte leans_to = 0;
byte inside[WRITERS] = 0;
bool asking = false;  /* stripe_set::asking_ */
byte in_section = 0;

bool owned[WRITERS] = false; /* for all that the writer knows */
chan stores[WRITERS] = [2] of { byte };

#define has_no_stores(w) (len(stores[w]) == 0)

active [WRITERS] proctype processor() {
    byte value;
end:
    do
    :: atomic { stores[_pid]?value -> inside[flag(number(_pid))] = value }
    od
}

/* Each processor of the process at its own time. */
inline barrier() {
    i = 0;
    do
    :: i < WRITERS -> atomic { has_no_stores(i) -> i++ }
    :: else -> break
    od
}

inline section() {
    in_section++;
    assert(in_section == 1);
    in_section--
}

/* With the word. */
inline take_from_owner(needs_barrier) {
    owner = flag(without_mark(held));
    leans_to = 0;
    if
    :: needs_barrier -> barrier()
    :: else -> skip
    fi;
#ifndef NO_WAIT
    inside[owner] == 0
#endif
}

proctype writer(byte w) {
    byte i;
    byte n = 0;
    byte held;
    byte owner;
    do
    :: n == WRITES -> break
    :: n < WRITES ->
        n++;
        if
        :: !owned[w] -> goto by_the_word
        :: else -> skip
        fi;
        stores[w]!1;
#ifndef NO_LOOK
        if
        :: leans_to != number(w) -> stores[w]!0; owned[w] = false; goto by_the_word
        :: else -> skip
        fi;
#endif
        section();
        stores[w]!0;
        goto done;
by_the_word:
        atomic { !word && has_no_stores(w) -> word = true };
        held = leans_to;
        if
        :: held != 0 && without_mark(held) != number(w) ->
#if defined(NO_BARRIER) || defined(NO_BARRIER_OF_WRITERS)
            take_from_owner(false)
#else
            take_from_owner(true)
#endif
        :: else -> skip
        fi;
        section();
        /* Leans to the writer or not: when is a matter of cost. */
        if
#ifdef LEANS_WHILE_WANTED
        :: without_mark(leans_to) == number(w) -> leans_to = number(w)
#endif
        :: leans_to == 0 -> owned[w] = true; leans_to = number(w)
        :: skip
        fi;
        word = false;
done:
        skip
    od
}

proctype asker() {
    byte i;
    byte n = 0;
    byte held;
    byte owner;
    bool leans;
    do
    :: n == LOOKS -> break
    :: n < LOOKS ->
        n++;
#ifndef TWO_ASKERS
        atomic { !asking -> asking = true };
#endif
#ifdef BARRIER_BEFORE_MARK
        barrier();
#endif
        atomic {
            leans = leans_to != 0;
            if
            :: leans -> leans_to = leans_to | wanted
            :: else -> skip
            fi
        };
        if
#if !defined(BARRIER_BEFORE_MARK) && !defined(NO_BARRIER)
        :: leans -> barrier()
#endif
        :: else -> skip
        fi;
        atomic { !word -> word = true };
        held = leans_to;
        if
        :: held != 0 ->
#if defined(NO_BARRIER)
            take_from_owner(false)
#elif defined(LEANS_WHILE_WANTED)
            take_from_owner(!leans)
#else
            take_from_owner((held & wanted) == 0)
#endif
        :: else -> skip
        fi;
        section();
        word = false;
#ifndef TWO_ASKERS
        asking = false;
#endif
        skip
    od
}

init {
    byte k;
    atomic {
        k = 0;
        do
        :: k < WRITERS -> run writer(k); k++
        :: else -> break
        od;
        k = 0;
        do
        :: k < ASKERS -> run asker(); k++
        :: else -> break
        od
    }
}
