/* SPDX-License-Identifier: Apache-2.0 */
/* Disks through the public API: test_disk IMAGE, the test guest that drives one
 * (tests/guest/blk.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "guest.h"

#define SECTORS 2048

struct fix {
	char path[64];
	const char *image;
};

static int setup(void **state)
{
	struct fix *f = calloc(1, sizeof(*f));
	int fd;

	f->image = *state;
	snprintf(f->path, sizeof(f->path), "/tmp/test_disk.XXXXXX");
	fd = mkstemp(f->path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, SECTORS * 512), 0);
	close(fd);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fix *f = *state;

	unlink(f->path);
	*state = (void *)f->image;
	free(f);
	return 0;
}

static struct catnap_vm *create_with(struct fix *f, uint32_t irqchip, uint32_t io,
				     const char *cmdline)
{
	struct catnap_vm_config cfg;
	struct catnap_vm *vm;

	catnap_vm_config_init(&cfg);
	cfg.memory_size = UINT64_C(16) << 20;
	cfg.kernel_path = f->image;
	cfg.cmdline = cmdline;
	cfg.irqchip = irqchip;
	cfg.debug_exit_port = EXIT_PORT;
	cfg.transport = CATNAP_TRANSPORT_MMIO;
	cfg.io = io;
	if (catnap_vm_create(&cfg, &vm) < 0)
		fail_msg("%s", catnap_vm_last_error(NULL));
	return vm;
}

static struct catnap_vm *create(struct fix *f, uint32_t irqchip, uint32_t io)
{
	return create_with(f, irqchip, io, "how=hlt rounds=1000000");
}

static int add(struct fix *f, struct catnap_vm *vm)
{
	struct catnap_disk disk;

	catnap_disk_init(&disk);
	disk.path = f->path;
	disk.id = "api";
	return catnap_vm_add_disk(vm, &disk);
}

static void refused(struct catnap_vm *vm, const struct catnap_disk *disk, int ret, const char *what)
{
	struct catnap_device_stats s = {.size = sizeof(s)};

	assert_int_equal(catnap_vm_add_disk(vm, disk), ret);
	if (!strstr(catnap_vm_last_error(vm), what))
		fail_msg("\"%s\" lacks \"%s\"", catnap_vm_last_error(vm), what);
	assert_int_equal(catnap_vm_get_device_stats(vm, 0, &s), -ENOENT);
}

static void overwrite(struct fix *f, const void *data, size_t len)
{
	int fd = open(f->path, O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, data, len, 0), (ssize_t)len);
	close(fd);
}

/* A disk whose guest has written another format's beginning on it. */
static void what_is_said_to_be_raw_is_taken(void **state)
{
	struct fix *f = *state;
	struct catnap_vm *vm = create(f, CATNAP_IRQCHIP_USER, CATNAP_IO_VCPU);
	struct catnap_disk disk;

	overwrite(f, "QFI\xfb\0\0\0\2", 8);
	assert_int_equal(add(f, vm), -EINVAL);
	assert_non_null(strstr(catnap_vm_last_error(vm), "format=raw"));
	catnap_disk_init(&disk);
	disk.path = f->path;
	disk.format = CATNAP_DISK_RAW;
	assert_int_equal(catnap_vm_add_disk(vm, &disk), 0);
	catnap_vm_destroy(&vm);
}

static void what_is_no_disk_is_refused(void **state)
{
	struct fix *f = *state;
	struct catnap_vm *vm = create(f, CATNAP_IRQCHIP_USER, CATNAP_IO_VCPU);
	struct catnap_disk disk = {.path = f->path};

	refused(vm, &disk, -EINVAL, "size");
	catnap_disk_init(&disk);
	refused(vm, &disk, -EINVAL, "path");
	disk.path = "/nonexistent";
	refused(vm, &disk, -ENOENT, "/nonexistent");
	disk.path = f->path;
	disk.queues = CATNAP_MAX_DISK_QUEUES + 1;
	refused(vm, &disk, -EINVAL, "queues");
	disk.queues = UINT32_MAX;
	refused(vm, &disk, -EINVAL, "queues");
	disk.queues = 65537;
	refused(vm, &disk, -EINVAL, "queues");
	disk.queues = 0;
	disk.id = "21 letters are a few.";
	refused(vm, &disk, -EINVAL, "id");
	disk.id = NULL;
	disk.limit.bw_burst = 1;
	refused(vm, &disk, -EINVAL, "bw-burst");
	disk.limit = (struct catnap_rate_limit){.bw = 1, .bw_burst = 1, .ops_burst = 1};
	refused(vm, &disk, -EINVAL, "ops-burst");
	disk.limit.ops_burst = 0;
	disk.format = CATNAP_DISK_RAW + 1;
	refused(vm, &disk, -EINVAL, "format");
	disk.format = CATNAP_DISK_GUARDED;
	overwrite(f, "QFI\xfb\0\0\0\2", 8);
	refused(vm, &disk, -EINVAL, "qcow2");
	disk.limit.ops_burst = 1;
	/* A caller who was built before there were limits has none. */
	catnap_disk_init_sized(&disk, offsetof(struct catnap_disk, limit));
	assert_int_equal(disk.limit.ops_burst, 1);
	disk.path = f->path;
	refused(vm, &disk, -EINVAL, "qcow2");
	overwrite(f, "\0\0\0\0\0\0\0\0", 8);
	assert_int_equal(catnap_vm_add_disk(vm, &disk), 0);
	assert_int_equal(catnap_vm_add_disk(vm, &disk), -EBUSY);
	assert_non_null(strstr(catnap_vm_last_error(vm), f->path));
	catnap_vm_destroy(&vm);
}

