/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests that a VM's events are told: in order, each once, by a descriptor that is readable while
 * there is more, and with no thread of the library's.
 */
#include "states.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>

/* mov dx, PORT; mov al, BYTE; again: out dx, al; jmp again */
#define WRITES(port, byte)                                                     \
	{                                                                      \
		0xba, (port)&0xff, (port) >> 8, 0xb0, (byte), 0xee, 0xeb, 0xfd \
	}
static const uint8_t keyboard_reset[] = WRITES(0x64, 0xfe);
static const uint8_t panics[] = WRITES(0x505, 1);
static const uint8_t crashes[] = WRITES(0x505, 2); /* and goes on */
static const char *hostile_guest, *end_guest;	   /* their paths */

static struct catnap_vm *make(const uint8_t *code, size_t len, uint32_t irqchip)
{
	struct catnap_vm_config cfg;

	tiny_config(&cfg);
	cfg.kernel_data = code;
	cfg.kernel_size = len;
	cfg.irqchip = irqchip;
	return tiny_vm(&cfg, MADE);
}

static bool readable_within(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, ms) == 1;
}

/* A triple fault, in long mode: in real mode a KVM that emulates it may have another opinion. */
static struct catnap_vm *make_triple(void)
{
	struct catnap_vm_config cfg;
	struct catnap_vm *vm = NULL;

	catnap_vm_config_init(&cfg);
	cfg.kernel_path = end_guest;
	cfg.cmdline = "how=triple";
	cfg.memory_size = UINT64_C(16) << 20;
	if (catnap_vm_create(&cfg, &vm) < 0)
		fail_msg("%s", catnap_vm_last_error(NULL));
	return vm;
}

/* The next, which comes within a while. */
static struct catnap_event next(struct catnap_vm *vm)
{
	struct catnap_event e = {.size = sizeof(e)};

	assert_true(readable_within(catnap_vm_get_event_fd(vm), 60000));
	assert_int_equal(catnap_vm_next_event(vm, &e), 0);
	assert_int_equal(e.size, sizeof(e));
	return e;
}

static struct catnap_event expect(struct catnap_vm *vm, uint64_t number, uint32_t type)
{
	struct catnap_event e = next(vm);

	if (e.type != type || e.number != number)
		fail_msg("event %u of number %llu, expected %u of %llu", e.type,
			 (unsigned long long)e.number, type, (unsigned long long)number);
	return e;
}

static void no_more(struct catnap_vm *vm)
{
	struct catnap_event e = {.size = sizeof(e)};

	assert_false(readable_within(catnap_vm_get_event_fd(vm), 0));
	assert_int_equal(catnap_vm_next_event(vm, &e), -EAGAIN);
}

static void a_life_is_told(void **state)
{
	for (uint32_t irqchip = 0; irqchip < 2; irqchip++) {
		struct catnap_vm *vm = make(halting, sizeof(halting), irqchip);
		uint64_t number = 0, last;
		struct catnap_event e;

		no_more(vm);
		assert_int_equal(catnap_vm_start(vm), 0);
		last = expect(vm, ++number, CATNAP_EVENT_STARTED).time_ns;
		for (int i = 0; i < 3; i++) {
			assert_int_equal(catnap_vm_request_pause(vm), 0);
			expect(vm, ++number, CATNAP_EVENT_PAUSED);
			assert_int_equal(catnap_vm_pause(vm), 0); /* it stands already */
			no_more(vm);
			assert_int_equal(catnap_vm_resume(vm), 0);
			expect(vm, ++number, CATNAP_EVENT_RESUMED);
			assert_int_equal(catnap_vm_resume(vm), 0); /* it runs already */
			no_more(vm);
		}
		assert_int_equal(catnap_vm_stop(vm), 0);
		e = expect(vm, ++number, CATNAP_EVENT_ENDED);
		assert_int_equal(e.value, CATNAP_EXIT_STOPPED);
		assert_true(e.time_ns >= last);
		no_more(vm);
		assert_int_equal(catnap_vm_destroy(&vm), 0);
	}
}

static void an_end_before_the_start_is_one(void **state)
{
	struct catnap_vm *vm = make(halting, sizeof(halting), CATNAP_IRQCHIP_USER);

	assert_int_equal(catnap_vm_stop(vm), 0);
	assert_int_equal(expect(vm, 1, CATNAP_EVENT_ENDED).value, CATNAP_EXIT_STOPPED);
	assert_int_equal(catnap_vm_stop(vm), 0);
	no_more(vm);
	assert_int_equal(catnap_vm_destroy(&vm), 0);
}

