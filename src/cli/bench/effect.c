/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which options of `catnap bench` have an effect in which workloads. One that has none in any of
 * those that are measured is a mistake, and refused by its name: whoever gave it would take the
 * figures for what they are not. With several workloads it is enough that it has one in one.
 */
#include <errno.h>
#include <string.h>

#include "cli/bench/workload.h"

static const struct effect {
	const char *option;
	uint32_t bit;  /* enum bench_option */
	bool harmless; /* scripts give it to all workloads alike: it is said, and measured */
} effects[] = {
	{.option = "gap", .bit = BENCH_OPT_GAP},
	{.option = "rate", .bit = BENCH_OPT_RATE},
	{.option = "arrivals", .bit = BENCH_OPT_ARRIVALS},
	{.option = "samples", .bit = BENCH_OPT_SAMPLES, .harmless = true},
	{.option = "duration", .bit = BENCH_OPT_DURATION},
	{.option = "realtime", .bit = BENCH_OPT_REALTIME},
	{.option = "sibling", .bit = BENCH_OPT_SIBLING},
	{.option = "vcpus", .bit = BENCH_OPT_VCPUS},
	{.option = "process", .bit = BENCH_OPT_PROCESS},
	{.option = "clones", .bit = BENCH_OPT_RESTORE},
	{.option = "memory", .bit = BENCH_OPT_RESTORE},
	{.option = "kernel", .bit = BENCH_OPT_LINUX},
	{.option = "initramfs", .bit = BENCH_OPT_LINUX},
	{.option = "load", .bit = BENCH_OPT_LINUX},
	{.option = "disk", .bit = BENCH_OPT_DISK},
	{.option = "exits", .bit = BENCH_OPT_LINUX},
};

static const char *names(uint32_t rows, char *buf, size_t size)
{
	return bench_workload_names(rows, " or ", buf, size);
}

static int refuse(struct opts *o, const char *what, uint32_t workloads, uint32_t where)
{
	char in[128], expected[128];

	return opts_fail(o, "%s: has no effect in %s: expected %s", what,
			 names(where, in, sizeof(in)),
			 names(workloads, expected, sizeof(expected)));
}

static int check_mode(struct opts *o, const struct bench_mode *mode, uint32_t where)
{
	const uint32_t with_devices = bench_workloads_with(BENCH_OPT_DEVICES);
	const uint32_t with_guests = bench_workloads_with(BENCH_OPT_GUEST);
	char what[96], shown[64];

	opt_printable(mode->name, shown, sizeof(shown));
	if (mode->polls && !(where & with_guests)) {
		snprintf(what, sizeof(what), "--mode: \"%s\"", shown);
		return refuse(o, what, with_guests, where);
	}
	/* Commands of their own leave HLT to KVM, or take it all. */
	if (mode->guest_hlt && !(where & bench_workloads_with(~(uint32_t)BENCH_OPT_PEER))) {
		snprintf(what, sizeof(what), "--mode: \"%s\"", shown);
		return refuse(o, what, bench_workloads_with(~(uint32_t)BENCH_OPT_PEER), where);
	}
	if (mode->io_word && !(where & with_devices)) {
		snprintf(what, sizeof(what), "--mode: %s of \"%s\"", mode->io_word, shown);
		return refuse(o, what, with_devices, where);
	}
	return 0;
}

static int check_modes(struct opts *o, const struct bench_cfg *cfg, uint32_t where)
{
	for (unsigned int i = 0; i < cfg->n_modes; i++)
		if (check_mode(o, &cfg->modes[i], where))
			return -EINVAL;
	return 0;
}

/* Checks --pin: on and off concern other workloads than one does. */
static int check_pin(struct opts *o, const struct bench_cfg *cfg)
{
	bool one = cfg->pin == BENCH_PIN_ONE;
	uint32_t rows = bench_workloads_with(one ? BENCH_OPT_PIN_ONE : BENCH_OPT_PIN);
	char what[32];

	if (!opts_given(o, "pin") || cfg->workloads & rows)
		return 0;
	snprintf(what, sizeof(what), "--pin: %s",
		 one			    ? "one"
		 : cfg->pin == BENCH_PIN_ON ? "on"
					    : "off");
	return refuse(o, what, rows, cfg->workloads);
}

