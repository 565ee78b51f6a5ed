/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests the calls that do not wait: a pause, an end, a destroy that are asked for, each with the
 * descriptor that becomes readable. And the calls that do wait have a limit where a callback does
 * not come back.
 */
#include "states.h"
#include "uring.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

/* mov dx, 0x3f8; mov al, 'x'; again: out dx, al; jmp again */
static const uint8_t printing[] = {0xba, 0xf8, 0x03, 0xb0, 'x', 0xee, 0xeb, 0xfd};

struct vm {
	struct catnap_vm *vm;
	int gone;		    /* an eventfd */
	void (*once)(struct vm *v); /* by the first output */
	_Atomic unsigned int outputs;
	_Atomic bool held;    /* hold() was called */
	_Atomic bool release; /* hold() may return */
	_Atomic int failed;   /* a line of this file */
};

#define CHECK(x) (void)((x) || (atomic_store(&v->failed, __LINE__), 0))

static void on_output(void *ctx, const void *data, size_t len)
{
	struct vm *v = ctx;
	void (*once)(struct vm *) = v->once;

	v->once = NULL;
	if (once)
		once(v);
	atomic_fetch_add(&v->outputs, 1);
}

static void make(struct vm *v, uint32_t vcpus, uint32_t io, uint32_t sandbox)
{
	struct catnap_vm_config cfg;

	tiny_config(&cfg);
	cfg.kernel_data = printing;
	cfg.kernel_size = sizeof(printing);
	cfg.vcpus = vcpus;
	cfg.io = io;
	cfg.sandbox = sandbox;
	cfg.rng = 1;
	cfg.serial_output = on_output;
	cfg.serial_ctx = v;
	v->gone = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	v->vm = tiny_vm(&cfg, MADE);
}

static bool readable_within(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, ms) == 1;
}

static bool readable(int fd)
{
	return readable_within(fd, 0);
}

#define SOON_MS 60000 /* for what is to come */

/* Is it freed, in a while? Read, for that is what orders memory, and what a sanitizer knows of. */
static bool is_gone(const struct vm *v)
{
	uint64_t n;

	return readable_within(v->gone, SOON_MS) && read(v->gone, &n, sizeof(n)) == sizeof(n);
}

static void outputs_reach(struct vm *v, unsigned int least)
{
	for (uint64_t begin = now_ns(); atomic_load(&v->outputs) < least; usleep(1000))
		assert_true(now_ns() - begin < LIMIT);
}

/* As none should. */
static void hold(struct vm *v)
{
	atomic_store(&v->held, true);
	while (!atomic_load(&v->release))
		usleep(1000);
}

static void wait_until_held(struct vm *v)
{
	for (uint64_t begin = now_ns(); !atomic_load(&v->held); usleep(1000))
		assert_true(now_ns() - begin < LIMIT);
}

/* -- pauses ----------------------------------------------------------------------------------- */

static void a_pause_that_is_asked_for_comes(void **state)
{
	for (uint32_t io = CATNAP_IO_VCPU; io <= CATNAP_IO_THREAD; io++)
		for (uint32_t vcpus = 1; vcpus <= 8; vcpus += 7) {
			struct vm v = {.once = NULL};
			int fd;

			make(&v, vcpus, io, CATNAP_SANDBOX_OFF);
			fd = catnap_vm_get_paused_fd(v.vm);
			assert_true(fd >= 0);
			assert_int_equal(catnap_vm_get_paused_fd(v.vm), fd);
			assert_false(readable(fd));
			assert_int_equal(catnap_vm_start(v.vm), 0);
			for (int i = 0; i < 20; i++) {
				unsigned int before;

				assert_false(readable(fd));
				assert_int_equal(catnap_vm_request_pause(v.vm), 0);
				assert_int_equal(catnap_vm_request_pause(v.vm), 0);
				assert_true(readable_within(fd, SOON_MS));
				before = atomic_load(&v.outputs);
				assert_int_equal(catnap_vm_pause(v.vm), 0); /* it stands */
				assert_int_equal(atomic_load(&v.outputs), before);
				assert_int_equal(catnap_vm_resume(v.vm), 0);
				assert_false(readable(fd));
				outputs_reach(&v, before + 1);
			}
			assert_int_equal(catnap_vm_request_stop(v.vm), 0);
			assert_true(readable(fd)); /* so that nobody waits in vain */
			assert_int_equal(catnap_vm_destroy(&v.vm), 0);
			close(v.gone);
		}
}

/* Asked for later, it tells how things are. */
static void a_late_descriptor_is_right(void **state)
{
	struct vm v = {.once = NULL};

	make(&v, 2, CATNAP_IO_VCPU, CATNAP_SANDBOX_OFF);
	assert_int_equal(catnap_vm_start(v.vm), 0);
	assert_int_equal(catnap_vm_pause(v.vm), 0);
	assert_true(readable(catnap_vm_get_paused_fd(v.vm)));
	assert_int_equal(catnap_vm_resume(v.vm), 0);
	assert_false(readable(catnap_vm_get_paused_fd(v.vm)));
	assert_int_equal(catnap_vm_destroy(&v.vm), 0);
	close(v.gone);
}

