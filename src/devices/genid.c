/* SPDX-License-Identifier: Apache-2.0 */
/* See genid.h. */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "devices/genid.h"

/* The part of vmclock's page that is not 0. */
struct vmclock {
	uint32_t magic, size;
	uint16_t version;
	uint8_t counter_id, time_type;
	uint32_t seq_count; /* odd while an update is under way */
	uint64_t disruption_marker, flags;
	uint8_t times[72]; /* none: no counter is told */
	uint64_t vm_generation_counter;
};

_Static_assert(sizeof(struct vmclock) == 112 && offsetof(struct vmclock, seq_count) == 12 &&
		       offsetof(struct vmclock, flags) == 24 &&
		       offsetof(struct vmclock, vm_generation_counter) == 104,
	       "the guest sees this");

#define VMCLOCK_MAGIC	       0x4b4c4356u /* "VCLK" */
#define VMCLOCK_VERSION	       1
#define VMCLOCK_NO_COUNTER     0xff
#define VMCLOCK_HAS_GENERATION (UINT64_C(1) << 8)
#define VMCLOCK_HAS_INTERRUPT  (UINT64_C(1) << 9)

static int new_id(struct genid *g)
{
	ssize_t n = getrandom(g->id, sizeof(g->id), 0);

	return n == sizeof(g->id) ? 0 : n < 0 ? -errno : -EIO;
}

int genid_init(struct genid *g)
{
	memset(g, 0, sizeof(*g));
	return new_id(g);
}

void genid_write(const struct genid *g, void *area)
{
	const struct vmclock clock = {
		.magic = VMCLOCK_MAGIC,
		.size = (uint32_t)VMCLOCK_SIZE,
		.version = VMCLOCK_VERSION,
		.counter_id = VMCLOCK_NO_COUNTER,
		.seq_count = 2 * g->updates,
		.disruption_marker = g->disruptions,
		.flags = VMCLOCK_HAS_GENERATION | VMCLOCK_HAS_INTERRUPT,
		.vm_generation_counter = g->generation,
	};

	memset(area, 0, GENID_AREA_SIZE);
	memcpy((uint8_t *)area + (GENID_BASE - GENID_AREA), g->id, sizeof(g->id));
	memcpy((uint8_t *)area + (VMCLOCK_BASE - GENID_AREA), &clock, sizeof(clock));
}

void genid_save(const struct genid *g, struct state_writer *w)
{
	state_put_bytes(w, g->id, sizeof(g->id));
	state_put_u32(w, g->updates);
	state_put_u64(w, g->disruptions);
	state_put_u64(w, g->generation);
}

int genid_load(struct genid *g, struct state_in *in, struct error *err)
{
	struct genid was;
	int ret;

	state_get_bytes(in, was.id, sizeof(was.id));
	was.updates = state_get_u32(in);
	was.disruptions = state_get_u64(in);
	was.generation = state_get_u64(in);
	ret = state_finish(in, err);
	if (ret < 0)
		return ret;
	*g = was;
	g->updates++;
	g->disruptions++;
	g->generation++;
	ret = new_id(g);
	return ret < 0 ? state_refuse(in, err, ret, "getrandom: %s", strerror(-ret)) : 0;
}
