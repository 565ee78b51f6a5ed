/* SPDX-License-Identifier: Apache-2.0 */
/* Tests what devices may take of a vCPU's thread while its guest wants to run. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include "container_of.h"
#include "home.h"
#include "vcpu/vcpu.h"

struct bench {
	struct vcpu v;
	struct vcpu_host host;
	struct clock clock;
	struct ring_handler handler;
	int fd, fired;
};

static void ready(struct ring_handler *handler, uint32_t events)
{
	struct bench *b = container_of(handler, struct bench, handler);
	uint64_t n;

	b->fired += read(b->fd, &n, sizeof(n)) == sizeof(n);
}

static int set_up(void **state)
{
	struct bench *b = aligned_alloc(_Alignof(struct bench), sizeof(*b));

	memset(b, 0, sizeof(*b));
	clock_init(&b->clock, 0);
	home_init(&b->v.halter);
	halter_set_self(&b->v.halter);
	b->host.clock = &b->clock;
	b->host.irqchip_user = true;
	b->v.host = &b->host;
	b->v.life = VCPU_RUNNABLE;
	b->handler.ready = ready;
	b->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	assert_int_equal(halter_add_source(&b->v.halter, b->fd, POLLIN, &b->handler), 0);
	home_turn(&b->v.halter);
	*state = b;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *b = *state;

	halter_set_self(NULL);
	halter_fini(&b->v.halter);
	close(b->fd);
	free(b);
	return 0;
}

static uint64_t us(const struct bench *b, uint64_t n)
{
	return clock_ns_to_ticks(&b->clock, n * 1000);
}

static bool fires(struct bench *b)
{
	int before = b->fired;

	assert_int_equal(write(b->fd, &(uint64_t){1}, 8), 8);
	for (int i = 0; i < 50 && b->fired == before; i++) {
		home_turn(&b->v.halter);
		poll(NULL, 0, 1);
	}
	return b->fired != before;
}

/* The guest gets as much as devices have had, and they get no event meanwhile, and all later. */
static void as_much_for_the_guest(void **state)
{
	struct bench *b = *state;
	uint64_t now = clock_now(&b->clock) + us(b, 1000000);

	assert_true(fires(b));
	vcpu_share_spent(&b->v, now, now + us(b, 5000));
	assert_true(vcpu_share_holds(&b->v));
	assert_true(vcpu_share_next(&b->v) == now + us(b, 5000) + us(b, 5000));
	assert_false(fires(b));
	vcpu_share_end(&b->v);
	assert_false(vcpu_share_holds(&b->v));
	for (int i = 0; i < 50 && b->fired < 2; i++) {
		home_turn(&b->v.halter);
		poll(NULL, 0, 1);
	}
	assert_int_equal(b->fired, 2);
	assert_true(fires(b));
}

/* By itself, when the time is over. */
static void not_for_ever(void **state)
{
	struct bench *b = *state;
	uint64_t now = clock_now(&b->clock);

	vcpu_share_spent(&b->v, now - us(b, 2000), now);
	for (int i = 0; i < 1000 && vcpu_share_holds(&b->v); i++)
		poll(NULL, 0, 1);
	assert_false(vcpu_share_holds(&b->v));
	assert_true(fires(b));
	/* However long they had: a thread may have been away for long. */
	now = clock_now(&b->clock) + us(b, 1000000);
	vcpu_share_spent(&b->v, now, now + us(b, 10000000));
	assert_true(vcpu_share_next(&b->v) - now < us(b, 10100000));
	vcpu_share_end(&b->v);
}

/* Devices that leave the guest its time never wait; short turns add up where they do not. */
static void little_by_little(void **state)
{
	struct bench *b = *state;
	uint64_t now = clock_now(&b->clock);

	for (int i = 0; i < 1000; i++, now += us(b, 100))
		vcpu_share_spent(&b->v, now, now + us(b, 30));
	assert_false(vcpu_share_holds(&b->v));
	/* Each turn takes the way out of the guest, too. */
	for (int i = 0; i < 1000 && !b->v.share.until; i++, now += us(b, 15))
		vcpu_share_spent(&b->v, now, now + us(b, 5));
	assert_true(b->v.share.until != 0);
	vcpu_share_end(&b->v);
}

/* A guest that halts, or is not started, wants nothing. */
static void a_halted_guest_is_owed_nothing(void **state)
{
	struct bench *b = *state;
	uint64_t now = clock_now(&b->clock) + us(b, 1000000);

	b->v.life = VCPU_WAIT_SIPI;
	vcpu_share_spent(&b->v, now, now + us(b, 5000));
	assert_false(vcpu_share_holds(&b->v));
	assert_int_equal(b->v.share.owed, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(as_much_for_the_guest),
		T(not_for_ever),
		T(little_by_little),
		T(a_halted_guest_is_owed_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