static void there_is_an_end_to_devices(void **state)
{
	struct fix *f = *state;
	struct catnap_vm *vm = create(f, CATNAP_IRQCHIP_USER, CATNAP_IO_VCPU);
	struct catnap_disk disk;

	catnap_disk_init(&disk);
	disk.path = f->path;
	disk.readonly = 1;
	for (int i = 0; i < 16; i++)
		assert_int_equal(catnap_vm_add_disk(vm, &disk), 0);
	assert_int_equal(catnap_vm_add_disk(vm, &disk), -ENOSPC);
	assert_non_null(strstr(catnap_vm_last_error(vm), "16"));
	catnap_vm_destroy(&vm);
}

static void statistics_tell(void **state)
{
	struct fix *f = *state;
	struct catnap_vm *vm = create(f, CATNAP_IRQCHIP_USER, CATNAP_IO_VCPU);
	struct catnap_device_stats s = {.size = sizeof(s)};
	struct catnap_io_stats io = {.size = sizeof(io)};

	assert_int_equal(add(f, vm), 0);
	assert_int_equal(catnap_vm_get_device_stats(vm, 1, &s), -ENOENT);
	assert_int_equal(catnap_vm_get_device_stats(vm, 0, &s), 0);
	assert_int_equal(s.type, 2);
	assert_int_equal(strncmp(s.name, "disk test_disk.", 15), 0);
	s.size = 8;
	assert_int_equal(catnap_vm_get_device_stats(vm, 0, &s), -EINVAL);
	assert_int_equal(catnap_vm_get_io_stats(vm, &io), has_uring() ? -ENOENT : 0);
	io.size = 4;
	assert_int_equal(catnap_vm_get_io_stats(vm, &io), -EINVAL);
	catnap_vm_destroy(&vm);
}

static uint64_t requests(struct catnap_vm *vm, uint32_t *inflight)
{
	struct catnap_device_stats s = {.size = sizeof(s)};

	assert_int_equal(catnap_vm_get_device_stats(vm, 0, &s), 0);
	*inflight = s.inflight;
	return s.requests;
}

static void wait_for_requests(struct catnap_vm *vm, uint64_t n)
{
	uint64_t begin = now_ns();
	uint32_t inflight;

	while (requests(vm, &inflight) < n) {
		assert_true(now_ns() - begin < UINT64_C(20000000000));
		usleep(200);
	}
}

/* Paused, nothing is in flight and nothing begins; and it goes on. Destroyed, it ends. */
static void pauses(struct fix *f, uint32_t irqchip, uint32_t io)
{
	struct catnap_vm *vm = create(f, irqchip, io);
	struct catnap_io_stats s = {.size = sizeof(s)};
	uint32_t inflight;

	assert_int_equal(add(f, vm), 0);
	assert_int_equal(catnap_vm_start(vm), 0);
	assert_int_equal(add(f, vm), -EINVAL);
	for (int i = 0; i < 20; i++) {
		uint64_t n;

		wait_for_requests(vm, requests(vm, &inflight) + 2);
		assert_int_equal(catnap_vm_pause(vm), 0);
		n = requests(vm, &inflight);
		assert_int_equal(inflight, 0);
		usleep(2000);
		assert_int_equal(requests(vm, &inflight), n);
		assert_int_equal(catnap_vm_resume(vm), 0);
	}
	assert_int_equal(catnap_vm_get_io_stats(vm, &s),
			 io == CATNAP_IO_THREAD || !has_uring() ? 0 : -ENOENT);
	if (io == CATNAP_IO_THREAD)
		assert_true(s.cpu_ns > 0 && s.halt.halt_exits > 0);
	catnap_vm_destroy(&vm);
}

