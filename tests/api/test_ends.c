/* SPDX-License-Identifier: Apache-2.0 */
/* Ends, and callbacks: what may be called from them, and that none of them can keep a VM from being
 * asked, and told to end. The guests are a few bytes of real mode. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "guest.h"

#define MS UINT64_C(1000000)

/* mov dx, PORT; mov al, BYTE; again: out dx, al; jmp again */
#define WRITES(port, byte)                                                     \
	{                                                                      \
		0xba, (port)&0xff, (port) >> 8, 0xb0, (byte), 0xee, 0xeb, 0xfd \
	}
static const uint8_t prints[] = WRITES(0x3f8, 'x');
static const uint8_t crashes[] = WRITES(0x505, 2); /* panicked, and goes on */
static const uint8_t halts[] = {0xfa, 0xf4, 0xeb, 0xfd};

struct vm {
	struct catnap_vm *vm;
	void (*once)(struct vm *v); /* called by the first output */
	_Atomic unsigned int outputs, logs;
	_Atomic bool release; /* hold() may return */
	char said[512];
	int failed; /* a line of this file; asserts are for the main thread */
};

#define CHECK(x) (void)((x) || (v->failed = __LINE__))

static void run_once(struct vm *v)
{
	void (*once)(struct vm * v) = v->once;

	v->once = NULL;
	if (once)
		once(v);
}

static void on_output(void *ctx, const void *data, size_t len)
{
	struct vm *v = ctx;

	atomic_fetch_add(&v->outputs, 1);
	run_once(v);
}

static void on_log(void *ctx, enum catnap_log_level level, const char *message)
{
	struct vm *v = ctx;

	/* The messages of catnap_vm_create() come before there is a VM. */
	if (level > CATNAP_LOG_WARN || !v->vm)
		return;
	snprintf(v->said, sizeof(v->said), "%s", message);
	atomic_fetch_add(&v->logs, 1);
	run_once(v);
}

static void launch_with(struct vm *v, const uint8_t *code, size_t size, uint32_t irqchip,
			uint32_t no_rings)
{
	struct catnap_vm_config cfg;

	catnap_vm_config_init(&cfg);
	cfg.memory_size = UINT64_C(2) << 20;
	cfg.image_kind = CATNAP_IMAGE_FLAT;
	cfg.kernel_data = code;
	cfg.kernel_size = size;
	cfg.irqchip = irqchip;
	cfg.serial_output = on_output;
	cfg.log = on_log;
	cfg.serial_ctx = cfg.log_ctx = v;
	cfg.rng = 1;
	cfg.no_rings = no_rings;
	assert_int_equal(catnap_vm_create(&cfg, &v->vm), 0);
	assert_int_equal(catnap_vm_start(v->vm), 0);
}

static void launch(struct vm *v, const uint8_t *code, size_t size, uint32_t irqchip)
{
	launch_with(v, code, size, irqchip, 0);
}

#define LAUNCH(v, code, irqchip) launch(v, code, sizeof(code), irqchip)

static void until(_Atomic unsigned int *n, unsigned int least)
{
	for (uint64_t begin = now_ns(); atomic_load(n) < least; usleep(1000))
		assert_true(now_ns() - begin < 20000 * MS);
}

static struct catnap_exit end_of(struct vm *v)
{
	struct catnap_exit e = {.size = sizeof(e)};

	assert_int_equal(catnap_vm_wait(v->vm, 20000 * MS, &e), 0);
	return e;
}

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

/* -- what a callback may call ----------------------------------------------------------------- */

static void refused(struct vm *v, int ret, const char *what)
{
	CHECK(ret == -EDEADLK);
	CHECK(strstr(catnap_vm_last_error(v->vm), what));
}

