/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory that is a file's, which somebody makes shorter: the VM ends with a sentence, whoever
 * touches what is gone, the guest or a thread of ours. The process goes on, and so do other VMs.
 *
 *     test_lost GUESTS
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <cmocka.h>

#include <catnap/snapshot.h>

#include "guest.h"

#define LIMIT UINT64_C(60000000000)

static const char *images;
static struct catnap_vm *volatile watched;
static volatile sig_atomic_t mended;

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	if (info->si_code > 0 && watched && catnap_vm_memory_fault(watched, info->si_addr) == 1) {
		mended++;
		return;
	}
	signal(sig, SIG_DFL);
}

/* Has the handler end @vm. Not before: each test of cmocka's begins with handlers of its own. */
static void watch(struct catnap_vm *vm)
{
	struct sigaction sa = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};

	watched = vm;
	sigaction(SIGBUS, &sa, NULL);
}

static int unnamed_of(uint64_t len, unsigned int flags)
{
	int fd = memfd_create("lost", MFD_CLOEXEC | flags);

	if (fd < 0 && flags)
		skip(); /* no such pages */
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)len), 0);
	return fd;
}

static int unnamed(uint64_t len)
{
	return unnamed_of(len, 0);
}

static void ends_with_a_sentence(struct catnap_vm *vm)
{
	struct catnap_exit e = {.size = sizeof(e)};

	if (catnap_vm_wait(vm, LIMIT, &e) < 0)
		fail_msg("%s", catnap_vm_last_error(vm));
	if (e.reason != CATNAP_EXIT_HOST_ERROR || !strstr(e.report, "guest memory") ||
	    !strstr(e.report, " was made shorter, or its file system is full or fails"))
		fail_msg("%u, %d: %s", e.reason, e.code, e.report);
	watched = NULL;
	assert_int_equal(catnap_vm_destroy(&vm), 0);
}

/* -- persistent memory ------------------------------------------------------------------------- */

/* Makes the guest's file, with memfd_create(2)'s @flags, shorter under it. */
static void cut_off(unsigned int flags)
{
	for (uint32_t i = 0; i < 4; i++) {
		struct catnap_vm_config cfg;
		struct catnap_pmem pmem;
		struct catnap_vm *vm;
		char path[512];
		int fd = unnamed_of(4 << 20, flags), dup_fd = dup(fd);

		snprintf(path, sizeof(path), "%s/pmem.elf", images);
		catnap_vm_config_init(&cfg);
		cfg.kernel_path = path;
		cfg.cmdline = "rounds=1000000000";
		cfg.memory_size = UINT64_C(16) << 20;
		cfg.irqchip = i & 1;
		cfg.io = i >> 1 & 1;
		cfg.transport = CATNAP_TRANSPORT_MMIO;
		cfg.debug_exit_port = EXIT_PORT;
		assert_int_equal(catnap_vm_create(&cfg, &vm), 0);
		catnap_pmem_init(&pmem);
		pmem.fd = dup_fd;
		if (catnap_vm_add_pmem(vm, &pmem) < 0) {
			if (!flags)
				fail_msg("%s", catnap_vm_last_error(vm));
			/* The host has set aside no such pages. */
			catnap_vm_destroy(&vm);
			close(dup_fd);
			close(fd);
			skip();
		}
		watch(vm);
		assert_int_equal(catnap_vm_start(vm), 0);
		usleep(20000 * (i + 1));
		assert_int_equal(ftruncate(fd, 0), 0);
		ends_with_a_sentence(vm);
		close(fd);
	}
}

static void a_guest_that_touches_what_is_gone_ends(void **state)
{
	cut_off(0);
}

/* Of a huge page nothing smaller can be replaced. */
static void the_same_with_huge_pages(void **state)
{
	cut_off(MFD_HUGETLB);
}

/* -- a snapshot's memory ----------------------------------------------------------------------- */

struct files {
	int state, memory;
};

static struct files put_down(void)
{
	struct files f = {unnamed(0), unnamed(0)};
	struct catnap_snapshot_request rq;
	struct catnap_vm_config cfg;
	struct guest g;

	guest_config(&g, &cfg, "compute");
	assert_int_equal(guest_create(&g, &cfg), 0);
	assert_int_equal(catnap_vm_start(g.vm), 0);
	assert_int_equal(catnap_vm_pause(g.vm), 0);
	catnap_snapshot_request_init(&rq);
	rq.state_fd = f.state;
	rq.memory_fd = f.memory;
	if (catnap_vm_snapshot(g.vm, &rq) < 0)
		fail_msg("%s", catnap_vm_last_error(g.vm));
	assert_int_equal(catnap_vm_destroy(&g.vm), 0);
	return f;
}

