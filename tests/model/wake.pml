/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wake protocol of src/poll/wake.h, sleep.c and ring.c: one owner, two wakers, a deadline, a ring.
 *
 * Select one way to sleep: -DPLAIN, -DRING or -DEVENTFD.
 * Select what is checked:  nothing (safety: the assertions) or -DLIVENESS (the LTL formula).
 * Leave out the deadline:  -DNO_DEADLINE (LIVENESS implies it).
 * Break it:                -DBROKEN_..., one at a time; README.md says what each one is.
 *
 * Memory is x86-TSO as far as the protocol can see it: a plain store of the owner to the state word goes
 * into a store buffer of one entry, which reaches memory at any later time (process store_buffer), or at
 * the owner's next locked instruction or system call. Wakers use locked instructions only.
 *
 * Nothing that need not happen (another wake, the deadline, a completion, an exit of the guest, a signal
 * that ends a sleep) is relied on: where the owner blocks, FORGOTTEN is enabled, and fails, as soon
 * as there is work, no wake is still under way, and only such luck could bring the owner back.
 */
#if defined(PLAIN) + defined(RING) + defined(EVENTFD) != 1
#error "define exactly one of PLAIN, RING, EVENTFD"
#endif

#ifdef BROKEN_NO_FENCE
#define BROKEN_NO_FENCE_GUEST
#define BROKEN_NO_FENCE_SLEEP
#endif
#if defined(RING) || defined(EVENTFD)
#define HAVE_RING
#endif
#ifdef LIVENESS
#define NO_DEADLINE
#endif
/* The kernel timer matters in the guest only, whatever the owner sleeps on: one configuration has it. */
#if defined(PLAIN) && !defined(NO_DEADLINE)
#define KTIMER
#endif

/* The state word. */
#define VMM 0
#define GUEST 1
#define KICKED 2
#define POLLING 3
#define SLEEPING 4

byte state = VMM;    /* in memory, as the wakers see it */
bool sb_full;	     /* the owner's store buffer ... */
byte sb_state;	     /* ... and the state in it */
bool pending;	     /* the word of work bits is not 0: the owner takes all bits at once */
#ifdef BROKEN_NO_FENCE_WAKER
bool wb_full[2];     /* the wakers' store buffers for it */
#endif

/* The kick. */
bool sig;	     /* the kick signal is pending for the owner's thread */
bool immediate_exit; /* kvm_run->immediate_exit */

/* The deadline. */
bool expired;	     /* CLOCK_MONOTONIC is past it */
#ifdef KTIMER
bool ktimer;	     /* the kernel timer is armed */
bool sig_timer;	     /* its signal is pending for the owner's thread */
bool timer_set;	     /* the owner has set it for the present deadline, and does not know that it fired */
#endif

#define QUEUED 1
#define WOKEN 2
byte fw;	     /* the owner's FUTEX_WAIT: 0, QUEUED, WOKEN */
#ifdef HAVE_RING
#define INFLIGHT 1
#define DONE 2
byte io;	     /* a request of the owner, or an eventfd: 0, INFLIGHT, DONE (its CQE is posted) */
#endif
#ifdef RING
byte rf;	     /* the ring's futex request: 0, INFLIGHT (waiter queued), DONE (CQE posted) */
#endif
#ifdef EVENTFD
bool wake_fd;	     /* the owner sleeps, or slept last, in its ring: wake by the eventfd */
bool ev_count;	     /* the wake eventfd's counter is not 0 */
bool ev_poll;	     /* the ring's multishot poll on it is armed */
bool ev_cqe;	     /* a CQE of that poll is posted */
#endif
#ifdef GUEST_IO
bool in_guest;
#endif

/* For the assertions only. */
byte waking;	     /* wakers between the publication of their work and the end of their wake */
byte kicks;	     /* kicks sent for the present entry of the guest */
bool kick_due;	     /* the handler set immediate_exit; it was not cleared, nor has KVM_RUN returned for it */
bool lost_work, lost_deadline, lost_io;

/* ------------------------------------------------------------------------------------------------
 * The owner's accesses to the state word
 */
inline drain()
{
	if
	:: sb_full -> state = sb_state; sb_full = false; sb_state = 0
	:: else
	fi
}

inline store_state(v)	 /* plain store */
{
	atomic { drain(); sb_full = true; sb_state = v }
}

inline exchange_state(v) /* locked: whatever is in the buffer is before it, the new state is out at once */
{
	atomic { state = v; sb_full = false; sb_state = 0 }
}