/* All that is said to be allowed; then what would wait for this very thread; then the end. */
static void call_everything(struct vm *v)
{
	struct catnap_vcpu_stats s = {.size = sizeof(s)};
	struct catnap_device_stats d = {.size = sizeof(d)};
	struct catnap_policy_stats p = {.size = sizeof(p), .context_size = sizeof(p.context[0])};
	struct catnap_exit e = {.size = sizeof(e)};
	struct catnap_vm *copy = v->vm;
	struct catnap_halt_poll poll;
	void *memory;

	CHECK(catnap_vm_serial_input(v->vm, "abc", 3) == 3);
	catnap_vm_signal_msi(v->vm, 0xfee00000, 0x40); /* its APIC may be off */
	CHECK(catnap_vm_get_stats(v->vm, 0, &s) == 0);
	CHECK(catnap_vm_get_device_stats(v->vm, 0, &d) == 0);
	catnap_vm_get_policy_stats(v->vm, 0, &p);
	catnap_halt_poll_init(&poll);
	poll.policy = CATNAP_POLICY_FIXED;
	CHECK(catnap_vm_set_halt_poll(v->vm, -1, &poll) == 0);
	CHECK(catnap_vm_power_button(v->vm) == -ENXIO);
	CHECK(catnap_vm_guest_memory(v->vm, 0, 4096, &memory) == 0);
	CHECK(catnap_vm_resume(v->vm) == 0);
	CHECK(catnap_vm_wait(v->vm, 0, &e) == -ETIMEDOUT);
	CHECK(e.reason == CATNAP_EXIT_NONE);

	refused(v, catnap_vm_stop(v->vm), "stop");
	refused(v, catnap_vm_pause(v->vm), "pause");
	refused(v, catnap_vm_wait(v->vm, UINT64_MAX, NULL), "wait");
	refused(v, catnap_vm_wait(v->vm, MS, NULL), "wait");
	refused(v, catnap_vm_destroy(&copy), "destroy");
	CHECK(copy == v->vm);

	CHECK(!readable(catnap_vm_get_stopping_fd(v->vm)));
	CHECK(catnap_vm_request_stop(v->vm) == 0);
	CHECK(catnap_vm_request_stop(v->vm) == 0);
	CHECK(readable(catnap_vm_get_stopping_fd(v->vm)));
	CHECK(!readable(catnap_vm_get_fd(v->vm)));
}

static void callbacks_may_call(void **state)
{
	for (uint32_t irqchip = 0; irqchip < 2; irqchip++) {
		for (int log = 0; log < 2; log++) {
			struct vm v = {.once = call_everything};

			if (log)
				LAUNCH(&v, crashes, irqchip);
			else
				LAUNCH(&v, prints, irqchip);
			assert_int_equal(end_of(&v).reason, CATNAP_EXIT_STOPPED);
			assert_null(v.once);
			assert_int_equal(v.failed, 0);
			assert_true(readable(catnap_vm_get_fd(v.vm)));
			assert_int_equal(catnap_vm_destroy(&v.vm), 0);
			assert_null(v.vm);
		}
	}
}

/* -- callbacks that block --------------------------------------------------------------------- */

/* As one should. */
static void wait_for_the_end(struct vm *v)
{
	struct pollfd p = {.fd = catnap_vm_get_stopping_fd(v->vm), .events = POLLIN};

	while (poll(&p, 1, -1) != 1)
		;
}

/* As one should not. */
static void hold(struct vm *v)
{
	while (!atomic_load(&v->release))
		usleep(1000);
}

static void a_blocked_output_blocks_nobody_else(void **state)
{
	for (uint32_t irqchip = 0; irqchip < 2; irqchip++) {
		struct vm v = {.once = wait_for_the_end};
		struct catnap_vcpu_stats s = {.size = sizeof(s)};

		LAUNCH(&v, prints, irqchip);
		until(&v.outputs, 1);
		assert_int_equal(catnap_vm_serial_input(v.vm, "abc", 3), 3);
		assert_int_equal(catnap_vm_get_stats(v.vm, 0, &s), 0);
		assert_int_equal(catnap_vm_stop(v.vm), 0);
		assert_int_equal(end_of(&v).reason, CATNAP_EXIT_STOPPED);
		catnap_vm_destroy(&v.vm);
	}
}

