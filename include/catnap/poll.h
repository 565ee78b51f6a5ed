/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catnap/poll.h - wait for work by polling for a bounded, learned time, then sleeping.
 *
 * A halter is a place where one thread, its owner, waits for work. Other threads bring the work, or
 * a deadline, or eventfds. The owner first polls a few words of memory, with no system call, for as
 * long as its policy says. Then it sleeps: on a futex, or in its io_uring while eventfds are armed
 * there (in poll(2) where there is no io_uring). A halter serves a virtual CPU that has executed
 * HLT, and any other event loop just as well: see "Sources of an event loop". Nothing here knows of
 * KVM.
 *
 * Units. Every time is in nanoseconds. An absolute time is on CLOCK_MONOTONIC.
 *
 * Errors. A function that can fail returns 0 or a negative errno value. Its comment lists them.
 * Nothing here prints, exits, or changes a signal's disposition.
 *
 * Threads. Each function says which thread may call it. "Owner" is the thread that calls
 * catnap_halter_halt(). It must be the same one from the first call on.
 *
 * fork(2). A halter belongs to the process that made it: in a child, catnap_halter_destroy() frees
 * the copy and closes the child's descriptors, the functions that can fail return -EPERM, and the
 * others do nothing (catnap_halter_take() returns 0, catnap_halter_enter() false). A policy alone,
 * struct catnap_policy, is memory and nothing else: a child's copy is the child's.
 *
 * Structs and their sizes. A struct that begins with a member `size` may grow at its end from one
 * version to the next. So a program and the library that it finds at run time may not agree on how
 * long it is. For a struct that the caller fills:
 *
 *   - Its _init function is also a macro. The macro calls _init_sized(struct, size) with the size
 *     that the struct has where the program was built.
 *   - _init_sized writes no byte behind @size. It sets the member `size` to what both know: the
 *     lesser of @size and the library's own.
 *   - The functions that take the struct read no byte behind that. A member that is not there has
 *     its default, which is to do as before there was such a member.
 *   - A program that was built against newer headers sees in `size` what the library knows. Bytes
 *     behind it are neither written nor read.
 *   - If @size is less than the struct had in its first version, _init_sized writes what there is
 *     room for; nothing, if that is less than the member `size`. The functions that take the struct
 *     refuse it with -EINVAL.
 *   - A binding that knows no macros passes its own struct's size to _init_sized.
 *   - The _init functions themselves, as in (catnap_disk_init)(&disk) or by their addresses, write
 *     a struct of this library's own size.
 *
 * A struct that the library fills (statistics and such) has no _init. The caller sets `size`, and
 * the library writes no more than that.
 *
 * A struct that may grow is part of another as its last member only. A member that is added to the
 * other then takes of its `reserved`, which the library sets to 0. struct catnap_halt_poll, which
 * others have in their middle, grows in its own `reserved`. A struct without a member `size` does
 * not grow, unless it is an element of an array whose caller says how large it is. Such an array is
 * the last member of a struct, with a member that ends in _size, or an argument.
 */
#ifndef CATNAP_POLL_H
#define CATNAP_POLL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <catnap/version.h>

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
 * How the length of a poll is chosen. All policies but ALWAYS give way: a poll ends when others
 * want the processor, and a thread of a real-time class begins none.
 */
enum catnap_policy_kind {
	CATNAP_POLICY_OFF = 0,	    /**< never poll: sleep at once */
	CATNAP_POLICY_KERNEL = 1,   /**< the rule of Linux's kvm_vcpu_halt(), to the letter */
	CATNAP_POLICY_FIXED = 2,    /**< poll for max_ns in every halt */
	CATNAP_POLICY_ALWAYS = 3,   /**< never sleep, and give way to nobody */
	CATNAP_POLICY_ADAPTIVE = 4, /**< learns when to expect a wake-up, weighs it with a sleep */
};

/** The bias of policy adaptive: it weighs higher that the owner wakes up early, or the processor's
 * time. */
