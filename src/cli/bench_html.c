/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `catnap bench --html`: one page that needs nothing else, neither a network nor a script. The
 * pictures are in bench_svg.c, the looks in bench.css, which the build makes into a string.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "cli/bench.h"
#include "cli/bench_svg.h"

extern const char bench_css[]; /* bench.css */

#define MAX_CHECKS 64

/* -- words ------------------------------------------------------------------------------------ */

static const char *about(enum bench_workload w)
{
	switch (w) {
	case BENCH_EVENT:
		return "Another thread of the host, on a processor of its own, signals the halted "
		       "virtual CPU. Latency is from before the signal to the first instruction of "
		       "the guest’s handler.";
	case BENCH_TIMER:
		return "The guest arms its local APIC timer and halts. Latency is how late its "
		       "handler ran.";
	case BENCH_IPI:
		return "Two virtual CPUs halt and wake each other; the time is that of a round "
		       "trip.";
	case BENCH_IDLE:
		return "Processor time of a guest that halts, with and without a periodic timer "
		       "tick.";
	case BENCH_START:
		return "From the start of a process to the guest’s first output.";
	case BENCH_MEMORY:
		return "Private memory of the process beyond that of the guest.";
	case BENCH_BLK:
		return "Reads from a virtio disk, one at a time: from the guest’s doorbell to its "
		       "interrupt handler. “Net” is without the guest’s own share.";
	case BENCH_ECHO:
		return "A packet to the guest and back, over a TAP device. “Net” is without the "
		       "guest’s own share.";
	case BENCH_NEIGHBOUR:
		return "A thread that computes shares a processor with virtual CPUs that are woken "
		       "at random. What it gets done beside them, compared with user:off, where "
		       "nobody polls, is what polling takes from it.";
	case BENCH_MIX:
		return "Events at the gaps of an arrival process, the same for all modes. “In "
		       "vain” is time polled in halts that then slept all the same.";
	case BENCH_COMPUTE:
		return "The guest computes in user mode on all its virtual CPUs. From the write of "
		       "an eventfd to its interrupt’s handler; and from a read’s doorbell to its "
		       "interrupt’s handler, the disk’s own time included.";
	case BENCH_WORKLOADS:
		break;
	}
	return "";
}

