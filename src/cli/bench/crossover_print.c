/* SPDX-License-Identifier: Apache-2.0 */
/* Prices and the crossover, as text and as JSON. */
#include <json-c/json.h>
#include <string.h>

#include "cli/bench/crossover.h"
#include "cli/bench/workload.h"
#include "cli/wrap.h"

#define TITLE	   37
#define IN_A_TABLE 3 /* modes, in 80 columns */

/* -- prices ----------------------------------------------------------------------------------- */

/* Writes a number in six characters at most. */
static void cycles(FILE *out, double value)
{
	if (value < 999999.5)
		fprintf(out, " %6.0f", value);
	else
		fprintf(out, " %5.0fk", value / 1e3);
}

static void figures(FILE *out, const struct bench_results *r, struct bench_cell *c)
{
	const struct bench_column *column = c->workload->columns;
	double least = 0, median = 0;

	if (bench_cell_empty(c) || !column[0].value(r, c, &least) ||
	    !column[1].value(r, c, &median)) {
		fprintf(out, " %13s", c->failed ? "failed" : "");
		return;
	}
	cycles(out, least);
	cycles(out, median);
}

static void price_row(FILE *out, const struct bench_results *r, struct bench_cell *cells, size_t n,
		      int what, const struct bench_mode *const *modes, size_t n_modes)
{
	bool any = false;

	for (size_t m = 0; m < n_modes; m++)
		for (size_t i = 0; i < n; i++) {
			if (cells[i].what != what || cells[i].mode != modes[m])
				continue;
			if (!any)
				fprintf(out, "%-*s", TITLE, bench_price_title(what));
			any = true;
			figures(out, r, &cells[i]);
		}
	if (any)
		fputc('\n', out);
}

static void head(FILE *out, const struct bench_mode *const *modes, size_t n_modes)
{
	fprintf(out, "%-*s", TITLE, "");
	for (size_t m = 0; m < n_modes; m++)
		fprintf(out, " %13.13s", modes[m]->name);
	fprintf(out, "\n%-*s", TITLE, "cycles");
	for (size_t m = 0; m < n_modes; m++)
		fprintf(out, " %6s %6s", "least", "median");
	fputc('\n', out);
}

/* Prints the prices of the host, which no mode changes. */
static void host_prices(FILE *out, const struct bench_results *r, struct bench_cell *cells,
			size_t n)
{
	const struct bench_mode *mode;

	for (size_t i = 0; i < n; i++) {
		if (!bench_price_of_host(cells[i].what))
			continue;
		mode = cells[i].mode;
		price_row(out, r, cells, n, cells[i].what, &mode, 1);
	}
}

void bench_prices_table(FILE *out, const struct bench_results *r, struct bench_cell *cells,
			size_t n)
{
	const struct bench_mode *modes[IN_A_TABLE];
	const struct bench_cfg *cfg = r->cfg;
	size_t n_modes = 0;

	fprintf(out, "\nprices: %s, in cycles of the TSC (%.0f MHz)\n", cells->workload->title,
		(double)r->tsc_khz / 1000);
	for (unsigned int m = 0; m < cfg->n_modes; m++) {
		if (bench_mode_applies(&cfg->modes[m], cells->workload))
			modes[n_modes++] = &cfg->modes[m];
		if (n_modes < IN_A_TABLE && (m + 1 < cfg->n_modes || !n_modes))
			continue;
		head(out, modes, n_modes);
		for (int what = 0; !bench_price_of_host(what); what++)
			price_row(out, r, cells, n, what, modes, n_modes);
		n_modes = 0;
	}
	host_prices(out, r, cells, n);
}

/* -- the crossover ---------------------------------------------------------------------------- */

static const struct {
	int halt;
	bool polls;
	const char *name, *title;
} halts[] = {
	{BENCH_PRICE_WAKE, true, "event_polled", "ended by a thread, polled"},
	{BENCH_PRICE_WAKE, false, "event_slept", "ended by a thread, slept"},
	{BENCH_PRICE_LATE, true, "timer_polled", "ended by its timer, polled"},
	{BENCH_PRICE_LATE, false, "timer_slept", "ended by its timer, slept"},
};

