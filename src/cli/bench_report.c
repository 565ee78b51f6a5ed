/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was measured, as a table for people, on terminals of 80 columns. A figure that there is not
 * is a blank, never a 0; one that is there has at least three digits.
 */
#include <string.h>
#include <unistd.h>

#include "cli/bench.h"
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

/* In a column of @width, and a space before it. */
static void head(const struct table *t, int width, const char *text)
{
	fprintf(t->out, " %*s", width, text);
}

/* Five characters at most, whatever it is: 0.048, 13.51, 822.6, 12345, 1.23s, 12.3M. @seconds: of
 * @value in one, 0: it is no time. */
static void number(const struct table *t, bool there, double value, double seconds)
{
	char text[32] = "";

	if (there && value >= 99999.5 && seconds > 0)
		snprintf(text, sizeof(text), "%.*fs", value / seconds < 9.995 ? 2 : 1,
			 value / seconds);
	else if (there && value >= 99999.5)
		snprintf(text, sizeof(text), "%.1fM", value / 1e6);
	else if (there)
		snprintf(text, sizeof(text), "%.*f",
			 value <= 0	  ? 0
			 : value < 0.9995 ? 3
			 : value < 99.995 ? 2
			 : value < 999.95 ? 1
					  : 0,
			 value);
	fprintf(t->out, " %5s", text);
}

static void micros(const struct table *t, bool there, double ns)
{
	number(t, there, ns / 1e3, 1e6);
}

static void quantile(const struct table *t, struct cell *c, double q)
{
	double scale = c->workload == BENCH_START ? 1e6 : 1e3;

	number(t, c->latency.n, (double)series_quantile(&c->latency, q) / scale, 1e9 / scale);
}

/* The ratio, and between which ratios the rounds lie. */
static void ratio(const struct table *t, bool there, const struct ratio *r, int decimals)
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

