/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Public structs of an older and of a newer caller (catnap/poll.h, "Structs and their sizes"): an
 * _init writes what is the caller's, and not a byte behind it. The same for arrays of structs.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <catnap/snapshot.h>
#include "sized.h"

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
/* clang-format off */
#define CASES(X)         \
	X(halt_poll)     \
	X(halter_config) \
	X(source)        \
	X(vm_config) X(disk) X(net) X(vsock) X(console) X(balloon) X(doorbell) X(sandbox_config) \
	X(pmem) X(hotplug) X(snapshot_request) X(restore)
/* clang-format on */

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
	assert_int_equal(poll.reserved[4], 0);
	assert_memory_equal(&vm.halt_poll, &poll, sizeof(poll));
	assert_int_equal(vm.halt_poll.size, sizeof(poll));
	assert_int_equal(vm.vcpus, 1);
	assert_int_equal(vm.debug_exit_port, -1);
	assert_int_equal(vm.halt_trace_fd, -1);
	assert_int_equal(vm.sandbox, 0);
	assert_int_equal(sandbox.mode, CATNAP_SANDBOX_ON);
	assert_int_equal(balloon.deflate_on_oom, 1);
}

/* A struct that is too short for the first version's members is refused, and not read behind its
 * end. */
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

/* A public struct in its third version: each has added a member. */
struct grown {
	uint32_t size;
	uint32_t first, second, third;
};

#define GROWN_SIZE_1 offsetof(struct grown, second)
#define GROWN_SIZE_2 offsetof(struct grown, third)

static void what_an_older_caller_lacks_keeps_its_default(void **state)
{
	const struct grown given = {.size = GROWN_SIZE_2, .first = 1, .second = 2, .third = 3};
	struct grown own = {.first = 10, .second = 20, .third = 30};

	assert_int_equal(sized_in(&own, sizeof(own), &given, GROWN_SIZE_1), 0);
	assert_int_equal(own.size, sizeof(own));
	assert_int_equal(own.first, 1);
	assert_int_equal(own.second, 2);
	assert_int_equal(own.third, 30);
}

static void what_a_newer_caller_has_behind_is_not_read(void **state)
{
	struct {
		struct grown known;
		uint32_t behind[2];
	} given = {.known = {.size = sizeof(given), .third = 3}}, out;
	struct grown own = {.size = 0};

	memset(&out, 0, sizeof(out));
	assert_int_equal(sized_in(&own, sizeof(own), &given, GROWN_SIZE_1), 0);
	assert_int_equal(own.size, sizeof(own));
	assert_int_equal(own.third, 3);
	out.known.size = sizeof(out);
	out.behind[0] = 7;
	assert_int_equal(sized_out(&out, &own, sizeof(own), GROWN_SIZE_1), 0);
	assert_int_equal(out.known.size, sizeof(own));
	assert_int_equal(out.known.third, 3);
	assert_int_equal(out.behind[0], 7);
}

static void what_has_no_room_is_not_written(void **state)
{
	const struct grown own = {.size = sizeof(own), .first = 1, .second = 2, .third = 3};
	struct grown to = {.size = GROWN_SIZE_2, .third = 30};

	assert_int_equal(sized_out(&to, &own, sizeof(own), GROWN_SIZE_1), 0);
	assert_int_equal(to.size, GROWN_SIZE_2);
	assert_int_equal(to.second, 2);
	assert_int_equal(to.third, 30);
}

static void a_struct_shorter_than_the_first_is_refused(void **state)
{
	const struct grown given = {.size = GROWN_SIZE_1 - 1, .first = 1};
	struct grown own = {.size = sizeof(own), .first = 10}, to = given;

	assert_int_equal(sized_in(&own, sizeof(own), &given, GROWN_SIZE_1), -EINVAL);
	assert_int_equal(own.first, 10);
	assert_int_equal(sized_out(&to, &own, sizeof(own), GROWN_SIZE_1), -EINVAL);
	assert_memory_equal(&to, &given, sizeof(to));
}

/* -- arrays whose elements the caller knows shorter, or longer ---------------------------------- */

static bool untouched(const uint8_t *from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (from[i] != CANARY)
			return false;
	return true;
}