static void element(FILE *out, const char *tag, const char *class, const char *s)
{
	fprintf(out, "<%s", tag);
	if (class)
		fprintf(out, " class=\"%s\"", class);
	fputc('>', out);
	html_text(out, s);
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

/* Left open where there is no such figure. */
static void add_figure(struct row *r, const char *head, int decimals, const struct cell *c,
		       bool (*figure)(const struct cell *, double *))
{
	double value;

	if (figure(c, &value))
		add_number(r, head, decimals, value);
	else
		add_text(r, head, "");
}

/* And between which ratios the rounds lie; the arrow is where better ones are. */
static void add_ratio(struct row *row, const char *name, bool there, const struct ratio *r,
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

static void add_ns(struct row *r, const char *head, bool there, double ns)
{
	char text[32];

	add_text(r, head, there ? html_ns(text, sizeof(text), ns) : "");
}

static void add_quantile(struct row *r, const char *head, struct cell *c, double q)
{
	add_ns(r, head, c->latency.n, (double)series_quantile(&c->latency, q));
}

static void add_latencies(struct row *row, const struct bench_results *r, struct cell *c)
{
	uint64_t net = 0;
	bool has_net = cell_net_p50(r->cells, r->n, c, &net), there;
	double ns;

	add_quantile(row, "p50", c, 0.5);
	add_quantile(row, "p90", c, 0.9);
	add_quantile(row, "p99", c, 0.99);
	add_quantile(row, "max", c, 1);
	if (cell_has_net(c) && has_net && !net)
		add_text(row, "net", "noise");
	else if (cell_has_net(c))
		add_ns(row, "net", has_net, (double)net);
	if (c->workload == BENCH_EVENT)
		add_ns(row, "sender", c->signal.n, (double)series_quantile(&c->signal, 0.5));
	if (c->workload == BENCH_MIX) {
		there = cell_event_vain(c, &ns);
		add_ns(row, "in vain", there, ns);
	}
	if (c->workload == BENCH_START || c->workload == BENCH_COMPUTE)
		return;
	there = cell_event_cpu(c, &ns);
	add_ns(row, "CPU/event", there, ns);
}

/* Of a cell that is not empty. */
static struct row make_row(const struct bench_results *r, struct cell *c)
{
	bool higher = higher_is_better(c->workload), there;
	struct row row = {.n = 0};
	struct ratio ratio;

	switch (c->workload) {
	case BENCH_IDLE:
		add_figure(&row, "processor %", 3, c, cell_cpu_percent);
		break;
	case BENCH_MEMORY:
		add_number(&row, "KiB", 0, (double)series_quantile(&c->latency, 0.5) / 1024);
		add_number(&row, "max", 0, (double)series_quantile(&c->latency, 1) / 1024);
		break;
	case BENCH_NEIGHBOUR:
		add_figure(&row, "hog %", 1, c, cell_progress);
		add_figure(&row, "hog CPU %", 1, c, cell_hog_percent);
		add_figure(&row, "vCPUs %", 1, c, cell_cpu_percent);
		add_figure(&row, "polled %", 2, c, cell_polled_percent);
		add_figure(&row, "events/s", 0, c, cell_event_rate);
		add_quantile(&row, "p50", c, 0.5);
		add_quantile(&row, "p99", c, 0.99);
		break;
	case BENCH_EVENT:
	case BENCH_TIMER:
	case BENCH_IPI:
	case BENCH_START:
	case BENCH_BLK:
	case BENCH_ECHO:
	case BENCH_MIX:
	case BENCH_COMPUTE:
	case BENCH_WORKLOADS:
		add_latencies(&row, r, c);
		break;
	}
	add_figure(&row, "± %", 0, c, cell_spread);
	there = cell_ratio(r->cells, r->n, c, &ratio);
	add_ratio(&row, "ratio", there, &ratio, higher);
	if (c->workload != BENCH_NEIGHBOUR)
		return row;
	there = cell_hog_ratio(r->cells, r->n, c, &ratio);
	add_ratio(&row, "CPU ratio", there, &ratio, higher);
	return row;
}

static void table_row(FILE *out, const struct bench_results *r, struct cell *c)
{
	struct row row = make_row(r, c);

	fprintf(out, "<tr><th scope=\"row\" class=\"m%u\"><i></i>", mode_colour(r->cfg, c->mode));
	html_text(out, c->mode->name);
	fputs("</th>", out);
	for (unsigned int i = 0; i < row.n && !cell_empty(c); i++)
		fprintf(out, "<td>%s</td>", row.text[i]);
	if (cell_empty(c))
		fprintf(out, "<td colspan=\"%u\" class=\"failed\">%s</td>", row.n,
			c->failed ? "failed" : "not measured");
	fputs("</tr>\n", out);
}

static void table(FILE *out, const struct bench_results *r, struct cell *cells, size_t n)
{
	struct row head = make_row(r, &cells[0]);

	fputs("<div class=\"table\" tabindex=\"0\"><table>\n<thead><tr><th scope=\"col\">mode</th>",
	      out);
	for (unsigned int i = 0; i < head.n; i++)
		fprintf(out, "<th scope=\"col\">%s</th>", head.head[i]);
	fputs("</tr></thead>\n<tbody>\n", out);
	for (size_t i = 0; i < n; i++)
		table_row(out, r, &cells[i]);
	fputs("</tbody></table></div>\n", out);
}

/* -- figures ---------------------------------------------------------------------------------- */

static void figure_end(FILE *out, const char *caption)
{
	fprintf(out, "<figcaption>%s</figcaption></figure>\n", caption);
}

static void latency_figures(FILE *out, const struct bench_results *r, struct cell *cells, size_t n)
{
	fputs("<figure>", out);
	if (svg_percentiles(out, r->cfg, cells, n))
		figure_end(out, "Latency at each percentile; lower is better");
	else
		figure_end(out, "Too few samples for a curve");
	if (cells[0].workload == BENCH_START || cells[0].workload == BENCH_COMPUTE)
		return;
	fputs("<figure>", out);
	if (svg_tradeoff(out, r->cfg, cells, n))
		figure_end(out,
			   "Median latency (the thin line goes on towards p99) against processor "
			   "time; the grey steps join what nothing else beats in both");
	else
		figure_end(out, "Fewer than two modes to compare");
}

static void bar_of(struct svg_bar *bar, const struct bench_results *r, struct cell *c)
{
	double p50 = (double)series_quantile(&c->latency, 0.5);
	struct ratio ratio;

	bar->mode = c->mode;
	bar->value = 0;
	bar->text[0] = '\0';
	if (c->workload == BENCH_IDLE) {
		if (cell_cpu_percent(c, &bar->value))
			snprintf(bar->text, sizeof(bar->text), "%.*f %%", bar->value < 10 ? 2 : 1,
				 bar->value);
	} else if (c->workload == BENCH_MEMORY) {
		bar->value = p50;
		snprintf(bar->text, sizeof(bar->text), "%.0f KiB", p50 / 1024);
	} else if (c->workload == BENCH_NEIGHBOUR) {
		if (cell_hog_ratio(r->cells, r->n, c, &ratio))
			bar->value = 100 * ratio.median;
		else if (!cell_progress(c, &bar->value))
			return;
		snprintf(bar->text, sizeof(bar->text), "%.1f %%", bar->value);
		bar->value /= 100;
	} else {
		bar->value = p50;
		html_ns(bar->text, sizeof(bar->text), p50);
	}
}

/* Whether ratios of this condition exist: its baseline has been measured. */
static bool has_baseline(const struct bench_results *r, struct cell *cells, size_t n)
{
	struct ratio ratio;

	for (size_t i = 0; i < n; i++)
		if (cell_ratio(r->cells, r->n, &cells[i], &ratio))
			return true;
	return false;
}

static void bar_figure(FILE *out, const struct bench_results *r, struct cell *cells, size_t n)
{
	bool hog = cells[0].workload == BENCH_NEIGHBOUR;
	struct svg_bar bars[BENCH_MODES];
	size_t shown = 0;
	const char *caption = "Median of the rounds; shorter is better";

	for (size_t i = 0; i < n && shown < BENCH_MODES; i++)
		if (!cell_empty(&cells[i]))
			bar_of(&bars[shown++], r, &cells[i]);
	if (cells[0].workload == BENCH_IDLE)
		caption = "Of one processor; shorter is better";
	else if (hog && has_baseline(r, cells, n))
		caption = "The hog’s processor time, of that beside user:off (the line); longer "
			  "is better";
	else if (hog)
		caption = "The hog’s progress, of what it makes alone (the line); longer is better";
	fputs("<figure>", out);
	if (shown)
		svg_bars(out, r->cfg, workload_title(cells[0].workload), bars, shown, hog ? 1 : 0);
	figure_end(out, caption);
}

static void window_figures(FILE *out, const struct bench_results *r, struct cell *cells, size_t n)
{
	static const char *const open_one = "bursty";
	const struct generate *g = cells[0].process ? &cells[0].process->generate : NULL;
	bool any = false;

	for (size_t i = 0; i < n; i++)
		any |= !cell_empty(&cells[i]) && cells[i].n_windows;
	if (!any || !g)
		return;
	/* Bursts are where a window has most to follow. */
	fprintf(out, "<details%s><summary>The window over time</summary>\n",
		strncmp(cells[0].process->label, open_one, strlen(open_one)) == 0 ? " open" : "");
	fputs("<p>Each dot is a halt, filled if it ended within the window (the line) that it was "
	      "polled for; a window of 0 is a sleep at once.</p>\n<div class=\"figures\">\n",
	      out);
	for (size_t i = 0; i < n; i++) {
		if (cell_empty(&cells[i]) || !cells[i].n_windows)
			continue;
		fputs("<figure>", out);
		svg_windows(out, r->cfg, &cells[i]);
		fputs("<figcaption>", out);
		html_text(out, cells[i].mode->name);
		fputs("</figcaption></figure>\n", out);
	}
	fputs("</div></details>\n", out);
}

/* -- the page --------------------------------------------------------------------------------- */

static bool only_bars(enum bench_workload w)
{
	return w == BENCH_IDLE || w == BENCH_START || w == BENCH_MEMORY || w == BENCH_NEIGHBOUR;
}

static void condition(FILE *out, const struct bench_results *r, struct cell *cells, size_t n)
{
	char name[160];

	fputs("<article>\n", out);
	if (*condition_name(name, sizeof(name), cells))
		element(out, "h3", NULL, name);
	fprintf(out, "<div class=\"%s\">\n",
		only_bars(cells[0].workload) ? "figures bars" : "figures");
	if (only_bars(cells[0].workload))
		bar_figure(out, r, cells, n);
	else
		latency_figures(out, r, cells, n);
	table(out, r, cells, n);
	fputs("</div>\n", out);
	window_figures(out, r, cells, n);
	fputs("</article>\n", out);
}

static void workload(FILE *out, const struct bench_results *r, enum bench_workload w)
{
	fprintf(out, "<section id=\"%s\">\n<h2>%s: ", workload_name(w), workload_name(w));
	html_text(out, workload_title(w));
	fprintf(out, "</h2>\n<p>%s</p>\n", about(w));
	for (size_t i = 0, last; i < r->n; i = last) {
		for (last = i; last < r->n && cell_same_condition(&r->cells[i], &r->cells[last]);)
			last++;
		if (r->cells[i].workload == w && cells_begun(&r->cells[i], last - i))
			condition(out, r, &r->cells[i], last - i);
	}
	fputs("</section>\n", out);
}

static bool measured(const struct bench_results *r, enum bench_workload w)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->cells[i].workload == w && cells_begun(&r->cells[i], 1))
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
	host_cpu_model(text, sizeof(text));
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
		fact(out, "Price of entering KVM", html_ns(ns, sizeof(ns), (double)r->kvm_run_ns));
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
			html_ns(ns, sizeof(ns), (double)r->kvm_run_ns));
	if (host_was_busy(r))
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
		html_text(out, checks[i].name);
		fputs(": ", out);
		html_text(out, checks[i].found);
		fputs(". ", out);
		html_text(out, checks[i].advice);
		fputs("</li>\n", out);
	}
	fprintf(out,
		"<li><b>ratio</b> is to %s: the median, over the rounds, of the ratio of the two "
		"medians in the same round, and beside it the least and the greatest of these; "
		"↓ where a lower one is better, ↑ where a higher one is. <b>± %%</b> is how far "
		"the rounds lie apart, of the middle one",
		baseline_name(BENCH_EVENT));
	if (r->cfg->workloads[BENCH_NEIGHBOUR])
		fprintf(out, "; in neighbour, to %s, of the hog’s progress",
			baseline_name(BENCH_NEIGHBOUR));
	fputs(".</li>\n", out);
	fputs("<li>Lines of <code>user:</code> modes are solid, those of <code>kernel:</code> "
	      "modes "
	      "dashed. In the right-hand pictures, kernel:0 and kernel:200us have a ring: no "
	      "polling, and the kernel’s default.</li>\n</ul>\n</section>\n",
	      out);
}

int report_html(FILE *out, const struct bench_results *r)
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
	host(out, r, checks, n);
	fputs("<nav aria-label=\"Workloads\">\n", out);
	for (enum bench_workload w = 0; w < BENCH_WORKLOADS; w++)
		if (measured(r, w))
			fprintf(out, "<a href=\"#%s\">%s</a>\n", workload_name(w),
				workload_name(w));
	fputs("<a href=\"#caveats\">caveats</a>\n</nav>\n</header>\n<main>\n", out);
	caveats(out, r, checks, n);
	for (enum bench_workload w = 0; w < BENCH_WORKLOADS; w++)
		if (measured(r, w))
			workload(out, r, w);
	fputs("</main>\n</body>\n</html>\n", out);
	free(checks);
	return fflush(out) != 0 || ferror(out) ? -1 : 0;
}