static void a_paused_disk_stands_still(void **state)
{
	for (uint32_t irqchip = 0; irqchip < 2; irqchip++)
		for (uint32_t io = 0; io < 2; io++)
			pauses(*state, irqchip, io);
}

/* One that was never started has an I/O thread that never was. */
static void one_with_an_io_thread_may_go_unused(void **state)
{
	struct catnap_vm *vm = create(*state, CATNAP_IRQCHIP_USER, CATNAP_IO_THREAD);

	assert_int_equal(add(*state, vm), 0);
	assert_int_equal(catnap_vm_stop(vm), 0);
	catnap_vm_destroy(&vm);
}

/*
 * A disk with a limit: the guest's requests take the time that they should, not less, and not much
 * more on a machine that has other things to do; whoever waits does not keep a pause or the end
 * waiting. The guest makes 33 requests a round.
 */
static void limited(struct fix *f, uint32_t irqchip, uint32_t io, const struct catnap_rate_limit *l,
		    uint64_t n, uint64_t least_ns)
{
	struct catnap_device_stats s = {.size = sizeof(s)};
	struct catnap_vm *vm = create(f, irqchip, io);
	struct catnap_disk disk;
	uint64_t begin, end;

	catnap_disk_init(&disk);
	disk.path = f->path;
	disk.limit = *l;
	assert_int_equal(catnap_vm_add_disk(vm, &disk), 0);
	begin = now_ns();
	assert_int_equal(catnap_vm_start(vm), 0);
	wait_for_requests(vm, n);
	end = now_ns();
	assert_true(end - begin >= least_ns);
	assert_true(end - begin < 10 * least_ns + UINT64_C(10000000000));
	/* The next one has to wait, and this one not. */
	assert_int_equal(catnap_vm_pause(vm), 0);
	assert_int_equal(catnap_vm_get_device_stats(vm, 0, &s), 0);
	assert_true(s.limit_waits > 0 && s.limit_waits <= n + 1);
	assert_true(s.limit_wait_ns > 0 && s.limit_wait_ns <= now_ns() - begin);
	assert_int_equal(s.errors, 0);
	assert_int_equal(catnap_vm_resume(vm), 0);
	catnap_vm_destroy(&vm);
}

static void a_limited_disk_takes_its_time(void **state)
{
	/* 60 requests, all but the first at 100 a second; 40 of 4 KiB at 400 KiB a second. */
	const struct catnap_rate_limit ops = {.ops = 100, .ops_burst = 1};
	const struct catnap_rate_limit bw = {.bw = 400 << 10, .bw_burst = 4096};

	for (uint32_t irqchip = 0; irqchip < 2; irqchip++) {
		for (uint32_t io = 0; io < 2; io++) {
			limited(*state, irqchip, io, &ops, 60, UINT64_C(590000000));
			limited(*state, irqchip, io, &bw, 40, UINT64_C(370000000));
		}
	}
}

/* Hours are to be waited for: it ends at once all the same. */
static void a_limit_holds_nobody_up(void **state)
{
	struct fix *f = *state;
	struct catnap_vm *vm = create(f, CATNAP_IRQCHIP_USER, CATNAP_IO_VCPU);
	struct catnap_disk disk;
	uint64_t begin;

	catnap_disk_init(&disk);
	disk.path = f->path;
	disk.limit.bw = 1;
	assert_int_equal(catnap_vm_add_disk(vm, &disk), 0);
	assert_int_equal(catnap_vm_start(vm), 0);
	wait_for_requests(vm, 1);
	begin = now_ns();
	assert_int_equal(catnap_vm_pause(vm), 0);
	assert_int_equal(catnap_vm_resume(vm), 0);
	assert_int_equal(catnap_vm_stop(vm), 0);
	catnap_vm_destroy(&vm);
	assert_true(now_ns() - begin < UINT64_C(10000000000));
}

/* Whose descriptors are the VM's, too; it lives until it is killed, or @destroys and ends. */
static pid_t child(struct catnap_vm *vm, bool destroys)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid)
		return pid;
	alarm(60);
	if (destroys) {
		catnap_vm_destroy(&vm);
		_exit(0);
	}
	for (;;)
		pause();
}

/* Another VM's: 0 if the disk can be had. */
static int have_disk(struct fix *f)
{
	struct catnap_vm *vm = create(f, CATNAP_IRQCHIP_USER, CATNAP_IO_VCPU);
	int ret = add(f, vm);

	catnap_vm_destroy(&vm);
	return ret;
}

