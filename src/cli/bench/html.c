/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `catnap bench --html`: one page that needs nothing else, neither a network nor a script. The
 * pictures are in svg.c, the looks in bench.css, which the build makes into a string.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "cli/bench/svg.h"
#include "cli/bench/heat.h"
#include "cli/bench/in_short.h"
#include "cli/bench/polling.h"
#include "cli/bench/workload.h"

extern const char bench_css[]; /* bench.css */

#define MAX_CHECKS 64

/* -- words ------------------------------------------------------------------------------------ */

static void element(FILE *out, const char *tag, const char *class, const char *s)
{
	fprintf(out, "<%s", tag);
	if (class)
		fprintf(out, " class=\"%s\"", class);
	fputc('>', out);
	bench_html_text(out, s);
	fprintf(out, "</%s>\n", tag);
}

/* -- tables ----------------------------------------------------------------------------------- */

#define MAX_COLUMNS 14

/* One mode's, with the columns' names: what there is depends on the workload. */
struct row {
	char head[MAX_COLUMNS][32], text[MAX_COLUMNS][48];
	unsigned int n;
};

static void add_text(struct row *r, const char *head, const char *text)
{
	if (r->n == MAX_COLUMNS)
		return;
	snprintf(r->head[r->n], sizeof(r->head[0]), "%s", head);
	snprintf(r->text[r->n], sizeof(r->text[0]), "%s", text);
	r->n++;
}

static void add_number(struct row *r, const char *head, int decimals, double value)
{
	char text[32];

	snprintf(text, sizeof(text), "%.*f", decimals, value);
	add_text(r, head, text);
}

/* Adds a figure, left open where there is no such. */
static void add_figure(struct row *row, const struct bench_column *column,
		       const struct bench_results *r, struct bench_cell *c)
{
	char text[48] = "";
	double value = 0;

	if (column->value(r, c, &value)) {
		switch (column->unit) {
		case BENCH_NUMBER:
			snprintf(text, sizeof(text), "%.*f", column->decimals, value);
			break;
		case BENCH_COUNT:
			snprintf(text, sizeof(text), "%.0f", value);
			break;
		case BENCH_BYTES:
			snprintf(text, sizeof(text), "%.0f", value / 1024);
			break;
		case BENCH_NS_OR_NOISE:
		case BENCH_NS_AS_MS:
		case BENCH_NS:
			if (value == 0 && column->unit == BENCH_NS_OR_NOISE)
				snprintf(text, sizeof(text), "noise");
			else
				bench_html_ns(text, sizeof(text), value);
			break;
		}
	}
	add_text(row, column->page_head, text);
}

static void add_spread(struct row *row, const struct bench_cell *c)
{
	double percent;

	if (bench_cell_spread(c, &percent))
		add_number(row, "± %", 0, percent);
	else
		add_text(row, "± %", "");
}

/* Adds a ratio, and between which ratios the rounds lie; the arrow is where better ones are. */
static void add_ratio(struct row *row, const char *name, bool there, const struct bench_ratio *r,
		      bool higher)
{
	const int decimals = higher ? 3 : 2;
	char head[32], text[48] = "";

	snprintf(head, sizeof(head), "%s %s", name, higher ? "↑" : "↓");
	if (there)
		add_number(row, head, decimals, r->median);
	else
		add_text(row, head, "");
	if (there && r->rounds > 1)
		snprintf(text, sizeof(text), "%.*f–%.*f", decimals, r->least, decimals, r->most);
	add_text(row, "rounds", text);
}

/* Makes the row of a cell that is not empty. */
static struct row make_row(const struct bench_results *r, struct bench_cell *c)
{
	const struct bench_workload *w = c->workload;
	const struct bench_compared *compared = bench_workload_compared(w);
	struct row row = {.n = 0};
	struct bench_ratio ratio;
	bool there;

	for (const struct bench_column *column = bench_columns_of(c); column->head; column++)
		add_figure(&row, column, r, c);
	add_spread(&row, c);
	for (; compared->member; compared++) {
		there = bench_cell_ratio(r, compared, c, &ratio);
		add_ratio(&row, compared->page_head, there, &ratio, w->higher_is_better);
	}
	return row;
}

static void row_begin(FILE *out, const struct bench_results *r, const struct bench_cell *c)
{
	fprintf(out, "<tr><th scope=\"row\" class=\"m%u\"><i></i>",
		bench_mode_colour(r->cfg, c->mode));
	bench_html_text(out, c->mode->name);
	fputs("</th>", out);
}

