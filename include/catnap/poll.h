/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catnap/poll.h - wait for work by polling for a bounded, learned time, then sleeping.
 *
 * A halter is a place where one thread, its owner, waits for work that other threads, a deadline,
 * or eventfds bring. It first polls a few memory words (no system call), for as long as its policy
 * says, and then sleeps on a futex, or in its io_uring while eventfds are armed there (in poll(2)
 * where there is none). It serves a virtual CPU that executed HLT, and any other event loop just as
 * well: nothing here knows of KVM.
 *
 * Units: every time is in nanoseconds; an absolute time is on CLOCK_MONOTONIC.
 * Errors: functions that can fail return 0 or a negative errno value. Nothing here prints, exits,
 * or changes a signal's disposition. Threads: each function says which thread may call it. "owner"
 * is the thread that calls catnap_halter_halt(); it must stay the same one from the first call on.
 *
 * Structs and their sizes. A struct that begins with a member `size` may grow at its end from one
 * version to the next, so a program and the library that it finds at run time may not agree on how
 * long it is. Its _init function therefore is a macro as well, which passes on how long it is where
 * the program was built, to the function _init_sized(struct, size): that writes no byte behind
 * @size, and sets the member `size` to what both know, the lesser of @size and the library's own.
 * The functions that take the struct read no byte behind that; what they do not find has its
 * default, which is to do as before there was such a member. A program that was built against newer
 * headers sees in `size` what the library knows; bytes behind it are neither written nor read.
 *
 * An _init_sized with a @size shorter than the struct was in its first version writes what there is
 * room for (nothing, if that is less than the member `size`), and the struct will be refused with
 * -EINVAL by the functions that take it. Bindings that know no macros pass their own struct's size
 * to _init_sized, too. The _init functions themselves, as in (catnap_disk_init)(&disk) or by their
 * addresses, are for callers whose struct is this library's own size: they write all of that.
 *
 * Structs that the library fills (statistics and such) have no _init: the caller sets their `size`,
 * and no more than that is written.
 */
#ifndef CATNAP_POLL_H
#define CATNAP_POLL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define CATNAP_API __attribute__((visibility("default")))
#else
#define CATNAP_API
#endif

/** No deadline: wait for work alone. */
#define CATNAP_NO_DEADLINE UINT64_MAX

/**
 * How the length of a poll is chosen. All but ALWAYS give way: a poll ends when others want the
 * processor, and in a real-time class none is begun.
 */
enum catnap_policy_kind {
	CATNAP_POLICY_OFF = 0,	    /**< never poll: sleep at once */
	CATNAP_POLICY_KERNEL = 1,   /**< the rule of Linux's kvm_vcpu_halt(), to the letter */
	CATNAP_POLICY_FIXED = 2,    /**< poll for max_ns in every halt */
	CATNAP_POLICY_ALWAYS = 3,   /**< never sleep, and give way to nobody */
	CATNAP_POLICY_ADAPTIVE = 4, /**< learns when to expect a wake-up, weighs it with a sleep */
};

/** What policy adaptive weighs higher: waking up early, or the processor's time. */
enum catnap_bias {
	/** A sleep is worth 2 1/4 times what it makes the sleeper late, and its processor time,
	 * both as measured; or the price that is given. */
	CATNAP_BIAS_BALANCED = 0,
	/** 12 times, and that time; 8 times a given price; 300 us at least. */
	CATNAP_BIAS_LATENCY = 1,
	/** 3/8 of what it makes the sleeper late; a quarter of a given price. */
	CATNAP_BIAS_POWER = 2,
};

/** A good max_ns for policy adaptive: what it saves it from is not its own mistakes. */
#define CATNAP_ADAPTIVE_MAX_NS UINT32_C(1000000)
/** And for the others: what kvm.halt_poll_ns is if nobody has changed it. */
#define CATNAP_KERNEL_MAX_NS UINT32_C(200000)

/**
 * Parameters of a policy; names and meanings as Linux's kvm.halt_poll_ns and its companions.
 * Fill with catnap_halt_poll_init(), then change what you want. Unused ones are ignored.
 */
