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
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vcpu/realtime.h"
#include "vcpu/vcpu.h"

/*
 * A completion ends KVM_RUN, but not if its task work runs between the last look at the ring and
 * KVM_RUN: there is no way to close that gap of some 100 ns without a system call. So while
 * anything may complete the guest is left after this time at the latest, to look again.
 *
 * What falls into a gap comes later by the bound that follows, and gaps are as many as entries: so
 * while nothing but the bound ends KVM_RUN and nothing is found, it may double, and what a source
 * loses on average stays the same. Without that a guest that is idle inside KVM (irqchip kernel),
 * or computes, would be left 1000 times a second for a packet that may never come. A request in
 * flight does come, soon: then the bound stays.
 */
#define RING_BOUND_NS	  UINT64_C(1000000)
#define RING_BOUND_MAX_NS UINT64_C(128000000)
/* Setting the timer may cost more than all else on the way from a source to its handler (20 us in a
 * virtual machine): one that fires within this time is not set anew for a source's sake. */
#define RING_BOUND_KEEP_NS UINT64_C(8000000)

/* What the kick's handler reaches of the vCPU that runs on this thread. */
static _Thread_local struct vcpu *volatile current_vcpu;

static void on_kick(int signo, siginfo_t *info, void *context)
{
	struct vcpu *v = current_vcpu;

	if (!v)
		return;
	if (info->si_code == SI_TIMER)
		atomic_store_explicit(&v->timer_fired, true, memory_order_relaxed);
	__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_RELAXED);
}

int vcpu_install_kick_handler(int signo)
{
	struct sigaction sa = {.sa_sigaction = on_kick, .sa_flags = SA_RESTART | SA_SIGINFO};

	sigemptyset(&sa.sa_mask);
	return sigaction(signo, &sa, NULL) < 0 ? -errno : 0;
}

static void kick(void *ctx)
{
	struct vcpu *v = ctx;
	int tid = atomic_load_explicit(&v->tid, memory_order_acquire);

	if (tid)
		syscall(SYS_tgkill, v->pid, tid, v->host->kick_signal);
}

static void before_sleep(void *ctx)
{
	vcpu_cancel_timer(ctx);
}

static int make_vcpu(struct vcpu *v, struct kvm_error *err)
{
	const struct vcpu_host *host = v->host;
	struct kvm_cpuid2 *cpuid;
	int ret;

	v->fd = ioctl(host->kvm->vm_fd, KVM_CREATE_VCPU, v->id);
	if (v->fd < 0) {
		ret = -errno;
		snprintf(err->text, sizeof(err->text), "KVM_CREATE_VCPU %u: %s", v->id,
			 strerror(-ret));
		return ret;
	}
	v->run = mmap(NULL, host->kvm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (v->run == MAP_FAILED) {
		ret = -errno;
		v->run = NULL;
		snprintf(err->text, sizeof(err->text), "mapping vCPU %u: %s", v->id,
			 strerror(-ret));
		return ret;
	}
	cpuid = cpuid_make(host->kvm->cpuid, &host->cpuid, v->id);
	if (!cpuid) {
		snprintf(err->text, sizeof(err->text), "out of memory");
		return -ENOMEM;
	}
	ret = ioctl(v->fd, KVM_SET_CPUID2, cpuid) < 0 ? -errno : 0;
	free(cpuid);
	if (ret < 0)
		snprintf(err->text, sizeof(err->text), "KVM_SET_CPUID2: %s", strerror(-ret));
	return ret;
}

int vcpu_init(struct vcpu *v, const struct vcpu_host *host, uint32_t id,
	      const struct catnap_halt_poll *halt_poll, struct kvm_error *err)
{
	struct catnap_halter_config cfg;
	int ret;

	v->host = host;
	v->id = id;
	v->fd = v->stats_fd = -1;
	v->timer_at = UINT64_MAX;
	catnap_halter_config_init(&cfg);
	cfg.halt_poll = *halt_poll;
	cfg.kick = kick;
	cfg.ctx = v;
	ret = halter_init(&v->halter, &cfg, host->clock);
	if (ret < 0) {
		snprintf(err->text, sizeof(err->text), "halt polling: %s", strerror(-ret));
		return ret;
	}
	v->halter.before_sleep = before_sleep;
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
	}
	vcpu_reset_msrs(v);
	return 0;
}

