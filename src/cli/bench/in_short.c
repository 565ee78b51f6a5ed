/* SPDX-License-Identifier: Apache-2.0 */
/* Ratios of one mode over all conditions of a workload; see in_short.h. */
#include <string.h>

#include "cli/bench/in_short.h"
#include "cli/bench/svg.h"

#define MINE "user:adaptive"
/* A ratio so close to 1 is neither. */
#define EVEN 0.05

enum side { WINS, LOSES, DEPENDS, NEITHER };

/* The ratios of MINE in one workload. */
struct ratios {
	double least, most, better; /* better: 1 - ratio, or ratio - 1, summed up */
	unsigned int n;
};

static struct ratios ratios_of(const struct bench_results *r, const struct bench_workload *w)
{
	struct ratios all = {.n = 0};
	struct bench_ratio one;

	for (size_t i = 0; i < r->n; i++) {
		const struct bench_cell *c = &r->cells[i];

		if (c->workload != w || strcmp(c->mode->name, MINE) != 0 || bench_cell_empty(c) ||
		    !bench_cell_ratio(r, bench_workload_compared(w), c, &one))
			continue;
		all.least = all.n && all.least < one.median ? all.least : one.median;
		all.most = all.n && all.most > one.median ? all.most : one.median;
		all.better += w->higher_is_better ? one.median - 1 : 1 - one.median;
		all.n++;
	}
	return all;
}

/* Returns whether its ratios say something of a guest. Those of prices, and of conditions that are
 * there to be fitted by a line, do not. */
static bool says_something(const struct bench_workload *w)
{
	return !w->table && !w->fitted;
}

static enum side side_of(const struct ratios *all)
{
	double mean = all->better / all->n;

	if (all->least < 1 - EVEN && all->most > 1 + EVEN)
		return DEPENDS;
	return mean > EVEN ? WINS : mean < -EVEN ? LOSES : NEITHER;
}

static void item(FILE *out, const struct bench_workload *w, const struct ratios *all)
{
	fprintf(out, "<a href=\"#%s\">%s</a> (", w->name, w->name);
	bench_html_text(out, w->title);
	if (all->n == 1 || all->most - all->least < 0.005)
		fprintf(out, "): %.2f", all->least);
	else
		fprintf(out, "): %.2f–%.2f", all->least, all->most);
}

static void line(FILE *out, const struct bench_results *r, enum side side, const char *head)
{
	bool any = false;

	for (unsigned int row = 0; row < bench_n_workloads; row++) {
		const struct bench_workload *w = bench_workloads[row];
		struct ratios all = ratios_of(r, w);

		if (!says_something(w) || !all.n || side_of(&all) != side)
			continue;
		fprintf(out, any ? "; " : "<li><b>%s</b>: ", head);
		item(out, w, &all);
		any = true;
	}
	if (any)
		fputs("</li>\n", out);
}

static bool anything(const struct bench_results *r)
{
	for (unsigned int row = 0; row < bench_n_workloads; row++)
		if (says_something(bench_workloads[row]) && ratios_of(r, bench_workloads[row]).n)
			return true;
	return false;
}

void bench_in_short(FILE *out, const struct bench_results *r)
{
	if (!anything(r))
		return;
	fputs("<section id=\"short\">\n<h2>In short</h2>\n<p>" MINE " beside what each table is "
	      "compared with, mostly " BENCH_BASELINE ", the kernel’s default: its median divided "
	      "by the other one’s, from the least to the greatest over all conditions. 0.50 is "
	      "half "
	      "the time, 2.00 twice the time.</p>\n<ul>\n",
	      out);
	line(out, r, WINS, "It wins");
	line(out, r, LOSES, "It loses");
	line(out, r, DEPENDS, "It wins under some conditions and loses under others");
	line(out, r, NEITHER, "Neither");
	fputs("</ul>\n</section>\n", out);
}