static void table_row(FILE *out, const struct bench_results *r, struct bench_cell *c)
{
	struct row row = make_row(r, c);

	row_begin(out, r, c);
	for (unsigned int i = 0; i < row.n && !bench_cell_empty(c); i++)
		fprintf(out, "<td>%s</td>", row.text[i]);
	if (bench_cell_empty(c))
		fprintf(out, "<td colspan=\"%u\" class=\"failed\">%s</td>", row.n,
			c->failed ? "failed" : "not measured");
	fputs("</tr>\n", out);
}

static void table_begin(FILE *out, const char *first, const struct row *head)
{
	fprintf(out,
		"<div class=\"table\" tabindex=\"0\"><table>\n<thead><tr><th scope=\"col\">%s</th>",
		first);
	for (unsigned int i = 0; i < head->n; i++)
		fprintf(out, "<th scope=\"col\">%s</th>", head->head[i]);
	fputs("</tr></thead>\n<tbody>\n", out);
}

static void table(FILE *out, const struct bench_results *r, struct bench_cell *cells, size_t n)
{
	struct row head = make_row(r, &cells[0]);

	table_begin(out, "mode", &head);
	for (size_t i = 0; i < n; i++)
		table_row(out, r, &cells[i]);
	fputs("</tbody></table></div>\n", out);
}

/* Returns the row of what guests that poll have done. */
static struct row guest_row(const struct bench_results *r, struct bench_cell *c)
{
	struct row row = {.n = 0};

	for (const struct bench_column *column = bench_polling_columns; column->head; column++)
		add_figure(&row, column, r, c);
	return row;
}

static void guest_table(FILE *out, const struct bench_results *r, struct bench_cell *cells,
			size_t n)
{
	struct row row = guest_row(r, &cells[0]);

	if (!bench_polling_among(cells, n))
		return;
	table_begin(out, "guest", &row);
	for (size_t i = 0; i < n; i++) {
		if (!bench_polling_among(&cells[i], 1))
			continue;
		row = guest_row(r, &cells[i]);
		row_begin(out, r, &cells[i]);
		for (unsigned int k = 0; k < row.n; k++)
			fprintf(out, "<td>%s</td>", row.text[k]);
		fputs("</tr>\n", out);
	}
	fputs("</tbody></table></div>\n", out);
}

/* -- figures ---------------------------------------------------------------------------------- */

static void figure_end(FILE *out, const char *caption)
{
	fprintf(out, "<figcaption>%s</figcaption></figure>\n", caption);
}

static void latency_figures(FILE *out, const struct bench_results *r, struct bench_cell *cells,
			    size_t n)
{
	fputs("<figure>", out);
	if (bench_svg_percentiles(out, r->cfg, cells, n))
		figure_end(out, "Latency at each percentile; lower is better");
	else
		figure_end(out, "Too few samples for a curve");
	if (!bench_workload_shows(cells[0].workload, bench_value_event_cpu))
		return;
	fputs("<figure>", out);
	if (bench_svg_tradeoff(out, r->cfg, cells, n))
		figure_end(out,
			   "Median latency (the thin line goes on towards p99) against processor "
			   "time; the grey steps join what nothing else beats in both");
	else
		figure_end(out, "Fewer than two modes to compare");
}

static void bar_figure(FILE *out, const struct bench_results *r, struct bench_cell *cells, size_t n)
{
	const struct bench_bars *how = cells[0].workload->bars;
	struct bench_svg_bar bars[BENCH_MODES];
	size_t shown = 0;

	for (size_t i = 0; i < n && shown < BENCH_MODES; i++) {
		if (bench_cell_empty(&cells[i]))
			continue;
		bars[shown] = (struct bench_svg_bar){.mode = cells[i].mode};
		how->bar(r, &cells[i], &bars[shown++]);
	}
	fputs("<figure>", out);
	if (shown)
		bench_svg_bars(out, r->cfg, cells[0].workload->title, bars, shown, how->mark);
	figure_end(out, how->caption(r, cells, n));
}

static void window_figures(FILE *out, const struct bench_results *r, struct bench_cell *cells,
			   size_t n)
{
	static const char *const open_one = "bursty";
	const struct generate *g = cells[0].process ? &cells[0].process->generate : NULL;
	bool any = false;

	for (size_t i = 0; i < n; i++)
		any |= !bench_cell_empty(&cells[i]) && cells[i].n_windows;
	if (!any || !g)
		return;
	/* Bursts are where a window has most to follow. */
	fprintf(out, "<details%s><summary>The window over time</summary>\n",
		strncmp(cells[0].process->label, open_one, strlen(open_one)) == 0 ? " open" : "");
	fputs("<p>Each dot is a halt, filled if it ended within the window (the line) that it was "
	      "polled for; a window of 0 is a sleep at once.</p>\n<div class=\"figures\">\n",
	      out);
	for (size_t i = 0; i < n; i++) {
		if (bench_cell_empty(&cells[i]) || !cells[i].n_windows)
			continue;
		fputs("<figure>", out);
		bench_svg_windows(out, r->cfg, &cells[i]);
		fputs("<figcaption>", out);
		bench_html_text(out, cells[i].mode->name);
		fputs("</figcaption></figure>\n", out);
	}
	fputs("</div></details>\n", out);
}

