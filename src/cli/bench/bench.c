/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `catnap bench`: what is measured, in which order, and what is said meanwhile. Modes run in turn
 * within each round, so that what disturbs the host disturbs all of them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/bench/workload.h"
#include "cli/cmd.h"
#include "cli/printable.h"
#include "probe_image.h"

struct bench {
	const struct bench_cfg *cfg;
	struct bench_outputs *outputs;
	struct bench_cell *cells;
	size_t n;
	uint32_t tsc_khz;
	const struct bench_stop *stop;
	bool progress;
	int failures;
};

static bool fails_alike(const struct bench_cell *a, const struct bench_cell *b)
{
	return a->workload == b->workload &&
	       (!a->workload->fails_alike || a->workload->fails_alike(a, b));
}

/* Says that a cell has failed. A failure that does not depend on the mode is said once, and not
 * tried again. */
static void failed(struct bench *b, struct bench_cell *c, const struct bench_run *run)
{
	const char *mode = run->for_all ? "" : c->mode->name;
	char said[2 * sizeof(run->error)]; /* a guest's words may be in it */

	c->failed = true;
	b->failures++;
	for (size_t i = 0; run->for_all && i < b->n; i++)
		if (fails_alike(c, &b->cells[i]))
			b->cells[i].failed = true;
	fprintf(stderr, "%scatnap bench: %s%s%s: %s\n", b->progress ? "\r\033[K" : "",
		c->workload->name, *mode ? " " : "", mode,
		printable(run->error, false, said, sizeof(said)));
}

static void one_run(struct bench *b, struct bench_cell *c, uint32_t round)
{
	struct bench_run run = {
		.cfg = b->cfg, .stop = b->stop, .cell = c, .tsc_khz = b->tsc_khz, .seed = round};

	if (c->failed || bench_stop_number(b->stop))
		return;
	if (b->progress)
		fprintf(stderr, "\r\033[Kround %u of %u: %s %s", round + 1, b->cfg->rounds,
			c->workload->name, c->mode->name);
	if (c->workload->run(&run) < 0 && !bench_stopped(&run))
		failed(b, c, &run);
}

/* Returns whether two cells have their turns in the same rounds. */
static bool same_rounds(const struct bench_cell *a, const struct bench_cell *b)
{
	return (a->workload->in_turn && b->workload->in_turn) || bench_cell_same_condition(a, b);
}

static void run_all(struct bench *b)
{
	/* Condition by condition, where they are not measured in turn; in each, rounds in which
	 * every mode has its turn, another one first in each: what comes first in a process finds
	 * the host as it was left, and is not as the others are. */
	for (size_t first = 0, last; first < b->n; first = last) {
		for (last = first; last < b->n && same_rounds(&b->cells[first], &b->cells[last]);)
			last++;
		for (uint32_t round = 0; round < b->cfg->rounds; round++)
			for (size_t i = 0, n = last - first; i < n; i++)
				one_run(b, &b->cells[first + (round + i) % n], round);
	}
	if (b->progress)
		fprintf(stderr, "\r\033[K");
}

static int report(struct bench *b, double load)
{
	struct bench_results r = {.cfg = b->cfg,
				  .cells = b->cells,
				  .n = b->n,
				  .tsc_khz = b->tsc_khz,
				  .kvm_run_ns = catnap_host_kvm_run_ns(),
				  .load = load,
				  .interrupted = bench_stop_number(b->stop)};

	return bench_outputs_write(b->outputs, &r);
}

/* The abilities of the host that a mode needs. */
enum family { FAMILY_USER, FAMILY_KERNEL, FAMILY_PM, FAMILIES };

static enum family family_of(const struct bench_mode *mode)
{
	if (mode->guest_hlt)
		return FAMILY_PM;
	return mode->irqchip == CATNAP_IRQCHIP_USER ? FAMILY_USER : FAMILY_KERNEL;
}

/* Returns whether a VM can be made with what these modes need; if not, @error says why. */
static bool vm_can_be_made(enum family family, char *error, size_t size)
{
	struct catnap_vm_config cfg;
	struct catnap_vm *vm;

	catnap_vm_config_init(&cfg);
	cfg.memory_size = GUEST_MEMORY;
	cfg.irqchip = family == FAMILY_USER ? CATNAP_IRQCHIP_USER : CATNAP_IRQCHIP_KERNEL;
	cfg.guest_hlt = family == FAMILY_PM;
	cfg.kernel_data = probe_image;
	cfg.kernel_size = probe_image_size;
	if (catnap_vm_create(&cfg, &vm) < 0) {
		snprintf(error, size, "%s", catnap_vm_last_error(NULL));
		return false;
	}
	catnap_vm_destroy(&vm);
	return true;
}

