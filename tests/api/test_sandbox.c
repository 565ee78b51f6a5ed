/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM in the sandbox, by the public interface: what a thread of a VM may not do ends the process,
 * whichever of its threads it is, and a VM that behaves notices nothing. A callback stands for the
 * hole in a device: it is code on the vCPU's thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "guest.h"

#define MS   UINT64_C(1000000)
#define FINE 42

enum where { NOWHERE, ON_VCPU, ON_MAIN };
enum what { SOCKET, OPEN, EXEC };

struct scene {
	enum where where;
	enum what what;
	uint32_t mode, irqchip;
	uint32_t vcpus;
	uint32_t io;
};

static void misbehave(const struct scene *s)
{
	int fd = -1;

	switch (s->what) {
	case SOCKET:
		fd = socket(AF_INET, SOCK_STREAM, 0);
		break;
	case OPEN:
		fd = open("/etc/passwd", O_RDWR);
		break;
	case EXEC:
		execl("/none", "none", (char *)NULL);
		break;
	}
	if (fd >= 0)
		close(fd);
}

static void output(void *ctx, const void *data, size_t len)
{
	const struct scene *s = ctx;

	if (s->where == ON_VCPU)
		misbehave(s);
}

/* The child's: no assertions of cmocka, which belong to the parent. */
/* A halter with no sources, which needs no ring. */
static bool halts(void)
{
	struct catnap_halter_config cfg;
	struct catnap_halter *h = NULL;
	int cause = -1;
	bool good;

	catnap_halter_config_init(&cfg);
	if (catnap_halter_create(&cfg, &h) < 0)
		return false;
	good = catnap_halter_halt(h, now_ns() + MS, &cause) == 0 && cause == CATNAP_CAUSE_TIMER;
	catnap_halter_destroy(&h);
	return good;
}

static int play(struct scene *s)
{
	struct catnap_sandbox_config sandbox;
	struct catnap_exit e = {.size = sizeof(e)};
	struct catnap_vcpu_stats stats = {.size = sizeof(stats)};
	struct catnap_vm_config cfg;
	struct guest g = {0};

	guest_config(&g, &cfg,
		     s->vcpus == 2 ? "ipi samples=200 gap_ns=1000 cpus=2"
				   : "timer samples=50 gap_ns=100000");
	cfg.sandbox = s->mode;
	cfg.irqchip = s->irqchip;
	cfg.vcpus = s->vcpus;
	cfg.io = s->io;
	if (s->where == ON_VCPU) {
		cfg.serial_output = output;
		cfg.serial_ctx = s;
	}
	catnap_sandbox_config_init(&sandbox);
	sandbox.mode = s->mode;
	if (catnap_vm_create(&cfg, &g.vm) < 0) {
		fprintf(stderr, "%s\n", catnap_vm_last_error(NULL));
		return 2;
	}
	if (catnap_sandbox_enter(&sandbox) < 0)
		return 3;
	if (catnap_vm_sandbox_thread(g.vm, 0) != -EINVAL) /* not started yet */
		return 4;
	if (catnap_vm_start(g.vm) < 0)
		return 5;
	if (catnap_vm_sandbox_thread(g.vm, ~UINT32_C(0)) != -EINVAL)
		return 6;
	if (catnap_vm_sandbox_thread(g.vm, 0) < 0)
		return 7;
	if (s->where == ON_MAIN)
		misbehave(s);
	if (!halts())
		return 12;
	if (catnap_vm_pause(g.vm) == 0 && catnap_vm_resume(g.vm) < 0)
		return 8;
	if (catnap_vm_wait(g.vm, 20000 * MS, &e) < 0)
		return 9;
	if (e.reason != CATNAP_EXIT_DEBUG || e.code != PROBE_EXIT_OK) {
		fprintf(stderr, "%s%s", e.report, g.output);
		return 10;
	}
	for (uint32_t i = 0; i < s->vcpus; i++)
		if (catnap_vm_get_stats(g.vm, i, &stats) < 0 || !stats.exits)
			return 11;
	catnap_vm_destroy(&g.vm);
	return FINE;
}

static int in_child(struct scene s)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* no core files */
		_exit(play(&s));
	}
	while (waitpid(pid, &status, 0) < 0)
		assert_int_equal(errno, EINTR);
	return status;
}

static bool killed(int status)
{
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

static const uint32_t irqchips[] = {CATNAP_IRQCHIP_USER, CATNAP_IRQCHIP_KERNEL};

static void a_good_vm_notices_nothing(void **state)
{
	static const uint32_t who[] = {CATNAP_IO_VCPU, CATNAP_IO_THREAD};

	for (uint32_t mode = CATNAP_SANDBOX_OFF; mode <= CATNAP_SANDBOX_ON; mode++)
		for (int n = 0; n < 8; n++) {
			struct scene s = {.mode = mode,
					  .irqchip = irqchips[n & 1],
					  .vcpus = n & 2 ? 2 : 1,
					  .io = who[n >> 2]};

			assert_int_equal(in_child(s), FINE << 8);
		}
}

static void a_bad_one_is_ended(void **state)
{
	for (enum where where = ON_VCPU; where <= ON_MAIN; where++)
		for (enum what what = SOCKET; what <= EXEC; what++)
			for (int i = 0; i < 2; i++) {
				struct scene s = {where,       what, CATNAP_SANDBOX_ON,
						  irqchips[i], 1,    0};

				assert_true(killed(in_child(s)));
				s.mode = CATNAP_SANDBOX_LOG;
				assert_int_equal(in_child(s), FINE << 8);
			}
}

static void it_is_off_unless_asked_for(void **state)
{
	struct catnap_vm_config cfg;
	struct guest g = {0};

	catnap_vm_config_init(&cfg);
	assert_int_equal(cfg.sandbox, CATNAP_SANDBOX_OFF);
	guest_config(&g, &cfg, "start");
	cfg.sandbox = CATNAP_SANDBOX_ON + 1;
	assert_int_equal(catnap_vm_create(&cfg, &g.vm), -EINVAL);
	assert_non_null(strstr(catnap_vm_last_error(NULL), "sandbox"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_off_unless_asked_for),
		cmocka_unit_test(a_good_vm_notices_nothing),
		cmocka_unit_test(a_bad_one_is_ended),
	};

	if (access("/dev/kvm", R_OK | W_OK) < 0) {
		fprintf(stderr, "skipped: /dev/kvm cannot be used\n");
		return 77;
	}
	if (!(catnap_sandbox_available() & CATNAP_SANDBOX_HAS_SECCOMP)) {
		fprintf(stderr, "skipped: this kernel has no seccomp filters\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
