/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vCPU's thread: VMM -> GUEST -> VMM -> POLLING -> SLEEPING -> VMM ... The order of things in
 * one turn matters, and is this:
 *
 *   take the work bits; then read what they announce (inbox, pause, stop); tasks may have to wait
 *   until the guest has had its share (share.c)
 *   run the APIC timer; halt if halted; inject
 *   clear immediate_exit; look at the deadline; state = GUEST; look at the bits again; KVM_RUN
 *
 * A kick that comes after immediate_exit was cleared ends KVM_RUN at once; one that came before it
 * was sent for bits that the look after state = GUEST sees.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "relaxed.h"
#include "vcpu/realtime.h"
#include "vcpu/thread.h"
#include "vcpu/vcpu.h"

/*
 * A completion ends KVM_RUN, but not if its task work runs between the last look at the ring and
 * KVM_RUN: there is no way to close that gap of some 100 ns without a system call. So while
 * anything may complete the guest is left after this time at the latest, to look again.
 *
 * A completion that falls into a gap is seen later by the bound that follows, and there are as many
 * gaps as entries. So while nothing but the bound ends KVM_RUN and nothing is found, the bound may
 * double: a source loses the same on average. Without that a guest that is idle inside KVM (irqchip
 * kernel), or computes, would be left 1000 times a second for a packet that may never come. A
 * request in flight does come, soon: then the bound stays.
 */
#define RING_BOUND_NS	  UINT64_C(1000000)
#define RING_BOUND_MAX_NS UINT64_C(128000000)
/* A timer that fires within this time is not set anew for a source's sake. To set it may cost more
 * than all else on the way from a source to its handler: 20 us in a virtual machine. */
#define RING_BOUND_KEEP_NS UINT64_C(8000000)