struct catnap_halt_poll {
	uint32_t size;	 /**< sizeof(struct catnap_halt_poll), set by catnap_halt_poll_init() */
	uint32_t policy; /**< enum catnap_policy_kind */
	uint32_t max_ns; /**< the longest poll; 0: do not poll (kernel, fixed, adaptive) */
	uint32_t grow;	 /**< factor by which the window grows; 0 keeps it (kernel) */
	uint32_t grow_start_ns; /**< the first window above 0 (kernel) */
	uint32_t shrink;	/**< divisor by which the window shrinks; 0 sets it to 0 (kernel) */
	/* Added later: a caller built before that has a smaller size and gets the defaults. */
	uint32_t bias;	   /**< enum catnap_bias (adaptive) */
	uint32_t price_ns; /**< what a sleep is worth in ns of polling; 0: measured (adaptive) */
	/**
	 * The share of one processor, in hundredths of per cent, that polls that fail may take in
	 * any second; 0: no limit. Of all vCPUs of a VM and its I/O thread together, of a halter of
	 * one's own alone. A window longer than that share of 50 ms is never polled.
	 * Not for policy always, which has no polls that fail.
	 */
	uint32_t cpu_max;
	/**
	 * Not 0: of the vCPUs of a VM that have this set, one polls at a time, for all of them that
	 * wait; the others sleep meanwhile, and it wakes them. Any policy. Halters of one's own
	 * have no group.
	 */
	uint32_t group;
	/**
	 * Must be 0, as catnap_halt_poll_init() leaves it. Room for what is added later, where 0
	 * will mean what was before: this struct is part of others, in which all that is behind it
	 * would move if it grew.
	 */
	uint64_t reserved[6];
};

/**
 * Defaults: policy adaptive, max 1 ms, grow 2, grow_start 10 us, shrink 2, bias balanced, price
 * measured. For another policy set max_ns, too: CATNAP_KERNEL_MAX_NS. Any thread. The macro and
 * _init_sized: see "Structs and their sizes" above.
 */
CATNAP_API void catnap_halt_poll_init(struct catnap_halt_poll *params);
CATNAP_API void catnap_halt_poll_init_sized(struct catnap_halt_poll *params, size_t size);
#define catnap_halt_poll_init(params) \
	catnap_halt_poll_init_sized((params), sizeof(struct catnap_halt_poll))

/**
 * Tells whether @params can be used: 0, or -EINVAL for an unknown policy or bias, a cpu_max above
 * 10000, something in reserved, or a size less than that of its first version, 24 bytes. Any
 * thread.
 */
CATNAP_API int catnap_halt_poll_check(const struct catnap_halt_poll *params);

/* ---------------------------------------------------------------------------------------------
 * A policy alone: decides from a list of halts, with no clock and no thread. For simulation.
 */

/** What one halt came to; input to catnap_policy_end(). */
struct catnap_halt {
	uint64_t halt_ns; /**< the whole halt: poll and sleep */
	bool waited;	  /**< it really slept */
	bool valid;	  /**< false: the poll was disturbed, or nothing useful woke it */
	bool allowed;  /**< polling was not switched off from outside (the guest's poll control) */
	bool gave_way; /**< the poll was ended early, since others wanted the processor */
};

/** The poll lasts until a wake-up comes. */
#define CATNAP_WINDOW_FOREVER UINT64_MAX

/** Opaque. Not thread-safe: one thread at a time. */
struct catnap_policy;

/**
 * Makes a policy with window 0. On success *@policy is the caller's, to be given to
 * catnap_policy_destroy(). Errors: -EINVAL (see catnap_halt_poll_check()), -ENOMEM; *@policy is
 * then untouched.
 */
CATNAP_API int catnap_policy_create(const struct catnap_halt_poll *params,
				    struct catnap_policy **policy);
/** Frees *@policy and sets it to NULL; does nothing when it is NULL. */
CATNAP_API void catnap_policy_destroy(struct catnap_policy **policy);
/** Changes the parameters; the window stays, and is capped when the next halt begins. -EINVAL. */
CATNAP_API int catnap_policy_set(struct catnap_policy *policy,
				 const struct catnap_halt_poll *params);
/**
 * A halt begins: caps the window and returns for how long to poll: 0 when @allowed is false or the
 * window is 0, CATNAP_WINDOW_FOREVER for policy always.
 */