/* A struct of statistics as a caller has it whose entries are @entry bytes, with room for @n. */
static void contexts_of(size_t entry, uint32_t n)
{
	const size_t head = offsetof(struct catnap_policy_stats, context);
	const size_t own = sizeof(struct catnap_policy_context);
	size_t size = head + n * entry + 8, common = entry < own ? entry : own;
	struct catnap_halt_poll params;
	struct catnap_policy *policy;
	struct catnap_policy_stats *s = malloc(size);
	uint8_t *entries = (uint8_t *)s + head;

	assert_non_null(s);
	memset(s, CANARY, size);
	s->size = (uint32_t)size;
	s->context_size = (uint32_t)entry;
	catnap_halt_poll_init(&params);
	assert_int_equal(catnap_policy_create(&params, &policy), 0);
	assert_int_equal(catnap_policy_get_stats(policy, s), 0);
	assert_int_equal(s->contexts, CATNAP_POLICY_CONTEXTS);
	assert_int_equal(s->context_size, entry);
	for (uint32_t i = 0; i < n && i < CATNAP_POLICY_CONTEXTS; i++) {
		struct catnap_policy_context c;

		memcpy(&c, entries + i * entry, own);
		assert_int_equal(c.before, i / 3);
		assert_int_equal(c.last, i % 3);
		assert_true(untouched(entries + i * entry + common, entry - common));
	}
	assert_true(untouched((uint8_t *)s + size - 8, 8));
	catnap_policy_destroy(&policy);
	free(s);
}

static void entries_are_where_the_caller_has_them(void **state)
{
	const size_t own = sizeof(struct catnap_policy_context);

	contexts_of(own, CATNAP_POLICY_CONTEXTS);
	contexts_of(own, 4);
	contexts_of(own, 0);
	contexts_of(own + LATER, CATNAP_POLICY_CONTEXTS);
	contexts_of(own + LATER, 1);
}

static void an_entry_of_no_version_is_refused(void **state)
{
	struct catnap_policy_stats s = {.size = sizeof(s)};
	struct catnap_halt_poll params;
	struct catnap_policy *policy;

	catnap_halt_poll_init(&params);
	assert_int_equal(catnap_policy_create(&params, &policy), 0);
	assert_int_equal(catnap_policy_get_stats(policy, &s), -EINVAL);
	s.context_size = 39;
	assert_int_equal(catnap_policy_get_stats(policy, &s), -EINVAL);
	catnap_policy_destroy(&policy);
}

/* @entry bytes for each of two. */
static void checks_of(size_t entry)
{
	const size_t own = sizeof(struct catnap_check);
	size_t common = entry < own ? entry : own;
	uint8_t *checks = malloc(2 * entry + 8);
	const char *name;

	assert_non_null(checks);
	memset(checks, CANARY, 2 * entry + 8);
	assert_true(catnap_check_host_sized((void *)checks, 2, entry) > 2);
	for (int i = 0; i < 2; i++) {
		memcpy(&name, checks + i * entry, sizeof(name));
		assert_string_equal(name, i ? "/dev/kvm" : "host");
		assert_true(untouched(checks + i * entry + common, entry - common));
	}
	assert_true(untouched(checks + 2 * entry, 8));
	free(checks);
}

static void checks_are_where_the_caller_has_them(void **state)
{
	struct catnap_check two[2];

	checks_of(sizeof(struct catnap_check));
	checks_of(sizeof(struct catnap_check) + LATER);
	checks_of(offsetof(struct catnap_check, advice));
	assert_true(catnap_check_host(two, 2) > 2);
	assert_string_equal(two[1].name, "/dev/kvm");
	assert_true((catnap_check_host)(two, 2) > 2);
	assert_string_equal(two[0].name, "host");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_behind_the_callers_size_is_written),
		cmocka_unit_test(macro_and_symbol_write_the_whole_struct),
		cmocka_unit_test(defaults_are_complete),
		cmocka_unit_test(too_short_is_refused),
		cmocka_unit_test(what_an_older_caller_lacks_keeps_its_default),
		cmocka_unit_test(what_a_newer_caller_has_behind_is_not_read),
		cmocka_unit_test(what_has_no_room_is_not_written),
		cmocka_unit_test(a_struct_shorter_than_the_first_is_refused),
		cmocka_unit_test(entries_are_where_the_caller_has_them),
		cmocka_unit_test(an_entry_of_no_version_is_refused),
		cmocka_unit_test(checks_are_where_the_caller_has_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