static void pause_myself(struct vm *v)
{
	CHECK(catnap_vm_pause(v->vm) == -EDEADLK);
	CHECK(catnap_vm_request_pause(v->vm) == 0);
	CHECK(!readable(catnap_vm_get_paused_fd(v->vm)));
}

static void a_callback_may_ask_for_a_pause(void **state)
{
	struct vm v = {.once = pause_myself};

	make(&v, 1, CATNAP_IO_VCPU, CATNAP_SANDBOX_OFF);
	assert_int_equal(catnap_vm_start(v.vm), 0);
	assert_true(readable_within(catnap_vm_get_paused_fd(v.vm), SOON_MS));
	assert_int_equal(atomic_load(&v.outputs), 1);
	assert_int_equal(catnap_vm_resume(v.vm), 0);
	outputs_reach(&v, 2);
	assert_int_equal(catnap_vm_destroy(&v.vm), 0);
	assert_int_equal(atomic_load(&v.failed), 0);
	close(v.gone);
}

/* -- ends ------------------------------------------------------------------------------------- */

static void a_destroy_that_is_asked_for_comes(void **state)
{
	for (enum vm_state s = MADE; s < STATES; s++)
		for (uint32_t io = CATNAP_IO_VCPU; io <= CATNAP_IO_THREAD; io++) {
			struct vm v = {.once = NULL};
			unsigned int before = descriptors();

			make(&v, 3, io, CATNAP_SANDBOX_OFF);
			if (s != MADE)
				assert_int_equal(catnap_vm_start(v.vm), 0);
			if (s == PAUSED)
				assert_int_equal(catnap_vm_pause(v.vm), 0);
			if (s == ENDED)
				assert_int_equal(catnap_vm_stop(v.vm), 0);
			assert_int_equal(catnap_vm_request_destroy(v.vm, 12345), -EBADF);
			assert_non_null(strstr(catnap_vm_last_error(v.vm), "12345"));
			assert_int_equal(catnap_vm_request_destroy(v.vm, v.gone), 0);
			assert_true(is_gone(&v));
			close(v.gone);
			assert_int_equal(descriptors(), before);
		}
}

/* Each of them is refused, and neither written to nor taken for one that was. */
static void what_is_no_eventfd_is_refused(void **state)
{
	struct vm v = {.once = NULL};
	int pipes[2], others[6], n;

	make(&v, 1, CATNAP_IO_VCPU, CATNAP_SANDBOX_OFF);
	assert_int_equal(pipe2(pipes, O_CLOEXEC | O_NONBLOCK), 0);
	others[0] = open("/dev/null", O_RDWR | O_CLOEXEC);
	others[1] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	others[2] = pipes[1];
	others[3] = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	others[4] = epoll_create1(EPOLL_CLOEXEC);
	others[5] = memfd_create("none", MFD_CLOEXEC);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		assert_true(others[i] >= 0);
		assert_int_equal(catnap_vm_request_destroy(v.vm, others[i]), -EBADF);
		assert_non_null(strstr(catnap_vm_last_error(v.vm), "is no eventfd"));
	}
	assert_int_equal(ioctl(pipes[0], FIONREAD, &n), 0);
	assert_int_equal(n, 0);
	assert_int_equal(lseek(others[5], 0, SEEK_END), 0);
	assert_int_equal(catnap_vm_request_destroy(v.vm, -2), -EBADF);
	assert_int_equal(catnap_vm_start(v.vm), 0); /* nothing was done */
	assert_false(readable(v.gone));
	assert_int_equal(catnap_vm_request_destroy(v.vm, v.gone), 0);
	assert_true(is_gone(&v));
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		close(others[i]);
	close(pipes[0]);
	close(v.gone);
}

static void destroy_myself(struct vm *v)
{
	CHECK(catnap_vm_request_destroy(v->vm, v->gone) == 0);
	CHECK(!readable(v->gone));
	/* Until it returns, the VM is there. */
	CHECK(catnap_vm_wait(v->vm, 0, NULL) == -ETIMEDOUT);
}

/* The start may still be on its way. */
static void a_callback_may_ask_for_a_destroy(void **state)
{
	for (int i = 0; i < 50; i++) {
		struct vm v = {.once = destroy_myself};

		make(&v, 1 + (uint32_t)i % 3, (uint32_t)i & 1, CATNAP_SANDBOX_OFF);
		assert_int_equal(catnap_vm_start(v.vm), 0);
		assert_true(is_gone(&v));
		assert_int_equal(atomic_load(&v.failed), 0);
		close(v.gone);
	}
}

/* A second one takes nothing from who asked first. */
static void destroy_again(struct vm *v)
{
	int other = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	CHECK(catnap_vm_request_destroy(v->vm, other) == -EALREADY);
	CHECK(strstr(catnap_vm_last_error(v->vm), "before"));
	CHECK(catnap_vm_request_destroy(v->vm, -1) == -EALREADY);
	CHECK(!readable(other));
	close(other);
}