CATNAP_API uint64_t catnap_policy_begin(struct catnap_policy *policy, bool allowed);
/** The halt is over: learn from it. */
CATNAP_API void catnap_policy_end(struct catnap_policy *policy, const struct catnap_halt *halt);
/** The present window in ns (CATNAP_WINDOW_FOREVER for policy always); changes nothing. */
CATNAP_API uint64_t catnap_policy_window(const struct catnap_policy *policy);

/** The class of a halt, for policy adaptive. */
enum catnap_halt_class {
	CATNAP_HALT_SHORT = 0,	/**< at most what a sleep is worth */
	CATNAP_HALT_MIDDLE = 1, /**< up to 8 times that */
	CATNAP_HALT_LONG = 2,
};

#define CATNAP_POLICY_CONTEXTS 9

/**
 * What policy adaptive knows of the halts that follow on two of the classes below. But for halts it
 * is what its last search for a window found, at most 16 halts of this context ago; in a context
 * that was never met all is 0.
 */
struct catnap_policy_context {
	uint32_t before, last; /**< enum catnap_halt_class: the last halt, and the one before it */
	uint64_t halts;	       /**< learned from, since the policy was made */
	uint32_t samples;      /**< of those that still count: each fades as others follow */
	uint32_t window_ns;    /**< for how long to poll */
	uint32_t p50_ns, p90_ns; /**< of their lengths, less than 1/4 too low; 33554432: longer */
	uint32_t cost_ns; /**< what a halt is expected to cost: time polled, and worth_ns if it
			     sleeps in the end */
	uint32_t reserved;
};

/** What a policy has learned. */
struct catnap_policy_stats {
	uint32_t size;	    /**< set by the caller to sizeof(struct catnap_policy_stats) */
	uint32_t policy;    /**< enum catnap_policy_kind */
	uint64_t window_ns; /**< as in struct catnap_halt_stats */
	uint32_t price_ns;  /**< the price of a sleep, C, as measured; 0: not yet, or no halter */
	uint32_t worth_ns; /**< what the policy takes a sleep to be worth: C and cpu_ns, or price_ns
			      of the parameters, and the bias; 0: not decided yet (adaptive) */
	uint32_t relearned; /**< how often the halts have changed, and most was forgotten (adaptive)
			     */
	uint32_t contexts;  /**< entries that are filled: all of them with policy adaptive, else 0
			     */
	struct catnap_policy_context context[CATNAP_POLICY_CONTEXTS];
	uint32_t cpu_ns; /**< the processor time that a sleep takes, the sleeper's and its waker's,
			    as measured; 0: not yet, or no halter */
	uint32_t after_guest; /**< 1: all of this is of what guests that poll have left of halts
				   (struct catnap_vm_config, poll_after_guest); 0: of whole ones */
};

/**
 * Copies what @policy has learned, up to stats->size bytes. Any thread, also while another uses the
 * policy: each figure is right, but two of them may be some halts apart. -EINVAL: size.
 */
CATNAP_API int catnap_policy_get_stats(const struct catnap_policy *policy,
				       struct catnap_policy_stats *stats);

/* ---------------------------------------------------------------------------------------------
 * Statistics
 */

#define CATNAP_HIST_BUCKETS 32

/** Why a halt ended. */
enum catnap_wake_cause {
	CATNAP_CAUSE_IPI,     /**< work bit CATNAP_WORK_IPI */
	CATNAP_CAUSE_TIMER,   /**< the deadline */
	CATNAP_CAUSE_IO,      /**< a completion of the owner's own requests */
	CATNAP_CAUSE_EVENTFD, /**< an eventfd */
	CATNAP_CAUSE_OTHER,   /**< any other work bit */
	CATNAP_CAUSES,	      /**< how many there are */
};

/**
 * Statistics of one halter since it was made. Names and meanings as KVM's per-vCPU statistics.
 * Histogram bucket 0 counts 0 ns, bucket i counts [2^(i-1), 2^i) ns, the last takes the rest.
 */
