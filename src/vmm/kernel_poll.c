/* SPDX-License-Identifier: Apache-2.0 */
/* KVM's own halts; see kernel_poll.h. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "poll/halt_poll.h"
#include "sized.h"
#include "vmm/kernel_poll.h"
#include "vmm/vm.h"

#define SECOND UINT64_C(1000000000)

void kernel_poll_init(struct kernel_poll *k)
{
	k->timer_fd = -1;
	pthread_mutex_init(&k->lock, NULL);
}

static int set_limit(struct catnap_vm *vm, uint32_t ns)
{
	struct kvm_enable_cap cap = {.cap = KVM_CAP_HALT_POLL};

	cap.args[0] = ns;
	if (!vm->kvm.halt_poll)
		return -ENOTSUP;
	if (ioctl(vm->kvm.vm_fd, KVM_ENABLE_CAP, &cap) < 0)
		return -errno;
	vm->kernel_poll.limit_ns = ns;
	return 0;
}

/* Returns the limit that is not learned, or not yet. */
static uint32_t given_limit(const struct catnap_halt_poll *p)
{
	if (p->policy == CATNAP_POLICY_OFF)
		return 0;
	/* The time that adaptive may poll for is too much for a rule that learns nothing. */
	if (p->policy == CATNAP_POLICY_ADAPTIVE && p->max_ns > CATNAP_KERNEL_MAX_NS)
		return CATNAP_KERNEL_MAX_NS;
	return p->max_ns;
}

/* ---- the rule's parameters, which are the module's ---- */

static uint32_t parameter(const char *name, uint32_t def)
{
	char path[80], text[32] = "", *end = text;
	unsigned long long value = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/module/kvm/parameters/halt_poll_ns_%s", name);
	f = fopen(path, "re");
	if (!f)
		return def;
	if (fgets(text, sizeof(text), f))
		value = strtoull(text, &end, 10);
	fclose(f);
	return end == text || value > UINT32_MAX ? def : (uint32_t)value;
}

static struct catnap_halt_poll by_the_modules_rule(const struct kernel_poll *k,
						   const struct catnap_halt_poll *params)
{
	struct catnap_halt_poll p = halt_poll_known(params);

	p.grow = k->rule.grow;
	p.grow_start_ns = k->rule.grow_start_ns;
	p.shrink = k->rule.shrink;
	return p;
}

/* ---- the timer ---- */

/* Sets the timer; 0: it does not fire. */
static void arm(struct kernel_poll *k, uint64_t ns)
{
	struct itimerspec at = {
		.it_value = {.tv_sec = (time_t)(ns / SECOND), .tv_nsec = (long)(ns % SECOND)}};

	timerfd_settime(k->timer_fd, 0, &at, NULL);
}

/* Takes a policy, as far as KVM's rule has it. Under the lock. */
static void take_policy(struct kernel_poll *k, const struct catnap_halt_poll *params)
{
	const struct catnap_halt_poll p = by_the_modules_rule(k, params);

	k->learns = p.policy == CATNAP_POLICY_ADAPTIVE;
	limit_set(&k->limit, &p);
	arm(k, k->learns ? k->limit.interval_ns : 0);
}

int kernel_poll_prepare(struct catnap_vm *vm, struct error *err)
{
	struct kvm_enable_cap cap = {.cap = KVM_CAP_X86_DISABLE_EXITS,
				     .args = {KVM_X86_DISABLE_EXITS_HLT}};

	if (vm->cfg.guest_hlt && !vm->kvm.guest_hlt)
		return error_fail(err, -ENOTSUP,
				  "guest_hlt: this KVM cannot leave HLT to the guest "
				  "(KVM_CAP_X86_DISABLE_EXITS)");
	if (vm->cfg.guest_hlt && ioctl(vm->kvm.vm_fd, KVM_ENABLE_CAP, &cap) < 0)
		return error_errno(err, -errno, "guest_hlt: KVM_CAP_X86_DISABLE_EXITS");
	if (set_limit(vm, given_limit(&vm->cfg.halt_poll)) < 0)
		vm_log(vm, CATNAP_LOG_WARN,
		       "this KVM has no KVM_CAP_HALT_POLL: its module parameters decide");
	return 0;
}

int kernel_poll_make(struct catnap_vm *vm, struct error *err)
{
	struct kernel_poll *k = &vm->kernel_poll;
	struct catnap_halt_poll p;
	int ret;

	/* Halts that do not leave the guest are not counted either. */
	if (vm->host.irqchip_user || vm->cfg.guest_hlt || !vm->kvm.halt_poll)
		return 0;
	for (uint32_t i = 0; i < vm->vcpu_count; i++)
		if (!vcpu_has_kernel_hists(vm->vcpus[i]))
			return 0;
	k->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (k->timer_fd < 0) {
		ret = -errno;
		return error_errno(err, ret, "a timer for KVM's halt polling");
	}
	k->rule = (struct limit_rule){.grow = parameter("grow", 2),
				      .grow_start_ns = parameter("grow_start", 10000),
				      .shrink = parameter("shrink", 2)};
	p = by_the_modules_rule(k, &vm->cfg.halt_poll);
	limit_init(&k->limit, &p);
	take_policy(k, &p);
	return 0;
}

void kernel_poll_fini(struct kernel_poll *k)
{
	if (k->timer_fd >= 0)
		close(k->timer_fd);
}