active proctype store_buffer()
{
end:	do
	:: d_step { sb_full -> state = sb_state; sb_full = false; sb_state = 0 }
#ifdef BROKEN_NO_FENCE_WAKER
	:: d_step { wb_full[0] -> pending = true; wb_full[0] = false }
	:: d_step { wb_full[1] -> pending = true; wb_full[1] = false }
#endif
	od
}

/* ------------------------------------------------------------------------------------------------
 * Wakers: wake_owner(), any number of times
 */
inline futex_wake()
{
	d_step {
#if defined(RING) && defined(BROKEN_WAKE_ONE)
		if			/* FUTEX_WAKE(1): the ring's waiter, if any, is the first in the queue */
		:: rf == INFLIGHT -> rf = DONE
		:: rf != INFLIGHT && fw == QUEUED -> fw = WOKEN
		:: else
		fi;
#else
		if			/* FUTEX_WAKE(all) */
		:: fw == QUEUED -> fw = WOKEN
		:: else
		fi;
#ifdef RING
		if
		:: rf == INFLIGHT -> rf = DONE
		:: else
		fi;
#endif
#endif
		waking--
	}
}

inline eventfd_write()
{
	/* The armed poll posts a CQE, and may end with it (no IORING_CQE_F_MORE). */
	atomic {
		ev_count = true;
		if
		:: ev_poll -> ev_cqe = true; if :: true :: ev_poll = false fi
		:: else
		fi;
		waking--
	}
}

proctype waker(bit id)
{
	do
	:: atomic {					 /* atomic or, full fence */
#ifdef BROKEN_NO_FENCE_WAKER
		wb_full[id] = true;
#else
		pending = true;
#endif
		waking++
	   };
	   if						 /* load the state */
	   :: state == GUEST ->
		if
#ifdef BROKEN_KICK_NO_CAS
		:: atomic { true -> state = KICKED; kicks++; assert(kicks <= 1) };
#else
		:: atomic { state == GUEST -> state = KICKED; kicks++; assert(kicks <= 1) };
#endif
		   d_step { sig = true; waking-- }	 /* the kick callback: tgkill */
#ifndef BROKEN_KICK_NO_CAS
		:: d_step { state != GUEST -> waking-- } /* left by itself, or somebody else kicks */
#endif
		fi
	   :: state == SLEEPING ->
#ifdef BROKEN_WAKE_FD_EARLY
		if :: wake_fd -> goto early_fd :: !wake_fd -> goto early_futex fi;
early_fd:	if
		:: atomic { state == SLEEPING -> state = VMM }; eventfd_write()
		:: d_step { state != SLEEPING -> waking-- }
		fi;
		goto next;
early_futex:	if
		:: atomic { state == SLEEPING -> state = VMM }; futex_wake()
		:: d_step { state != SLEEPING -> waking-- }
		fi;
next:		skip
#else
		if
#ifdef BROKEN_WAKE_NO_CAS
		:: state = VMM;
#else
		:: atomic { state == SLEEPING -> state = VMM };
#endif
#ifdef EVENTFD
		   if					 /* how it sleeps: read after the CAS */
		   :: wake_fd -> eventfd_write()
		   :: !wake_fd -> futex_wake()
		   fi
#else
		   futex_wake()
#endif
#ifndef BROKEN_WAKE_NO_CAS
		:: d_step { state != SLEEPING -> waking-- } /* awake by itself, or somebody else wakes */
#endif
		fi
#endif
	   :: d_step { state != GUEST && state != SLEEPING -> waking-- } /* the owner will look */
	   fi
#ifdef LIVENESS
	:: break					 /* no more wakes */
#endif
	od
}

/* ------------------------------------------------------------------------------------------------
 * The world
 */

/* The kick signal's handler, on the owner's thread: between any two of its instructions. */
active proctype handler()
{
end:	do
	:: d_step { sig -> sig = false; immediate_exit = true; kick_due = true }
#ifdef KTIMER
	:: d_step {
		sig_timer -> sig_timer = false; immediate_exit = true; kick_due = true;
#ifndef BROKEN_TIMER_BELIEF
		timer_set = false
#endif
	   }
#endif
	od
}

#ifndef NO_DEADLINE
/* Time goes by. The timer and the deadline are on two clocks: either may be first. */
active proctype clock()
{
end:	do
	:: d_step { !expired -> expired = true }
#ifdef KTIMER
	:: d_step { ktimer -> ktimer = false; sig_timer = true }
#endif
	od
}
#endif