static void destroy_twice(struct vm *v)
{
	destroy_myself(v);
	destroy_again(v);
}

static void destroy_after_another(struct vm *v)
{
	hold(v);
	destroy_again(v);
}

static void the_first_who_asks_is_told(void **state)
{
	for (int i = 0; i < 4; i++) {
		struct vm v = {.once = i & 2 ? destroy_after_another : destroy_twice};

		make(&v, 2, (uint32_t)i & 1, CATNAP_SANDBOX_OFF);
		assert_int_equal(catnap_vm_start(v.vm), 0);
		if (i & 2) {
			wait_until_held(&v);
			assert_int_equal(catnap_vm_request_destroy(v.vm, v.gone), 0);
			atomic_store(&v.release, true);
		}
		assert_true(is_gone(&v));
		assert_int_equal(atomic_load(&v.failed), 0);
		close(v.gone);
	}
}

/* In the sandbox the last thread takes it apart under its own filter. */
static int play_in_sandbox(uint32_t io, bool by_callback)
{
	struct catnap_sandbox_config sandbox;
	struct vm v = {.once = by_callback ? destroy_myself : NULL};
	struct catnap_disk disk;
	char path[] = "/tmp/catnap-async-XXXXXX";
	int fd = mkstemp(path);

	if (fd < 0 || ftruncate(fd, 1 << 20) < 0)
		return 1;
	make(&v, 2, io, CATNAP_SANDBOX_ON);
	catnap_disk_init(&disk);
	disk.path = path;
	if (catnap_vm_add_disk(v.vm, &disk) < 0)
		return 2;
	unlink(path);
	catnap_sandbox_config_init(&sandbox);
	if (catnap_sandbox_enter(&sandbox) < 0)
		return 3;
	if (catnap_vm_start(v.vm) < 0)
		return 4;
	if (!by_callback) {
		if (catnap_vm_sandbox_thread(v.vm, 0) < 0)
			return 5;
		if (catnap_vm_get_paused_fd(v.vm) < 0)
			return 6;
		if (catnap_vm_request_pause(v.vm) < 0 ||
		    !readable_within(catnap_vm_get_paused_fd(v.vm), SOON_MS))
			return 7;
		if (catnap_vm_request_destroy(v.vm, v.gone) < 0)
			return 8;
	}
	return is_gone(&v) && !atomic_load(&v.failed) ? 42 : 9;
}

static void a_sandbox_does_not_mind(void **state)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	skip(); /* they make system calls of their own */
#endif
	if (!(catnap_sandbox_available() & CATNAP_SANDBOX_HAS_SECCOMP))
		skip();
	for (int i = 0; i < 4; i++) {
		pid_t pid = fork();
		int status;

		assert_true(pid >= 0);
		if (pid == 0) {
			prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
			_exit(play_in_sandbox((uint32_t)i & 1, i & 2));
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 42 << 8);
	}
}

/* -- limits ----------------------------------------------------------------------------------- */

static void what_waits_has_a_limit(void **state)
{
	struct vm v = {.once = hold};
	uint64_t begin;

	make(&v, 1, CATNAP_IO_VCPU, CATNAP_SANDBOX_OFF);
	assert_int_equal(catnap_vm_start(v.vm), 0);
	wait_until_held(&v);
	begin = now_ns();
	assert_int_equal(catnap_vm_pause(v.vm), -ETIMEDOUT);
	assert_true(now_ns() - begin >= CATNAP_STOP_LIMIT_NS);
	assert_non_null(strstr(catnap_vm_last_error(v.vm),
			       has_uring() ? "1 of 1 threads" : "1 of 2 threads"));
	assert_int_equal(catnap_vm_resume(v.vm), 0);
	assert_int_equal(catnap_vm_stop(v.vm), -ETIMEDOUT);
	assert_non_null(strstr(catnap_vm_last_error(v.vm), "stop"));
	assert_non_null(strstr(catnap_vm_last_error(v.vm), "vCPU 0"));
	assert_int_equal(catnap_vm_destroy(&v.vm), -ETIMEDOUT);
	assert_non_null(v.vm);
	assert_true(readable(catnap_vm_get_stopping_fd(v.vm)));
	assert_false(readable(catnap_vm_get_fd(v.vm)));
	atomic_store(&v.release, true);
	assert_int_equal(catnap_vm_destroy(&v.vm), 0);
	assert_null(v.vm);
	close(v.gone);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_pause_that_is_asked_for_comes),
		cmocka_unit_test(a_late_descriptor_is_right),
		cmocka_unit_test(a_callback_may_ask_for_a_pause),
		cmocka_unit_test(a_destroy_that_is_asked_for_comes),
		cmocka_unit_test(what_is_no_eventfd_is_refused),
		cmocka_unit_test(a_callback_may_ask_for_a_destroy),
		cmocka_unit_test(the_first_who_asks_is_told),
		cmocka_unit_test(a_sandbox_does_not_mind),
		cmocka_unit_test(what_waits_has_a_limit),
	};

	if (access("/dev/kvm", R_OK | W_OK) < 0)
		return SKIP;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
