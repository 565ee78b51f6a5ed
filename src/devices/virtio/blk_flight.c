/* SPDX-License-Identifier: Apache-2.0 */
/* How much of a disk is under way at once. See blk_flight.h. */
#include "devices/virtio/blk_flight.h"
#include "relaxed.h"

#define START	 (UINT64_C(4) << 20)
#define LEAST	 (UINT64_C(1) << 20)
#define MOST	 (UINT64_C(64) << 20)
#define SLOW_NS	 UINT64_C(200000000)
#define QUICK_NS UINT64_C(50000000)
#define PIECES	 4 /* of the limit */

void blk_flight_init(struct blk_flight *f)
{
	atomic_init(&f->limit, START);
	atomic_init(&f->used, 0);
	atomic_init(&f->shrunk_ns, 0);
	atomic_init(&f->waiting, 0);
}

static uint64_t limit_of(const struct blk_flight *f)
{
	return relaxed_load(&f->limit);
}

uint32_t blk_flight_piece(const struct blk_flight *f)
{
	/* Whole blocks of any disk. */
	return (uint32_t)(limit_of(f) / PIECES) & ~UINT32_C(0xffff);
}

bool blk_flight_full(struct blk_flight *f, unsigned int index)
{
	uint32_t bit = UINT32_C(1) << index;

	if (__builtin_expect(relaxed_load(&f->used) < limit_of(f), 1))
		return false;
	atomic_fetch_or(&f->waiting, bit);
	if (atomic_load(&f->used) > limit_of(f) / 2)
		return true;
	/* Somebody has made room meanwhile, and may not have seen the bit. */
	atomic_fetch_and(&f->waiting, ~bit);
	return false;
}

void blk_flight_begin(struct blk_flight *f, uint64_t cost)
{
	atomic_fetch_add_explicit(&f->used, cost, memory_order_relaxed);
}

/* Races of two who set it lose one of their steps. */
static void adapt(struct blk_flight *f, uint64_t used, uint64_t cost, uint64_t ns, uint64_t now)
{
	uint64_t limit = limit_of(f);
	uint64_t shrunk = relaxed_load(&f->shrunk_ns);

	if (ns > SLOW_NS) {
		/* Operations that were begun together are slow together. */
		if (limit == LEAST || now - shrunk < ns ||
		    !atomic_compare_exchange_strong(&f->shrunk_ns, &shrunk, now))
			return;
		limit = limit / 2 > LEAST ? limit / 2 : LEAST;
	} else if (ns && ns < QUICK_NS && used > limit / 2 && limit < MOST) {
		limit = limit + cost < MOST ? limit + cost : MOST;
	} else {
		return;
	}
	relaxed_store(&f->limit, limit);
}

uint32_t blk_flight_end(struct blk_flight *f, uint64_t cost, uint64_t ns, uint64_t now)
{
	uint64_t used = atomic_fetch_sub(&f->used, cost);

	adapt(f, used, cost, ns, now);
	if (__builtin_expect(!atomic_load(&f->waiting), 1) || used - cost > limit_of(f) / 2)
		return 0;
	return atomic_exchange(&f->waiting, 0);
}
