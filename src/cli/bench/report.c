/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prints what was measured, as a table for people, on terminals of 80 columns. A missing figure is
 * a blank, never a 0; one that is there has at least three digits.
 */
#include <string.h>
#include <unistd.h>

#include "cli/bench/back_end.h"
#include "cli/bench/costs_columns.h"
#include "cli/bench/polling.h"
#include "cli/bench/workload.h"
#include "cli/wrap.h"

/* A longer name of a mode has a line of its own. */
#define LONGEST_NAME 21

/* The head of a column of modes. */
#define HIGHER_IS_BETTER "higher is better"

struct table {
	FILE *out;
	const struct bench_results *r;
	int name; /* how wide the first column is */
};

/* -- cells ------------------------------------------------------------------------------------ */

/* Prints a head in a column of @width, and a space before it. */
static void head(const struct table *t, int width, const char *text)
{
	fprintf(t->out, " %*s", width, text);
}

/* Writes a number in five characters at most: 0.048, 13.51, 822.6, 12345, 1.23s, 12.3M. @seconds:
 * of @value in one, 0: it is no time. */
static void number(char *text, size_t size, double value, double seconds)
{
	if (value >= 99999.5 && seconds > 0)
		snprintf(text, size, "%.*fs", value / seconds < 9.995 ? 2 : 1, value / seconds);
	else if (value >= 99999.5)
		snprintf(text, size, "%.1fM", value / 1e6);
	else
		snprintf(text, size, "%.*f",
			 value <= 0	  ? 0
			 : value < 0.9995 ? 3
			 : value < 99.995 ? 2
			 : value < 999.95 ? 1
					  : 0,
			 value);
}

static void figure(const struct table *t, const struct bench_column *column, struct bench_cell *c)
{
	double value = 0;
	char text[32] = "";

	if (column->value(t->r, c, &value)) {
		switch (column->unit) {
		case BENCH_NUMBER:
			number(text, sizeof(text), value, 0);
			break;
		case BENCH_COUNT:
			snprintf(text, sizeof(text), "%.0f", value);
			break;
		case BENCH_BYTES:
			snprintf(text, sizeof(text), "%.0f", value / 1024);
			break;
		case BENCH_NS_AS_MS:
			number(text, sizeof(text), value / 1e6, 1e3);
			break;
		case BENCH_NS_OR_NOISE:
		case BENCH_NS:
			if (value == 0 && column->unit == BENCH_NS_OR_NOISE)
				snprintf(text, sizeof(text), "noise");
			else
				number(text, sizeof(text), value / 1e3, 1e6);
			break;
		}
	}
	head(t, column->width, text);
}

/* Prints the ratio, and between which ratios the rounds lie. */
static void ratio(const struct table *t, bool there, const struct bench_ratio *r, int decimals)
{
	char text[48] = "";

	if (there)
		snprintf(text, sizeof(text), "%.*f", r->median < 99.5 ? decimals : 0, r->median);
	head(t, 5, text);
	if (there && r->rounds > 1)
		snprintf(text, sizeof(text), "%.*f-%.*f", r->least < 9.995 ? decimals : 1, r->least,
			 r->most < 9.995 ? decimals : 1, r->most);
	else
		text[0] = '\0';
	head(t, decimals > 2 ? 11 : 9, text);
}

static void spread(const struct table *t, const struct bench_cell *c)
{
	double percent;
	char text[16] = "";

	if (bench_cell_spread(c, &percent))
		snprintf(text, sizeof(text), "%.0f", percent);
	head(t, 4, text);
}

/* -- tables ----------------------------------------------------------------------------------- */

static void name(const struct table *t, const char *text)
{
	fprintf(t->out, "%-*s", t->name, text);
	if ((int)strlen(text) > t->name)
		fprintf(t->out, "\n%*s", t->name, "");
}

static void columns(const struct table *t, const struct bench_cell *c)
{
	const struct bench_workload *w = c->workload;

	fprintf(t->out, "%-*s", t->name, "mode");
	for (const struct bench_column *column = bench_columns_of(c); column->head; column++)
		head(t, column->width, column->head);
	head(t, 4, "+-%");
	if (!w->higher_is_better) {
		head(t, 5, bench_workload_compared(w)->head);
		fprintf(t->out, "  (rounds)");
	}
	fputc('\n', t->out);
}