static void forks(struct fix *f, uint32_t irqchip, uint32_t io, bool before_start)
{
	struct catnap_vm *vm = create(f, irqchip, io);
	uint32_t inflight;
	pid_t pid, other;
	int status;

	assert_int_equal(add(f, vm), 0);
	if (!before_start) {
		assert_int_equal(catnap_vm_start(vm), 0);
		wait_for_requests(vm, 2);
	}
	pid = child(vm, false);
	other = child(vm, true);
	assert_int_equal(waitpid(other, &status, 0), other);
	assert_int_equal(status, 0);
	if (before_start)
		assert_int_equal(catnap_vm_start(vm), 0);
	wait_for_requests(vm, requests(vm, &inflight) + 2);
	assert_int_equal(have_disk(f), -EBUSY);
	catnap_vm_destroy(&vm);
	assert_int_equal(have_disk(f), 0);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
}

/* A child has a copy: it keeps no disk locked, and if it destroys its copy, the VM goes on. */
static void a_child_takes_nothing(void **state)
{
	for (uint32_t irqchip = 0; irqchip < 2; irqchip++)
		for (uint32_t io = 0; io < 2; io++)
			for (int before = 0; before < 2; before++)
				forks(*state, irqchip, io, before);
}

static off_t length(struct fix *f)
{
	struct stat st;

	assert_int_equal(stat(f->path, &st), 0);
	return st.st_size;
}

/* The guest (changes=N) uses its last sector after each change, and one more, which has to fail. */
static void changes(struct fix *f, uint32_t irqchip, uint32_t io)
{
	static const uint64_t sectors[] = {SECTORS + 1, 4 * SECTORS, UINT64_C(1) << 33,
					   SECTORS / 2};
	struct catnap_vm *vm = create_with(f, irqchip, io, "how=hlt changes=4");
	struct catnap_exit end = {.size = sizeof(end)};
	uint64_t bytes = 1;

	assert_int_equal(truncate(f->path, SECTORS * 512), 0);
	assert_int_equal(add(f, vm), 0);
	assert_int_equal(catnap_vm_update_disk(vm, 0, &bytes), 0);
	assert_int_equal(bytes, SECTORS * 512);
	assert_int_equal(catnap_vm_update_disk(vm, 1, &bytes), -ENOENT);
	assert_int_equal(catnap_vm_start(vm), 0);
	for (uint64_t i = 0; i < 4; i++) {
		wait_for_requests(vm, 1 + 3 * i);
		/* What it cannot be changes nothing. */
		if (i < 3) {
			assert_int_equal(truncate(f->path, length(f) + 5), 0);
			assert_int_equal(catnap_vm_update_disk(vm, 0, &bytes), -EINVAL);
			assert_non_null(strstr(catnap_vm_last_error(vm), "multiple of 512"));
		}
		assert_int_equal(truncate(f->path, (off_t)sectors[i] * 512), 0);
		assert_int_equal(catnap_vm_update_disk(vm, 0, i ? &bytes : NULL), 0);
		if (i)
			assert_true(bytes == sectors[i] * 512);
		assert_int_equal(catnap_vm_update_disk(vm, 0, &bytes), 0);
	}
	assert_int_equal(catnap_vm_wait(vm, UINT64_C(60000000000), &end), 0);
	assert_int_equal(end.reason, CATNAP_EXIT_DEBUG);
	assert_int_equal(end.code, 0x21); /* all that the guest checked */
	/* What was refused has not made it longer again. */
	assert_int_equal(length(f), SECTORS / 2 * 512);
	catnap_vm_destroy(&vm);
}

static void an_image_that_grows_reaches_the_guest(void **state)
{
	for (uint32_t irqchip = 0; irqchip < 2; irqchip++)
		for (uint32_t io = 0; io < 2; io++)
			changes(*state, irqchip, io);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
	struct CMUnitTest tests[] = {
		T(what_is_no_disk_is_refused),
		T(what_is_said_to_be_raw_is_taken),
		T(there_is_an_end_to_devices),
		T(statistics_tell),
		T(a_paused_disk_stands_still),
		T(a_limited_disk_takes_its_time),
		T(a_limit_holds_nobody_up),
		T(a_child_takes_nothing),
		T(one_with_an_io_thread_may_go_unused),
		T(an_image_that_grows_reaches_the_guest),
	};

	if (argc != 2)
		return 2;
	if (access("/dev/kvm", R_OK | W_OK) < 0) {
		fprintf(stderr, "/dev/kvm: %s: skipped\n", strerror(errno));
		return SKIP;
	}
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tests[i].initial_state = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