static void spread(const struct table *t, const struct cell *c)
{
	double percent;
	char text[16] = "";

	if (cell_spread(c, &percent))
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

/* The column that only some workloads have. */
static const char *own_column(const struct cell *c)
{
	return c->workload == BENCH_EVENT ? "send"
	       : c->workload == BENCH_MIX ? "vain"
	       : cell_has_net(c)	  ? "net"
					  : NULL;
}

static bool has_cpu_column(enum bench_workload w)
{
	return w != BENCH_START && w != BENCH_COMPUTE;
}

static void columns(const struct table *t, const struct cell *c)
{
	const char *own = own_column(c);

	fprintf(t->out, "%-*s", t->name, "mode");
	switch (c->workload) {
	case BENCH_IDLE:
		head(t, 11, "processor %");
		break;
	case BENCH_MEMORY:
		head(t, 9, "KiB");
		head(t, 9, "max");
		break;
	case BENCH_NEIGHBOUR:
		fprintf(t->out, "  hog%% hogcpu%% vCPUs%% polled%%  ev/s p50us   p99  +-%%\n");
		return;
	case BENCH_EVENT:
	case BENCH_TIMER:
	case BENCH_IPI:
	case BENCH_START:
	case BENCH_BLK:
	case BENCH_ECHO:
	case BENCH_MIX:
	case BENCH_COMPUTE:
	case BENCH_WORKLOADS:
		fprintf(t->out, " %s   p90   p99   max",
			c->workload == BENCH_START ? "p50 ms" : "p50 us");
		if (own)
			head(t, 5, own);
		if (has_cpu_column(c->workload))
			head(t, 5, "cpu");
		break;
	}
	head(t, 4, "+-%");
	head(t, 5, "ratio");
	fprintf(t->out, "  (rounds)\n");
}

static void heading(const struct table *t, const struct cell *c)
{
	char condition[160];

	condition_name(condition, sizeof(condition), c);
	fputc('\n', t->out);
	wrap_line(t->out, 2, "%s: %s%s%s", workload_name(c->workload), workload_title(c->workload),
		  *condition ? ", " : "", condition);
	columns(t, c);
}

static void own_figure(const struct table *t, struct cell *c)
{
	double vain = 0;
	uint64_t net = 0;
	bool there;

	if (cell_has_net(c)) {
		there = cell_net_p50(t->r->cells, t->r->n, c, &net);
		if (there && !net)
			head(t, 5, "noise");
		else
			micros(t, there, (double)net);
	} else if (c->workload == BENCH_MIX) {
		there = cell_event_vain(c, &vain);
		micros(t, there, vain);
	} else {
		micros(t, c->signal.n, (double)series_quantile(&c->signal, 0.5));
	}
}

static void latencies(const struct table *t, struct cell *c)
{
	double cpu;
	bool there = cell_event_cpu(c, &cpu);

	fputc(' ', t->out);
	quantile(t, c, 0.5);
	quantile(t, c, 0.9);
	quantile(t, c, 0.99);
	quantile(t, c, 1);
	if (own_column(c))
		own_figure(t, c);
	if (has_cpu_column(c->workload))
		micros(t, there, cpu);
}

static void percent(const struct table *t, int pad, const struct cell *c,
		    bool (*figure)(const struct cell *, double *))
{
	double value;
	bool there = figure(c, &value);

	fprintf(t->out, "%*s", pad, "");
	number(t, there, value, 0);
}

static void neighbour(const struct table *t, struct cell *c)
{
	percent(t, 0, c, cell_progress);
	percent(t, 2, c, cell_hog_percent);
	percent(t, 1, c, cell_cpu_percent);
	percent(t, 2, c, cell_polled_percent);
	percent(t, 0, c, cell_event_rate);
	quantile(t, c, 0.5);
	quantile(t, c, 0.99);
	spread(t, c);
}

static void row(const struct table *t, struct cell *c)
{
	struct ratio r;
	bool there;

	name(t, c->mode->name);
	if (cell_empty(c)) {
		fprintf(t->out, " %s\n", c->failed ? "failed" : "not measured");
		return;
	}
	if (c->workload == BENCH_NEIGHBOUR) {
		neighbour(t, c);
		fputc('\n', t->out);
		return;
	}
	if (c->workload == BENCH_IDLE) {
		percent(t, 6, c, cell_cpu_percent);
	} else if (c->workload == BENCH_MEMORY) {
		fprintf(t->out, " %9.0f %9.0f", (double)series_quantile(&c->latency, 0.5) / 1024,
			(double)series_quantile(&c->latency, 1) / 1024);
	} else {
		latencies(t, c);
	}
	spread(t, c);
	there = cell_ratio(t->r->cells, t->r->n, c, &r);
	ratio(t, there, &r, 2);
	fputc('\n', t->out);
}

/* neighbour: what would be too wide beside the rest. */
static void beside_baseline(const struct table *t, const struct cell *cells, size_t n)
{
	struct ratio r;

	fprintf(t->out, "%-*s  ratio    (rounds) cpu ratio    (rounds)\n", t->name,
		HIGHER_IS_BETTER);
	for (size_t i = 0; i < n; i++) {
		if (cell_empty(&cells[i]))
			continue;
		name(t, cells[i].mode->name);
		fputs(" ", t->out);
		ratio(t, cell_ratio(t->r->cells, t->r->n, &cells[i], &r), &r, 3);
		fputs("    ", t->out);
		ratio(t, cell_hog_ratio(t->r->cells, t->r->n, &cells[i], &r), &r, 3);
		fputc('\n', t->out);
	}
}

/* -- what is to be known of the figures ------------------------------------------------------- */

static bool among(const struct bench_results *r, enum bench_workload w)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->cells[i].workload == w && !cell_empty(&r->cells[i]))
			return true;
	return false;
}

