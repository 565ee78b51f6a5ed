/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One virtual CPU: a thread that runs the guest, handles its exits, and halts. docs/design.md, "A
 * vCPU's turn", has the order of its steps.
 *
 * Owner: the thread. Others use vcpu_start(), vcpu_wake() and the halter's any-thread functions.
 */
#ifndef VCPU_VCPU_H
#define VCPU_VCPU_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include <catnap/catnap.h>
#include "devices/bus.h"
#include "devices/dma.h"
#include "devices/lapic.h"
#include "poll/halter.h"
#include "relaxed.h"
#include "state.h"
#include "vcpu/cpu_time.h"
#include "vcpu/cpuid.h"
#include "vcpu/kvm.h"

struct serial;
struct vcpu;

/* Work bits (halter). IPI is the engine's CATNAP_WORK_IPI: somebody's ICR put something in the
 * inbox. */
#define VCPU_WORK_IRQ	(UINT32_C(1) << 1) /* the inbox of the local APIC, from a device or MSI */
#define VCPU_WORK_PAUSE (UINT32_C(1) << 2) /* look at vcpu_host.paused */
#define VCPU_WORK_STOP	(UINT32_C(1) << 3)
#define VCPU_WORK_LOG	(UINT32_C(1) << 4) /* call vcpu_host.deliver */
#define VCPU_WORK_LOST	(UINT32_C(1) << 5) /* call vcpu_host.lost */

/* The part of a VM that its vCPUs share. The VM fills it before they start. It is constant then,
 * but for the atomics. */
struct vcpu_host {
	struct kvm *kvm;
	const struct clock *clock;
	struct bus *pio, *mmio;
	struct lapic_bus *lapics;
	struct serial *com1; /* for string output in one go */
	struct cpuid_policy cpuid;
	/* Of the VM's owner; on top of the rest. */
	const struct catnap_cpuid_modifier *cpuid_modifiers;
	const struct catnap_msr_modifier *msr_modifiers;
	uint32_t cpuid_modifier_count, msr_modifier_count;
	bool irqchip_user;
	bool tsc_fixed; /* a guest's TSC cannot be set on this host; known once it was tried */
	enum catnap_after_guest poll_after_guest;
	int kick_signal;
	const char *name;      /* threads' names begin with it */
	const struct dma *dma; /* guest memory */
	/* Ends the VM. Any vCPU's thread may call it; the first call counts. */
	void (*end)(void *ctx, const struct catnap_exit *exit);
	/* The guest asks for a reset, on the thread of @v. Returns whether it gets one: all vCPUs
	 * are to pause, and are reset meanwhile. If not, the VM ends. */
	bool (*reset)(void *ctx, struct vcpu *v);
	bool remember; /* keep the state that a reset brings back */
	/* Blocks @v, which found VCPU_WORK_PAUSE, until it may go on. */
	void (*paused)(void *ctx, struct vcpu *v);
	/* Runs the caller's own part of @v's new thread, before the sandbox. Returns 0 or
	 * -errno. */
	int (*begin)(void *ctx, struct vcpu *v);
	/* Closes the thread of @v into the sandbox, before it runs the guest. Returns 0 or
	 * -errno. */
	int (*confine)(void *ctx, struct vcpu *v);
	/* Blocks the thread of @v, which is ready to run the guest, until all of the VM's threads
	 * are. @error: 0, or the -errno of @what, which keeps it from that. Returns false if the
	 * thread is to end; then nothing of the guest has run. */
	bool (*ready)(void *ctx, struct vcpu *v, const char *what, int error);
	/* Notes that the thread of @v, which was ready, is about to end. The thread touches nothing
	 * of the VM's after this call: the VM may be gone. */
	void (*left)(void *ctx, struct vcpu *v);
	void (*log)(void *ctx, enum catnap_log_level level, const char *message);
	/* Hands over the messages that were put down with locks held. The thread found
	 * VCPU_WORK_LOG. */
	void (*deliver)(void *ctx);
	/* The page at @gpa cannot be had, for the guest to read or to @write, or one somewhere
	 * (VCPU_ANYWHERE), or else something has gone wrong that may come of that, if a file is
	 * shorter than it was (VCPU_IF_CUT_OFF). Returns whether that can be, of a file's; then the
	 * VM has ended, on the thread of @v. */
	bool (*lost)(void *ctx, struct vcpu *v, uint64_t gpa, bool write);
	void *ctx;
};

