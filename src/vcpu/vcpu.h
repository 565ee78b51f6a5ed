/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One virtual CPU: a thread that runs the guest, handles its exits, and halts. See architecture in
 * docs/design.md, "The life of a vCPU".
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
#include "devices/lapic.h"
#include "poll/halter.h"
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

/* What the vCPUs of a VM share: the VM fills it before they start; then constant, but for the
 * atomics. */
struct vcpu_host {
	struct kvm *kvm;
	const struct clock *clock;
	struct bus *pio, *mmio;
	struct lapic_bus *lapics;
	struct serial *com1; /* for string output in one go */
	struct cpuid_policy cpuid;
	bool irqchip_user;
	enum catnap_after_guest poll_after_guest;
	int kick_signal;
	/* Guest memory: a host pointer to [gpa, gpa + len), NULL if not all of it is memory. */
	void *(*memory)(void *ctx, uint64_t gpa, uint64_t len);
	/* Ends the VM; any vCPU's thread, once or more: the first counts. */
	void (*end)(void *ctx, const struct catnap_exit *exit);
	/* A vCPU found VCPU_WORK_PAUSE: blocks until it may go on. */
	void (*paused)(void *ctx, struct vcpu *v);
	/* The vCPU's thread, before it runs the guest: the sandbox. -errno ends the VM. */
	int (*confine)(void *ctx, struct vcpu *v);
	/* The vCPU's thread is about to end. */
	void (*left)(void *ctx, struct vcpu *v);
	void (*log)(void *ctx, enum catnap_log_level level, const char *message);
	/* A thread found VCPU_WORK_LOG: hands over what was said with locks held. */
	void (*deliver)(void *ctx);
	void *ctx;
};

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
	_Atomic uint64_t after_guest_attempted, after_guest_successful;
};

/* share.c; all in ticks. */
struct vcpu_share {
	uint64_t owed;	      /* what devices have had, less what the guest had since */
	uint64_t spent_until; /* when they last had something */
	uint64_t until;	      /* until then they have to wait for the guest; 0: they have not */
	uint64_t look_at;     /* meanwhile: when to look whether the guest wants to run at all */
};

struct vcpu {
	struct catnap_halter halter; /* first: it is aligned to cache lines */
	struct lapic lapic;
	const struct vcpu_host *host;
	uint32_t id;
	int fd;
	/* KVM's statistics, irqchip kernel only, else -1. Opened early: asking a vCPU for it waits
	 * until the vCPU has left KVM_RUN, and one that is halted in the kernel does not leave. */
	int stats_fd;
	struct kvm_run *run;
	enum vcpu_life life;
	bool halted;	  /* executed HLT and nothing has ended it yet */
	bool nmi_pending; /* to be given to KVM before the next entry */
	bool leaving;	  /* the thread is to end */
	/* irqchip user: events with injection through kvm_run, else by ioctl */
	bool sync_events;
	/* irqchip user: KVM keeps its hands off interrupts and NMIs; see inject.c. It can, it does;
	 * not while an NMI is on its way, which is so from KVM_NMI to the next exit at least */
	bool can_block, blocked, nmi_given;
	/* paravirtual end of interrupt: the guest's word, NULL when off; see inject.c */
	uint64_t pv_eoi_msr;
	uint8_t *pv_eoi_flag;
	bool pv_eoi_set;
	_Atomic uint64_t poll_control; /* MSR_KVM_POLL_CONTROL; the owner writes it, relaxed */
	/* Halt polling as it was asked for. The halter has that, or less while the guest polls by
	 * itself; halt.c brings it there, under the lock, for any thread may ask. */
	pthread_mutex_t poll_lock;
	struct catnap_halt_poll halt_poll;
	uint32_t applied_price_ns; /* for how long is polled after the guest, at most */
	/* kernel timer for a deadline that passes while the guest runs; see timer.c */
	timer_t timer;
	bool timer_made;
	uint64_t timer_at;	  /* ticks for which it is set; UINT64_MAX: not */
	_Atomic bool timer_fired; /* by its signal's handler: it is not set any more */
	/* Was the guest kept from running? See stopped.c. Ticks. */
	uint64_t entered;
	uint64_t ring_bound_ns; /* how long the guest may be run while the ring is active */
	struct vcpu_share share;
	bool tasks_wait; /* there are some, and not in pending: the guest goes before */
	struct vcpu_counters counters;
	pid_t pid;	 /* of the process; published by tid */
	_Atomic int tid; /* 0: not running */
	bool has_thread;
	struct cpu_time cpu_time;
	pthread_t thread;
};

/* Makes the KVM vCPU. 0 or -errno with a sentence. @v is zeroed memory, aligned as the struct asks.
 */
int vcpu_init(struct vcpu *v, const struct vcpu_host *host, uint32_t id,
	      const struct catnap_halt_poll *halt_poll, struct kvm_error *err);