enum catnap_bias {
	/** A sleep is worth 2 1/4 times the lateness that it causes, and the processor time that it
	 * takes; both are measured. A price that is given counts as it is. */
	CATNAP_BIAS_BALANCED = 0,
	/** A sleep is worth 12 times its lateness, and its processor time. A price that is given
	 * counts 8 times. Either is 300 us at least. */
	CATNAP_BIAS_LATENCY = 1,
	/** A sleep is worth 3/8 of its lateness. A price that is given counts a quarter. */
	CATNAP_BIAS_POWER = 2,
};

/** How a poll waits between two looks at its work. One that this processor lacks becomes PAUSE. */
enum catnap_spin {
	/** UMWAIT or MWAITX where the processor has it and it comes back in time, else PAUSE. */
	CATNAP_SPIN_AUTO = 0,
	CATNAP_SPIN_PAUSE = 1,	/**< the PAUSE instruction: the shortest turns, at full power */
	CATNAP_SPIN_UMWAIT = 2, /**< Intel's UMONITOR and UMWAIT in C0.1, 1 us at most (WAITPKG) */
	CATNAP_SPIN_MWAITX = 3, /**< AMD's MONITORX and MWAITX, 1 us at most */
};

/** A good max_ns for policy adaptive, which does not need a short one to keep it from mistakes. */
#define CATNAP_ADAPTIVE_MAX_NS UINT32_C(1000000)
/** A good max_ns for the other policies: what kvm.halt_poll_ns is if nobody has changed it. */
#define CATNAP_KERNEL_MAX_NS UINT32_C(200000)

/**
 * Parameters of a policy. Names and meanings are those of Linux's kvm.halt_poll_ns and its
 * companions. Fill the struct with catnap_halt_poll_init(), then change what you want. A policy
 * ignores the parameters that it does not use.
 */
struct catnap_halt_poll {
	uint32_t size;	 /**< sizeof(struct catnap_halt_poll), set by catnap_halt_poll_init() */
	uint32_t policy; /**< enum catnap_policy_kind */
	uint32_t max_ns; /**< the longest poll; 0: do not poll (kernel, fixed, adaptive) */
	uint32_t grow;	 /**< factor by which the window grows; 0 keeps it (kernel) */
	uint32_t grow_start_ns; /**< the first window above 0 (kernel) */
	uint32_t shrink;	/**< divisor by which the window shrinks; 0 sets it to 0 (kernel) */
	/* Added later. A caller that was built before has a smaller size and gets the defaults. */
	uint32_t bias; /**< enum catnap_bias (adaptive) */
	/** The price of a sleep, if it is not to be measured: that many ns of polling. 0: measured
	 * (adaptive). */
	uint32_t price_ns;
	/**
	 * The share of one processor, in hundredths of per cent, that polls that fail may take in
	 * any second. 0: no limit. All vCPUs of a VM and its I/O thread share it; a halter of one's
	 * own has it alone. A window longer than that share of 50 ms is never polled. Policy always
	 * ignores it, as it has no polls that fail.
	 */
	uint32_t cpu_max;
	/**
	 * Not 0: the vCPUs of a VM that have this set share one poller. One of them polls for all
	 * that wait; the others sleep meanwhile, and it wakes them. It works with any policy.
	 * Halters of one's own have no group.
	 */
	uint32_t group;
	uint32_t spin;	     /**< enum catnap_spin */
	uint32_t reserved32; /**< as reserved */
	/**
	 * Must be 0, as catnap_halt_poll_init() leaves it. Members that are added later take this
	 * room, and 0 will mean what was before. The struct cannot grow: it is part of others, in
	 * which all that is behind it would move.
	 */
	uint64_t reserved[5];
};

/**
 * Sets the defaults: policy adaptive, max 1 ms, grow 2, grow_start 10 us, shrink 2, bias balanced,
 * price measured. For another policy set max_ns as well: CATNAP_KERNEL_MAX_NS. Any thread. "Structs
 * and their sizes" above explains the macro and _init_sized.
 */
CATNAP_API void catnap_halt_poll_init(struct catnap_halt_poll *params);
CATNAP_API void catnap_halt_poll_init_sized(struct catnap_halt_poll *params, size_t size);
#define catnap_halt_poll_init(params) \
	catnap_halt_poll_init_sized((params), sizeof(struct catnap_halt_poll))