static int make_vcpu(struct vcpu *v, struct error *err)
{
	const struct vcpu_host *host = v->host;
	struct kvm_cpuid2 *cpuid;
	int ret;

	v->fd = ioctl(host->kvm->vm_fd, KVM_CREATE_VCPU, v->id);
	if (v->fd < 0) {
		ret = -errno;
		return error_errno(err, ret, "KVM_CREATE_VCPU %u", v->id);
	}
	v->run = mmap(NULL, host->kvm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (v->run == MAP_FAILED) {
		ret = -errno;
		v->run = NULL;
		return error_errno(err, ret, "mapping vCPU %u", v->id);
	}
	cpuid = cpuid_make(host->kvm->cpuid, &host->cpuid, v->id);
	if (!cpuid)
		return error_fail(err, -ENOMEM, "out of memory");
	ret = cpuid_modify(cpuid, &host->cpuid, host->cpuid_modifiers, host->cpuid_modifier_count,
			   err);
	if (ret == 0 && ioctl(v->fd, KVM_SET_CPUID2, cpuid) < 0) {
		ret = -errno;
		error_errno(err, ret, "KVM_SET_CPUID2");
	}
	v->signature = cpuid_signature(cpuid);
	v->cpuid = cpuid;
	return ret;
}

int vcpu_init(struct vcpu *v, const struct vcpu_host *host, uint32_t id,
	      const struct catnap_halt_poll *halt_poll, const struct halter_env *env,
	      struct halt_trace *trace, struct error *err)
{
	struct halter_env own = *env;
	struct catnap_halter_config cfg;
	int ret;

	v->host = host;
	v->id = id;
	v->fd = v->stats_fd = -1;
	v->timer_at = UINT64_MAX;
	catnap_halter_config_init(&cfg);
	cfg.halt_poll = *halt_poll;
	cfg.kick = kick_send;
	cfg.ctx = v;
	own.clock = host->clock;
	own.before_sleep = vcpu_before_sleep;
	ret = halter_init(&v->halter, &cfg, &own, trace);
	if (ret < 0)
		return error_errno(err, ret, "halt polling");
	pthread_mutex_init(&v->poll_lock, NULL);
	vcpu_set_halt_poll(v, halt_poll);
	ret = make_vcpu(v, err);
	if (ret == 0)
		ret = vcpu_reserve_timer(v, err);
	if (ret < 0) {
		vcpu_fini(v);
		return ret;
	}
	if (host->irqchip_user) {
		lapic_init(&v->lapic, host->lapics, id, id == 0, host->clock);
		v->lapic.tsc_deadline_offered = host->cpuid.tsc_deadline;
		v->sync_events = host->kvm->sync_events;
		if (v->sync_events)
			v->run->kvm_valid_regs = KVM_SYNC_X86_EVENTS;
		v->can_block = v->sync_events && host->kvm->block_irq;
		v->life = id == 0 ? VCPU_RUNNABLE : VCPU_WAIT_SIPI;
	} else if (host->kvm->stats_fd) {
		v->stats_fd = ioctl(v->fd, KVM_GET_STATS_FD, NULL);
		vcpu_find_kernel_stats(v);
	}
	vcpu_reset_msrs(v);
	if (host->remember)
		ret = vcpu_remember(v, err);
	if (ret == 0)
		ret = vcpu_modify_msrs(v, err);
	if (ret < 0)
		vcpu_fini(v);
	return ret;
}

void vcpu_disown(struct vcpu *v)
{
	v->has_thread = false;
	v->timer_made = false;
	halt_trace_drop(&v->halter.trace);
}

void vcpu_fini(struct vcpu *v)
{
	vcpu_fini_timer(v);
	vcpu_forget(v);
	if (v->run)
		munmap(v->run, v->host->kvm->run_size);
	if (v->stats_fd >= 0)
		close(v->stats_fd);
	if (v->fd >= 0)
		close(v->fd);
	v->run = NULL;
	v->fd = v->stats_fd = -1;
	free(v->cpuid);
	v->cpuid = NULL;
	halter_fini(&v->halter);
	pthread_mutex_destroy(&v->poll_lock);
}

/* -- the thread ------------------------------------------------------------------------------- */

/*
 * Runs the tasks; the time it takes is devices'. Completions that come to lie in the ring meanwhile
 * are not reaped with them: a queue under a flood has its next packets there, and the guest's share
 * is to be reckoned before those (share.c).
 */
static void run_tasks(struct vcpu *v)
{
	uint64_t from = clock_now(v->host->clock);

	halter_run_tasks(&v->halter);
	vcpu_share_spent(v, from, clock_now(v->host->clock));
}

/* Arms what @work announces and reaps; the time it takes is devices' as well. */
static void serve(struct vcpu *v, uint32_t work)
{
	uint64_t from = clock_now(v->host->clock);

	vcpu_check_ring(v, halter_serve(&v->halter, work));
	vcpu_share_spent(v, from, clock_now(v->host->clock));
}

static void take_work(struct vcpu *v, uint32_t work)
{
	if (work & VCPU_WORK_STOP)
		v->leaving = true;
	if (v->host->irqchip_user && (work & (CATNAP_WORK_IPI | VCPU_WORK_IRQ))) {
		uint32_t events = lapic_collect(&v->lapic);

		if (events & LAPIC_EVENT_INIT) {
			lapic_reset(&v->lapic);
			v->halted = false;
			v->nmi_pending = false;
			/* INIT on the bootstrap processor would restart the firmware: a reset. */
			if (v->id == 0 && !v->host->reset(v->host->ctx, v)) {
				v->leaving = true;
				return;
			}
			if (v->id) {
				v->life = VCPU_WAIT_SIPI;
				vcpu_reset_msrs(v);
				vcpu_reset_registers(v);
			}
		}
		if ((events & LAPIC_EVENT_SIPI) && v->life == VCPU_WAIT_SIPI) {
			if (vcpu_startup(v, (uint8_t)(events >> 8)) < 0)
				vcpu_end(v, CATNAP_EXIT_HOST_ERROR, -EIO,
					 "cannot set the registers of a starting vCPU");
			v->life = VCPU_RUNNABLE;
		}
		if ((events & LAPIC_EVENT_NMI) && v->life == VCPU_RUNNABLE)
			v->nmi_pending = true;
	}
	/* Tasks begin things: not before a pause, nor at the end. */
	if (work & (VCPU_WORK_PAUSE | VCPU_WORK_STOP))
		work = halter_put_off_tasks(&v->halter, work);
	else if ((work & HALTER_WORK_TASKS) && vcpu_share_holds(v))
		work = halter_hold_tasks(&v->halter, work);
	if (work & HALTER_WORK_TASKS)
		run_tasks(v);
	if (work & HALTER_WORK_SOURCES)
		serve(v, HALTER_WORK_SOURCES);
	if (work & VCPU_WORK_LOG)
		v->host->deliver(v->host->ctx);
	if (work & VCPU_WORK_LOST)
		v->host->lost(v->host->ctx, v, VCPU_ANYWHERE, false);
	/* Last: requests that the rest has begun end before it stands still. */
	if (work & VCPU_WORK_PAUSE) {
		vcpu_check_ring(v, halter_drain(&v->halter, false));
		vcpu_settle(v);
		v->host->paused(v->host->ctx, v);
		vcpu_tell_stopped(v);
	}
}

/* Bounds the stay in the guest that begins, while anything may complete in the ring. */
static void bound(struct vcpu *v)
{
	uint64_t keep = RING_BOUND_KEEP_NS;

	if (v->halter.ring.inflight)
		v->ring_bound_ns = keep = RING_BOUND_NS;
	else if (v->ring_bound_ns < RING_BOUND_NS)
		v->ring_bound_ns = RING_BOUND_NS;
	vcpu_bound_timer(v, v->ring_bound_ns, v->ring_bound_ns > keep ? v->ring_bound_ns : keep);
}

/* Learns how long the next stay may be. @timer: nothing but a timer has ended this one. */
static void learn_bound(struct vcpu *v, bool timer)
{
	if (!timer || ring_ready(&v->halter.ring))
		v->ring_bound_ns = RING_BOUND_NS;
	else if (v->ring_bound_ns < RING_BOUND_MAX_NS)
		v->ring_bound_ns *= 2;
}

static enum vcpu_next enter(struct vcpu *v)
{
	bool bounded, held;
	int ret;

	__atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_RELAXED);
	if (v->host->irqchip_user && vcpu_prepare_entry(v))
		return VCPU_CONTINUE;
	held = vcpu_share_holds(v);
	if (held)
		vcpu_arm_timer(v, vcpu_share_next(v));
	else
		halter_release_tasks(&v->halter);
	bounded = ring_active(&v->halter.ring);
	if (bounded)
		bound(v);
	vcpu_watch_begin(v);
	if (!halter_enter(&v->halter)) {
		halter_release_tasks(&v->halter);
		return VCPU_CONTINUE;
	}
	ret = ioctl(v->fd, KVM_RUN, 0);
	if (ret < 0)
		ret = -errno;
	halter_leave(&v->halter);
	halter_release_tasks(&v->halter);
	stat_add(&v->counters.exits, 1);
	if (bounded && !held)
		learn_bound(v, ret == -EINTR && relaxed_load(&v->timer_fired));
	if (v->host->irqchip_user)
		vcpu_after_exit(v);
	if (ret == 0)
		return vcpu_handle_exit(v);
	if (ret == -EINTR || ret == -EAGAIN) {
		stat_add(&v->counters.signal, 1);
		vcpu_watch_interrupted(v);
		return VCPU_CONTINUE;
	}
	if (ret != -EFAULT || !v->host->lost(v->host->ctx, v, VCPU_ANYWHERE, false))
		vcpu_end(v, CATNAP_EXIT_HOST_ERROR, ret, "KVM_RUN");
	return VCPU_END;
}

