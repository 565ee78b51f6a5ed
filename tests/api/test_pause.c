/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pauses: what two of them are, and that a guest with kvmclock is told that it did not run, however
 * that came. The guest is a few bytes in real mode: it switches kvmclock on and then spins, or
 * sleeps from timer to timer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "guest.h"

#define CLOCK	0x8000u /* struct pvclock_vcpu_time_info */
#define FLAGS	29u	/* offset of its flags */
#define STOPPED 0x02u	/* PVCLOCK_GUEST_STOPPED */
#define COUNTER 0x8100u

/* mov $MSR_CLOCK, %ecx; mov $CLOCK | 1, %eax; xor %edx, %edx; wrmsr */
#define CLOCK_ON                                                                                  \
	0x66, 0xb9, 0x01, 0x4d, 0x56, 0x4b, 0x66, 0xb8, 0x01, 0x80, 0x00, 0x00, 0x66, 0x31, 0xd2, \
		0x0f, 0x30
#define COUNT 0xff, 0x06, 0x00, 0x81 /* incw COUNTER */

static const uint8_t with_clock[] = {CLOCK_ON, COUNT, 0xeb, 0xfa};
static const uint8_t without_clock[] = {COUNT, 0xeb, 0xfa};

static struct catnap_vm *start(const uint8_t *code, size_t len, enum catnap_irqchip irqchip)
{
	struct catnap_vm_config cfg;
	struct catnap_vm *vm;

	catnap_vm_config_init(&cfg);
	cfg.memory_size = UINT64_C(1) << 20;
	cfg.kernel_data = code;
	cfg.kernel_size = len;
	cfg.image_kind = CATNAP_IMAGE_FLAT;
	cfg.irqchip = irqchip;
	assert_int_equal(catnap_vm_create(&cfg, &vm), 0);
	assert_int_equal(catnap_vm_start(vm), 0);
	return vm;
}

static volatile uint8_t *memory(struct catnap_vm *vm, uint64_t gpa)
{
	void *p;

	assert_int_equal(catnap_vm_guest_memory(vm, gpa, 1, &p), 0);
	return p;
}

/* It counts: in some seconds at the latest. */
static bool runs(struct catnap_vm *vm)
{
	volatile uint16_t *counter = (volatile uint16_t *)(volatile void *)memory(vm, COUNTER);
	uint16_t was = *counter;

	for (int i = 0; i < 10000; i++) {
		if (*counter != was)
			return true;
		usleep(1000);
	}
	return false;
}

static bool stands(struct catnap_vm *vm)
{
	volatile uint16_t *counter = (volatile uint16_t *)(volatile void *)memory(vm, COUNTER);
	uint16_t was = *counter;

	usleep(50000);
	return *counter == was;
}

static bool told(struct catnap_vm *vm)
{
	for (int i = 0; i < 10000; i++) {
		if (*memory(vm, CLOCK + FLAGS) & STOPPED)
			return true;
		usleep(1000);
	}
	return false;
}

static void stop_vm(struct catnap_vm *vm)
{
	assert_int_equal(catnap_vm_stop(vm), 0);
	catnap_vm_destroy(&vm);
}

static void a_paused_guest_is_told(void **state)
{
	for (int irqchip = 0; irqchip < 2; irqchip++) {
		struct catnap_vm *vm =
			start(with_clock, sizeof(with_clock), (enum catnap_irqchip)irqchip);

		assert_true(runs(vm));
		assert_false(*memory(vm, CLOCK + FLAGS) & STOPPED);
		for (int i = 0; i < 3; i++) {
			assert_int_equal(catnap_vm_pause(vm), 0);
			assert_int_equal(catnap_vm_resume(vm), 0);
			assert_true(told(vm));
			/* As a guest takes note of it. */
			*memory(vm, CLOCK + FLAGS) &= (uint8_t)~STOPPED;
		}
		stop_vm(vm);
	}
}

/* Nobody to be told: no error. */
static void one_without_kvmclock_goes_on(void **state)
{
	struct catnap_vm *vm = start(without_clock, sizeof(without_clock), CATNAP_IRQCHIP_USER);

	assert_true(runs(vm));
	assert_int_equal(catnap_vm_pause(vm), 0);
	assert_int_equal(catnap_vm_resume(vm), 0);
	assert_true(runs(vm));
	stop_vm(vm);
}

/* Stops this process, and lets it go on after @ms. */
static void be_stopped(unsigned int ms)
{
	pid_t me = getpid(), child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0) {
		kill(me, SIGSTOP);
		usleep(ms * 1000);
		kill(me, SIGCONT);
		_exit(0);
	}
	while (waitpid(child, &status, 0) < 0)
		assert_int_equal(errno, EINTR);
}

static void a_stopped_process_tells_its_guest(void **state)
{
	for (int irqchip = 0; irqchip < 2; irqchip++) {
		struct catnap_vm *vm =
			start(with_clock, sizeof(with_clock), (enum catnap_irqchip)irqchip);

		assert_true(runs(vm));
		be_stopped(3000);
		assert_true(told(vm));
		assert_true(runs(vm));
		stop_vm(vm);
	}
}

static void pauses_are_not_counted(void **state)
{
	struct catnap_vm *vm = start(without_clock, sizeof(without_clock), CATNAP_IRQCHIP_USER);

	assert_int_equal(catnap_vm_resume(vm), 0);
	assert_true(runs(vm));
	assert_int_equal(catnap_vm_pause(vm), 0);
	assert_int_equal(catnap_vm_pause(vm), 0);
	assert_true(stands(vm));
	assert_int_equal(catnap_vm_resume(vm), 0);
	assert_true(runs(vm));
	assert_int_equal(catnap_vm_resume(vm), 0);
	assert_true(runs(vm));
	assert_int_equal(catnap_vm_pause(vm), 0);
	assert_true(stands(vm));
	stop_vm(vm);
}

static void *resume_always(void *arg)
{
	struct catnap_vm *vm = arg;

	while (catnap_vm_resume(vm) == 0)
		;
	return NULL;
}

/* 0 is a promise: it stood still. A pause that another thread undid meanwhile is said to be
 * undone. */
static void a_pause_that_is_overtaken_says_so(void **state)
{
	struct catnap_vm *vm = start(without_clock, sizeof(without_clock), CATNAP_IRQCHIP_USER);
	pthread_t thread;

	assert_true(runs(vm));
	assert_int_equal(pthread_create(&thread, NULL, resume_always, vm), 0);
	for (int i = 0; i < 200; i++) {
		int ret = catnap_vm_pause(vm);

		assert_true(ret == 0 || ret == -ECANCELED);
	}
	assert_int_equal(catnap_vm_stop(vm), 0);
	pthread_join(thread, NULL);
	assert_int_equal(catnap_vm_pause(vm), -EINVAL);
	catnap_vm_destroy(&vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_paused_guest_is_told),
		cmocka_unit_test(one_without_kvmclock_goes_on),
		cmocka_unit_test(a_stopped_process_tells_its_guest),
		cmocka_unit_test(pauses_are_not_counted),
		cmocka_unit_test(a_pause_that_is_overtaken_says_so),
	};

	if (access("/dev/kvm", R_OK | W_OK) != 0)
		return SKIP;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