#ifdef HAVE_RING
/* Completions of the owner's own requests (disk, network, eventfd sources). */
active proctype device()
{
end:	do
	:: d_step {
		io == INFLIGHT -> io = DONE;
#ifdef GUEST_IO
		/* The completion's task work ends KVM_RUN, but only if it comes during KVM_RUN. */
		in_guest = false
#endif
	   }
#ifdef LIVENESS
	:: break
#endif
	od
}
#endif

/* ------------------------------------------------------------------------------------------------
 * The owner
 */
#ifdef HAVE_RING
#define IO_DONE (io == DONE)
#else
#define IO_DONE false
#endif

#ifdef LIVENESS
#define FORGOTTEN_IN_GUEST
#define FORGOTTEN_ASLEEP(awake)
#else
/* Blocked in the guest: nothing is under way that sets immediate_exit. */
#ifdef KTIMER
#define SIGNAL (sig || sig_timer)
#else
#define SIGNAL sig
#endif
#define LOST_WORK_IN_GUEST                                                                         \
	:: atomic { pending && waking == 0 && !SIGNAL && !immediate_exit && !sb_full ->            \
		lost_work = true; assert(!lost_work) }
#ifdef KTIMER
#define FORGOTTEN_IN_GUEST                                                                         \
	LOST_WORK_IN_GUEST                                                                         \
	:: atomic { expired && !ktimer && !sig_timer && !sig && !immediate_exit ->                 \
		lost_deadline = true; assert(!lost_deadline) }
#else
#define FORGOTTEN_IN_GUEST LOST_WORK_IN_GUEST
#endif
/* Blocked asleep: nothing is under way that makes the condition true. */
#define FORGOTTEN_ASLEEP(awake)                                                                    \
	:: atomic { pending && waking == 0 && !(awake) -> lost_work = true; assert(!lost_work) }   \
	:: atomic { IO_DONE && waking == 0 && !(awake) -> lost_io = true; assert(!lost_io) }
#endif

#ifdef HAVE_RING
/* Take a completion of the ring's own, which is not work: ring_reap() returns 0. */
#ifdef RING
#define OWN_CQE (rf == DONE)
#endif
#ifdef EVENTFD
#define OWN_CQE ev_cqe
#endif

inline reap_own()
{
#ifdef RING
#ifdef BROKEN_NO_REARM
	rf = 0
#else
	atomic { rf = 0; armed = false }
#endif
#endif
#ifdef EVENTFD
#ifdef BROKEN_NO_REARM
	ev_cqe = false;
#else
	atomic { ev_cqe = false; armed = ev_poll }; /* IORING_CQE_F_MORE */
#endif
	ev_count = false			     /* read(eventfd) */
#endif
}
#endif

inline serve_timer()
{
#ifdef KTIMER
	timer_set = false
#else
	skip
#endif
}

/* Before the guest: is it over? And set the kernel timer, unless it is set for this deadline already. */
inline look_at_deadline()
{
#ifdef KTIMER
	if
	:: expired -> goto vmm
	:: !expired
	fi;
	if
	:: atomic { !timer_set -> timer_set = true; ktimer = true }
	:: timer_set
	fi
#else
	skip
#endif
}