/**
 * Tells whether @params can be used. Any thread.
 * Errors:
 *   -EINVAL  policy, bias or spin is unknown
 *   -EINVAL  cpu_max is above 10000
 *   -EINVAL  something in reserved is not 0
 *   -EINVAL  size is less than that of the first version, 24 bytes
 */
CATNAP_API int catnap_halt_poll_check(const struct catnap_halt_poll *params);

/* ---------------------------------------------------------------------------------------------
 * A policy alone: it decides from a list of halts, with no clock and no thread. For simulation.
 */

/** The outcome of one halt, for catnap_policy_end(). */
struct catnap_halt {
	uint64_t halt_ns; /**< the whole halt: poll and sleep */
	bool waited;	  /**< it really slept */
	bool valid;	  /**< false: the poll was disturbed, or nothing useful woke it */
	bool allowed;  /**< polling was not switched off from outside (the guest's poll control) */
	bool gave_way; /**< the poll was ended early, since others wanted the processor */
};

/** The poll lasts until a wake-up comes. */
#define CATNAP_WINDOW_FOREVER UINT64_MAX

/** A policy; opaque. One thread at a time may use it. */
struct catnap_policy;

/**
 * Makes a policy whose window is 0. On success *@policy is the caller's, to be given to
 * catnap_policy_destroy(). On failure *@policy is untouched. Any thread.
 * Errors:
 *   -EINVAL  @params (see catnap_halt_poll_check()), or @policy is NULL
 *   -ENOMEM
 */
CATNAP_API int catnap_policy_create(const struct catnap_halt_poll *params,
				    struct catnap_policy **policy);
/** Frees *@policy and sets it to NULL. It does nothing when that is NULL already. */
CATNAP_API void catnap_policy_destroy(struct catnap_policy **policy);
/**
 * Changes the parameters. The window stays, and is capped when the next halt begins.
 * Errors:
 *   -EINVAL  @params (see catnap_halt_poll_check()); nothing is changed
 */
CATNAP_API int catnap_policy_set(struct catnap_policy *policy,
				 const struct catnap_halt_poll *params);
/**
 * Begins a halt: caps the window. Returns for how long to poll: 0 when @allowed is false or the
 * window is 0, CATNAP_WINDOW_FOREVER for policy always.
 */
CATNAP_API uint64_t catnap_policy_begin(struct catnap_policy *policy, bool allowed);
/** Ends the halt: the policy learns from it. */
CATNAP_API void catnap_policy_end(struct catnap_policy *policy, const struct catnap_halt *halt);
/** Returns the present window in ns; CATNAP_WINDOW_FOREVER for policy always. Changes nothing. */
CATNAP_API uint64_t catnap_policy_window(const struct catnap_policy *policy);

/** The class of a halt, for policy adaptive. */
enum catnap_halt_class {
	CATNAP_HALT_SHORT = 0,	/**< at most what a sleep is worth */
	CATNAP_HALT_MIDDLE = 1, /**< up to 8 times that */
	CATNAP_HALT_LONG = 2,
};

#define CATNAP_POLICY_CONTEXTS 9

/**
 * The knowledge of policy adaptive about the halts that follow on two of the classes above. All but
 * `halts` is what its last search for a window found, at most 16 halts of this context ago. In a
 * context that was never met all is 0.
 */
struct catnap_policy_context {
	uint32_t before; /**< enum catnap_halt_class: the class of the last halt but one */
	uint32_t last;	 /**< that of the last halt */
	uint64_t halts;	 /**< how many were learned from, since the policy was made */
	/** How many of those still count: each fades as others follow. */
	uint32_t samples;
	uint32_t window_ns; /**< for how long to poll */
	/** The quantiles of their lengths, less than 1/4 too low. 33554432: longer than that. */
	uint32_t p50_ns, p90_ns;
	/** The expected cost of a halt: the time polled, and worth_ns if it sleeps in the end. */
	uint32_t cost_ns;
	uint32_t reserved;
};