#define VCPU_ANYWHERE	UINT64_MAX
#define VCPU_IF_CUT_OFF (UINT64_MAX - 1)

/* MSR_KVM_POLL_CONTROL: the host may poll. */
#define VCPU_POLL_CONTROL_ALLOW UINT64_C(1)

/* How the first vCPU starts. */
enum vcpu_entry_mode { VCPU_ENTRY_REAL, VCPU_ENTRY_PROTECTED, VCPU_ENTRY_LONG };

struct vcpu_entry {
	enum vcpu_entry_mode mode;
	uint64_t rip, rax, rbx, rsi, rsp;
	uint64_t cr3;	      /* long mode: identity map made by the loader */
	uint16_t cs_selector; /* real mode; base is selector << 4 */
	uint64_t gdt_base;    /* protected and long mode: a GDT in memory, so that segments can be
				 reloaded */
	uint16_t gdt_limit;
};

/* Where an application processor stands. */
enum vcpu_life { VCPU_RUNNABLE, VCPU_WAIT_SIPI };

/* Relaxed atomics: the owner counts, anybody reads. */
struct vcpu_counters {
	_Atomic uint64_t exits, io, mmio, msr, hlt, window, signal;
	_Atomic uint64_t injected, pv_eoi, timer_armed, unclaimed, unknown_msr;
	_Atomic uint64_t after_guest_attempted, after_guest_successful, after_guest_contended;
};

/* share.c; all in ticks. */
struct vcpu_share {
	uint64_t owed;	      /* the devices' time, less the guest's since */
	uint64_t spent_until; /* when they last had something */
	uint64_t until;	      /* devices wait for the guest until then; 0: they do not wait */
	uint64_t look_at;     /* meanwhile: when to look whether the guest wants to run at all */
};

/* stats.c: where KVM has what of a vCPU's statistics; constant once it has been found. */
enum vcpu_stat {
	VCPU_STAT_SUCCESS_HIST = 8,
	VCPU_STAT_FAIL_HIST,
	VCPU_STAT_WAIT_HIST,
	VCPU_KERNEL_STATS
};

#define VCPU_STATS_BLOCK 4096

struct vcpu_stat_place {
	uint32_t offset, count; /* count 0: this KVM has it not */
};

struct vcpu_kernel_stats {
	struct vcpu_stat_place place[VCPU_KERNEL_STATS];
	uint32_t from, len; /* of the block that has them all; len 0: there is none */
};