/* -- the page --------------------------------------------------------------------------------- */

static void condition(FILE *out, const struct bench_results *r, struct bench_cell *cells, size_t n)
{
	char name[160];

	fputs("<article>\n", out);
	if (*bench_condition_name(name, sizeof(name), cells))
		element(out, "h3", NULL, name);
	fprintf(out, "<div class=\"%s\">\n", cells[0].workload->bars ? "figures bars" : "figures");
	if (cells[0].workload->bars)
		bar_figure(out, r, cells, n);
	else
		latency_figures(out, r, cells, n);
	table(out, r, cells, n);
	guest_table(out, r, cells, n);
	fputs("</div>\n", out);
	window_figures(out, r, cells, n);
	fputs("</article>\n", out);
}

static void workload(FILE *out, const struct bench_results *r, const struct bench_workload *w)
{
	fprintf(out, "<section id=\"%s\">\n<h2>%s: ", w->name, w->name);
	bench_html_text(out, w->title);
	fprintf(out, "</h2>\n<p>%s</p>\n", w->about);
	for (size_t i = 0, last; i < r->n; i = last) {
		for (last = i;
		     last < r->n && bench_cell_same_condition(&r->cells[i], &r->cells[last]);)
			last++;
		if (r->cells[i].workload == w && bench_cells_begun(&r->cells[i], last - i))
			condition(out, r, &r->cells[i], last - i);
	}
	bench_heat(out, r, w);
	if (w->summary) {
		fputs("<div class=\"table\" tabindex=\"0\"><pre>", out);
		w->summary(out, r);
		fputs("</pre></div>\n", out);
	}
	fputs("</section>\n", out);
}

static bool measured(const struct bench_results *r, const struct bench_workload *w)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->cells[i].workload == w && bench_cells_begun(&r->cells[i], 1))
			return true;
	return false;
}

static void fact(FILE *out, const char *name, const char *value)
{
	fputs("<div>", out);
	element(out, "dt", NULL, name);
	element(out, "dd", NULL, value);
	fputs("</div>\n", out);
}

static void host(FILE *out, const struct bench_results *r, const struct catnap_check *checks,
		 size_t n)
{
	char text[128], ns[32];
	struct utsname u;
	time_t now = time(NULL);
	struct tm tm;

	fputs("<dl>\n", out);
	bench_host_cpu_model(text, sizeof(text));
	fact(out, "Processor", text);
	snprintf(text, sizeof(text), "%ld", sysconf(_SC_NPROCESSORS_ONLN));
	fact(out, "Processors", text);
	if (uname(&u) == 0)
		fact(out, "Kernel", u.release);
	for (size_t i = 0; i < n; i++)
		if (strcmp(checks[i].name, "kind of KVM") == 0 ||
		    strcmp(checks[i].name, "KVM's halt polling") == 0)
			fact(out, checks[i].name, checks[i].found);
	if (r->kvm_run_ns)
		fact(out, "Price of entering KVM",
		     bench_html_ns(ns, sizeof(ns), (double)r->kvm_run_ns));
	snprintf(text, sizeof(text), "%.3f MHz", r->tsc_khz / 1e3);
	fact(out, "TSC", text);
	if (r->load >= 0) {
		snprintf(text, sizeof(text), "%.2f", r->load);
		fact(out, "Load before", text);
	}
	snprintf(text, sizeof(text), "%u of %u samples", r->cfg->rounds, r->cfg->samples);
	fact(out, "Rounds", text);
	if (gmtime_r(&now, &tm) && strftime(text, sizeof(text), "%Y-%m-%d %H:%M UTC", &tm))
		fact(out, "Measured", text);
	fact(out, "catnap", catnap_version());
	fputs("</dl>\n", out);
}

static void other_baselines(FILE *out, const struct bench_results *r)
{
	for (const struct bench_workload *const *w = bench_workloads; *w; w++)
		if ((*w)->compared_page && bench_workload_chosen(r->cfg, *w))
			fprintf(out, "; in %s, to %s, %s", (*w)->name, bench_baseline_name(*w),
				(*w)->compared_page);
}