#define HALTS (sizeof(halts) / sizeof(halts[0]))

void bench_crossover_print(FILE *out, const struct bench_results *r)
{
	struct bench_lines l;
	bool any = false, one, several;
	char text[32];

	for (size_t h = 0; h < HALTS; h++) {
		if (!bench_crossover(r, halts[h].halt, halts[h].polls, 0, &l))
			continue;
		if (!any)
			fprintf(out,
				"\ncrossover: which irqchip is better, by how many more for each "
				"halt\n%-28s %16s %16s %16s\n",
				"a halt", "interrupts", "IPIs sent", "timers armed");
		any = true;
		fprintf(out, "%-28s", halts[h].title);
		for (int e = 0; e < BENCH_EXTRAS; e++)
			fprintf(out, " %16s",
				bench_crossover(r, halts[h].halt, halts[h].polls,
						(enum bench_extra)e, &l)
					? bench_better_text(text, sizeof(text), &l)
					: "");
		fputc('\n', out);
	}
	if (any)
		wrap_line(out, 0,
			  "By the latency of a wake-up and the medians above. The sender's part of "
			  "a wake-up is not in it, nor is what polling takes.");
	if (bench_irqchip_choice(r, false, &one) && bench_irqchip_choice(r, true, &several))
		wrap_line(out, 0,
			  "For a guest that arms its timer once for each halt --irqchip %s is "
			  "better; for one that sends an IPI as well, --irqchip %s.",
			  one ? "user" : "kernel", several ? "user" : "kernel");
}

static void add_lines(struct json_object *all, size_t h, enum bench_extra extra,
		      const struct bench_lines *l, double ns)
{
	static const char *const better[] = {
		[BENCH_BETTER_USER] = "user",
		[BENCH_BETTER_KERNEL] = "kernel",
		[BENCH_BETTER_USER_BELOW] = "user_below",
		[BENCH_BETTER_USER_ABOVE] = "user_above",
	};
	struct json_object *o = json_object_new_object();
	double at;
	enum bench_better which = bench_lines_cross(l, &at);

	json_object_object_add(o, "halt", json_object_new_string(halts[h].name));
	json_object_object_add(o, "extra", json_object_new_string(bench_extra_name(extra)));
	json_object_object_add(o, "user_ns", json_object_new_double(l->user * ns));
	json_object_object_add(o, "kernel_ns", json_object_new_double(l->kernel * ns));
	json_object_object_add(o, "user_each_ns", json_object_new_double(l->user_each * ns));
	json_object_object_add(o, "kernel_each_ns", json_object_new_double(l->kernel_each * ns));
	json_object_object_add(o, "better", json_object_new_string(better[which]));
	if (which == BENCH_BETTER_USER_BELOW || which == BENCH_BETTER_USER_ABOVE)
		json_object_object_add(o, "at", json_object_new_double(at));
	json_object_array_add(all, o);
}

void bench_crossover_json(struct json_object *root, const struct bench_results *r)
{
	struct json_object *all = json_object_new_array(), *choice;
	struct bench_lines l;
	bool one, several;

	for (size_t h = 0; h < HALTS; h++)
		for (int e = 0; e < BENCH_EXTRAS; e++)
			if (bench_crossover(r, halts[h].halt, halts[h].polls, (enum bench_extra)e,
					    &l))
				add_lines(all, h, (enum bench_extra)e, &l, 1e6 / r->tsc_khz);
	json_object_object_add(root, "crossover", all);
	if (bench_irqchip_choice(r, false, &one) && bench_irqchip_choice(r, true, &several)) {
		choice = json_object_new_object();
		json_object_object_add(choice, "one_vcpu",
				       json_object_new_string(one ? "user" : "kernel"));
		json_object_object_add(choice, "several",
				       json_object_new_string(several ? "user" : "kernel"));
		json_object_object_add(root, "irqchip_choice", choice);
	}
}
