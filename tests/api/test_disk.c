/* SPDX-License-Identifier: Apache-2.0 */
/* Disks through the public API: test_disk IMAGE, the test guest that drives one
 * (tests/guest/blk.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
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
	disk.limit.bw.refill_ns = CATNAP_MAX_REFILL_NS + 1;
	refused(vm, &disk, -EINVAL, "bw: refill_ns");
	disk.limit.bw.refill_ns = CATNAP_MAX_REFILL_NS;
	disk.limit.ops.refill_ns = UINT64_MAX;
	refused(vm, &disk, -EINVAL, "ops: refill_ns");
	disk.limit.ops.refill_ns = 0;
	disk.format = CATNAP_DISK_RAW + 1;
	refused(vm, &disk, -EINVAL, "format");
	disk.format = CATNAP_DISK_GUARDED;
	for (uint32_t size = 1; size; size *= 2) {
		disk.block_size = size + (size == 512 || size == 4096);
		refused(vm, &disk, -EINVAL, "block-size");
	}
	disk.block_size = 4096;
	assert_int_equal(truncate(f->path, 4096 + 512), 0);
	refused(vm, &disk, -EINVAL, "multiple of 4096");
	assert_int_equal(truncate(f->path, SECTORS * 512), 0);
	disk.block_size = 0;
	overwrite(f, "QFI\xfb\0\0\0\2", 8);
	refused(vm, &disk, -EINVAL, "qcow2");
	disk.limit.ops.refill_ns = UINT64_MAX;
	/* A caller who was built before there were limits has none. */
	catnap_disk_init_sized(&disk, offsetof(struct catnap_disk, limit));
	assert_int_equal(disk.limit.ops.refill_ns, UINT64_MAX);
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

/* Says what was waited for, from @had requests on, and what can be seen from outside of why it does
 * not come. */
static void fail_stuck(struct catnap_vm *vm, uint64_t n, uint64_t had, uint64_t ns)
{
	struct catnap_device_stats s = {.size = sizeof(s)};
	struct catnap_exit end = {.size = sizeof(end)};
	struct catnap_vm_config cfg = {.size = sizeof(cfg)};
	struct catnap_vcpu_stats v = {.size = sizeof(v)};

	catnap_vm_wait(vm, 0, &end);
	catnap_vm_get_config(vm, &cfg);
	catnap_vm_get_stats(vm, 0, &v);
	catnap_vm_get_device_stats(vm, 0, &s);
	print_error("irqchip %u, io %u: after %llu ms still waits for request %llu of the guest; "
		    "%llu had come before, %llu now, %u in flight: %s\n",
		    cfg.irqchip, cfg.io, (unsigned long long)(ns / 1000000), (unsigned long long)n,
		    (unsigned long long)had, (unsigned long long)s.requests, s.inflight,
		    s.inflight ? "the host owes the guest an answer"
		    : s.requests > had
			    ? "it is slow, or has just come to a stop"
			    : "the guest waits, or has ended (in the lab: see STI in docs/lab.md)");
	print_error("device: status %u, %llu errors, %llu faults, %llu waits of %llu ns\n",
		    s.status, (unsigned long long)s.errors, (unsigned long long)s.faults,
		    (unsigned long long)s.limit_waits, (unsigned long long)s.limit_wait_ns);
	print_error("vCPU: %llu exits, of them %llu mmio, %llu hlt, %llu window, %llu signal; "
		    "%llu injected, %llu ns of processor time\n",
		    (unsigned long long)v.exits, (unsigned long long)v.exits_mmio,
		    (unsigned long long)v.exits_hlt, (unsigned long long)v.exits_window,
		    (unsigned long long)v.exits_signal, (unsigned long long)v.injected,
		    (unsigned long long)v.cpu_ns);
	fail_msg("stuck: state %d, exit %u with %d", catnap_vm_get_state(vm), end.reason, end.code);
}