static void caveats(FILE *out, const struct bench_results *r, const struct catnap_check *checks,
		    size_t n)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	char ns[32];

	fputs("<section id=\"caveats\">\n<h2>Before you believe it</h2>\n<ul>\n", out);
	fputs("<li>Modes took turns, round by round, so what else the host did happened to all of "
	      "them. It still did: <b>max</b> is a single event, and p99 of few samples is a few "
	      "events.</li>\n",
	      out);
	if (r->kvm_run_ns)
		fprintf(out,
			"<li>Entering KVM from user space costs %s here (a median). User modes pay "
			"it at every wake-up, kernel modes do not. On bare metal it is a fraction "
			"of 1 µs.</li>\n",
			bench_html_ns(ns, sizeof(ns), (double)r->kvm_run_ns));
	if (bench_host_was_busy(r))
		fprintf(out,
			"<li><b>The host was busy</b>: %.2f tasks wanted to run before it began. "
			"Measure again on an idle one.</li>\n",
			r->load);
	if (processors <= 2)
		fprintf(out,
			"<li>There %s only: what else runs on this host runs on the processors "
			"that are measured.</li>\n",
			processors == 1 ? "is one processor" : "are two processors");
	for (size_t i = 0; i < n; i++) {
		if (checks[i].state == CATNAP_CHECK_OK || !checks[i].advice[0] ||
		    strcmp(checks[i].name, "price of KVM_RUN") == 0)
			continue;
		fputs("<li>", out);
		bench_html_text(out, checks[i].name);
		fputs(": ", out);
		bench_html_text(out, checks[i].found);
		fputs(". ", out);
		bench_html_text(out, checks[i].advice);
		fputs("</li>\n", out);
	}
	fprintf(out,
		"<li><b>ratio</b> is to %s: the median, over the rounds, of the ratio of the two "
		"medians in the same round, and beside it the least and the greatest of these; "
		"↓ where a lower one is better, ↑ where a higher one is. <b>± %%</b> is how far "
		"the rounds lie apart, of the middle one",
		BENCH_BASELINE);
	other_baselines(out, r);
	fputs(".</li>\n", out);
	if (bench_polling_among(r->cells, r->n))
		fprintf(out, "<li>%s.</li>\n", bench_polling_note);
	fputs("<li>Lines of <code>user:</code> modes are solid, those of <code>kernel:</code> "
	      "modes dashed. In the right-hand pictures, kernel:0 and kernel:200us have a ring: "
	      "no polling, and the kernel’s default.</li>\n</ul>\n</section>\n",
	      out);
}

int bench_report_html(FILE *out, const struct bench_results *r)
{
	struct catnap_check *checks = calloc(MAX_CHECKS, sizeof(*checks));
	size_t n;

	if (!checks) {
		errno = ENOMEM;
		return -1;
	}
	n = catnap_check_host(checks, MAX_CHECKS);
	if (n > MAX_CHECKS)
		n = MAX_CHECKS;
	errno = 0;
	fputs("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
	      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
	      "<meta name=\"color-scheme\" content=\"light dark\">\n"
	      "<title>catnap bench</title>\n<style>\n",
	      out);
	fputs(bench_css, out);
	fputs("</style>\n</head>\n<body>\n<header>\n<h1>catnap bench</h1>\n"
	      "<p>How late a halted virtual CPU wakes up, and what that costs: halting in user "
	      "space (<code>user:</code>) beside halting in the kernel (<code>kernel:</code>)."
	      "</p>\n",
	      out);
	if (r->interrupted)
		fprintf(out,
			"<p class=\"interrupted\"><b>Interrupted</b> by %s: this is what had been "
			"measured until then.</p>\n",
			bench_stop_name(r->interrupted));
	bench_in_short(out, r);
	host(out, r, checks, n);
	fputs("<nav aria-label=\"Workloads\">\n", out);
	for (const struct bench_workload *const *w = bench_workloads; *w; w++)
		if (measured(r, *w))
			fprintf(out, "<a href=\"#%s\">%s</a>\n", (*w)->name, (*w)->name);
	fputs("<a href=\"#caveats\">caveats</a>\n</nav>\n</header>\n<main>\n", out);
	caveats(out, r, checks, n);
	for (const struct bench_workload *const *w = bench_workloads; *w; w++)
		if (measured(r, *w))
			workload(out, r, *w);
	fputs("</main>\n</body>\n</html>\n", out);
	free(checks);
	errno = 0;
	return fflush(out) != 0 || ferror(out) ? -1 : 0;
}