/* Returns the rows in which an option of this kind has an effect, as the others are. With --rate a
 * round of its workloads has a duration and either kind of arrivals, and neither gaps nor a number
 * of samples. In linux some loads have the ones, whatever was given, and some the others. */
static uint32_t rows_of(const struct bench_cfg *cfg, uint32_t bit)
{
	const uint32_t both = bench_workloads_with(BENCH_OPT_LINUX);
	uint32_t rows = bench_workloads_with(bit);
	uint32_t rate = bench_workloads_with(BENCH_OPT_RATE) & ~both;

	if (!bench_linux_asked(cfg) &&
	    bit & (BENCH_OPT_RATE | BENCH_OPT_DURATION | BENCH_OPT_ARRIVALS))
		rows &= ~both;
	if (bit == BENCH_OPT_DURATION)
		rows &= cfg->n_rates ? UINT32_MAX : ~rate;
	else if (cfg->n_rates && bit == BENCH_OPT_ARRIVALS)
		rows |= rate;
	else if (cfg->n_rates && (bit == BENCH_OPT_GAP || bit == BENCH_OPT_SAMPLES))
		rows &= ~rate;
	return rows;
}

/* Checks --vcpus: more than the others can have is for idle alone. */
static int check_vcpus(struct opts *o, const struct bench_cfg *cfg)
{
	uint32_t many = bench_workloads_with(BENCH_OPT_MANY_VCPUS);
	char what[32];

	for (unsigned int n = BENCH_VCPUS + 1; n <= BENCH_MOST_VCPUS; n++) {
		if (!cfg->vcpus[n] || cfg->workloads & many)
			continue;
		snprintf(what, sizeof(what), "--vcpus: %u", n);
		return refuse(o, what, many, cfg->workloads);
	}
	return 0;
}

static int check_peers(struct opts *o, const struct bench_cfg *cfg)
{
	for (int i = BENCH_PEER_QEMU; i < BENCH_PEERS; i++) {
		const enum bench_peer peer = (enum bench_peer)i;
		const uint32_t rows = bench_workloads_with(bench_peer_option(peer));
		char what[32];

		if (!cfg->peers[i] || cfg->workloads & rows)
			continue;
		snprintf(what, sizeof(what), "--peer: %s", bench_peer_name(peer));
		return refuse(o, what, rows, cfg->workloads);
	}
	return 0;
}

static int check_stall(struct opts *o, const struct bench_cfg *cfg)
{
	if (!opts_given(o, "stall") || cfg->n_rates)
		return 0;
	return opts_fail(o, "--stall: has no effect without --rate");
}

static int check_gaps(struct opts *o, const struct bench_cfg *cfg)
{
	uint32_t with_gaps = cfg->workloads & bench_workloads_with(BENCH_OPT_GAP);
	uint32_t with_one = cfg->workloads & bench_workloads_with(BENCH_OPT_ONE_GAP);
	char buf[128];

	if (cfg->n_gaps < 2 || with_gaps != with_one)
		return 0;
	return opts_fail(o, "--gap: %s has one: expected it once",
			 names(with_one, buf, sizeof(buf)));
}

int bench_check_effects(struct opts *o, const struct bench_cfg *cfg)
{
	char what[32];

	if (check_vcpus(o, cfg) || check_peers(o, cfg))
		return -EINVAL;
	for (size_t i = 0; i < sizeof(effects) / sizeof(effects[0]); i++) {
		const struct effect *e = &effects[i];
		uint32_t rows = rows_of(cfg, e->bit);

		if (!opts_given(o, e->option) || cfg->workloads & rows)
			continue;
		snprintf(what, sizeof(what), "--%s", e->option);
		refuse(o, what, rows, cfg->workloads);
		if (!e->harmless)
			return -EINVAL;
		fprintf(stderr, "%s\n", o->error);
		o->error[0] = '\0';
	}
	if (check_stall(o, cfg) || check_pin(o, cfg) || check_gaps(o, cfg))
		return -EINVAL;
	/* Modes that are measured by default are in what they have an effect in. */
	return opts_given(o, "mode") ? check_modes(o, cfg, cfg->workloads) : 0;
}