struct vcpu {
	struct catnap_halter halter; /* first: it is aligned to cache lines */
	struct lapic lapic;
	const struct vcpu_host *host;
	uint32_t id;
	uint32_t signature;	  /* of the processor: leaf 1, EAX */
	struct kvm_cpuid2 *cpuid; /* what KVM was given; owned */
	int fd;
	/* KVM's statistics, irqchip kernel only, else -1. Opened early: asking a vCPU for it waits
	 * until the vCPU has left KVM_RUN, and one that is halted in the kernel does not leave. */
	int stats_fd;
	struct vcpu_kernel_stats kernel_stats;
	struct kvm_run *run;
	enum vcpu_life life;
	bool halted;	  /* executed HLT and nothing has ended it yet */
	bool nmi_pending; /* to be given to KVM before the next entry */
	bool leaving;	  /* the thread is to end */
	/* irqchip user: events with injection through kvm_run, else by ioctl */
	bool sync_events;
	/* irqchip user: KVM_GUESTDBG_BLOCKIRQ, which keeps KVM from interrupts and NMIs; see
	 * inject.c. can_block: this KVM has it. blocked: it is set. nmi_given: an NMI is on its
	 * way, from KVM_NMI to the next exit at least, and it must not be set meanwhile. */
	bool can_block, blocked, nmi_given;
	/* paravirtual end of interrupt: the guest's word, NULL when off; see inject.c */
	uint64_t pv_eoi_msr;
	uint8_t *pv_eoi_flag;
	bool pv_eoi_set;
	_Atomic uint64_t poll_control; /* MSR_KVM_POLL_CONTROL; the owner writes it, relaxed */
	/* Halt polling as it was asked for. The halter has the same, or less while the guest polls
	 * by itself. halt.c gives it to the halter, under the lock, as any thread may ask. */
	pthread_mutex_t poll_lock;
	struct catnap_halt_poll halt_poll;
	struct vcpu_power_on *power_on; /* reset.c; NULL: it is never reset */
	uint32_t applied_price_ns;	/* the longest poll after the guest's own */
	/* kernel timer for a deadline that passes while the guest runs; see timer.c */
	timer_t timer;
	bool timer_made;
	uint64_t timer_at;	  /* ticks for which it is set; UINT64_MAX: not */
	_Atomic bool timer_fired; /* by its signal's handler: it is not set any more */
	/* With interrupts off; see vcpu_arm_timer_off(). armed_off: the deadline of this entry was
	 * new. goes_on: after the last such entry the guest did not halt first. */
	bool armed_off, goes_on;
	/* To find out whether the guest was kept from running; see stopped.c. Ticks. */
	uint64_t entered;
	uint64_t ring_bound_ns; /* how long the guest may be run while the ring is active */
	struct vcpu_share share;
	struct vcpu_counters counters;
	pid_t pid;	 /* of the process; published by tid */
	_Atomic int tid; /* 0: not running */
	bool has_thread;
	struct cpu_time cpu_time;
	pthread_t thread;
};

/*
 * Makes the KVM vCPU. @v is zeroed memory, aligned as the struct asks. @env and @trace are as for
 * halter_init(), but for the clock and before_sleep, which are the vCPU's own.
 * Returns 0, or a negative errno value with a sentence in *@err.
 */
int vcpu_init(struct vcpu *v, const struct vcpu_host *host, uint32_t id,
	      const struct catnap_halt_poll *halt_poll, const struct halter_env *env,
	      struct halt_trace *trace, struct error *err);
void vcpu_fini(struct vcpu *v);
/* Prepares @v for vcpu_fini() in a child of fork(2). There is no thread there, the timer's number
 * is that of another timer, and the parent writes the halts. */
void vcpu_disown(struct vcpu *v);
/* Sets the state in which @v starts: that of a processor after reset, changed as @entry says.
 * Returns 0, or a negative errno value with a sentence in *@err. */
int vcpu_set_entry(struct vcpu *v, const struct vcpu_entry *entry, struct error *err);
/*
 * reset.c: puts @v into its state at power-on, but for vcpu_set_entry(). Its thread stands, or is
 * the calling one. Returns 0, or -errno with a sentence.
 */
int vcpu_reset(struct vcpu *v, struct error *err);
/*
 * state.c: writes @v, whose thread stands, or is not there, into a section; but for its local APIC,
 * if that is ours. @host_tsc: the moment, as this host's TSC has it. Returns 0, or a negative errno
 * value; what KVM refused has a sentence.
 */
int vcpu_save(struct vcpu *v, struct state_writer *w, uint64_t host_tsc, struct error *err);
/*
 * Reads such a section into @v, which has not run. @host_tsc: the moment of this host that stands for
 * the one at which @v was saved. Returns 0, or with a sentence, after which @v cannot be used:
 * -EINVAL (the section is wrong, or KVM does not take what it says), -ENOTSUP (this host lacks
 * something), -ENOMEM, and those of KVM's ioctls.
 */
int vcpu_load(struct vcpu *v, struct state_in *in, uint64_t host_tsc, struct error *err);
/* state_clock.c: returns the guest's TSC at the moment at which the host's was @host_tsc. */
uint64_t vcpu_guest_tsc(struct vcpu *v, uint64_t host_tsc);
/* state_clock.c: returns whether the TSC of @v, which has not run, can be set. Tries it. Not every
 * KVM can, and says so. */
