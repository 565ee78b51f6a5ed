/* SPDX-License-Identifier: Apache-2.0 */
/* KVM's own halts: a limit of its polling that is learned from its statistics, in the owner's loop,
 * and HLT that does not leave the guest. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "guest.h"

#define TICKING "idle tick_hz=2000 apic_hz=1000000000 pv_eoi=1"

static void make(struct guest *g, const struct catnap_halt_poll *p, uint32_t vcpus)
{
	struct catnap_vm_config cfg;

	guest_config(g, &cfg, TICKING);
	cfg.irqchip = CATNAP_IRQCHIP_KERNEL;
	cfg.vcpus = vcpus;
	cfg.halt_poll = *p;
	assert_int_equal(guest_create(g, &cfg), 0);
}

static struct catnap_halt_poll adaptive(void)
{
	struct catnap_halt_poll p;

	catnap_halt_poll_init(&p);
	return p;
}

static struct catnap_poll_limit_stats stats_of(struct guest *g)
{
	struct catnap_poll_limit_stats s = {.size = sizeof(s)};

	assert_int_equal(catnap_vm_get_poll_limit_stats(g->vm, &s), 0);
	return s;
}

/* A KVM that has neither the capability nor the histograms has nothing to be tested here. */
static bool can_learn(struct guest *g)
{
	if (catnap_vm_get_poll_limit_fd(g->vm) != -ENOTSUP)
		return true;
	print_message("%s\n", catnap_vm_last_error(g->vm));
	catnap_vm_destroy(&g->vm);
	return false;
}

/* The owner's loop, until the limit is @least or more, or @most or less; 20 s at most. */
static void learn_until(struct guest *g, uint32_t least, uint32_t most)
{
	struct pollfd p = {.fd = catnap_vm_get_poll_limit_fd(g->vm), .events = POLLIN};
	uint64_t begin = now_ns();
	struct catnap_poll_limit_stats s;

	do {
		assert_int_equal(poll(&p, 1, 5000), 1);
		assert_int_equal(catnap_vm_learn_poll_limit(g->vm), 0);
		/* It was taken, and is set for later. */
		assert_int_equal(poll(&p, 1, 0), 0);
		s = stats_of(g);
	} while ((s.looks < 8 || s.limit_ns < least || s.limit_ns > most) &&
		 now_ns() - begin < UINT64_C(20000000000));
	assert_in_range(s.limit_ns, least, most);
	assert_true(s.interval_ns >= 1000000 && s.interval_ns <= 250000000);
}

static void learns_what_pays(void **state)
{
	struct catnap_halt_poll p = adaptive();
	struct catnap_vcpu_stats before = {.size = sizeof(before)}, after = before;
	struct guest g;

	make(&g, &p, 2);
	if (!can_learn(&g))
		skip();
	assert_int_equal(stats_of(&g).limit_ns, CATNAP_KERNEL_MAX_NS);
	assert_int_equal(stats_of(&g).worth_ns, 50000);
	assert_int_equal(catnap_vm_start(g.vm), 0);
	assert_true(guest_reaches(&g.shared->ticks, 10));
	/* Halts of half a millisecond are not worth it for 50 us. */
	learn_until(&g, 0, 131072);
	assert_true(stats_of(&g).changes > 0);
	/* They are for 2 ms. */
	p.price_ns = 2000000;
	assert_int_equal(catnap_vm_set_halt_poll(g.vm, -1, &p), 0);
	learn_until(&g, 262144, CATNAP_ADAPTIVE_MAX_NS);
	assert_int_equal(catnap_vm_get_stats(g.vm, 0, &before), 0);
	assert_true(guest_reaches(&g.shared->ticks, g.shared->ticks + 200));
	assert_int_equal(catnap_vm_get_stats(g.vm, 0, &after), 0);
	assert_true(after.halt.halt_poll_success_ns + after.halt.halt_poll_fail_ns >
		    before.halt.halt_poll_success_ns + before.halt.halt_poll_fail_ns);
	/* Nothing more is set once it has ended. */
	assert_int_equal(catnap_vm_stop(g.vm), 0);
	assert_int_equal(catnap_vm_learn_poll_limit(g.vm), 0);
	catnap_vm_destroy(&g.vm);
}