void vcpu_fini(struct vcpu *v);
/* The state in which @v starts: that of a processor after reset, changed as @entry says. */
int vcpu_set_entry(struct vcpu *v, const struct vcpu_entry *entry, struct kvm_error *err);
/* -errno of pthread_create. @cpu: processor to run on, or -1. */
int vcpu_start(struct vcpu *v, int cpu);
void vcpu_join(struct vcpu *v);
/* Any thread. @params has been checked. */
void vcpu_set_halt_poll(struct vcpu *v, const struct catnap_halt_poll *params);
void vcpu_get_stats(struct vcpu *v, struct catnap_vcpu_stats *stats);

/* Any thread. */
static inline void vcpu_wake(struct vcpu *v, uint32_t bits)
{
	halter_wake(&v->halter, bits);
}

/* Once per process and signal: the handler that ends KVM_RUN. -errno of sigaction(2). */
int vcpu_install_kick_handler(int signo);

/*
 * probe.c: does this KVM show writes of the TSC deadline MSR to user space? Runs a few bytes of
 * guest code in the page of guest memory at @gpa (below 1 MiB; it is zero afterwards) on a vCPU of
 * its own, with the MSR filter set. 1, 0, or -errno.
 */
int vcpu_probe_tsc_deadline(const struct vcpu_host *host, uint64_t gpa);
/* probe.c: what one KVM_RUN costs that does not enter the guest, in ns; 0 if it cannot be told. */
uint64_t vcpu_probe_run_cost(struct vcpu *v);

/* ---- between the files of this folder ---- */

enum vcpu_next { VCPU_CONTINUE, VCPU_END };

/* exits.c: deals with what KVM_RUN returned for. */
enum vcpu_next vcpu_handle_exit(struct vcpu *v);
/* msr.c */
int vcpu_filter_msrs(const struct vcpu_host *host, struct kvm_error *err);
void vcpu_rdmsr(struct vcpu *v);
void vcpu_wrmsr(struct vcpu *v);
void vcpu_reset_msrs(struct vcpu *v);
/* Has the guest not switched off its host's polling? Any thread. */
static inline bool vcpu_poll_allowed(const struct vcpu *v)
{
	return atomic_load_explicit(&v->poll_control, memory_order_relaxed) &
	       VCPU_POLL_CONTROL_ALLOW;
}
/* inject.c: before entry, and after exit. */
int vcpu_prepare_entry(struct vcpu *v);
void vcpu_after_exit(struct vcpu *v);
bool vcpu_can_wake(const struct vcpu *v);
/* timer.c: the APIC timer as it stands now, before the guest looks at it or changes it. Returns
 * now. */
uint64_t vcpu_run_timer(struct vcpu *v);
/* A kernel timer at @deadline unless the one that is set serves. */
void vcpu_arm_timer(struct vcpu *v, uint64_t deadline);
/* The same at @ns from now, unless one is set for at most @most_ns from now. */
void vcpu_bound_timer(struct vcpu *v, uint64_t ns, uint64_t most_ns);
void vcpu_cancel_timer(struct vcpu *v);
/* When the vCPU is made: 0, or -errno with a sentence. And by its thread, before it is confined. */
int vcpu_reserve_timer(struct vcpu *v, struct kvm_error *err);
int vcpu_make_timer(struct vcpu *v);
void vcpu_fini_timer(struct vcpu *v);
/* vcpu.c: ends the VM if @ret is an error of the ring's. */
void vcpu_check_ring(struct vcpu *v, int ret);
/* share.c: tasks or sources have had the thread from @from to @to. */
void vcpu_share_spent(struct vcpu *v, uint64_t from, uint64_t to);
/* Must they wait for the guest, until vcpu_share_next() (ticks) at the latest? */
bool vcpu_share_holds(struct vcpu *v);
uint64_t vcpu_share_next(const struct vcpu *v);
/* The guest wants no time. */
void vcpu_share_end(struct vcpu *v);
/* halt.c: HLT until there is something to run for; an AP until it is started. */
void vcpu_halt(struct vcpu *v);
/* halt.c, owner: MSR_KVM_POLL_CONTROL becomes @value. */
void vcpu_set_poll_control(struct vcpu *v, uint64_t value);
/* halt.c: @p, but not for longer than @price_ns. */
void vcpu_limit_poll(struct catnap_halt_poll *p, uint32_t price_ns);
/* halt.c: is @price_ns so far from the one that is applied that it should be? */
bool vcpu_price_moved(uint32_t applied_ns, uint32_t price_ns);
/* stopped.c: the guest was not run for a while, and is told so; where it does not listen, it is
 * not. Not while KVM_RUN runs. */
void vcpu_tell_stopped(struct vcpu *v);
/* Around KVM_RUN: before it, and after one that was interrupted. */
void vcpu_watch_begin(struct vcpu *v);
void vcpu_watch_interrupted(struct vcpu *v);
/* After a halt that was to end at @deadline. */
void vcpu_watch_halt(struct vcpu *v, uint64_t deadline);
/* boot.c */
int vcpu_reset_registers(struct vcpu *v);
int vcpu_startup(struct vcpu *v, uint8_t vector);
/* report.c: ends the VM with registers and instruction bytes in the report. */
void vcpu_end(struct vcpu *v, uint32_t reason, int32_t code, const char *what);
/* stats.c: KVM's own halt statistics, for irqchip kernel. */
void vcpu_kernel_stats(struct vcpu *v, struct catnap_halt_stats *stats);

#endif