bool vcpu_can_set_tsc(struct vcpu *v);
#define STATE_VCPU STATE_ID('V', 'C', 'P', 'U')

/* Makes the thread; see vcpu_host.ready. @cpu: the processor to run on, or -1. Returns 0, or -errno
 * of pthread_create(3). */
int vcpu_start(struct vcpu *v, int cpu);
/* Waits for the thread, if there is one. A thread that calls this for itself ends alone. */
void vcpu_join(struct vcpu *v);
/* Changes the halt polling. @params has been checked. Any thread. */
void vcpu_set_halt_poll(struct vcpu *v, const struct catnap_halt_poll *params);
/* Copies the parameters that were asked for last. Any thread. */
void vcpu_get_halt_poll(struct vcpu *v, struct catnap_halt_poll *params);
void vcpu_get_stats(struct vcpu *v, struct catnap_vcpu_stats *stats);

/* Brings work to @v: sets @bits and wakes it. Any thread. */
static inline void vcpu_wake(struct vcpu *v, uint32_t bits)
{
	halter_wake(&v->halter, bits);
}

/* kick.c: checks that @signo may be the kick signal. Returns 0, or -EBUSY with a sentence: the
 * program has a handler for it. */
int kick_check(int signo, struct error *err);
/* Installs the handler that ends KVM_RUN, once per process and signal. Returns 0, or a negative
 * errno value with a sentence: -EBUSY, or that of sigaction(2). The program's handler is then as it
 * was. */
int kick_install(int signo, struct error *err);

/*
 * probe.c: finds out whether this KVM shows writes of the TSC deadline MSR to user space. Runs a
 * few bytes of guest code in the page of guest memory at @gpa (below 1 MiB; it is as before afterwards)
 * on a vCPU of its own, with the MSR filter set. Returns 1, 0, or -errno.
 */
int vcpu_probe_tsc_deadline(const struct vcpu_host *host, uint64_t gpa);
/* probe.c: returns the cost of a KVM_RUN that does not enter the guest, in ns; 0: not known. */
uint64_t vcpu_probe_run_cost(struct vcpu *v);

/* ---- between the files of this folder ---- */

/* kick.c: sets the vCPU that kicks of the calling thread are for; NULL: none. */
void kick_take(struct vcpu *v);
/* Kicks @vcpu: the halter's callback. Any thread. */
void kick_send(void *vcpu);

enum vcpu_next { VCPU_CONTINUE, VCPU_END };

/* exits.c: deals with what KVM_RUN returned for. */
enum vcpu_next vcpu_handle_exit(struct vcpu *v);
/* msr.c */
int vcpu_filter_msrs(const struct vcpu_host *host, struct error *err);
/* Sets MSR_KVM_PV_EOI_EN. 0, or -EPERM: no guest may write that. */
int vcpu_set_pv_eoi(struct vcpu *v, uint64_t value);
/* Measures the offset of the guest's TSC, for the local APIC. */
void vcpu_read_tsc_offset(struct vcpu *v);
void vcpu_rdmsr(struct vcpu *v);
void vcpu_wrmsr(struct vcpu *v);
void vcpu_reset_msrs(struct vcpu *v);
/* Changes MSRs as the VM's owner asked. 0, or -EINVAL with a sentence. */
int vcpu_modify_msrs(struct vcpu *v, struct error *err);
/* Returns whether the guest lets its host poll. Any thread. */
static inline bool vcpu_poll_allowed(const struct vcpu *v)
{
	return relaxed_load(&v->poll_control) & VCPU_POLL_CONTROL_ALLOW;
}
/* inject.c: prepare what is injected at the entry, and see after the exit what was. */
int vcpu_prepare_entry(struct vcpu *v);
void vcpu_after_exit(struct vcpu *v);
bool vcpu_can_wake(const struct vcpu *v);
/* timer.c: brings the APIC timer up to date, before the guest looks at it or changes it. Returns
 * the time, in ticks. */
