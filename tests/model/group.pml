/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Groups (src/poll/group.c, halt.c and sleep.c): MEMBERS owners that share one poller, WAKERS that wake any
 * of them any number of times. What a single owner does with its ring, the guest, the deadline is
 * wake.pml's; here is who looks at whose work, and how that is handed over.
 *
 * Select: -DMEMBERS=2 or 3, -DWAKERS=1 or 2, -DWAKES=N (at most so many by each waker); nothing (safety: the assertion) or -DLIVENESS.
 * Break it: -DBROKEN_..., one at a time; README.md says what each one is.
 *
 * All accesses to the state words and to `poller` are locked instructions in the code, so there is
 * no store buffer here. A sleep may end for no reason, and a window at any moment: neither is
 * relied on.
 */
#ifndef MEMBERS
#define MEMBERS 3
#endif
#ifndef WAKERS
#define WAKERS 1
#endif

/* The state words. VMM stands for POLLING, too. */
#define VMM 0
#define SLEEPING 1
#define WATCHED 2

#define NOBODY MEMBERS

#define QUEUED 1
#define WOKEN 2

byte state[MEMBERS];
bool pending[MEMBERS];
byte fw[MEMBERS];	/* the owner's futex wait: 0, QUEUED, WOKEN */
byte poller = NOBODY;

/* For the assertion only. */
byte under_way;		/* wakes, and pollers that leave, before their end */
bool lost;

/* wake_from(): the exchange, then FUTEX_WAKE. */
inline wake_from(who, from)
{
	if
	:: atomic { state[who] == from -> state[who] = VMM; under_way++ };
	   d_step {
		if
		:: fw[who] == QUEUED -> fw[who] = WOKEN
		:: else
		fi;
		under_way--
	   }
	:: atomic { state[who] != from -> skip }
	fi
}

proctype waker()
{
	byte w;
#ifdef WAKES
	byte sent;
#endif

	do
	:: atomic {
#ifdef WAKES
		sent < WAKES -> sent++;
#endif
		if
		:: w = 0
		:: w = 1
#if MEMBERS > 2
		:: w = 2
#endif
		fi;
		pending[w] = true;
		under_way++
	   };
	   if
	   :: atomic { state[w] != SLEEPING -> under_way--; w = 0 } /* somebody looks */
	   :: state[w] == SLEEPING ->
		wake_from(w, SLEEPING);
		atomic { under_way--; w = 0 }
	   fi
#if defined(LIVENESS) || defined(WAKES)
	:: break
#endif
	od
}

#ifdef LIVENESS
#define FORGOTTEN
#else
/* Asleep with work, and nobody is at it: not a waker, not a poller that leaves, not one that stays. */
#define FORGOTTEN                                                                                  \
	:: atomic { pending[me] && under_way == 0 && fw[me] != WOKEN &&                            \
		    (state[me] != WATCHED || poller == NOBODY) -> lost = true; assert(!lost) }
#endif

proctype owner(byte me)
{
	byte i, slept_as;
	bool window, woken;

	/* -------- awake -------- */
vmm:	if
	:: atomic { pending[me] -> pending[me] = false }; goto vmm
	:: atomic { !pending[me] ->
		/* Halts; does its policy want to poll? */
		if
		:: window = true
		:: window = false
		fi }
	fi;

	/* -------- halt_shared(): whose turn is it? -------- */
turn:	if
	:: atomic { window && poller == NOBODY -> poller = me } /* group_begin() */
	:: atomic { !window || poller != NOBODY -> goto sleep }
	fi;
	i = 0;
	do
	:: atomic { i < MEMBERS ->
		if
		:: i != me && state[i] == SLEEPING -> state[i] = WATCHED
		:: else
		fi;
		i++ }
	:: atomic { i == MEMBERS -> i = 0; break }
	od;

	/* -------- poll_for_all() -------- */
poll:	if
	:: atomic { pending[me] -> woken = true; goto leave }
	:: !pending[me]
	fi;
	i = 0;
	do
	:: i < MEMBERS ->
		if
		:: i != me && pending[i] && state[i] == WATCHED -> wake_from(i, WATCHED)
		:: else
		fi;
		i++
	:: atomic { i == MEMBERS -> i = 0; break }
	od;
	if
	:: goto poll
	:: atomic { woken = false; window = false }; /* nobody wants it any more */
	fi;

	/* -------- group_end() -------- */
leave:
#ifdef BROKEN_LEAVE_LATE
	under_way++;
#else
	atomic { poller = NOBODY; under_way++ };
#endif
#ifndef BROKEN_LEAVE_FORGETS
	i = 0;
	do
	:: i < MEMBERS ->
		if
		:: atomic { i != me && state[i] == WATCHED -> state[i] = SLEEPING };
#ifndef BROKEN_CONVERT_BLIND
		   if
		   :: pending[i] -> wake_from(i, SLEEPING)
		   :: !pending[i]
		   fi
#endif
		:: atomic { i == me || state[i] != WATCHED -> skip }
		fi;
		i++
	:: atomic { i == MEMBERS -> i = 0; break }
	od;
#endif
#ifdef BROKEN_LEAVE_LATE
	poller = NOBODY;
#endif
	/* It has work of its own: another may go on. */
	if
	:: woken -> i = (me + 1) % MEMBERS; wake_from(i, SLEEPING)
#if MEMBERS > 2
	:: woken -> i = (me + 2) % MEMBERS; wake_from(i, SLEEPING)
#endif
	:: true
	fi;
	atomic { under_way--; i = 0;
		if
		:: woken -> woken = false; goto vmm
		:: else
		fi };

	/* -------- publish_sleep(), sleep_or_not() -------- */
sleep:	if
	:: poller != NOBODY ->
#ifdef BROKEN_UNPUBLISHED
		/* Slept in a state that it read the poller for, but published too late to be seen. */
		slept_as = WATCHED
#else
		atomic { state[me] = WATCHED; slept_as = WATCHED };
#ifndef BROKEN_NO_REREAD
		if
		:: poller != NOBODY
		:: poller == NOBODY -> atomic { state[me] = SLEEPING; slept_as = SLEEPING }
		fi
#endif
#endif
	:: poller == NOBODY -> atomic { state[me] = SLEEPING; slept_as = SLEEPING }
	fi;
#ifdef BROKEN_UNPUBLISHED
	state[me] = slept_as;
#endif
#ifndef BROKEN_NO_RECHECK
	if
	:: pending[me] -> goto again
	:: !pending[me]
	fi;
#endif
	if					/* is_turn() */
	:: window && poller == NOBODY -> goto again
	:: !window || poller != NOBODY
	fi;
	atomic {				/* FUTEX_WAIT compares and queues in one step */
		if
		:: state[me] == slept_as -> fw[me] = QUEUED
		:: else -> fw[me] = WOKEN	/* -EAGAIN */
		fi
	};
	if
#ifndef NO_EINTR
	:: true					/* EINTR */
#endif
	:: true ->
end:		if				/* no more wakes: it may stay here */
		:: fw[me] == WOKEN
		FORGOTTEN
		fi
	fi;
again:	atomic { fw[me] = 0; state[me] = VMM; slept_as = 0 };
	if
	:: pending[me] -> goto vmm
	:: !pending[me] -> goto turn
	fi
}

init {
	atomic {
		run owner(0); run owner(1);
#if MEMBERS > 2
		run owner(2);
#endif
		run waker();
#if WAKERS > 1
		run waker()
#endif
	}
}

#ifdef LIVENESS
/* With weak fairness: each wake is taken. */
ltl taken { [] (pending[0] -> <> !pending[0]) }
#endif