static void learns_only_with_policy_adaptive(void **state)
{
	struct catnap_halt_poll p = adaptive(), kernel = adaptive();
	struct pollfd fd = {.events = POLLIN};
	struct catnap_poll_limit_stats s;
	struct guest g;

	kernel.policy = CATNAP_POLICY_KERNEL;
	kernel.max_ns = 77000;
	make(&g, &kernel, 1);
	if (!can_learn(&g))
		skip();
	fd.fd = catnap_vm_get_poll_limit_fd(g.vm);
	assert_int_equal(catnap_vm_start(g.vm), 0);
	assert_int_equal(poll(&fd, 1, 300), 0);
	assert_int_equal(catnap_vm_learn_poll_limit(g.vm), 0);
	s = stats_of(&g);
	assert_int_equal(s.limit_ns, 77000);
	assert_int_equal(s.learned, 0);
	assert_int_equal(s.looks, 0);
	assert_int_equal(catnap_vm_set_halt_poll(g.vm, -1, &p), 0);
	assert_int_equal(stats_of(&g).learned, 1);
	learn_until(&g, 0, CATNAP_KERNEL_MAX_NS);
	p.policy = CATNAP_POLICY_OFF;
	assert_int_equal(catnap_vm_set_halt_poll(g.vm, -1, &p), 0);
	s = stats_of(&g);
	assert_int_equal(s.limit_ns, 0);
	assert_int_equal(s.learned, 0);
	assert_int_equal(poll(&fd, 1, 300), 0);
	s.size = 8;
	assert_int_equal(catnap_vm_get_poll_limit_stats(g.vm, &s), -EINVAL);
	assert_int_equal(catnap_vm_get_poll_limit_stats(g.vm, NULL), -EINVAL);
	catnap_vm_destroy(&g.vm);
}

/* Whether the processor runs guests itself. Where it does not, KVM emulates HLT, which is privileged,
 * and counts it, whatever it was asked for. */
static bool runs_guests(void)
{
	char line[8192];
	FILE *f = fopen("/proc/cpuinfo", "r");
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f))
		found = strncmp(line, "flags", 5) == 0 &&
			(strstr(line, " vmx") || strstr(line, " svm"));
	if (f)
		fclose(f);
	return found;
}

static void hlt_stays_in_the_guest(void **state)
{
	struct catnap_vcpu_stats s = {.size = sizeof(s)};
	struct catnap_vm_config cfg;
	struct guest g;
	int ret;

	guest_config(&g, &cfg, TICKING);
	cfg.guest_hlt = 1;
	assert_int_equal(catnap_vm_create(&cfg, &g.vm), -EINVAL);
	assert_non_null(strstr(catnap_vm_last_error(NULL), "guest_hlt"));
	cfg.irqchip = CATNAP_IRQCHIP_KERNEL;
	ret = guest_create(&g, &cfg);
	if (ret == -ENOTSUP)
		skip();
	assert_int_equal(ret, 0);
	assert_int_equal(catnap_vm_get_poll_limit_fd(g.vm), -ENOTSUP);
	assert_non_null(strstr(catnap_vm_last_error(g.vm), "guest_hlt"));
	assert_int_equal(catnap_vm_start(g.vm), 0);
	assert_true(guest_reaches(&g.shared->ticks, 100));
	assert_int_equal(catnap_vm_get_stats(g.vm, 0, &s), 0);
	if (runs_guests())
		assert_int_equal(s.halt.halt_exits, 0);
	assert_int_equal(catnap_vm_stop(g.vm), 0);
	catnap_vm_destroy(&g.vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(learns_what_pays),
		cmocka_unit_test(learns_only_with_policy_adaptive),
		cmocka_unit_test(hlt_stays_in_the_guest),
	};

	if (access("/dev/kvm", R_OK | W_OK) < 0) {
		fprintf(stderr, "/dev/kvm: %s\n", strerror(errno));
		return SKIP;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