static const char *const families[FAMILIES] = {"user: mode", "kernel: mode", "mode pm"};

/* Returns whether a workload is measured that takes times by the host's TSC. */
static bool needs_tsc(const struct bench *b)
{
	for (size_t i = 0; i < b->n; i++)
		if (!b->cells[i].workload->own_clock)
			return true;
	return false;
}

/* Looks once, before all else, for what a mode could not do without, and says once what is missing.
 * Cells of modes that cannot run have failed. Returns -1 if so have all. */
static int look_at_host(struct bench *b)
{
	char error[FAMILIES][256] = {"", "", ""};
	bool can[FAMILIES] = {false};
	size_t failed = 0;

	b->tsc_khz = catnap_host_tsc_khz();
	for (int i = 0; i < FAMILIES; i++)
		can[i] = vm_can_be_made((enum family)i, error[i], sizeof(error[i]));
	if (!can[0] && !can[1] && strcmp(error[0], error[1]) == 0) {
		fprintf(stderr, "catnap bench: %s\n", error[0]);
		return -1;
	}
	if (!b->tsc_khz && needs_tsc(b)) {
		fprintf(stderr, "catnap bench: this host's TSC is not invariant: it cannot be "
				"measured by it\n");
		return -1;
	}
	for (size_t i = 0; i < b->n; i++) {
		enum family kind = family_of(b->cells[i].mode);

		if (b->cells[i].mode->peer || can[kind])
			continue;
		if (*error[kind])
			fprintf(stderr, "catnap bench: no %s can run: %s\n", families[kind],
				error[kind]);
		error[kind][0] = '\0';
		b->cells[i].failed = true;
		failed++;
	}
	b->failures += failed != 0;
	return failed && failed == b->n ? -1 : 0;
}

static int measure_and_report(struct bench *b)
{
	int status = CMD_OK, number;
	double load = 0;

	if (getloadavg(&load, 1) < 1)
		load = -1;
	run_all(b);
	for (unsigned int row = 0; row < bench_n_workloads; row++)
		if (bench_workloads[row]->finish)
			bench_workloads[row]->finish();
	number = bench_stop_number(b->stop);
	if (number)
		fprintf(stderr, "catnap bench: ended by %s: what has been measured follows\n",
			bench_stop_name(number));
	if (report(b, load) != CMD_OK || b->failures)
		status = CMD_ERROR;
	return number ? 128 + number : status;
}

static int bench(const struct bench_cfg *cfg, struct bench_outputs *outputs)
{
	struct bench_stop stop;
	struct bench b = {
		.cfg = cfg, .outputs = outputs, .stop = &stop, .progress = isatty(STDERR_FILENO)};
	int status = CMD_ERROR, ret;

	if (bench_plan(cfg, &b.cells, &b.n) < 0) {
		fprintf(stderr, "catnap bench: out of memory\n");
		goto out;
	}
	if (look_at_host(&b) < 0)
		goto out;
	ret = bench_stop_begin(&stop);
	if (ret < 0) {
		fprintf(stderr, "catnap bench: %s\n", strerror(-ret));
		goto out;
	}
	status = measure_and_report(&b);
	bench_stop_end(&stop);
out:
	for (size_t i = 0; i < b.n; i++)
		bench_cell_free(&b.cells[i]);
	free(b.cells);
	return status;
}

int cmd_bench(int argc, char **argv)
{
	struct bench_cfg cfg = {
		.samples = 1000, .rounds = 5, .duration_ns = 2000000000, .pin = BENCH_PIN_ON};
	struct bench_outputs outputs;
	struct opts o;
	int status = bench_options(&o, argc, argv, &cfg);

	if (status < 0) {
		status = bench_outputs_open(&outputs, &cfg);
		if (status == CMD_OK)
			status = bench(&cfg, &outputs);
		bench_outputs_close(&outputs);
	}
	opts_free(&o);
	return status;
}