active proctype owner()
{
#ifdef HAVE_RING
	bool armed; /* what wakers wake is in the ring, as far as the owner knows */
#endif

	atomic { run waker(0); run waker(1) };

	/* -------- awake: take the work, serve the rest in any order, go -------- */
vmm:	if
	:: atomic { pending -> pending = false; drain() }; goto vmm /* wake_take(): exchange(pending, 0) */
	:: !pending
	fi;
	if
#ifndef NO_DEADLINE
	:: atomic { expired -> expired = false; serve_timer() }; goto vmm /* there is a next deadline */
#endif
#ifdef HAVE_RING
	:: atomic { io == 0 -> io = INFLIGHT; drain() }; goto vmm   /* submit a request */
	:: atomic { io == DONE -> io = 0 }; goto vmm
	:: OWN_CQE -> reap_own(); goto vmm
#endif
	:: true -> goto enter
	:: true -> goto halt
	fi;

	/* -------- the guest -------- */
enter:
#ifdef BROKEN_TIMER_BEFORE_CLEAR
	look_at_deadline();
#endif
#if !defined(BROKEN_CHECK_BEFORE) && !defined(BROKEN_NO_CLEAR)
	atomic { immediate_exit = false; kick_due = false };
#endif
#ifndef BROKEN_TIMER_BEFORE_CLEAR
	look_at_deadline();
#endif
	/* wake_enter(), halter_enter() */
#ifdef BROKEN_NO_FENCE_GUEST
	store_state(GUEST);
#else
	exchange_state(GUEST);
#endif
	if
	:: pending -> atomic { exchange_state(VMM); kicks = 0 }; goto vmm
	:: !pending
	fi;
#ifdef BROKEN_CHECK_BEFORE
	atomic { immediate_exit = false; kick_due = false };
#endif
	/* KVM_RUN */
#ifdef GUEST_IO
	in_guest = true;
#endif
	if
	:: true				    /* the guest exits by itself sooner or later */
	:: true ->			    /* the guest spins */
		if
		:: immediate_exit -> atomic { assert(kick_due); kick_due = false }
#ifdef GUEST_IO
		:: !in_guest
		:: atomic { in_guest && IO_DONE && !sig && !immediate_exit ->
			lost_io = true; assert(!lost_io) }
#else
		FORGOTTEN_IN_GUEST
#endif
		fi
	fi;
#ifdef GUEST_IO
	in_guest = false;
#endif
	atomic { exchange_state(VMM); kicks = 0 }; /* wake_leave() */
	goto vmm;

	/* -------- halter_halt(): poll -------- */
halt:
	store_state(POLLING);
poll:	do
	:: pending || expired || IO_DONE -> store_state(VMM); goto vmm
#ifdef HAVE_RING
	:: OWN_CQE -> reap_own()
#endif
	:: !pending -> break		    /* the window is over */
	od;

	/* -------- sleep_or_not() -------- */
#ifdef EVENTFD
	if				    /* how to sleep; ring_prepare_sleep() */
	:: io != 0 ->
		if
		:: atomic { !armed ->	    /* a poll looks at the counter when it is submitted */
			drain(); armed = true; ev_poll = true;
			if
			:: ev_count -> ev_cqe = true
			:: else
			fi }
		:: armed
		fi;
		wake_fd = true
#ifdef BROKEN_EVENTFD_PLAIN
	:: io == 0 -> wake_fd = true	    /* the eventfd, however the owner sleeps */
#else
	:: io == 0 -> wake_fd = false
#endif
	fi;
#endif
#ifdef BROKEN_NO_FENCE_SLEEP
	store_state(SLEEPING);
#else
	exchange_state(SLEEPING);
#endif
#ifndef BROKEN_NO_RECHECK
	if				    /* the last look: at the work ... */
	:: pending -> goto again
	:: !pending
	fi;
#endif
#ifdef HAVE_RING
	/* ... and at the completions. One of the ring's own may be the wake from this very sleep. */
	if
	:: IO_DONE -> goto again
	:: OWN_CQE && !IO_DONE ->
		reap_own();
#ifndef BROKEN_REAP_THEN_SLEEP
		goto again
#endif
	:: !OWN_CQE && !IO_DONE
	fi;
#ifndef BROKEN_PLAIN_INFLIGHT
	if
	:: io == 0 -> goto futex_wait	    /* nothing in flight */
	:: io != 0
	fi;

	/* ring_sleep(): submit, then wait for a completion or the deadline */
	atomic {
		drain();
#ifdef RING
		if
		:: !armed ->		    /* IORING_OP_FUTEX_WAIT compares when it is submitted */
			armed = true;
			if
			:: state == SLEEPING -> rf = INFLIGHT
			:: else -> rf = DONE /* -EAGAIN */
			fi
		:: else			    /* still armed from an earlier sleep */
		fi
#endif
	};
	if
	:: true				    /* EINTR */
	:: true ->
		if
		:: OWN_CQE || IO_DONE || expired
		FORGOTTEN_ASLEEP(OWN_CQE || IO_DONE || expired)
		fi
	fi;
	goto again;
futex_wait:
#endif
#endif
	/* FUTEX_WAIT: compares and queues in one step; blind to completions of the ring */
	atomic {
		drain();
		if
		:: state == SLEEPING -> fw = QUEUED
		:: else -> fw = WOKEN	    /* -EAGAIN */
		fi
	};
	if
	:: true				    /* EINTR, or a stray wake */
	:: true ->
		if
		:: fw == WOKEN || expired
		FORGOTTEN_ASLEEP(fw == WOKEN || expired)
		fi
	fi;
	fw = 0;

again:	/* a halt never returns early */
	exchange_state(VMM);
	goto poll
}

#ifdef LIVENESS
/* With weak fairness, and without a deadline: every wake is taken. */
ltl taken { [] (pending -> <> !pending) }
#endif