void vcpu_fini(struct vcpu *v)
{
	vcpu_fini_timer(v);
	if (v->run)
		munmap(v->run, v->host->kvm->run_size);
	if (v->stats_fd >= 0)
		close(v->stats_fd);
	if (v->fd >= 0)
		close(v->fd);
	v->run = NULL;
	v->fd = v->stats_fd = -1;
	halter_fini(&v->halter);
	pthread_mutex_destroy(&v->poll_lock);
}

/* -- the thread ------------------------------------------------------------------------------- */

void vcpu_check_ring(struct vcpu *v, int ret)
{
	char text[160];

	if (ret >= 0)
		return;
	if (v->halter.ring.made)
		snprintf(text, sizeof(text), "its io_uring");
	else
		snprintf(text, sizeof(text), "io_uring, which its devices need%s",
			 ring_advice(ret));
	vcpu_end(v, CATNAP_EXIT_HOST_ERROR, ret, text);
}

static void run_tasks(struct vcpu *v)
{
	uint64_t from;

	v->tasks_wait = vcpu_share_holds(v);
	if (v->tasks_wait)
		return;
	from = clock_now(v->host->clock);
	halter_run_tasks(&v->halter);
	vcpu_share_spent(v, from, clock_now(v->host->clock));
}

static void reap(struct vcpu *v)
{
	uint64_t from = clock_now(v->host->clock);

	vcpu_check_ring(v, halter_reap(&v->halter));
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
			if (v->id == 0) {
				vcpu_end(v, CATNAP_EXIT_RESET, 0, NULL);
				return;
			}
			v->life = VCPU_WAIT_SIPI;
			vcpu_reset_msrs(v);
			vcpu_reset_registers(v);
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
		atomic_fetch_or(&v->halter.pending, work & HALTER_WORK_TASKS);
	else if (work & HALTER_WORK_TASKS)
		run_tasks(v);
	if (work & HALTER_WORK_SOURCES) {
		atomic_fetch_or(&v->halter.pending, HALTER_WORK_SOURCES);
		reap(v);
	}
	if (work & VCPU_WORK_LOG)
		v->host->deliver(v->host->ctx);
	/* Last: requests that the rest has begun end before it stands still. */
	if (work & VCPU_WORK_PAUSE) {
		vcpu_check_ring(v, halter_drain(&v->halter, false));
		v->host->paused(v->host->ctx, v);
		vcpu_tell_stopped(v);
	}
}

/* Before the guest: while anything may complete, it is not left alone for ever. */
static void bound(struct vcpu *v)
{
	uint64_t keep = RING_BOUND_KEEP_NS;

	if (v->halter.ring.inflight)
		v->ring_bound_ns = keep = RING_BOUND_NS;
	else if (v->ring_bound_ns < RING_BOUND_NS)
		v->ring_bound_ns = RING_BOUND_NS;
	vcpu_bound_timer(v, v->ring_bound_ns, v->ring_bound_ns > keep ? v->ring_bound_ns : keep);
}

/* After the guest, which was left for nothing but a timer, or not. */
static void learn_bound(struct vcpu *v, bool timer)
{
	if (!timer || ring_ready(&v->halter.ring))
		v->ring_bound_ns = RING_BOUND_NS;
	else if (v->ring_bound_ns < RING_BOUND_MAX_NS)
		v->ring_bound_ns *= 2;
}