static void heading(const struct table *t, const struct bench_cell *c)
{
	char condition[160];

	bench_condition_name(condition, sizeof(condition), c);
	fputc('\n', t->out);
	wrap_line(t->out, 2, "%s: %s%s%s", c->workload->name, c->workload->title,
		  *condition ? ", " : "", condition);
	columns(t, c);
}

static void row(const struct table *t, struct bench_cell *c)
{
	const struct bench_workload *w = c->workload;
	struct bench_ratio r;
	bool there;

	name(t, c->mode->name);
	if (bench_cell_empty(c)) {
		fprintf(t->out, " %s\n", c->failed ? "failed" : "not measured");
		return;
	}
	for (const struct bench_column *column = bench_columns_of(c); column->head; column++)
		figure(t, column, c);
	spread(t, c);
	if (!w->higher_is_better) {
		there = bench_cell_ratio(t->r, bench_workload_compared(w), c, &r);
		ratio(t, there, &r, 2);
	}
	fputc('\n', t->out);
}

/* Prints the ratios of a workload that has a table of its own for them: where higher is better they
 * are close to 1, and need a digit more than there is room for. */
static void ratios(const struct table *t, const struct bench_cell *cells, size_t n)
{
	const struct bench_compared *all = bench_workload_compared(cells[0].workload), *one;
	struct bench_ratio r;

	fprintf(t->out, "%-*s ", t->name, HIGHER_IS_BETTER);
	for (one = all; one->member; one++)
		fprintf(t->out, " %s    (rounds)", one->head);
	fputc('\n', t->out);
	for (size_t i = 0; i < n; i++) {
		if (bench_cell_empty(&cells[i]))
			continue;
		name(t, cells[i].mode->name);
		for (one = all; one->member; one++) {
			fputs(one == all ? " " : "    ", t->out);
			ratio(t, bench_cell_ratio(t->r, one, &cells[i], &r), &r, 3);
		}
		fputc('\n', t->out);
	}
}

/* Prints figures that only some cells have, in a table of its own. */
static void more(const struct table *t, const char *title, const struct bench_column *columns,
		 bool (*among)(const struct bench_cell *cells, size_t n), struct bench_cell *cells,
		 size_t n)
{
	const struct bench_column *column;

	if (!among(cells, n))
		return;
	fprintf(t->out, "%-*s", t->name, title);
	for (column = columns; column->head; column++)
		head(t, column->width, column->head);
	fputc('\n', t->out);
	for (size_t i = 0; i < n; i++) {
		if (!among(&cells[i], 1))
			continue;
		name(t, cells[i].mode->name);
		for (column = columns; column->head; column++)
			figure(t, column, &cells[i]);
		fputc('\n', t->out);
	}
}

/* -- what is to be known of the figures ------------------------------------------------------- */

static bool among(const struct bench_results *r, const struct bench_workload *w)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->cells[i].workload == w && !bench_cell_empty(&r->cells[i]))
			return true;
	return false;
}

static void about_host(FILE *out, const struct bench_results *r)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	char missing[256];

	if (bench_host_was_busy(r))
		wrap_line(out, 0,
			  "The host was busy: %.2f tasks wanted to run before it began. Measure "
			  "again on an idle one.",
			  r->load);
	if (processors == 1 || processors == 2)
		wrap_line(out, 0,
			  "There %s only: what else runs on this host runs on the processors that "
			  "are measured.",
			  processors == 1 ? "is one processor" : "are two processors");
	if (*bench_costs_missing(missing, sizeof(missing)))
		wrap_line(out, 0, "This host does not tell: %s.", missing);
	if (r->kvm_run_ns)
		wrap_line(out, 0,
			  "Entering KVM from user space costs %.2f us on this host (median); user "
			  "modes pay it at every wake-up, kernel modes do not.",
			  (double)r->kvm_run_ns / 1000);
}

static bool same_note(const struct bench_column *column, const char *note)
{
	return column->note && strcmp(column->note, note) == 0;
}

/* Returns a list of a workload, which ends with NULL. */
static const struct bench_column *list_of(const struct bench_workload *w, unsigned int which)
{
	return which == 0 ? w->columns : which == 1 ? w->rate_columns : NULL;
}

/* Returns whether it stands at a column above this one, in the order of the table of workloads. */
static bool said_before(const struct bench_column *here)
{
	const struct bench_column *c;

	for (unsigned int row = 0; row < bench_n_workloads; row++)
		for (unsigned int i = 0; (c = list_of(bench_workloads[row], i)); i++)
			for (; c->head; c++) {
				if (c == here)
					return false;
				if (same_note(c, here->note))
					return true;
			}
	return false;
}