static struct catnap_vm *take_up(const struct files *f)
{
	const int32_t memory[] = {f->memory};
	struct catnap_vm_config cfg;
	struct catnap_restore how;
	struct catnap_snapshot *s;
	struct catnap_vm *vm;

	assert_int_equal(catnap_snapshot_open(f->state, &s), 0);
	catnap_vm_config_init(&cfg);
	catnap_restore_init(&how);
	how.memory_fds = memory;
	how.memory_count = 1;
	how.paused = 1;
	if (catnap_vm_restore(&cfg, s, &how, &vm) < 0)
		fail_msg("%s", catnap_vm_last_error(NULL));
	catnap_snapshot_close(&s);
	watch(vm);
	return vm;
}

static void close_files(const struct files *f)
{
	close(f->state);
	close(f->memory);
}

static uint8_t touch(struct catnap_vm *vm)
{
	void *at;

	assert_int_equal(catnap_vm_guest_memory(vm, 0x123000, 1, &at), 0);
	return *(volatile uint8_t *)at;
}

static void a_guest_whose_memory_is_gone_ends(void **state)
{
	struct files f = put_down();
	struct catnap_vm *vm = take_up(&f);

	assert_int_equal(catnap_vm_start(vm), 0);
	assert_int_equal(ftruncate(f.memory, 0), 0);
	assert_int_equal(catnap_vm_resume(vm), 0);
	ends_with_a_sentence(vm);
	close_files(&f);
}

static void what_we_touch_ends_it(void **state)
{
	struct files f = put_down();
	struct catnap_vm *vm = take_up(&f), *other;
	int local = 5;

	assert_int_equal(catnap_vm_memory_fault(vm, &local), 0);
	assert_int_equal(local, 5);
	assert_int_equal(catnap_vm_start(vm), 0);
	assert_int_equal(ftruncate(f.memory, 4096), 0);
	mended = 0;
	assert_int_equal(touch(vm), 0);
	assert_int_equal(mended, 1);
	assert_int_equal(touch(vm), 0); /* it is there now */
	assert_int_equal(mended, 1);
	assert_int_equal(catnap_vm_resume(vm), 0);
	ends_with_a_sentence(vm);
	close_files(&f);
	/* The process has others. */
	f = put_down();
	other = take_up(&f);
	assert_int_equal(catnap_vm_start(other), 0);
	assert_int_equal(catnap_vm_destroy(&other), 0);
	watched = NULL;
	close_files(&f);
}

static void it_does_not_start(void **state)
{
	struct files f = put_down();
	struct catnap_vm *vm = take_up(&f);

	assert_int_equal(ftruncate(f.memory, 4096), 0);
	touch(vm);
	assert_int_equal(catnap_vm_start(vm), -EIO);
	assert_non_null(strstr(catnap_vm_last_error(vm), "start: guest memory at 0x123000 is"));
	watched = NULL;
	assert_int_equal(catnap_vm_destroy(&vm), 0);
	close_files(&f);
}

static void no_snapshot_has_zeroes_for_it(void **state)
{
	struct files f = put_down(), to = {unnamed(0), unnamed(0)};
	struct catnap_vm *vm = take_up(&f);
	struct catnap_snapshot_request rq;

	assert_int_equal(catnap_vm_start(vm), 0);
	assert_int_equal(catnap_vm_pause(vm), 0);
	assert_int_equal(ftruncate(f.memory, 4096), 0);
	catnap_snapshot_request_init(&rq);
	rq.state_fd = to.state;
	rq.memory_fd = to.memory;
	assert_int_equal(catnap_vm_snapshot(vm, &rq), -EIO);
	assert_non_null(strstr(catnap_vm_last_error(vm), "snapshot: guest memory at 0x"));
	assert_int_equal(catnap_vm_resume(vm), 0);
	ends_with_a_sentence(vm);
	close_files(&f);
	close_files(&to);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_guest_that_touches_what_is_gone_ends),
		cmocka_unit_test(the_same_with_huge_pages),
		cmocka_unit_test(a_guest_whose_memory_is_gone_ends),
		cmocka_unit_test(what_we_touch_ends_it),
		cmocka_unit_test(it_does_not_start),
		cmocka_unit_test(no_snapshot_has_zeroes_for_it),
	};

	if (access("/dev/kvm", R_OK | W_OK) < 0)
		return SKIP;
	images = argv[1];
	return argc < 2 ? 2 : cmocka_run_group_tests(tests, NULL, NULL);
}