struct catnap_halt_stats {
	uint32_t size; /**< set by the caller to sizeof(struct catnap_halt_stats) */
	uint32_t policy;
	uint64_t halt_exits;
	uint64_t halt_attempted_poll;  /**< halts in which polling was on */
	uint64_t halt_successful_poll; /**< of those, the ones that did not sleep */
	uint64_t halt_poll_invalid;
	uint64_t halt_wakeup; /**< halts ended by a wake-up (not by the deadline) */
	/** Time polled in halts that did not sleep; without what lies in gaps of 20 us and more, in
	 * which others had the processor. */
	uint64_t halt_poll_success_ns;
	/** The same in halts that then slept. The gaps are part of halt_wait_ns. */
	uint64_t halt_poll_fail_ns;
	uint64_t halt_wait_ns; /**< time slept */
	uint64_t halt_poll_success_hist[CATNAP_HIST_BUCKETS];
	uint64_t halt_poll_fail_hist[CATNAP_HIST_BUCKETS];
	uint64_t halt_wait_hist[CATNAP_HIST_BUCKETS];
	uint64_t wakeups[CATNAP_CAUSES]; /**< halts by what ended them */
	uint64_t kicks_sent;   /**< wakes that had to interrupt the guest (the kick callback) */
	uint64_t kicks_saved;  /**< wakes that found the owner awake: no system call */
	uint64_t futex_wakes;  /**< wakes that found the owner asleep: one system call */
	uint64_t window_ns;    /**< present window; CATNAP_WINDOW_FOREVER for policy always */
	uint32_t poll_allowed; /**< 0: switched off by catnap_halter_set_poll_allowed() */
	uint32_t reserved;
	/* Added later. */
	uint64_t price_ns; /**< the measured price of a sleep: from wake to running; 0: not yet */
	uint64_t halt_poll_contended; /**< polls cut short: others wanted the processor */
	/** Halts without a poll, or with one cut short, as the process' control group was being
	 * throttled, or its tasks waited for processors (vCPUs). */
	uint64_t halt_poll_throttled;
	uint64_t halt_poll_pressure;
	uint64_t group_watched; /**< halts in which it slept while another polled for it (group) */
	uint64_t group_wakes;	/**< wake-ups that it brought to others while it polled */
	uint64_t
		group_handovers; /**< times that it left polling to another, which it woke for it */
};

/* ---------------------------------------------------------------------------------------------
 * The halter
 */

/** Work bits with a meaning to the statistics. Bits 0 to 23 belong to the caller. */
#define CATNAP_WORK_IPI	 (UINT32_C(1) << 0)
#define CATNAP_WORK_USER UINT32_C(0x00ffffff)

struct catnap_halter_config {
	uint32_t size;	/**< sizeof(struct catnap_halter_config), set by catnap_halter_config_init()
			 */
	uint32_t flags; /**< CATNAP_HALTER_* */
	struct catnap_halt_poll halt_poll;
	/**
	 * Called on a waker's thread, at most once for each time the owner called
	 * catnap_halter_enter(), when work arrives while the owner is busy elsewhere (in KVM_RUN,
	 * in somebody's epoll_wait). It must make the owner come back. May be NULL if enter is not
	 * used.
	 */
	void (*kick)(void *ctx);
	/** Called on the owner's thread, from catnap_halter_halt() or catnap_halter_reap(). */
	void (*on_eventfd)(void *ctx, int fd);
	void *ctx;
};

/** Do not use IORING_OP_FUTEX_WAIT even where it works: sleep on an eventfd in the ring. */
#define CATNAP_HALTER_NO_RING_FUTEX (UINT32_C(1) << 0)

/**
 * Do not use io_uring at all: eventfds are waited for by epoll(7) and poll(2). So it is by itself
 * where io_uring is not to be had (kernel.io_uring_disabled, a container's seccomp filter, no
 * memory to be locked); a poll then makes a system call for each look as long as there are
 * eventfds.
 */
#define CATNAP_HALTER_NO_RING (UINT32_C(1) << 1)

/** Opaque. Thread-safe where a function says so. */
struct catnap_halter;

/** Defaults: no flags, no callbacks, halt polling as catnap_halt_poll_init(). Any thread. */
CATNAP_API void catnap_halter_config_init(struct catnap_halter_config *cfg);
CATNAP_API void catnap_halter_config_init_sized(struct catnap_halter_config *cfg, size_t size);
#define catnap_halter_config_init(cfg) \
	catnap_halter_config_init_sized((cfg), sizeof(struct catnap_halter_config))