/* Returns whether it is at a column of anything that was measured. */
static bool concerns(const struct bench_results *r, const char *note)
{
	for (size_t i = 0; i < r->n; i++) {
		const struct bench_column *c = bench_columns_of(&r->cells[i]);

		if (bench_cell_empty(&r->cells[i]))
			continue;
		while (c->head && !same_note(c, note))
			c++;
		if (c->head)
			return true;
	}
	return false;
}

static void about_ratios(FILE *out, const struct bench_results *r)
{
	for (unsigned int row = 0; row < bench_n_workloads; row++) {
		const struct bench_workload *w = bench_workloads[row];

		if (w->higher_is_better || w->table || !among(r, w))
			continue;
		wrap_line(out, 2,
			  "ratio: to %s, the median over the rounds of the ratio of medians, and "
			  "the least and the greatest of those ratios; lower is better",
			  bench_baseline_name(w));
		return;
	}
}

static void about_columns(FILE *out, const struct bench_results *r)
{
	const struct bench_column *c;

	about_ratios(out, r);
	wrap_line(out, 2, "+-%%: from the lowest to the highest round, of the middle one");
	for (unsigned int row = 0; row < bench_n_workloads; row++)
		for (unsigned int i = 0; (c = list_of(bench_workloads[row], i)); i++)
			for (; c->head; c++)
				if (c->note && !said_before(c) && concerns(r, c->note))
					wrap_line(out, 2, "%s", c->note);
	if (bench_back_end_among(r->cells, r->n))
		wrap_line(out, 2,
			  "who pays: the parts of cpu, us: the guest's and its monitor's, "
			  "and the back end's");
	if (bench_polling_among(r->cells, r->n))
		wrap_line(out, 2, "%s", bench_polling_note);
	if (bench_costs_among(r->cells, r->n))
		wrap_line(out, 2, "%s", bench_costs_note);
}

static int name_width(const struct bench_results *r)
{
	int width = 4;

	for (size_t i = 0; i < r->n; i++) {
		int len = (int)strlen(r->cells[i].mode->name);

		if (r->cells[i].workload->higher_is_better && !bench_cell_empty(&r->cells[i]) &&
		    width < (int)strlen(HIGHER_IS_BETTER))
			width = (int)strlen(HIGHER_IS_BETTER);
		if (len > width && len <= LONGEST_NAME)
			width = len;
	}
	return width;
}

/* Returns how many cells from @first on belong to the same table. */
static size_t of_one_table(const struct bench_results *r, size_t first)
{
	const struct bench_cell *a = &r->cells[first];
	size_t last = first;

	while (last < r->n && (a->workload->table ? r->cells[last].workload == a->workload
						  : bench_cell_same_condition(a, &r->cells[last])))
		last++;
	return last - first;
}

static void usual_table(const struct table *t, struct bench_cell *cells, size_t n)
{
	heading(t, cells);
	for (size_t i = 0; i < n; i++)
		row(t, &cells[i]);
	if (cells->workload->higher_is_better)
		ratios(t, cells, n);
	more(t, "who pays", bench_back_end_columns, bench_back_end_among, cells, n);
	more(t, "guest", bench_polling_columns, bench_polling_among, cells, n);
	more(t, "costs", bench_costs_columns, bench_costs_among, cells, n);
}

static void summaries(FILE *out, const struct bench_results *r)
{
	for (unsigned int row = 0; row < bench_n_workloads; row++)
		if (bench_workloads[row]->summary && among(r, bench_workloads[row]))
			bench_workloads[row]->summary(out, r);
}

void bench_report_table(FILE *out, const struct bench_results *r)
{
	struct table t = {.out = out, .r = r, .name = name_width(r)};
	bool any = false;

	for (size_t i = 0, n; i < r->n; i += n) {
		n = of_one_table(r, i);
		if (!bench_cells_begun(&r->cells[i], n))
			continue;
		any = true;
		if (r->cells[i].workload->table)
			r->cells[i].workload->table(out, r, &r->cells[i], n);
		else
			usual_table(&t, &r->cells[i], n);
	}
	summaries(out, r);
	fputc('\n', out);
	if (r->interrupted)
		wrap_line(out, 0, "Interrupted (%s): %s.", bench_stop_name(r->interrupted),
			  any ? "this is what had been measured until then"
			      : "nothing had been measured until then");
	about_host(out, r);
	if (any)
		about_columns(out, r);
}