static void wait_for_requests(struct catnap_vm *vm, uint64_t n)
{
	uint64_t begin = now_ns(), had, waited;
	uint32_t inflight;

	had = requests(vm, &inflight);
	while (requests(vm, &inflight) < n) {
		waited = now_ns() - begin;
		if (waited > UINT64_C(20000000000))
			fail_stuck(vm, n, had, waited);
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
	const struct catnap_rate_limit ops = {.ops = {.refill_ns = 10000000, .size = 1}};
	const struct catnap_rate_limit bw = {.bw = {.refill_ns = 10000000, .size = 4096}};

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
	disk.limit.bw = (struct catnap_bucket){.refill_ns = UINT64_C(1000000000), .size = 1};
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

/* Makes a child, whose descriptors are the VM's, too; it lives until it is killed, or @destroys and
 * ends. */
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
		/* A length that the image cannot have changes nothing. */
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
	/* A refused request has not made it longer again. */
	assert_int_equal(length(f), SECTORS / 2 * 512);
	catnap_vm_destroy(&vm);
}

static void an_image_that_grows_reaches_the_guest(void **state)
{
	for (uint32_t irqchip = 0; irqchip < 2; irqchip++)
		for (uint32_t io = 0; io < 2; io++)
			changes(*state, irqchip, io);
}

/* As tests/guest/blk.c has it (swaps=N). */
#define BLOCK	    4096u
#define SWAP_READS  32u
#define SWAP_FIRST  64u
#define SWAP_WRITES 1024u
#define SWAPS	    100u

static uint64_t block[BLOCK / 8];

/* Image number @n, open. */
static int make_image(uint64_t n, char path[64])
{
	int fd;

	snprintf(path, 64, "/tmp/test_disk.%u.XXXXXX", (unsigned int)n);
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)(SWAP_FIRST + SWAP_WRITES + n) * BLOCK), 0);
	for (uint64_t b = 0; b < SWAP_READS; b++) {
		for (uint64_t i = 0; i < BLOCK / 8; i++)
			block[i] = n << 40 | b << 20 | i;
		assert_int_equal(pwrite(fd, block, BLOCK, (off_t)(b * BLOCK)), BLOCK);
	}
	return fd;
}

/* All that the guest wrote while the image was its disk is in it, whole, and nothing else: writes
 * *@next and on. None comes later. */
static void check_image(int fd, uint64_t *next)
{
	uint64_t least = UINT64_MAX, most = 0, n = 0;

	for (uint64_t slot = 0; slot < SWAP_WRITES; slot++) {
		uint64_t number;

		assert_int_equal(pread(fd, block, BLOCK, (off_t)((SWAP_FIRST + slot) * BLOCK)),
				 BLOCK);
		if (!block[0])
			continue;
		number = block[0] << 4 >> 16;
		assert_int_equal(number % SWAP_WRITES, slot);
		for (uint64_t i = 0; i < BLOCK / 8; i++)
			assert_true(block[i] == (UINT64_C(0xb) << 60 | number << 12 | i));
		least = number < least ? number : least;
		most = number > most ? number : most;
		n++;
	}
	if (!n)
		return;
	assert_int_equal(n, most - least + 1);
	if (n < SWAP_WRITES)
		assert_int_equal(least, *next);
	else
		assert_true(least >= *next);
	*next = most + 1;
}

static void not_taken(struct catnap_vm *vm, const struct catnap_disk *disk, int ret,
		      const char *what)
{
	uint64_t bytes = 1;

	assert_int_equal(catnap_vm_change_disk(vm, 0, disk, &bytes), ret);
	if (!strstr(catnap_vm_last_error(vm), what))
		fail_msg("\"%s\" lacks \"%s\"", catnap_vm_last_error(vm), what);
	assert_int_equal(bytes, 1);
}

/* Tests that a file that cannot be the disk's image is refused, and that the descriptor stays the
 * caller's. */