static void about_host(FILE *out, const struct bench_results *r)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);

	if (host_was_busy(r))
		wrap_line(out, 0,
			  "The host was busy: %.2f tasks wanted to run before it began. Measure "
			  "again on an idle one.",
			  r->load);
	if (processors == 1 || processors == 2)
		wrap_line(out, 0,
			  "There %s only: what else runs on this host runs on the processors that "
			  "are measured.",
			  processors == 1 ? "is one processor" : "are two processors");
	if (r->kvm_run_ns)
		wrap_line(out, 0,
			  "Entering KVM from user space costs %.2f us on this host (median); user "
			  "modes pay it at every wake-up, kernel modes do not.",
			  (double)r->kvm_run_ns / 1000);
}

static void about_columns(FILE *out, const struct bench_results *r)
{
	bool other = false, cpu = false;

	for (enum bench_workload w = 0; w < BENCH_WORKLOADS; w++) {
		if (w == BENCH_NEIGHBOUR || !among(r, w))
			continue;
		other = true;
		cpu |= w != BENCH_IDLE && w != BENCH_MEMORY && has_cpu_column(w);
	}
	if (other)
		wrap_line(out, 2,
			  "ratio: to %s, the median over the rounds of the ratio of medians, and "
			  "the least and the greatest of those ratios; lower is better",
			  baseline_name(BENCH_EVENT));
	wrap_line(out, 2, "+-%%: from the lowest to the highest round, of the middle one");
	if (among(r, BENCH_EVENT))
		wrap_line(out, 2, "send: what the signal costs its sender, us");
	if (cpu)
		wrap_line(out, 2, "cpu: processor time of the guest for each event, us");
	if (among(r, BENCH_BLK) || among(r, BENCH_ECHO))
		wrap_line(out, 2,
			  "net: without the guest's own share, as measured in this run: blk, a "
			  "request that takes no I/O and is done within the doorbell's exit; echo, "
			  "from the guest's handler to its doorbell; noise: the median is not "
			  "above that share");
	if (among(r, BENCH_NEIGHBOUR))
		wrap_line(out, 2,
			  "hog%%: its progress, of what it makes alone; hogcpu%%, vCPUs%%, "
			  "polled%%: of one processor; neighbour's ratio: the hog's progress to "
			  "that beside %s, cpu ratio: the same of its processor time; higher is "
			  "better",
			  baseline_name(BENCH_NEIGHBOUR));
	if (among(r, BENCH_MIX))
		wrap_line(out, 2, "vain: time polled in halts that then slept, for each event, us");
}

static int name_width(const struct bench_results *r)
{
	int width = among(r, BENCH_NEIGHBOUR) ? (int)strlen(HIGHER_IS_BETTER) : 4;

	for (size_t i = 0; i < r->n; i++) {
		int len = (int)strlen(r->cells[i].mode->name);

		if (len > width && len <= LONGEST_NAME)
			width = len;
	}
	return width;
}

void report_table(FILE *out, const struct bench_results *r)
{
	struct table t = {.out = out, .r = r, .name = name_width(r)};
	bool any = false;

	for (size_t i = 0, last; i < r->n; i = last) {
		for (last = i; last < r->n && cell_same_condition(&r->cells[i], &r->cells[last]);)
			last++;
		if (!cells_begun(&r->cells[i], last - i))
			continue;
		any = true;
		heading(&t, &r->cells[i]);
		for (size_t k = i; k < last; k++)
			row(&t, &r->cells[k]);
		if (r->cells[i].workload == BENCH_NEIGHBOUR)
			beside_baseline(&t, &r->cells[i], last - i);
	}
	fputc('\n', out);
	if (r->interrupted)
		wrap_line(out, 0, "Interrupted (%s): %s.", bench_stop_name(r->interrupted),
			  any ? "this is what had been measured until then"
			      : "nothing had been measured until then");
	about_host(out, r);
	if (any)
		about_columns(out, r);
}