/** The state of a policy, with what it has learned. */
struct catnap_policy_stats {
	uint32_t size;	    /**< set by the caller to sizeof(struct catnap_policy_stats) */
	uint32_t policy;    /**< enum catnap_policy_kind */
	uint64_t window_ns; /**< as in struct catnap_halt_stats */
	/** The price of a sleep as it was measured: how late it makes the sleeper. 0: not measured
	 * yet, or no halter. */
	uint32_t price_ns;
	/** The worth of a sleep to the policy, in ns of polling. The bias weighs price_ns and
	 * cpu_ns for that, or the price that is given. 0: not decided yet (adaptive). */
	uint32_t worth_ns;
	/** How often the halts have changed, and most was forgotten (adaptive). */
	uint32_t relearned;
	/** How many entries of context are filled: all with policy adaptive, else none. */
	uint32_t contexts;
	/** The processor time that a sleep takes, the sleeper's and its waker's, as it was
	 * measured. 0: not measured yet, or no halter. */
	uint32_t cpu_ns;
	/** 1: all of this is about what guests that poll have left of halts (poll_after_guest of
	 * struct catnap_vm_config). 0: about whole halts. */
	uint32_t after_guest;
	uint32_t context_size; /**< set by the caller to sizeof(struct catnap_policy_context) */
	uint32_t reserved[5];
	struct catnap_policy_context context[CATNAP_POLICY_CONTEXTS]; /**< last; may grow */
};

/**
 * Copies what @policy has learned, up to stats->size bytes. Any thread, also while another uses the
 * policy: each figure is right, but two of them may be some halts apart.
 * An entry of context is written up to stats->context_size bytes, if all of it has room.
 * Errors:
 *   -EINVAL  stats->size is too small, or context_size less than in the first version
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
	CATNAP_CAUSE_EVENTFD, /**< an eventfd, or another source */
	CATNAP_CAUSE_OTHER,   /**< any other work bit */
	CATNAP_CAUSES,	      /**< how many there are in this version */
};
/** Room for them. */
#define CATNAP_MAX_CAUSES 16

/**
 * Statistics of one halter since it was made. Names and meanings are those of KVM's per-vCPU
 * statistics. Bucket 0 of a histogram counts 0 ns, bucket i counts [2^(i-1), 2^i) ns, and the last
 * one takes the rest.
 */
struct catnap_halt_stats {
	uint32_t size; /**< set by the caller to sizeof(struct catnap_halt_stats) */
	uint32_t policy;
	uint64_t halt_exits;
	uint64_t halt_attempted_poll;  /**< halts in which polling was on */
	uint64_t halt_successful_poll; /**< of those, the ones that did not sleep */
	uint64_t halt_poll_invalid;
	uint64_t halt_wakeup; /**< halts ended by a wake-up (not by the deadline) */
	/** Time polled in halts that did not sleep. Gaps of 20 us and more, in which others had the
	 * processor, are left out. */
	uint64_t halt_poll_success_ns;
	/** The same in halts that then slept. Their gaps are part of halt_wait_ns. */
	uint64_t halt_poll_fail_ns;
	uint64_t halt_wait_ns; /**< time slept */
	uint64_t halt_poll_success_hist[CATNAP_HIST_BUCKETS];
	uint64_t halt_poll_fail_hist[CATNAP_HIST_BUCKETS];
	uint64_t halt_wait_hist[CATNAP_HIST_BUCKETS];
	uint64_t wakeups[CATNAP_MAX_CAUSES]; /**< halts by what ended them */
	uint64_t kicks_sent;   /**< wakes that had to interrupt the guest (the kick callback) */
	uint64_t kicks_saved;  /**< wakes that found the owner awake: no system call */
	uint64_t futex_wakes;  /**< wakes that found the owner asleep: one system call */
	uint64_t window_ns;    /**< present window; CATNAP_WINDOW_FOREVER for policy always */
	uint32_t poll_allowed; /**< 0: switched off by catnap_halter_set_poll_allowed() */
	uint32_t reserved;
	/** The measured price of a sleep: from the sending of a wake to running. 0: not yet. */
	uint64_t price_ns;
	uint64_t halt_poll_contended; /**< polls cut short: others wanted the processor */
	/** Halts without a poll, or with one cut short, because the process' control group was
	 * being throttled (vCPUs). */
	uint64_t halt_poll_throttled;
	/** The same, because tasks of that group waited for processors (vCPUs). */
	uint64_t halt_poll_pressure;
	/** Halts in which it slept and the poller of its group watched its work (group). */
	uint64_t group_watched;
	uint64_t group_wakes; /**< wakes that it brought to others while it was the poller */
	/** How often it handed polling over to another, which it woke for that. */
	uint64_t group_handovers;
};