/* Tasks that the guest goes before: to be taken from here on, by whoever looks. */
static void post_waiting(struct vcpu *v)
{
	if (!v->tasks_wait)
		return;
	v->tasks_wait = false;
	atomic_fetch_or(&v->halter.pending, HALTER_WORK_TASKS);
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
		post_waiting(v);
	bounded = ring_active(&v->halter.ring);
	if (bounded)
		bound(v);
	vcpu_watch_begin(v);
	if (!halter_enter(&v->halter)) {
		post_waiting(v);
		return VCPU_CONTINUE;
	}
	ret = ioctl(v->fd, KVM_RUN, 0);
	if (ret < 0)
		ret = -errno;
	halter_leave(&v->halter);
	post_waiting(v);
	stat_add(&v->counters.exits, 1);
	if (bounded && !held)
		learn_bound(v, ret == -EINTR &&
				       atomic_load_explicit(&v->timer_fired, memory_order_relaxed));
	if (v->host->irqchip_user)
		vcpu_after_exit(v);
	if (ret == 0)
		return vcpu_handle_exit(v);
	if (ret == -EINTR || ret == -EAGAIN) {
		stat_add(&v->counters.signal, 1);
		vcpu_watch_interrupted(v);
		return VCPU_CONTINUE;
	}
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
			reap(v);
		if (v->host->irqchip_user) {
			if (lapic_deadline(&v->lapic) != UINT64_MAX)
				lapic_timer_run(&v->lapic, clock_now(v->host->clock));
			if (v->life == VCPU_WAIT_SIPI || (v->halted && !vcpu_can_wake(v))) {
				vcpu_share_end(v);
				post_waiting(v);
				vcpu_halt(v);
				continue;
			}
			v->halted = false;
		}
		if (enter(v) == VCPU_END)
			break;
	}
}

static void *thread(void *arg)
{
	struct vcpu *v = arg;
	char name[16];
	sigset_t set;
	int ret;

	cpu_time_begin(&v->cpu_time);
	snprintf(name, sizeof(name), "catnap-vcpu%u", v->id);
	pthread_setname_np(pthread_self(), name);
	/* A sleep with a deadline is to end at the deadline, not 50 us later. */
	prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
	current_vcpu = v;
	v->pid = getpid();
	atomic_store_explicit(&v->tid, (int)syscall(SYS_gettid), memory_order_release);
	sigemptyset(&set);
	sigaddset(&set, v->host->kick_signal);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);

	halter_set_self(&v->halter);
	ret = vcpu_make_timer(v);
	if (ret < 0)
		vcpu_end(v, CATNAP_EXIT_HOST_ERROR, ret, "timer_create");
	ret = v->host->confine(v->host->ctx, v);
	if (ret < 0)
		vcpu_end(v, CATNAP_EXIT_HOST_ERROR, ret, "the sandbox");
	run(v);

	/* Nothing may write to guest memory when this thread is gone. */
	halter_drain(&v->halter, true);
	halter_set_self(NULL);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	atomic_store_explicit(&v->tid, 0, memory_order_release);
	vcpu_fini_timer(v);
	current_vcpu = NULL;
	cpu_time_end(&v->cpu_time);
	v->host->left(v->host->ctx, v);
	return NULL;
}

int vcpu_start(struct vcpu *v, int cpu)
{
	pthread_attr_t attr;
	sigset_t all, old;
	bool left = false;
	int ret;

	ret = pthread_attr_init(&attr);
	if (ret)
		return -ret;
	if (cpu >= 0) {
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET((size_t)cpu, &set);
		ret = -pthread_attr_setaffinity_np(&attr, sizeof(set), &set);
	}
	/* The caller's signals are the caller's: a vCPU thread takes the kick only. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (!ret)
		ret = realtime_create(&v->thread, &attr, thread, v, &left);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (ret)
		return ret;
	if (left && v->id == 0)
		v->host->log(v->host->ctx, CATNAP_LOG_WARN, REALTIME_LEFT);
	v->has_thread = true;
	return 0;
}

void vcpu_join(struct vcpu *v)
{
	if (!v->has_thread)
		return;
	pthread_join(v->thread, NULL);
	v->has_thread = false;
}