int kernel_poll_set(struct catnap_vm *vm, const struct catnap_halt_poll *params)
{
	struct kernel_poll *k = &vm->kernel_poll;
	const struct catnap_halt_poll p = halt_poll_known(params);
	int ret = 0;

	pthread_mutex_lock(&k->lock);
	/* If learning goes on, so does the limit that was learned. */
	if (!k->learns || p.policy != CATNAP_POLICY_ADAPTIVE)
		ret = set_limit(vm, given_limit(&p));
	if (ret == 0 && k->timer_fd >= 0)
		take_policy(k, &p);
	pthread_mutex_unlock(&k->lock);
	return ret;
}

/* ---- learning ---- */

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * SECOND + (uint64_t)ts.tv_nsec;
}

static void add_up(struct catnap_halt_stats *sum, const struct catnap_halt_stats *one)
{
	sum->halt_poll_success_ns += one->halt_poll_success_ns;
	sum->halt_poll_fail_ns += one->halt_poll_fail_ns;
	sum->halt_wait_ns += one->halt_wait_ns;
	for (int i = 0; i < CATNAP_HIST_BUCKETS; i++) {
		sum->halt_poll_success_hist[i] += one->halt_poll_success_hist[i];
		sum->halt_poll_fail_hist[i] += one->halt_poll_fail_hist[i];
		sum->halt_wait_hist[i] += one->halt_wait_hist[i];
	}
}

/* Learns from the halts since the last time, and sets the limit. Under the lock. */
static int learn(struct catnap_vm *vm)
{
	struct kernel_poll *k = &vm->kernel_poll;
	struct catnap_halt_stats sum = {.size = sizeof(sum)};
	uint32_t ns;
	int ret = 0;

	for (uint32_t i = 0; i < vm->vcpu_count; i++) {
		struct catnap_halt_stats one = {.size = sizeof(one)};

		vcpu_read_kernel_stats(vm->vcpus[i], &one);
		add_up(&sum, &one);
	}
	limit_learn(&k->limit, &sum, now_ns());
	k->looks++;
	ns = limit_ns(&k->limit);
	if (ns != k->limit_ns) {
		ret = set_limit(vm, ns);
		k->changes += ret == 0;
	}
	return ret;
}

static bool has_ended(struct catnap_vm *vm)
{
	bool ended;

	pthread_mutex_lock(&vm->lock);
	ended = vm->ended;
	pthread_mutex_unlock(&vm->lock);
	return ended;
}

/* Says why there is no limit to be learned. */
static int nothing_to_learn(struct catnap_vm *vm, const char *what)
{
	if (vm->host.irqchip_user)
		return vm_fail(vm, -ENOTSUP, "%s: with irqchip user the halts are not KVM's", what);
	if (vm->cfg.guest_hlt)
		return vm_fail(vm, -ENOTSUP, "%s: with guest_hlt halts do not leave the guest",
			       what);
	return vm_fail(vm, -ENOTSUP,
		       "%s: this KVM has no KVM_CAP_HALT_POLL, or no histograms of its halts",
		       what);
}

int catnap_vm_get_poll_limit_fd(struct catnap_vm *vm)
{
	if (vm_in_child(vm, "get_poll_limit_fd"))
		return -EPERM;
	if (vm->kernel_poll.timer_fd < 0)
		return nothing_to_learn(vm, "get_poll_limit_fd");
	return vm->kernel_poll.timer_fd;
}

int catnap_vm_learn_poll_limit(struct catnap_vm *vm)
{
	struct kernel_poll *k = &vm->kernel_poll;
	uint64_t fired;
	ssize_t n;
	int ret = 0;

	if (vm_in_child(vm, "learn_poll_limit"))
		return -EPERM;
	if (k->timer_fd < 0)
		return nothing_to_learn(vm, "learn_poll_limit");
	pthread_mutex_lock(&k->lock);
	n = read(k->timer_fd, &fired, sizeof(fired));
	(void)n; /* nothing to be read: it is early, which does no harm */
	if (k->learns && has_ended(vm)) {
		arm(k, 0);
	} else if (k->learns) {
		ret = learn(vm);
		arm(k, k->limit.interval_ns);
	}
	pthread_mutex_unlock(&k->lock);
	return ret < 0 ? vm_fail(vm, ret, "learn_poll_limit: KVM_CAP_HALT_POLL: %s", strerror(-ret))
		       : 0;
}

int catnap_vm_get_poll_limit_stats(struct catnap_vm *vm, struct catnap_poll_limit_stats *stats)
{
	static const char what[] = "get_poll_limit_stats";
	struct catnap_poll_limit_stats s = {.size = sizeof(s)};
	struct kernel_poll *k = &vm->kernel_poll;

	if (vm_in_child(vm, "get_poll_limit_stats"))
		return -EPERM;
	if (k->timer_fd < 0)
		return nothing_to_learn(vm, what);
	pthread_mutex_lock(&k->lock);
	s.limit_ns = k->limit_ns;
	s.learned = k->learns;
	s.worth_ns = k->limit.worth_ns;
	s.looks = k->looks;
	s.changes = k->changes;
	s.interval_ns = k->limit.interval_ns;
	pthread_mutex_unlock(&k->lock);
	if (sized_out(stats, &s, sizeof(s),
		      offsetof(struct catnap_poll_limit_stats, interval_ns) + sizeof(uint64_t)) < 0)
		return vm_wrong_size(vm, what);
	return 0;
}