/* ---------------------------------------------------------------------------------------------
 * A limit for somebody else's polling
 *
 * The Linux kernel polls by its own rule, that of policy kernel, below a limit that can be set:
 * halt_poll_ns of module kvm, or KVM_CAP_HALT_POLL of one VM. How long each halt was cannot be
 * known from outside, but its statistics tell how many halts were how long. This finds the limit
 * below which that rule costs least, from such statistics. It has no clock and no thread, and sets
 * nothing.
 */

/** A learner of a limit; opaque. One thread at a time may use it. */
struct catnap_poll_limit;

/** The cost of polling below a limit, for catnap_poll_limit_expect(): sums over a million halts. */
struct catnap_poll_limit_cost {
	uint32_t size;	   /**< set by the caller to sizeof(struct catnap_poll_limit_cost) */
	uint32_t worth_ns; /**< the worth of a sleep, in ns of polling */
	uint64_t poll_ns;  /**< time polled */
	uint64_t fail_ns;  /**< of that, in halts that then slept */
	uint64_t sleeps;   /**< halts that slept */
	uint64_t cost_ns;  /**< the time polled, and worth_ns for each sleep */
};

/**
 * Makes a learner. Of @params it uses these: max_ns, the highest limit; grow, grow_start_ns and
 * shrink, the parameters of the rule whose limit it is; bias; price_ns, where 0 stands for 50 us;
 * cpu_max, for all the halts in the statistics together. On success *@limit is the caller's, to be
 * given to catnap_poll_limit_destroy(). On failure *@limit is untouched. Any thread.
 * Errors:
 *   -EINVAL  @params (see catnap_halt_poll_check()), or @limit is NULL
 *   -ENOMEM
 */
CATNAP_API int catnap_poll_limit_create(const struct catnap_halt_poll *params,
					struct catnap_poll_limit **limit);
/** Frees *@limit and sets it to NULL. It does nothing when that is NULL already. */
CATNAP_API void catnap_poll_limit_destroy(struct catnap_poll_limit **limit);
/**
 * Changes the parameters. All that was learned of the halts stays. Errors:
 *   -EINVAL  @params (see catnap_halt_poll_check()); nothing is changed
 */
CATNAP_API int catnap_poll_limit_set(struct catnap_poll_limit *limit,
				     const struct catnap_halt_poll *params);
/**
 * Learns from the statistics of all halts so far, at @now_ns of any clock that does not go back.
 * Of @stats it uses the three histograms, halt_poll_success_ns, halt_poll_fail_ns and
 * halt_wait_ns; those of several vCPUs may be added up. The first call is where counting begins. So
 * is one in which a number is lower than before. Returns 1 if catnap_poll_limit_ns() is another one
 * now, otherwise 0.
 * Errors:
 *   -EINVAL  stats->size is less than that of the first version
 */
CATNAP_API int catnap_poll_limit_learn(struct catnap_poll_limit *limit,
				       const struct catnap_halt_stats *stats, uint64_t now_ns);
/** Returns the limit to be set, in ns; 0: do not poll. */
CATNAP_API uint32_t catnap_poll_limit_ns(const struct catnap_poll_limit *limit);
/**
 * Returns when to learn next: so many ns after the last catnap_poll_limit_learn(). That is 1 to 10
 * ms at first, and up to 250 ms where there are few halts. To come later is no mistake.
 */
CATNAP_API uint64_t catnap_poll_limit_interval(const struct catnap_poll_limit *limit);
/**
 * Tells what polling would cost below the limit @limit_ns, by the halts of late. Before there are
 * any, all sums are 0.
 * Errors:
 *   -EINVAL  cost->size is less than that of the first version
 */
CATNAP_API int catnap_poll_limit_expect(const struct catnap_poll_limit *limit, uint32_t limit_ns,
					struct catnap_poll_limit_cost *cost);

