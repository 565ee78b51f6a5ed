/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Public structs of an older and of a newer caller (catnap/poll.h, "Structs and their sizes"): an
 * _init writes what is the caller's, and not a byte behind it.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <catnap/catnap.h>

#define CANARY 0xa5
#define LATER  32 /* bytes that a newer header has */

struct sized {
	const char *name;
	size_t own;
	void (*by_size)(void *to, size_t size);
	void (*by_macro)(void *to);
	void (*by_symbol)(void *to);
};

/* The address of the plain function is the function's, though there is a macro of that name. */
#define CASES(X)         \
	X(halt_poll)     \
	X(halter_config) \
	X(vm_config) X(disk) X(net) X(vsock) X(console) X(balloon) X(doorbell) X(sandbox_config)

#define WRAP(s)                                                               \
	static void s##_by_size(void *to, size_t size)                        \
	{                                                                     \
		catnap_##s##_init_sized(to, size);                            \
	}                                                                     \
	static void s##_by_macro(void *to)                                    \
	{                                                                     \
		catnap_##s##_init((struct catnap_##s *)to);                   \
	}                                                                     \
	static void s##_by_symbol(void *to)                                   \
	{                                                                     \
		void (*const plain)(struct catnap_##s *) = catnap_##s##_init; \
                                                                              \
		plain(to);                                                    \
	}
#define ENTRY(s) {#s, sizeof(struct catnap_##s), s##_by_size, s##_by_macro, s##_by_symbol},

CASES(WRAP)

static const struct sized cases[] = {CASES(ENTRY)};

#define N_CASES (sizeof(cases) / sizeof(cases[0]))

static void each(void (*check)(const struct sized *s, const uint8_t *full))
{
	for (size_t i = 0; i < N_CASES; i++) {
		uint8_t *full = malloc(cases[i].own);

		assert_non_null(full);
		memset(full, CANARY, cases[i].own);
		cases[i].by_size(full, cases[i].own);
		check(&cases[i], full);
		free(full);
	}
}

static uint32_t size_of(const void *p)
{
	uint32_t size;

	memcpy(&size, p, sizeof(size));
	return size;
}

/* Of @size bytes, on the heap where a sanitizer sees their end, too; and with a canary behind. */
static void check_size(const struct sized *s, const uint8_t *full, size_t size)
{
	size_t both = size < s->own ? size : s->own;
	uint8_t *p = malloc(size + LATER), *alone = malloc(size ? size : 1);

	assert_non_null(p);
	assert_non_null(alone);
	memset(p, CANARY, size + LATER);
	memset(alone, CANARY, size);
	s->by_size(p, size);
	s->by_size(alone, size);
	if (both < sizeof(uint32_t)) {
		both = 0;
	} else {
		assert_int_equal(size_of(p), both);
		assert_memory_equal(p + sizeof(uint32_t), full + sizeof(uint32_t),
				    both - sizeof(uint32_t));
	}
	for (size_t i = both; i < size + LATER; i++)
		assert_int_equal(p[i], CANARY);
	assert_memory_equal(alone, p, size);
	free(alone);
	free(p);
}

static void check_sizes(const struct sized *s, const uint8_t *full)
{
	for (size_t size = 0; size <= s->own + LATER; size++)
		check_size(s, full, size);
}

static void nothing_behind_the_callers_size_is_written(void **state)
{
	each(check_sizes);
}

static void check_names(const struct sized *s, const uint8_t *full)
{
	uint8_t *p = malloc(s->own + LATER);
	void (*const by[])(void *) = {s->by_macro, s->by_symbol};

	assert_non_null(p);
	assert_int_equal(size_of(full), s->own);
	for (size_t i = 0; i < 2; i++) {
		memset(p, CANARY, s->own + LATER);
		by[i](p);
		assert_memory_equal(p, full, s->own);
		for (size_t j = s->own; j < s->own + LATER; j++)
			assert_int_equal(p[j], CANARY);
	}
	free(p);
}

static void macro_and_symbol_write_the_whole_struct(void **state)
{
	each(check_names);
}

/* Nothing that an older caller has left behind its struct makes a difference. */
static void defaults_are_complete(void **state)
{
	struct catnap_halt_poll poll;
	struct catnap_vm_config vm;
	struct catnap_sandbox_config sandbox;
	struct catnap_balloon balloon;

	memset(&vm, CANARY, sizeof(vm));
	catnap_halt_poll_init(&poll);
	catnap_vm_config_init(&vm);
	catnap_sandbox_config_init(&sandbox);
	catnap_balloon_init(&balloon);
	assert_int_equal(poll.policy, CATNAP_POLICY_ADAPTIVE);
	assert_int_equal(poll.max_ns, CATNAP_ADAPTIVE_MAX_NS);
	assert_int_equal(poll.reserved[5], 0);
	assert_memory_equal(&vm.halt_poll, &poll, sizeof(poll));
	assert_int_equal(vm.halt_poll.size, sizeof(poll));
	assert_int_equal(vm.vcpus, 1);
	assert_int_equal(vm.debug_exit_port, -1);
	assert_int_equal(vm.halt_trace_fd, -1);
	assert_int_equal(vm.sandbox, 0);
	assert_int_equal(sandbox.mode, CATNAP_SANDBOX_ON);
	assert_int_equal(balloon.deflate_on_oom, 1);
}

/* What is too short for the first version's members is refused, and not read behind its end. */
static void too_short_is_refused(void **state)
{
	struct catnap_halter_config *cfg = malloc(offsetof(struct catnap_halter_config, ctx));
	struct catnap_halt_poll *poll = malloc(offsetof(struct catnap_halt_poll, shrink));
	struct catnap_sandbox_config *sandbox = malloc(sizeof(uint32_t));
	struct catnap_vm_config *vm = malloc(offsetof(struct catnap_vm_config, realtime));
	struct catnap_halter *h = NULL;
	struct catnap_vm *made;

	assert_non_null(cfg);
	assert_non_null(poll);
	assert_non_null(sandbox);
	assert_non_null(vm);
	catnap_halter_config_init_sized(cfg, offsetof(struct catnap_halter_config, ctx));
	catnap_halt_poll_init_sized(poll, offsetof(struct catnap_halt_poll, shrink));
	catnap_sandbox_config_init_sized(sandbox, sizeof(uint32_t));
	catnap_vm_config_init_sized(vm, offsetof(struct catnap_vm_config, realtime));
	assert_int_equal(catnap_halter_create(cfg, &h), -EINVAL);
	assert_null(h);
	assert_int_equal(catnap_halt_poll_check(poll), -EINVAL);
	assert_int_equal(catnap_sandbox_enter(sandbox), -EINVAL);
	assert_int_equal(catnap_vm_create(vm, &made), -EINVAL);
	assert_null(made);
	free(vm);
	free(sandbox);
	free(poll);
	free(cfg);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_behind_the_callers_size_is_written),
		cmocka_unit_test(macro_and_symbol_write_the_whole_struct),
		cmocka_unit_test(defaults_are_complete),
		cmocka_unit_test(too_short_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
