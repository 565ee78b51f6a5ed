/* SPDX-License-Identifier: Apache-2.0 */
/* See heat.h. The shade only repeats what the number says. */
#include <string.h>

#include "cli/bench/heat.h"
#include "cli/bench/svg.h"

/* Returns the class of a ratio, from half of the baseline's to twice as much. */
static const char *shade(double ratio, bool higher_is_better)
{
	const double worse = higher_is_better && ratio > 0 ? 1 / ratio : ratio;

	if (worse <= 0.5)
		return "b2";
	if (worse < 0.95)
		return "b1";
	if (worse <= 1.05)
		return "b0";
	return worse < 2 ? "w1" : "w2";
}

/* Returns the end of the cells of one condition that begin at @first. */
static size_t end_of(const struct bench_results *r, size_t first)
{
	size_t last = first;

	while (last < r->n && bench_cell_same_condition(&r->cells[first], &r->cells[last]))
		last++;
	return last;
}

/* Returns the ratio of a mode among cells of one condition, if there is one. */
static bool ratio_of(const struct bench_results *r, const struct bench_mode *mode, size_t first,
		     size_t last, double *ratio)
{
	struct bench_ratio found;

	for (size_t i = first; i < last; i++) {
		const struct bench_cell *c = &r->cells[i];

		if (c->mode != mode || bench_cell_empty(c) ||
		    !bench_cell_ratio(r, bench_workload_compared(c->workload), c, &found))
			continue;
		*ratio = found.median;
		return true;
	}
	return false;
}

/* Counts the conditions of @w under which a mode has a ratio. */
static unsigned int conditions(const struct bench_results *r, const struct bench_workload *w,
			       const struct bench_mode *mode)
{
	unsigned int n = 0;
	double ratio;

	for (size_t i = 0, last; i < r->n; i = last) {
		last = end_of(r, i);
		n += r->cells[i].workload == w && ratio_of(r, mode, i, last, &ratio);
	}
	return n;
}

static bool is_baseline(const struct bench_workload *w, const struct bench_mode *mode)
{
	return strcmp(mode->name, bench_baseline_name(w)) == 0;
}

static bool worth_a_map(const struct bench_results *r, const struct bench_workload *w)
{
	for (unsigned int i = 0; i < r->cfg->n_modes && !w->table && !w->fitted; i++)
		if (!is_baseline(w, &r->cfg->modes[i]) && conditions(r, w, &r->cfg->modes[i]) > 1)
			return true;
	return false;
}

static void row(FILE *out, const struct bench_results *r, const struct bench_workload *w,
		const struct bench_mode *mode)
{
	double ratio;

	fprintf(out, "<tr><th scope=\"row\" class=\"m%u\"><i></i>",
		bench_mode_colour(r->cfg, mode));
	bench_html_text(out, mode->name);
	fputs("</th>", out);
	for (size_t i = 0, last; i < r->n; i = last) {
		last = end_of(r, i);
		if (r->cells[i].workload != w)
			continue;
		if (ratio_of(r, mode, i, last, &ratio))
			fprintf(out, "<td class=\"%s\">%.2f</td>",
				shade(ratio, w->higher_is_better), ratio);
		else
			fputs("<td></td>", out);
	}
	fputs("</tr>\n", out);
}

void bench_heat(FILE *out, const struct bench_results *r, const struct bench_workload *w)
{
	char name[128];

	if (!worth_a_map(r, w))
		return;
	fprintf(out,
		"<article>\n<h3>All at once</h3>\n<div class=\"table\" tabindex=\"0\"><table "
		"class=\"heat\">\n<thead><tr><th scope=\"col\">ratio to %s</th>",
		bench_baseline_name(w));
	for (size_t i = 0, last; i < r->n; i = last) {
		last = end_of(r, i);
		if (r->cells[i].workload != w)
			continue;
		fputs("<th scope=\"col\">", out);
		bench_html_text(out, bench_condition_name(name, sizeof(name), &r->cells[i]));
		fputs("</th>", out);
	}
	fputs("</tr></thead>\n<tbody>\n", out);
	for (unsigned int i = 0; i < r->cfg->n_modes; i++)
		if (!is_baseline(w, &r->cfg->modes[i]) && conditions(r, w, &r->cfg->modes[i]))
			row(out, r, w, &r->cfg->modes[i]);
	fputs("</tbody>\n</table></div>\n</article>\n", out);
}