/* ---------------------------------------------------------------------------------------------
 * The halter
 */

/** Work bits with a meaning to the statistics. Bits 0 to 23 belong to the caller. */
#define CATNAP_WORK_IPI	 (UINT32_C(1) << 0)
#define CATNAP_WORK_USER UINT32_C(0x00ffffff)

struct catnap_halter_config {
	/** sizeof(struct catnap_halter_config), set by catnap_halter_config_init() */
	uint32_t size;
	uint32_t flags; /**< CATNAP_HALTER_* */
	struct catnap_halt_poll halt_poll;
	/**
	 * Makes the owner come back from where it does not look at its work: KVM_RUN, somebody's
	 * epoll_wait. It is called on a waker's thread when work arrives after the owner has called
	 * catnap_halter_enter(), once for each such call at most. It may be NULL if enter is not
	 * used.
	 */
	void (*kick)(void *ctx);
	/** Takes note that @fd, of catnap_halter_add_eventfd(), has fired. It is called on the owner's
	 * thread, from catnap_halter_halt() or catnap_halter_reap(). */
	void (*on_eventfd)(void *ctx, int fd);
	void *ctx;
};

/** Do not use IORING_OP_FUTEX_WAIT even where it works: sleep on an eventfd in the ring. */
#define CATNAP_HALTER_NO_RING_FUTEX (UINT32_C(1) << 0)

/**
 * Do not use io_uring at all: wait for eventfds by epoll(7) and poll(2). A halter does so by itself
 * where io_uring is not to be had (kernel.io_uring_disabled, a container's seccomp filter, no
 * memory to be locked). A poll then makes a system call for each look as long as there are
 * eventfds.
 */
#define CATNAP_HALTER_NO_RING (UINT32_C(1) << 1)

/** A halter; opaque. Each function says which threads may call it. */
struct catnap_halter;

/** Sets the defaults: no flags, no callbacks, halt polling as catnap_halt_poll_init(). Any
 * thread. */
CATNAP_API void catnap_halter_config_init(struct catnap_halter_config *cfg);
CATNAP_API void catnap_halter_config_init_sized(struct catnap_halter_config *cfg, size_t size);
#define catnap_halter_config_init(cfg) \
	catnap_halter_config_init_sized((cfg), sizeof(struct catnap_halter_config))
/**
 * Makes a halter. On success *@halter is the caller's, to be given to catnap_halter_destroy(). On
 * failure *@halter is untouched. Any thread: the first halt decides which one is the owner.
 * Errors:
 *   -EINVAL  @cfg or @halter is NULL
 *   -EINVAL  cfg->size, or cfg->halt_poll (see catnap_halt_poll_check())
 *   -ENOMEM
 */
CATNAP_API int catnap_halter_create(const struct catnap_halter_config *cfg,
				    struct catnap_halter **halter);
/** Frees *@halter and sets it to NULL. No other thread may be using it. */
CATNAP_API void catnap_halter_destroy(struct catnap_halter **halter);

/**
 * Brings work: sets @bits (of CATNAP_WORK_USER) and wakes the owner wherever it is. Any thread, and
 * signal handlers. The owner sees what was written before the call once it has taken the bits. It
 * takes no system call unless the owner sleeps (one futex wake) or is elsewhere (the kick callback,
 * once).
 */
CATNAP_API void catnap_halter_wake(struct catnap_halter *halter, uint32_t bits);
/** Returns the work bits and clears them. Owner. */
CATNAP_API uint32_t catnap_halter_take(struct catnap_halter *halter);

/**
 * Waits until there is work (bits that nobody took), a source has fired, or @deadline_ns on
 * CLOCK_MONOTONIC has passed (CATNAP_NO_DEADLINE: never). It does not return before that: a signal
 * does not end it. @cause, if not NULL, is set to the enum catnap_wake_cause. Owner.
 *
 * If there is work already, it returns at once and runs no callback of a source. An owner that may
 * always find work calls catnap_halter_reap() now and then.
 * Errors:
 *   -EDEADLK                                  it is called from a source's ready()
 *   -ENOMEM                                   there is no memory to learn which sources are ready
 *   those of io_uring_enter(2)                if there are sources
 *   those of epoll_create1(2)                 if a file is watched that nobody can remove (see
 *                                             "Closed descriptors" below)
 *   those of epoll_create1(2) and eventfd(2)  where there is no io_uring, with the first source;
 *                                             -EMFILE, for example
 */
