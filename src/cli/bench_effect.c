/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which options of `catnap bench` have an effect in which workloads. One that has none in any of
 * those that are measured is a mistake, and refused by its name: whoever gave it would take the
 * figures for what they are not. With several workloads it is enough that it has one in one.
 */
#include <errno.h>
#include <string.h>

#include "cli/bench.h"

#define W(name) (UINT32_C(1) << BENCH_##name)

static const struct effect {
	const char *option;
	uint32_t workloads;
	bool harmless; /* scripts give it to all workloads alike: it is said, and measured */
} effects[] = {
	{.option = "gap", .workloads = W(EVENT) | W(TIMER) | W(ECHO) | W(NEIGHBOUR) | W(COMPUTE)},
	{.option = "arrivals", .workloads = W(EVENT) | W(TIMER) | W(NEIGHBOUR) | W(COMPUTE)},
	{.option = "samples",
	 .workloads = W(EVENT) | W(TIMER) | W(IPI) | W(BLK) | W(ECHO) | W(MIX) | W(COMPUTE),
	 .harmless = true},
	{.option = "duration", .workloads = W(IDLE) | W(NEIGHBOUR)},
	{.option = "realtime", .workloads = W(NEIGHBOUR)},
	{.option = "vcpus", .workloads = W(NEIGHBOUR) | W(COMPUTE)},
	{.option = "process", .workloads = W(MIX)},
	{.option = "peer",
	 .workloads = W(TIMER) | W(IPI) | W(START) | W(MEMORY) | W(BLK) | W(ECHO)},
};

/* In these the slash of a mode says who runs the device. */
#define WITH_DEVICES (W(BLK) | W(ECHO) | W(COMPUTE))
/* --pin one is for the first, on and off for the others. */
#define ON_ONE (W(BLK) | W(ECHO))
#define PINNED (W(EVENT) | W(TIMER) | W(IPI) | W(IDLE) | W(MIX) | W(COMPUTE))

static uint32_t chosen(const struct bench_cfg *cfg)
{
	uint32_t mask = 0;

	for (enum bench_workload w = 0; w < BENCH_WORKLOADS; w++)
		mask |= (uint32_t)cfg->workloads[w] << w;
	return mask;
}

/* "event, timer or ipi" */
static const char *names(uint32_t mask, char *buf, size_t size)
{
	size_t used = 0;

	buf[0] = '\0';
	for (enum bench_workload w = 0; w < BENCH_WORKLOADS; w++) {
		uint32_t left = mask >> w;

		if (!(left & 1) || used >= size)
			continue;
		used += (size_t)snprintf(buf + used, size - used, "%s%s",
					 used == 0   ? ""
					 : left == 1 ? " or "
						     : ", ",
					 workload_name(w));
	}
	return buf;
}

static int refuse(struct opts *o, const char *what, uint32_t workloads, uint32_t where)
{
	char in[128], expected[128];

	return opts_fail(o, "%s: has no effect in %s: expected %s", what,
			 names(where, in, sizeof(in)),
			 names(workloads, expected, sizeof(expected)));
}

static int check_modes(struct opts *o, const struct bench_cfg *cfg, uint32_t where)
{
	char what[96], shown[64];

	for (unsigned int i = 0; i < cfg->n_modes; i++) {
		const char *name = cfg->modes[i].name;

		if (!strchr(name, '/') || where & WITH_DEVICES)
			continue;
		snprintf(what, sizeof(what), "--mode: %s of \"%s\"", strchr(name, '/'),
			 opt_printable(name, shown, sizeof(shown)));
		return refuse(o, what, WITH_DEVICES, where);
	}
	return 0;
}

int bench_check_effects(struct opts *o, const struct bench_cfg *cfg)
{
	uint32_t where = chosen(cfg), pin = cfg->pin == PIN_ONE ? ON_ONE : PINNED;
	char what[32];

	for (size_t i = 0; i < sizeof(effects) / sizeof(effects[0]); i++) {
		const struct effect *e = &effects[i];

		if (!opts_given(o, e->option) || where & e->workloads)
			continue;
		snprintf(what, sizeof(what), "--%s", e->option);
		refuse(o, what, e->workloads, where);
		if (!e->harmless)
			return -EINVAL;
		fprintf(stderr, "%s\n", o->error);
		o->error[0] = '\0';
	}
	if (opts_given(o, "pin") && !(where & pin)) {
		snprintf(what, sizeof(what), "--pin: %s",
			 cfg->pin == PIN_ONE  ? "one"
			 : cfg->pin == PIN_ON ? "on"
					      : "off");
		return refuse(o, what, pin, where);
	}
	if (cfg->n_gaps > 1 && (where & effects[0].workloads) == W(COMPUTE))
		return opts_fail(o, "--gap: compute has one: expected it once");
	/* Those that are measured by default are in what they have an effect in. */
	return opts_given(o, "mode") ? check_modes(o, cfg, where) : 0;
}