uint64_t vcpu_run_timer(struct vcpu *v);
/* Sets the kernel timer to @deadline, unless the one that is set serves. */
void vcpu_arm_timer(struct vcpu *v, uint64_t deadline);
/* Does so, or not, for a guest that has interrupts off. Returns whether the thread has to come back
 * when they are on, to do it then. */
bool vcpu_arm_timer_off(struct vcpu *v, uint64_t deadline);
/* Sets it to @ns from now, unless it is set for at most @most_ns from now. */
void vcpu_bound_timer(struct vcpu *v, uint64_t ns, uint64_t most_ns);
/* Cancels it. The halter calls this, with the vCPU as its context. */
void vcpu_before_sleep(void *vcpu);
/* Reserves the timer when the vCPU is made. Returns 0, or -errno with a sentence. The vCPU's thread
 * then makes it, before it is confined. */
int vcpu_reserve_timer(struct vcpu *v, struct error *err);
int vcpu_make_timer(struct vcpu *v);
void vcpu_fini_timer(struct vcpu *v);
/* share.c: notes that tasks or sources have had the thread from @from to @to. */
void vcpu_share_spent(struct vcpu *v, uint64_t from, uint64_t to);
/* Returns whether they must wait for the guest, until vcpu_share_next() (ticks) at the latest. */
bool vcpu_share_holds(struct vcpu *v);
uint64_t vcpu_share_next(const struct vcpu *v);
/* Notes that the guest wants no time. */
void vcpu_share_end(struct vcpu *v);
/* state.c: brings what KVM has of @v to a point between two instructions. On its thread, before it
 * stands. */
void vcpu_settle(struct vcpu *v);
/* halt.c: halts until there is something to run for; an AP, until it is started. */
void vcpu_halt(struct vcpu *v);
/* halt.c: sets MSR_KVM_POLL_CONTROL to @value. Owner. */
void vcpu_set_poll_control(struct vcpu *v, uint64_t value);
/* halt.c: limits what @p polls for to @price_ns. */
void vcpu_limit_poll(struct catnap_halt_poll *p, uint32_t price_ns);
/* halt.c: returns whether @price_ns differs from @applied_ns by so much that it is to be
 * applied. */
bool vcpu_price_moved(uint32_t applied_ns, uint32_t price_ns);
/* stopped.c: tells the guest that it was not run for a while, if it has asked to be told. Not while
 * KVM_RUN runs. */
void vcpu_tell_stopped(struct vcpu *v);
/* Watch how long KVM_RUN takes: called before it, and after one that was interrupted. */
void vcpu_watch_begin(struct vcpu *v);
void vcpu_watch_interrupted(struct vcpu *v);
/* Watches a halt that was to end at @deadline; called after it. */
void vcpu_watch_halt(struct vcpu *v, uint64_t deadline);
/* boot.c */
int vcpu_reset_registers(struct vcpu *v);
int vcpu_startup(struct vcpu *v, uint8_t vector);
/* Puts the local APIC where it is at power-on. */
int vcpu_reset_apic_base(struct vcpu *v);
/* reset.c: remembers what there is, for vcpu_reset(); before the first entry is set. Returns 0, or
 * -errno with a sentence. */
int vcpu_remember(struct vcpu *v, struct error *err);
void vcpu_forget(struct vcpu *v);
/* report.c: ends the VM with registers and instruction bytes in the report. */
void vcpu_end(struct vcpu *v, uint32_t reason, int32_t code, const char *what);
/* Ends the VM in the same way if @ret is an error of the ring's. */
void vcpu_check_ring(struct vcpu *v, int ret);
/* stats.c: finds where KVM's own halt statistics are, once, for irqchip kernel. */
void vcpu_find_kernel_stats(struct vcpu *v);
/* Returns whether this KVM has the three histograms. */
bool vcpu_has_kernel_hists(const struct vcpu *v);
void vcpu_read_kernel_stats(struct vcpu *v, struct catnap_halt_stats *stats);

#endif