/**
 * Makes a halter. On success *@halter is the caller's, for catnap_halter_destroy(). Errors:
 * -EINVAL, -ENOMEM; *@halter is then untouched. Any thread; the owner is decided by the first halt.
 */
CATNAP_API int catnap_halter_create(const struct catnap_halter_config *cfg,
				    struct catnap_halter **halter);
/** Frees *@halter and sets it to NULL. No other thread may be using it. */
CATNAP_API void catnap_halter_destroy(struct catnap_halter **halter);

/**
 * Brings work: sets @bits (of CATNAP_WORK_USER) and wakes the owner wherever it is. Any thread, and
 * signal handlers. What was written before the call is visible to the owner after it took the bits.
 * No system call unless the owner sleeps (one futex wake) or is elsewhere (the kick callback,
 * once).
 */
CATNAP_API void catnap_halter_wake(struct catnap_halter *halter, uint32_t bits);
/** Owner: takes and clears the work bits. */
CATNAP_API uint32_t catnap_halter_take(struct catnap_halter *halter);

/**
 * Owner: waits until there is work (bits that nobody took), an eventfd fired, or @deadline_ns on
 * CLOCK_MONOTONIC has passed (CATNAP_NO_DEADLINE: never). Never returns early: a signal does not
 * end it.
 * @cause, if not NULL, is set to the enum catnap_wake_cause. Errors: those of io_uring_enter(2), if
 * eventfds are armed; where there is no io_uring, those of epoll_create1(2) and eventfd(2) with the
 * first of them, such as -EMFILE.
 */
CATNAP_API int catnap_halter_halt(struct catnap_halter *halter, uint64_t deadline_ns, int *cause);

/**
 * Owner: about to go where it does not look at its work. False: there is work, do not go. True:
 * from here to catnap_halter_leave() a wake calls the kick callback. An eventfd that fires
 * meanwhile does not: it is seen at the next halt or reap, so wait for it where you go, too, or do
 * not go while it matters.
 */
CATNAP_API bool catnap_halter_enter(struct catnap_halter *halter);
CATNAP_API void catnap_halter_leave(struct catnap_halter *halter);

/**
 * Adds an eventfd (or anything with poll(2)) as a source: each signal on it ends a halt and runs
 * on_eventfd on the owner. The file descriptor stays the caller's and must outlive the halter or
 * catnap_halter_del_eventfd(); what is read from it is the caller's business. Any thread; takes
 * effect when the owner next halts or reaps. Errors: -EEXIST, -ENOSPC (64 sources), -EBADF.
 */
CATNAP_API int catnap_halter_add_eventfd(struct catnap_halter *halter, int fd);
/** Removes it. When this returns on the owner's thread, on_eventfd runs no more for it. -ENOENT. */
CATNAP_API int catnap_halter_del_eventfd(struct catnap_halter *halter, int fd);
/** Owner: runs on_eventfd for what has completed, without waiting. Returns how many, or -errno. */
CATNAP_API int catnap_halter_reap(struct catnap_halter *halter);

/** Changes the policy's parameters while it runs; the next halt uses them. Any thread. -EINVAL. */
CATNAP_API int catnap_halter_set_halt_poll(struct catnap_halter *halter,
					   const struct catnap_halt_poll *params);
/** Switches polling off and on from outside (the guest's poll control). Any thread. */
CATNAP_API void catnap_halter_set_poll_allowed(struct catnap_halter *halter, bool allowed);
/**
 * Copies the statistics, up to stats->size bytes. Any thread; a snapshot in which each counter is
 * right but two of them may be a halt apart. -EINVAL for a size that is too small.
 */
CATNAP_API int catnap_halter_get_stats(struct catnap_halter *halter,
				       struct catnap_halt_stats *stats);

/** The same for what its policy has learned, see catnap_policy_get_stats(). Any thread. -EINVAL. */
CATNAP_API int catnap_halter_get_policy_stats(struct catnap_halter *halter,
					      struct catnap_policy_stats *stats);

#ifdef __cplusplus
}
#endif
#endif