static void run(struct vcpu *v)
{
	while (!v->leaving) {
		uint32_t work = halter_take(&v->halter);

		if (work)
			take_work(v, work);
		if (v->leaving)
			break;
		if (halter_reapable(&v->halter))
			serve(v, 0);
		if (v->host->irqchip_user) {
			if (lapic_deadline(&v->lapic) != UINT64_MAX)
				lapic_timer_run(&v->lapic, clock_now(v->host->clock));
			if (v->life == VCPU_WAIT_SIPI || (v->halted && !vcpu_can_wake(v))) {
				vcpu_share_end(v);
				halter_release_tasks(&v->halter);
				vcpu_halt(v);
				continue;
			}
			v->halted = false;
		}
		if (enter(v) == VCPU_END)
			break;
	}
}

/* Does the thread's own steps that may fail, and then waits for the other threads. Returns false if
 * the guest is not to be run. */
static bool get_ready(struct vcpu *v)
{
	const char *what = "timer_create";
	int ret = vcpu_make_timer(v);

	if (ret == 0) {
		what = "thread_start";
		ret = v->host->begin(v->host->ctx, v);
	}
	if (ret == 0) {
		what = "the sandbox";
		ret = v->host->confine(v->host->ctx, v);
	}
	return v->host->ready(v->host->ctx, v, what, ret);
}

static void *thread(void *arg)
{
	struct vcpu *v = arg;
	char role[16];
	sigset_t set;
	bool ran;

	cpu_time_begin(&v->cpu_time);
	snprintf(role, sizeof(role), "vcpu%u", v->id);
	thread_set_name(v->host->name, role);
	/* A sleep with a deadline is to end at the deadline, not 50 us later. */
	prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
	kick_take(v);
	v->pid = getpid();
	atomic_store_explicit(&v->tid, (int)syscall(SYS_gettid), memory_order_release);
	sigemptyset(&set);
	sigaddset(&set, v->host->kick_signal);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);

	halter_set_self(&v->halter);
	ran = get_ready(v);
	if (ran) {
		run(v);
		/* Nothing may write to guest memory when this thread is gone. */
		halter_drain(&v->halter, true);
		/* While this is still a thread of the VM's to a callback that asks for its end. */
		v->host->deliver(v->host->ctx);
	}
	halter_set_self(NULL);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	atomic_store_explicit(&v->tid, 0, memory_order_release);
	vcpu_fini_timer(v);
	kick_take(NULL);
	cpu_time_end(&v->cpu_time);
	if (ran)
		v->host->left(v->host->ctx, v);
	return NULL;
}

int vcpu_start(struct vcpu *v, int cpu)
{
	bool left;
	int ret = thread_create(&v->thread, cpu, thread, v, &left);

	if (ret)
		return ret;
	if (left && v->id == 0)
		v->host->log(v->host->ctx, CATNAP_LOG_WARN, REALTIME_LEFT);
	v->has_thread = true;
	return 0;
}

void vcpu_join(struct vcpu *v)
{
	if (v->has_thread)
		thread_join(v->thread);
	v->has_thread = false;
}
