/* SPDX-License-Identifier: Apache-2.0 */
/* What `catnap bench` will measure: a cell for each mode under each condition. */
#include <stdlib.h>

#include "cli/bench.h"

struct plan {
	const struct bench_cfg *cfg;
	struct cell *cells;
	size_t n, room;
};

static bool applies(const struct bench_mode *mode, enum bench_workload w)
{
	/* The peer cannot be signalled from here, nor its vCPU's time told from the rest. */
	if (mode->peer)
		return w != BENCH_EVENT && w != BENCH_IDLE && w != BENCH_NEIGHBOUR &&
		       w != BENCH_MIX && w != BENCH_COMPUTE;
	return mode->workloads >> w & 1;
}

/* One cell per mode, all else as in @like. -1: out of memory. */
static int add_condition(struct plan *p, const struct cell *like)
{
	for (unsigned int m = 0; m < p->cfg->n_modes; m++) {
		if (!applies(&p->cfg->modes[m], like->workload))
			continue;
		if (p->n == p->room) {
			size_t room = p->room ? p->room * 2 : 64;
			struct cell *cells = realloc(p->cells, room * sizeof(*cells));

			if (!cells)
				return -1;
			p->cells = cells;
			p->room = room;
		}
		p->cells[p->n] = *like;
		p->cells[p->n++].mode = &p->cfg->modes[m];
	}
	return 0;
}

static int add_gaps(struct plan *p, enum bench_workload w)
{
	static const uint64_t defaults[] = {20000, 50000, 200000, 1000000};
	unsigned int n = p->cfg->n_gaps ? p->cfg->n_gaps : w == BENCH_TIMER ? 4 : 3;
	int ret = 0;

	for (unsigned int i = 0; i < n && ret == 0; i++) {
		struct cell c = {.workload = w,
				 .gap_ns = p->cfg->n_gaps ? p->cfg->gaps[i] : defaults[i]};

		if (p->cfg->arrivals != ARRIVALS_RANDOM || w == BENCH_ECHO)
			ret = add_condition(p, &c);
		c.random = true;
		if (p->cfg->arrivals != ARRIVALS_CONSTANT && w != BENCH_ECHO && ret == 0)
			ret = add_condition(p, &c);
	}
	return ret;
}

static int add_neighbours(struct plan *p)
{
	unsigned int n = p->cfg->n_gaps ? p->cfg->n_gaps : 1;
	int ret = 0;

	for (unsigned int i = 0; i < n; i++)
		for (uint32_t vcpus = 1; vcpus <= BENCH_VCPUS; vcpus++) {
			/* Windows of 200 us catch about half of these gaps. */
			struct cell c = {.workload = BENCH_NEIGHBOUR,
					 .vcpus = vcpus,
					 .gap_ns = p->cfg->n_gaps ? p->cfg->gaps[i] : 200000,
					 .random = p->cfg->arrivals != ARRIVALS_CONSTANT};

			if (p->cfg->vcpus[vcpus] && ret == 0)
				ret = add_condition(p, &c);
		}
	return ret;
}

static int add_disks(struct plan *p)
{
	int ret = 0;

	for (int disk = DISK_ID; disk <= DISK_DIRECT && ret == 0; disk++) {
		struct cell c = {.workload = BENCH_BLK, .disk = (enum bench_disk)disk};

		ret = add_condition(p, &c);
	}
	return ret;
}

static int add_computing(struct plan *p)
{
	/* More than there are processors would measure how those are shared. */
	static const bool by_default[BENCH_VCPUS + 1] = {[1] = true, [2] = true};
	const bool *wanted = p->cfg->vcpus_given ? p->cfg->vcpus : by_default;
	int ret = 0;

	for (uint32_t vcpus = 1; vcpus <= BENCH_VCPUS; vcpus++) {
		struct cell c = {.workload = BENCH_COMPUTE,
				 .vcpus = vcpus,
				 .gap_ns = p->cfg->n_gaps ? p->cfg->gaps[0] : 1000000,
				 .random = p->cfg->arrivals != ARRIVALS_CONSTANT,
				 .completes = COMPLETES_EVENT};

		if (!wanted[vcpus] || ret < 0)
			continue;
		ret = add_condition(p, &c);
		c.completes = COMPLETES_READ;
		if (ret == 0)
			ret = add_condition(p, &c);
	}
	return ret;
}

static int add_processes(struct plan *p)
{
	int ret = 0;

	for (unsigned int i = 0; i < p->cfg->n_processes && ret == 0; i++) {
		struct cell c = {.workload = BENCH_MIX, .process = &p->cfg->processes[i]};

		ret = add_condition(p, &c);
	}
	return ret;
}

static int add_workload(struct plan *p, enum bench_workload w)
{
	struct cell c = {.workload = w};
	int ret;

	switch (w) {
	case BENCH_EVENT:
	case BENCH_TIMER:
	case BENCH_ECHO:
		return add_gaps(p, w);
	case BENCH_IDLE:
		ret = add_condition(p, &c);
		c.gap_ns = 250;
		return ret < 0 ? ret : add_condition(p, &c);
	case BENCH_IPI:
	case BENCH_START:
	case BENCH_MEMORY:
		return add_condition(p, &c);
	case BENCH_BLK:
		return add_disks(p);
	case BENCH_NEIGHBOUR:
		return add_neighbours(p);
	case BENCH_MIX:
		return add_processes(p);
	case BENCH_COMPUTE:
		return add_computing(p);
	case BENCH_WORKLOADS:
		break;
	}
	return 0;
}

int bench_plan(const struct bench_cfg *cfg, struct cell **cells, size_t *n)
{
	struct plan p = {.cfg = cfg};
	int ret = 0;

	for (enum bench_workload w = 0; w < BENCH_WORKLOADS && ret == 0; w++)
		if (cfg->workloads[w])
			ret = add_workload(&p, w);
	*cells = p.cells;
	*n = p.n;
	return ret;
}