CATNAP_API int catnap_halter_halt(struct catnap_halter *halter, uint64_t deadline_ns, int *cause);

/**
 * Tells that the owner is about to go where it does not look at its work. Returns false if there is
 * work: do not go then. Returns true otherwise: from here to catnap_halter_leave() a wake calls the
 * kick callback. A source that fires meanwhile does not call it; the next halt or reap sees it.
 * So wait for the source where you go as well, or do not go while it matters. Owner.
 */
CATNAP_API bool catnap_halter_enter(struct catnap_halter *halter);
/** Tells that the owner is back. Owner. */
CATNAP_API void catnap_halter_leave(struct catnap_halter *halter);

/**
 * Adds an eventfd (or anything with poll(2)) as a source: each signal on it ends a halt and runs
 * on_eventfd on the owner. The descriptor stays the caller's. It must stay open until
 * catnap_halter_del_eventfd(), or until the halter is destroyed. Reading from it is the caller's
 * business. It takes effect when the owner next halts or reaps. Any thread. Errors:
 *   -EBADF   @fd is no open descriptor
 *   -EEXIST  @fd was added by this function already
 *   -ENOSPC  there are 64 eventfds; those of catnap_halter_add_source(), as many as they are, count
 *            as one
 */
CATNAP_API int catnap_halter_add_eventfd(struct catnap_halter *halter, int fd);
/**
 * Removes a source. Once this has returned on the owner's thread, on_eventfd runs no more for @fd.
 * Any thread.
 * Errors:
 *   -ENOENT  @fd is no source
 */
CATNAP_API int catnap_halter_del_eventfd(struct catnap_halter *halter, int fd);
/**
 * Runs the callbacks of the sources that have fired (on_eventfd or ready), without waiting. Returns
 * how many have, or a negative errno value. Owner.
 * Errors:
 *   as catnap_halter_halt()
 */
CATNAP_API int catnap_halter_reap(struct catnap_halter *halter);

/**
 * Changes the policy's parameters. The next halt uses them. Any thread.
 * Errors:
 *   -EINVAL  @params (see catnap_halt_poll_check()); nothing is changed
 */
CATNAP_API int catnap_halter_set_halt_poll(struct catnap_halter *halter,
					   const struct catnap_halt_poll *params);
/** Switches polling off, or on again, from outside (the guest's poll control). Any thread. */
CATNAP_API void catnap_halter_set_poll_allowed(struct catnap_halter *halter, bool allowed);
/**
 * Copies the statistics, up to stats->size bytes. Each counter is right, but two of them may be a
 * halt apart. Any thread.
 * Errors:
 *   -EINVAL  stats->size is too small
 */
CATNAP_API int catnap_halter_get_stats(struct catnap_halter *halter,
				       struct catnap_halt_stats *stats);

/**
 * Copies what the halter's policy has learned, as catnap_policy_get_stats() does. Any thread.
 * Errors:
 *   -EINVAL  stats->size is too small
 */
CATNAP_API int catnap_halter_get_policy_stats(struct catnap_halter *halter,
					      struct catnap_policy_stats *stats);

