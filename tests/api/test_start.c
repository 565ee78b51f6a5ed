/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A start is all or nothing: a thread that cannot be made, or is not ready, leaves the VM as it
 * was. The C library's functions that may fail are stood in for, and fail when they are told to.
 * And on which processors the threads are that it makes.
 */
#include "states.h"
#include "uring.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

#define COUNTER 0x8100u
#define VCPUS	3

/* again: incw COUNTER; jmp again */
static const uint8_t counting[] = {0xff, 0x06, 0x00, 0x81, 0xeb, 0xfa};

/* -- what fails ------------------------------------------------------------------------------- */

/* The @n-th call from now on fails, once; 0: none. */
static _Atomic int thread_fails, timer_fails;

static bool now_fails(_Atomic int *n)
{
	return atomic_load(n) > 0 && atomic_fetch_sub(n, 1) == 1;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
	int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
	void *symbol = dlsym(RTLD_NEXT, "pthread_create");

	memcpy(&real, &symbol, sizeof(real));
	return now_fails(&thread_fails) ? EAGAIN : real(thread, attr, run, arg);
}

int timer_create(clockid_t clock, struct sigevent *ev, timer_t *timer)
{
	int (*real)(clockid_t, struct sigevent *, timer_t *);
	void *symbol = dlsym(RTLD_NEXT, "timer_create");

	memcpy(&real, &symbol, sizeof(real));
	if (now_fails(&timer_fails)) {
		errno = EAGAIN;
		return -1;
	}
	return real(clock, ev, timer);
}

/* -- all or nothing --------------------------------------------------------------------------- */

static struct catnap_vm *make(uint32_t irqchip, uint32_t io, uint32_t sandbox)
{
	struct catnap_vm_config cfg;

	tiny_config(&cfg);
	cfg.kernel_data = counting;
	cfg.kernel_size = sizeof(counting);
	cfg.vcpus = VCPUS;
	cfg.irqchip = irqchip;
	cfg.io = io;
	cfg.no_rings = !has_uring(); /* an I/O thread only where one is asked for */
	cfg.sandbox = sandbox;
	return tiny_vm(&cfg, MADE);
}

static volatile uint16_t *counter(struct catnap_vm *vm)
{
	void *p;

	assert_int_equal(catnap_vm_guest_memory(vm, COUNTER, 2, &p), 0);
	return p;
}

static bool counts(struct catnap_vm *vm)
{
	volatile uint16_t *n = counter(vm);
	uint16_t was = *n;

	for (uint64_t begin = now_ns(); *n == was; usleep(1000))
		if (now_ns() - begin > LIMIT)
			return false;
	return true;
}

/* Of this process, but for those of a sanitizer's, which are there before. */
static int threads(void)
{
	return (int)entries("/proc/self/task");
}

/* A thread that was joined may be seen for a moment yet. */
static bool threads_are(int n)
{
	for (uint64_t begin = now_ns(); threads() != n; usleep(1000))
		if (now_ns() - begin > LIMIT)
			return false;
	return true;
}

static void start_fails(struct catnap_vm *vm, const char *says)
{
	int before = threads();

	assert_int_equal(catnap_vm_start(vm), -EAGAIN);
	if (!strstr(catnap_vm_last_error(vm), says))
		fail_msg("\"%s\" lacks \"%s\"", catnap_vm_last_error(vm), says);
	assert_true(threads_are(before));
	assert_int_equal(*counter(vm), 0);
	/* It was not started, for all calls. */
	assert_int_equal(catnap_vm_pause(vm), -EINVAL);
	assert_int_equal(catnap_vm_wait(vm, 0, NULL), -ETIMEDOUT);
	assert_non_null(strstr(catnap_vm_last_error(vm), "not started"));
}

static void start_succeeds(struct catnap_vm *vm)
{
	assert_int_equal(catnap_vm_start(vm), 0);
	assert_true(counts(vm));
	assert_int_equal(catnap_vm_stop(vm), 0);
	assert_int_equal(catnap_vm_destroy(&vm), 0);
}