static void who_does_not_come_back_is_named(void **state)
{
	struct vm v = {.once = hold};
	struct catnap_exit e = {.size = sizeof(e)};

	LAUNCH(&v, prints, CATNAP_IRQCHIP_USER);
	until(&v.outputs, 1);
	assert_int_equal(catnap_vm_request_stop(v.vm), 0);
	assert_int_equal(catnap_vm_wait(v.vm, 100 * MS, &e), -ETIMEDOUT);
	assert_int_equal(e.reason, CATNAP_EXIT_STOPPED);
	assert_non_null(strstr(catnap_vm_last_error(v.vm), "vCPU 0"));
	atomic_store(&v.release, true);
	assert_int_equal(end_of(&v).reason, CATNAP_EXIT_STOPPED);
	catnap_vm_destroy(&v.vm);
}

/* -- messages --------------------------------------------------------------------------------- */

static void what_a_guest_causes_is_limited(void **state)
{
	uint64_t begin;

	for (uint32_t irqchip = 0; irqchip < 2; irqchip++) {
		struct vm v = {.once = NULL};
		uint64_t seconds;

		begin = now_ns();
		LAUNCH(&v, crashes, irqchip);
		until(&v.logs, 2);
		assert_non_null(strstr(v.said, "left out"));
		catnap_vm_stop(v.vm);
		seconds = (now_ns() - begin) / (1000 * MS);
		assert_true(atomic_load(&v.logs) <= seconds + 1);
		catnap_vm_destroy(&v.vm);
	}
}

static void a_blocked_log_blocks_nobody_else(void **state)
{
	struct vm v = {.once = wait_for_the_end};

	LAUNCH(&v, crashes, CATNAP_IRQCHIP_USER);
	until(&v.logs, 1);
	assert_int_equal(catnap_vm_serial_input(v.vm, "abc", 3), 3);
	assert_int_equal(catnap_vm_stop(v.vm), 0);
	catnap_vm_destroy(&v.vm);
}

static void an_end_that_was_asked_for_comes(void **state)
{
	struct vm v = {.once = NULL};

	LAUNCH(&v, halts, CATNAP_IRQCHIP_USER);
	assert_int_equal(catnap_vm_request_stop(v.vm), 0);
	assert_int_equal(end_of(&v).reason, CATNAP_EXIT_STOPPED);
	assert_int_equal(catnap_vm_destroy(&v.vm), 0);
	assert_int_equal(catnap_vm_destroy(&v.vm), 0); /* of none */
}

/* Fleets count them: what nobody has asked for is not there. */
static void a_vm_without_devices_has_few_descriptors(void **state)
{
	struct vm v = {.once = NULL};
	unsigned int before = descriptors();

	launch_with(&v, halts, sizeof(halts), CATNAP_IRQCHIP_USER, 1);
	assert_in_range(descriptors() - before, 1, 5);
	assert_int_equal(catnap_vm_request_stop(v.vm), 0);
	/* It comes to be after what it tells of. */
	assert_true(readable(catnap_vm_get_stopping_fd(v.vm)));
	assert_int_equal(catnap_vm_get_stopping_fd(v.vm), catnap_vm_get_stopping_fd(v.vm));
	end_of(&v);
	catnap_vm_destroy(&v.vm);
	assert_int_equal(descriptors(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(callbacks_may_call),
		cmocka_unit_test(a_blocked_output_blocks_nobody_else),
		cmocka_unit_test(who_does_not_come_back_is_named),
		cmocka_unit_test(what_a_guest_causes_is_limited),
		cmocka_unit_test(a_blocked_log_blocks_nobody_else),
		cmocka_unit_test(an_end_that_was_asked_for_comes),
		cmocka_unit_test(a_vm_without_devices_has_few_descriptors),
	};

	if (access("/dev/kvm", R_OK | W_OK) < 0)
		return SKIP;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
