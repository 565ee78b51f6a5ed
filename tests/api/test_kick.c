/* SPDX-License-Identifier: Apache-2.0 */
/* The kick signal is the library's only where the program has no handler for it. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "guest.h"

static volatile sig_atomic_t signals;

static void on_signal(int signo)
{
	signals = signals + 1;
}

static void on_signal_info(int signo, siginfo_t *info, void *context)
{
	signals = signals + 1;
}

static void handle(int signo, void (*handler)(int))
{
	struct sigaction sa = {.sa_handler = handler};

	assert_int_equal(sigaction(signo, &sa, NULL), 0);
}

static void handle_info(int signo)
{
	struct sigaction sa = {.sa_sigaction = on_signal_info, .sa_flags = SA_SIGINFO};

	assert_int_equal(sigaction(signo, &sa, NULL), 0);
}

static void assert_still_the_programs(int signo)
{
	int before = signals;

	assert_int_equal(raise(signo), 0);
	assert_int_equal(signals, before + 1);
}

static void assert_runs(struct guest *g)
{
	struct catnap_exit e = {.size = sizeof(e)};

	assert_int_equal(catnap_vm_start(g->vm), 0);
	assert_int_equal(catnap_vm_wait(g->vm, UINT64_C(60000000000), &e), 0);
	assert_int_equal(e.code, PROBE_EXIT_OK);
	catnap_vm_destroy(&g->vm);
}

static void a_handler_is_refused_when_the_vm_is_made(void **state)
{
	static struct guest g;
	struct catnap_vm_config cfg;

	for (int info = 0; info < 2; info++) {
		guest_config(&g, &cfg, "start");
		cfg.kick_signal = SIGRTMIN + 2;
		if (info)
			handle_info(cfg.kick_signal);
		else
			handle(cfg.kick_signal, on_signal);
		assert_int_equal(catnap_vm_create(&cfg, &g.vm), -EBUSY);
		assert_null(g.vm);
		assert_non_null(strstr(catnap_vm_last_error(NULL), "kick_signal"));
		assert_non_null(strstr(catnap_vm_last_error(NULL), "SIGRTMIN+2"));
		assert_still_the_programs(cfg.kick_signal);
		handle(cfg.kick_signal, SIG_DFL);
	}
}

static void a_handler_is_refused_when_the_vm_starts(void **state)
{
	static struct guest g;
	struct catnap_vm_config cfg;

	guest_config(&g, &cfg, "start");
	cfg.kick_signal = SIGRTMIN + 3;
	assert_int_equal(guest_create(&g, &cfg), 0);
	handle(cfg.kick_signal, on_signal);
	assert_int_equal(catnap_vm_start(g.vm), -EBUSY);
	assert_non_null(strstr(catnap_vm_last_error(g.vm), "kick_signal"));
	assert_still_the_programs(cfg.kick_signal);
	/* A signal that is ignored is nobody's. */
	handle(cfg.kick_signal, SIG_IGN);
	assert_runs(&g);
}

static void the_librarys_own_handler_is_found_again(void **state)
{
	static struct guest g;
	struct sigaction first, second;
	struct catnap_vm_config cfg;

	for (int i = 0; i < 2; i++) {
		guest_config(&g, &cfg, "start");
		cfg.kick_signal = SIGRTMIN + 4;
		assert_int_equal(guest_create(&g, &cfg), 0);
		assert_runs(&g);
		assert_int_equal(sigaction(cfg.kick_signal, NULL, i ? &second : &first), 0);
	}
	assert_ptr_equal(first.sa_sigaction, second.sa_sigaction);
	/* A signal that comes to a thread without a vCPU does nothing. */
	assert_int_equal(raise(cfg.kick_signal), 0);
}

static void a_handler_that_replaced_the_librarys_is_refused(void **state)
{
	static struct guest g;
	struct catnap_vm_config cfg;

	guest_config(&g, &cfg, "start");
	cfg.kick_signal = SIGRTMIN + 5;
	assert_int_equal(guest_create(&g, &cfg), 0);
	assert_runs(&g);
	handle(cfg.kick_signal, on_signal);
	assert_int_equal(catnap_vm_create(&cfg, &g.vm), -EBUSY);
	assert_still_the_programs(cfg.kick_signal);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_handler_is_refused_when_the_vm_is_made),
		cmocka_unit_test(a_handler_is_refused_when_the_vm_starts),
		cmocka_unit_test(the_librarys_own_handler_is_found_again),
		cmocka_unit_test(a_handler_that_replaced_the_librarys_is_refused),
	};

	if (access("/dev/kvm", R_OK | W_OK) < 0) {
		fprintf(stderr, "/dev/kvm: %s: skipped\n", strerror(errno));
		return SKIP;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