static void a_thread_that_is_not_made_leaves_nothing(void **state)
{
	for (uint32_t io = CATNAP_IO_VCPU; io <= CATNAP_IO_THREAD; io++)
		for (uint32_t irqchip = 0; irqchip < 2; irqchip++)
			for (int n = 1; n <= VCPUS + (int)io; n++) {
				struct catnap_vm *vm = make(irqchip, io, CATNAP_SANDBOX_OFF);
				char says[32] = "the I/O thread";

				if (n > (int)io)
					snprintf(says, sizeof(says), "vCPU %d", n - 1 - (int)io);
				atomic_store(&thread_fails, n);
				start_fails(vm, says);
				assert_int_equal(atomic_load(&thread_fails), 0);
				start_succeeds(vm);
			}
}

/* They all are there; one of them then finds that it cannot. */
static void a_thread_that_is_not_ready_leaves_nothing(void **state)
{
	for (int n = 1; n <= VCPUS; n++)
		for (uint32_t sandbox = CATNAP_SANDBOX_OFF; sandbox <= CATNAP_SANDBOX_LOG;
		     sandbox++) {
			struct catnap_vm *vm = make(CATNAP_IRQCHIP_USER, CATNAP_IO_THREAD, sandbox);

			atomic_store(&timer_fails, n);
			start_fails(vm, "timer_create of vCPU");
			start_succeeds(vm);
		}
}

static void one_that_failed_can_be_destroyed(void **state)
{
	struct catnap_vm *vm = make(CATNAP_IRQCHIP_USER, CATNAP_IO_THREAD, CATNAP_SANDBOX_OFF);

	atomic_store(&thread_fails, 3);
	start_fails(vm, "vCPU 1");
	assert_int_equal(catnap_vm_destroy(&vm), 0);
	assert_null(vm);
}

static void one_that_was_stopped_is_not_started(void **state)
{
	struct catnap_vm *vm = make(CATNAP_IRQCHIP_USER, CATNAP_IO_VCPU, CATNAP_SANDBOX_OFF);

	assert_int_equal(catnap_vm_stop(vm), 0);
	assert_int_equal(catnap_vm_start(vm), -ECANCELED);
	assert_non_null(strstr(catnap_vm_last_error(vm), "stopped before"));
	assert_int_equal(*counter(vm), 0);
	catnap_vm_destroy(&vm);
}

static void a_timer_that_is_not_to_be_had_fails_create(void **state)
{
	struct catnap_vm_config cfg;
	struct catnap_vm *vm;

	tiny_config(&cfg);
	cfg.vcpus = VCPUS;
	for (int n = 1; n <= VCPUS; n++) {
		atomic_store(&timer_fails, n);
		assert_int_equal(catnap_vm_create(&cfg, &vm), -EAGAIN);
		assert_non_null(strstr(catnap_vm_last_error(NULL), "timer of vCPU"));
	}
}

/* -- processors ------------------------------------------------------------------------------- */

struct place {
	struct catnap_vm *vm;
	cpu_set_t vcpus; /* of any of its threads */
	int ret;
};

/* The processors of all threads whose names begin with "catnap-". */
static void gather(cpu_set_t *all)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *e;

	CPU_ZERO(all);
	while (dir && (e = readdir(dir))) {
		char path[300], name[16] = "";
		cpu_set_t one;
		ssize_t n;
		int fd;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", e->d_name);
		fd = open(path, O_RDONLY);
		n = fd < 0 ? -1 : read(fd, name, sizeof(name) - 1);
		if (fd >= 0)
			close(fd);
		if (n > 0 && strncmp(name, "catnap-", 7) == 0 &&
		    sched_getaffinity(atoi(e->d_name), sizeof(one), &one) == 0)
			CPU_OR(all, all, &one);
	}
	if (dir)
		closedir(dir);
}