/* Also to who has an older, shorter structure. */
static void a_guests_end_is_told(void **state)
{
	const struct {
		const uint8_t *code;
		size_t len;
		uint32_t event, reason;
	} ends[] = {
		{keyboard_reset, sizeof(keyboard_reset), CATNAP_EVENT_RESET, CATNAP_EXIT_RESET},
		{panics, sizeof(panics), CATNAP_EVENT_PANIC, CATNAP_EXIT_PANIC},
		{NULL, 0, 0, CATNAP_EXIT_TRIPLE_FAULT},
	};

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		struct catnap_vm *vm =
			ends[i].code ? make(ends[i].code, ends[i].len, CATNAP_IRQCHIP_USER)
				     : make_triple();
		struct catnap_exit exit = {.size = sizeof(exit)};
		struct catnap_event e;
		uint64_t number = 1;

		assert_int_equal(catnap_vm_start(vm), 0);
		expect(vm, number, CATNAP_EVENT_STARTED);
		if (ends[i].event) {
			e = expect(vm, ++number, ends[i].event);
			assert_int_equal(e.vcpu, 0);
			assert_int_equal(e.value, 0);
		}
		e = expect(vm, ++number, CATNAP_EVENT_ENDED);
		assert_int_equal(e.value, ends[i].reason);
		assert_true(readable_within(catnap_vm_get_fd(vm), 60000));
		assert_int_equal(catnap_vm_wait(vm, 0, &exit), 0);
		assert_int_equal(exit.reason, ends[i].reason);
		assert_int_equal(strncmp(exit.report, e.text, strlen(e.text)), 0);
		assert_int_equal(!exit.report[0], !e.text[0]);
		assert_int_equal(catnap_vm_destroy(&vm), 0);
	}
}

static void a_flood_is_bounded_and_counted(void **state)
{
	struct catnap_vm *vm = make(crashes, sizeof(crashes), CATNAP_IRQCHIP_USER);
	struct catnap_event e = {.size = sizeof(e)};
	uint64_t at = 0;
	bool lost = false, ended = false;

	assert_int_equal(catnap_vm_start(vm), 0);
	for (uint64_t begin = now_ns(); !lost; usleep(10000)) {
		assert_true(now_ns() - begin < LIMIT);
		assert_int_equal(catnap_vm_next_event(vm, &e), 0);
		lost = e.type == CATNAP_EVENT_LOST;
		assert_int_equal(e.number, at + (lost ? e.value : 1));
		at = e.number;
	}
	assert_int_equal(catnap_vm_stop(vm), 0);
	for (int i = 0; i < 66 && !ended; i++) {
		e = next(vm);
		assert_int_equal(e.number, at + (e.type == CATNAP_EVENT_LOST ? e.value : 1));
		at = e.number;
		ended = e.type == CATNAP_EVENT_ENDED;
		assert_true(ended || e.type == CATNAP_EVENT_LOST ||
			    (e.type == CATNAP_EVENT_PANIC && e.value == 1));
	}
	assert_true(ended);
	no_more(vm);
	assert_int_equal(catnap_vm_destroy(&vm), 0);
}

static void a_broken_device_is_told(void **state)
{
	struct catnap_vm_config cfg;
	struct catnap_vm *vm = NULL;
	struct catnap_event e;

	catnap_vm_config_init(&cfg);
	cfg.kernel_path = hostile_guest;
	cfg.cmdline = "cpus=1 seed=1 rounds=9";
	cfg.memory_size = UINT64_C(64) << 20;
	cfg.transport = CATNAP_TRANSPORT_MMIO;
	cfg.rng = 1;
	if (catnap_vm_create(&cfg, &vm) < 0)
		fail_msg("%s", catnap_vm_last_error(NULL));
	assert_int_equal(catnap_vm_start(vm), 0);
	do
		e = next(vm);
	while (e.type == CATNAP_EVENT_STARTED || e.type == CATNAP_EVENT_LOST);
	assert_int_equal(e.type, CATNAP_EVENT_DEVICE_NEEDS_RESET);
	assert_int_equal(e.device, 0);
	assert_non_null(strstr(e.text, "rng"));
	assert_int_equal(catnap_vm_destroy(&vm), 0);
}

/* A thread that may make no descriptor has the one that was made for it. */
static int ask_in_sandbox(void)
{
	struct catnap_event e = {.size = sizeof(e)};
	struct catnap_vm_config cfg;
	struct catnap_vm *vm;

	tiny_config(&cfg);
	cfg.sandbox = CATNAP_SANDBOX_ON;
	if (catnap_vm_create(&cfg, &vm) < 0 || catnap_vm_start(vm) < 0 ||
	    catnap_vm_sandbox_thread(vm, 0) < 0)
		return 1;
	if (!readable_within(catnap_vm_get_event_fd(vm), 60000))
		return 2;
	if (catnap_vm_next_event(vm, &e) < 0 || e.type != CATNAP_EVENT_STARTED)
		return 3;
	if (catnap_vm_pause(vm) < 0 || catnap_vm_next_event(vm, &e) < 0 ||
	    e.type != CATNAP_EVENT_PAUSED)
		return 4;
	if (catnap_vm_stop(vm) < 0 || catnap_vm_next_event(vm, &e) < 0 ||
	    e.type != CATNAP_EVENT_ENDED)
		return 5;
	return 42;
}

static void a_sandbox_does_not_mind(void **state)
{
	pid_t pid;
	int status;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	skip(); /* they make system calls of their own */
#endif
	if (!(catnap_sandbox_available() & CATNAP_SANDBOX_HAS_SECCOMP))
		skip();
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
		_exit(ask_in_sandbox());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 42 << 8);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_life_is_told),
		cmocka_unit_test(an_end_before_the_start_is_one),
		cmocka_unit_test(a_guests_end_is_told),
		cmocka_unit_test(a_flood_is_bounded_and_counted),
		cmocka_unit_test(a_broken_device_is_told),
		cmocka_unit_test(a_sandbox_does_not_mind),
	};

	if (argc != 3)
		return 2;
	hostile_guest = argv[1];
	end_guest = argv[2];
	if (access("/dev/kvm", R_OK | W_OK) < 0)
		return SKIP;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