/* ---------------------------------------------------------------------------------------------
 * Sources of an event loop
 *
 * catnap_halter_add_source() makes a halter an event loop, for sockets, pipes, timerfds, eventfds,
 * and whatever else epoll(7) takes. There may be as many sources as epoll takes. examples/loop.c is
 * such a loop, with timers.
 *
 *   - A callback for each source and halt: ready() is called once at most in one
 *     catnap_halter_halt() or catnap_halter_reap(), with all that is ready then.
 *   - By level, which is the default: as long as the source is ready, each halt ends at once and
 *     calls ready(). By edge (CATNAP_SOURCE_EDGE): something has to happen on the file before
 *     ready() is called again, as with EPOLLET. So read, or write, until -EAGAIN. An edge may be
 *     told twice; none is lost.
 *   - Adding or changing a source that is ready calls ready(), by edge as well.
 *
 * Ownership. A descriptor stays the caller's, and so does ctx. The library keeps a copy of the
 * struct and not its address.
 *
 * Threads. Any thread adds, changes and removes sources, ready() included. ready() runs on the
 * owner's thread, with no lock held. It may call every function of the halter but
 * catnap_halter_halt(), catnap_halter_reap() (both: -EDEADLK) and catnap_halter_destroy().
 *
 * Closed descriptors. Remove a source before its descriptor is closed. If it was closed first:
 *
 *   - The source fires no more once no other descriptor leads to its file, in any process. Until
 *     then it may fire.
 *   - catnap_halter_del_source() removes it all the same.
 *   - If the number is used again, catnap_halter_add_source() takes it for the new file, and the
 *     old source is forgotten: its ready() runs no more, whoever has the old file open. The library
 *     then moves its sources to another epoll instance if it must; sources by edge may be told once
 *     more for that.
 */

/** Calls ready() when something happens, and not as long as the source is ready. */
#define CATNAP_SOURCE_EDGE (UINT32_C(1) << 0)

/** A source, for catnap_halter_add_source(). Fill the struct with catnap_source_init(). */
struct catnap_source {
	uint32_t size; /**< sizeof(struct catnap_source), set by catnap_source_init() */
	int fd;
	/** The events to wait for, of poll(2): POLLIN, POLLOUT, POLLPRI, POLLRDHUP. 0: for errors
	 * and the end alone, POLLERR and POLLHUP, which are always waited for. */
	uint32_t events;
	uint32_t flags; /**< CATNAP_SOURCE_* */
	/** Deals with the source. @events is what it is ready for, of poll(2): of what was asked
	 * for, POLLERR and POLLHUP. It is never 0. */
	void (*ready)(void *ctx, int fd, uint32_t events);
	void *ctx;
};

/** Sets the defaults: POLLIN by level; fd is -1, and ready and ctx are NULL. Any thread. */
CATNAP_API void catnap_source_init(struct catnap_source *source);
CATNAP_API void catnap_source_init_sized(struct catnap_source *source, size_t size);
#define catnap_source_init(source) catnap_source_init_sized((source), sizeof(struct catnap_source))

/**
 * Adds a source. It counts at once, also for an owner that sleeps. Any thread.
 * Errors:
 *   -EINVAL  size; an event or a flag that is not listed; ready is NULL
 *   -EINVAL  fd is the halter's own epoll instance
 *   -EBADF   fd is no open descriptor
 *   -EEXIST  fd is a source already; change it with catnap_halter_mod_source()
 *   -EPERM   the file cannot be waited for: a regular file or a directory
 *   -ELOOP   fd is an epoll instance in too deep a nest of such
 *   -ENOSPC  the user's limit of epoll's (fs.epoll.max_user_watches)
 *   -ENOSPC  it is the first source, and there are 64 eventfds of catnap_halter_add_eventfd()
 *   -ENOMEM
 *   -EMFILE  it is the first source, and the process has no descriptor left for the epoll instance
 *   -ENFILE  the same for the system
 */
CATNAP_API int catnap_halter_add_source(struct catnap_halter *halter,
					const struct catnap_source *source);
/**
 * Changes the source that source->fd is: all of its members take the place of those before. If it
 * is ready that is told again, by edge as well. Any thread. The callback of before may be running
 * just now, unless this is the owner's thread.
 * Errors:
 *   -EINVAL  as catnap_halter_add_source()
 *   -EBADF   fd is no open descriptor
 *   -ENOENT  fd is no source, or was closed and is another file now
 *   -ENOMEM
 */
CATNAP_API int catnap_halter_mod_source(struct catnap_halter *halter,
					const struct catnap_source *source);
/**
 * Removes the source that @fd is, whether it is open or not. Once this has returned on the owner's
 * thread, its ready() runs no more. On another thread's it may be running just now. Any thread.
 * Errors:
 *   -ENOENT  @fd is no source
 */
CATNAP_API int catnap_halter_del_source(struct catnap_halter *halter, int fd);

#ifdef __cplusplus
}
#endif
#endif