static void *start_on_one(void *arg)
{
	struct place *p = arg;
	cpu_set_t one, was;
	int first = 0;

	sched_getaffinity(0, sizeof(was), &was);
	while (!CPU_ISSET((size_t)first, &was))
		first++;
	CPU_ZERO(&one);
	CPU_SET((size_t)first, &one);
	sched_setaffinity(0, sizeof(one), &one);
	p->ret = catnap_vm_start(p->vm);
	gather(&p->vcpus);
	sched_setaffinity(0, sizeof(was), &was);
	return NULL;
}

static void threads_are_not_tied_to_their_makers_processor(void **state)
{
	cpu_set_t all;

	sched_getaffinity(0, sizeof(all), &all);
	if (CPU_COUNT(&all) < 2)
		skip();
	/* By a thread of its own, and by the main thread. */
	for (int main_too = 0; main_too < 2; main_too++) {
		struct place p = {
			.vm = make(CATNAP_IRQCHIP_USER, CATNAP_IO_THREAD, CATNAP_SANDBOX_OFF)};
		pthread_t thread;

		if (main_too) {
			start_on_one(&p);
		} else {
			assert_int_equal(pthread_create(&thread, NULL, start_on_one, &p), 0);
			pthread_join(thread, NULL);
		}
		assert_int_equal(p.ret, 0);
		assert_true(CPU_EQUAL(&p.vcpus, &all));
		assert_int_equal(catnap_vm_stop(p.vm), 0);
		catnap_vm_destroy(&p.vm);
	}
}

static void processors_that_may_not_be_used_fail_create(void **state)
{
	static const int32_t bad[] = {-2, CPU_SETSIZE, CPU_SETSIZE - 1};
	struct catnap_vm_config cfg;
	struct catnap_vm *vm;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int32_t cpus[2] = {-1, bad[i]};

		tiny_config(&cfg);
		cfg.vcpus = 2;
		cfg.vcpu_affinity = cpus;
		assert_int_equal(catnap_vm_create(&cfg, &vm), -EINVAL);
		assert_non_null(strstr(catnap_vm_last_error(NULL), "vcpu_affinity: vCPU 1"));
	}
}

static void a_vcpu_is_tied_to_what_was_asked_for(void **state)
{
	int32_t cpus[1] = {sched_getcpu()};
	struct catnap_vm_config cfg;
	struct catnap_vm *vm;
	cpu_set_t on;

	tiny_config(&cfg);
	cfg.vcpu_affinity = cpus;
	cfg.no_rings = !has_uring();
	vm = tiny_vm(&cfg, RUNNING);
	gather(&on);
	assert_int_equal(CPU_COUNT(&on), 1);
	assert_true(CPU_ISSET((size_t)cpus[0], &on));
	assert_int_equal(catnap_vm_stop(vm), 0);
	catnap_vm_destroy(&vm);
}

static void a_trace_that_cannot_be_written_fails_create(void **state)
{
	int fds[2] = {open("/dev/null", O_RDONLY), -1};
	struct catnap_vm_config cfg;
	struct catnap_vm *vm;

	fds[1] = dup(fds[0]);
	close(fds[1]);
	for (int i = 0; i < 2; i++) {
		tiny_config(&cfg);
		cfg.halt_trace_fd = fds[i];
		assert_int_equal(catnap_vm_create(&cfg, &vm), -EBADF);
		assert_non_null(strstr(catnap_vm_last_error(NULL), "halt_trace_fd"));
	}
	close(fds[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_thread_that_is_not_made_leaves_nothing),
		cmocka_unit_test(a_thread_that_is_not_ready_leaves_nothing),
		cmocka_unit_test(one_that_failed_can_be_destroyed),
		cmocka_unit_test(one_that_was_stopped_is_not_started),
		cmocka_unit_test(a_timer_that_is_not_to_be_had_fails_create),
		cmocka_unit_test(threads_are_not_tied_to_their_makers_processor),
		cmocka_unit_test(processors_that_may_not_be_used_fail_create),
		cmocka_unit_test(a_vcpu_is_tied_to_what_was_asked_for),
		cmocka_unit_test(a_trace_that_cannot_be_written_fails_create),
	};

	if (access("/dev/kvm", R_OK | W_OK) < 0)
		return SKIP;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