static void refuse_images(struct fix *f, struct catnap_vm *vm, const char *path)
{
	struct catnap_disk disk;
	int fd;

	catnap_disk_init(&disk);
	not_taken(vm, &disk, -EINVAL, "no path");
	disk.path = "/nonexistent/image";
	not_taken(vm, &disk, -ENOENT, "/nonexistent/image");
	disk.path = path;
	disk.readonly = 1;
	not_taken(vm, &disk, -EINVAL, "readonly");
	disk.readonly = 0;
	disk.block_size = 4096;
	not_taken(vm, &disk, -EINVAL, "block-size");
	disk.block_size = 0;
	disk.path = f->path;
	overwrite(f, "\0\0\0\0\0\0\0\0", 8);
	assert_int_equal(truncate(f->path, 4096 + 5), 0);
	not_taken(vm, &disk, -EINVAL, "multiple of 512");
	assert_int_equal(truncate(f->path, 4096), 0);
	overwrite(f, "QFI\xfb\0\0\0\2", 8);
	not_taken(vm, &disk, -EINVAL, "qcow2");
	disk.path = NULL;
	fd = disk.fd = open(f->path, O_RDONLY | O_CLOEXEC);
	not_taken(vm, &disk, -EINVAL, "read and write");
	disk.direct = 1;
	not_taken(vm, &disk, -EINVAL, "direct");
	assert_int_equal(close(fd), 0);
	not_taken(vm, &disk, -EBADF, "descriptor");
}

/* The lock has gone to the new image. */
static void check_locks(struct fix *f, const char *old, const char *new)
{
	struct fix it = {.image = f->image};

	snprintf(it.path, sizeof(it.path), "%s", old);
	assert_int_equal(have_disk(&it), 0);
	snprintf(it.path, sizeof(it.path), "%s", new);
	assert_int_equal(have_disk(&it), -EBUSY);
}

/* A thread of the program's, with the filter that such a thread has. */
struct closed_in {
	struct catnap_vm *vm;
	const char *path;
	const struct catnap_disk *disk;
	uint64_t *bytes;
	int filtered, by_path, ret;
	char sentence[256];
};

static void *closed_in(void *arg)
{
	struct closed_in *c = arg;
	struct catnap_disk disk;

	catnap_disk_init(&disk);
	disk.path = c->path;
	c->filtered = catnap_vm_sandbox_thread(c->vm, 0);
	c->by_path = catnap_vm_change_disk(c->vm, 0, &disk, NULL);
	snprintf(c->sentence, sizeof(c->sentence), "%s", catnap_vm_last_error(c->vm));
	c->ret = catnap_vm_change_disk(c->vm, 0, c->disk, c->bytes);
	return NULL;
}

/* There a path cannot be opened, and a descriptor is taken. */
static void change_closed_in(struct catnap_vm *vm, const char *path, const struct catnap_disk *disk,
			     uint64_t *bytes)
{
	struct closed_in c = {.vm = vm, .path = path, .disk = disk, .bytes = bytes};
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, closed_in, &c), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	if (c.filtered == -ENOTSUP)
		return;
	assert_int_equal(c.filtered, 0);
	assert_int_equal(c.by_path, -EACCES);
	assert_non_null(strstr(c.sentence, "expected a descriptor"));
	assert_int_equal(c.ret, 0);
}

static bool has_direct(const char *path)
{
	int fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/*
 * The guest reads and writes while the image is changed all the time: what it reads is of one image
 * or the next, never the one before again, and each of its writes is in the image that it was made
 * to. By path and by descriptor, around the page cache and through it.
 */
static void swap(struct fix *f, uint32_t irqchip, uint32_t io, uint32_t sandbox)
{
	struct catnap_exit end = {.size = sizeof(end)};
	struct catnap_disk disk;
	struct catnap_vm_config cfg;
	struct catnap_vm *vm;
	char path[64], next_path[64];
	uint64_t next = 1, bytes;
	uint32_t inflight;
	int fd, next_fd;

	catnap_vm_config_init(&cfg);
	cfg.memory_size = UINT64_C(16) << 20;
	cfg.kernel_path = f->image;
	cfg.cmdline = "how=hlt swaps=100";
	cfg.irqchip = irqchip;
	cfg.debug_exit_port = EXIT_PORT;
	cfg.transport = CATNAP_TRANSPORT_MMIO;
	cfg.io = io;
	cfg.sandbox = sandbox;
	assert_int_equal(catnap_vm_create(&cfg, &vm), 0);
	fd = make_image(0, path);
	catnap_disk_init(&disk);
	disk.path = path;
	assert_int_equal(catnap_vm_add_disk(vm, &disk), 0);
	assert_int_equal(catnap_vm_start(vm), 0);
	for (uint64_t n = 1; n <= SWAPS; n++) {
		wait_for_requests(vm, requests(vm, &inflight) + n % 8);
		next_fd = make_image(n, next_path);
		catnap_disk_init(&disk);
		disk.path = next_path;
		if (n % 16 == 0) {
			refuse_images(f, vm, next_path);
		} else if (n % 16 == 1) {
			/* While it stands still, too: nothing is half done, unless it is long. */
			assert_int_equal(catnap_vm_pause(vm), 0);
		}
		disk.direct = n % 4 == 3 && has_direct(next_path);
		if (n % 2 == 0) {
			disk.path = NULL;
			disk.fd = open(next_path, O_RDWR | O_CLOEXEC);
		}
		if (sandbox && n % 10 == 0)
			change_closed_in(vm, next_path, &disk, &bytes);
		else if (catnap_vm_change_disk(vm, 0, &disk, &bytes) < 0)
			fail_msg("%s", catnap_vm_last_error(vm));
		assert_int_equal(bytes, (SWAP_FIRST + SWAP_WRITES + n) * BLOCK);
		if (n % 16 == 1)
			assert_int_equal(catnap_vm_resume(vm), 0);
		check_image(fd, &next);
		if (n % 10 == 0)
			check_locks(f, path, next_path);
		unlink(path);
		close(fd);
		memcpy(path, next_path, sizeof(path));
		fd = next_fd;
	}
	assert_int_equal(catnap_vm_wait(vm, UINT64_C(60000000000), &end), 0);
	assert_int_equal(end.reason, CATNAP_EXIT_DEBUG);
	assert_int_equal(end.code, 0x21); /* all that the guest checked */
	catnap_vm_destroy(&vm);
	check_image(fd, &next);
	assert_true(next > 3 * SWAPS / 2);
	unlink(path);
	close(fd);
}

static void another_image_loses_nothing(void **state)
{
	for (uint32_t irqchip = 0; irqchip < 2; irqchip++)
		for (uint32_t io = 0; io < 2; io++)
			swap(*state, irqchip, io, CATNAP_SANDBOX_OFF);
			/* A sanitizer makes calls of its own, which a sandbox does not know. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	swap(*state, CATNAP_IRQCHIP_USER, CATNAP_IO_VCPU, CATNAP_SANDBOX_ON);
#endif
}

/* A limit that is changed: those that wait for hours go on at once, whoever runs the disk, in the
 * sandbox, too. */
static void a_limit_changes_while_it_runs(void **state)
{
	const struct catnap_rate_limit hours = {
		.ops = {.refill_ns = UINT64_C(3600000000000), .size = 1}};
	const struct catnap_rate_limit fast = {.ops = {.refill_ns = 1000000, .size = 100}};
	const struct catnap_rate_limit none = {.bw = {.size = 0}};

	for (uint32_t irqchip = 0; irqchip < 2; irqchip++) {
		for (uint32_t io = 0; io < 2; io++) {
			struct catnap_vm *vm = create(*state, irqchip, io);
			uint32_t inflight;
			uint64_t n;

			assert_int_equal(add(*state, vm), 0);
			assert_int_equal(catnap_vm_start(vm), 0);
			wait_for_requests(vm, 40);
			for (int i = 0; i < 5; i++) {
				assert_int_equal(catnap_vm_set_disk_limit(vm, 0, &hours), 0);
				usleep(20000);
				n = requests(vm, &inflight);
				usleep(20000);
				assert_in_range(requests(vm, &inflight), n, n + 1);
				assert_int_equal(
					catnap_vm_set_disk_limit(vm, 0, i & 1 ? &fast : &none), 0);
				wait_for_requests(vm, n + 40);
			}
			catnap_vm_destroy(&vm);
		}
	}
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
		T(another_image_loses_nothing),
		T(a_limit_changes_while_it_runs),
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
