/* SPDX-License-Identifier: Apache-2.0 */
/* See rows.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/ctl/client.h"
#include "cli/ctl/rows.h"
#include "cli/opts.h"

static const char *const causes[ROW_CAUSES] = {"ipi", "timer", "io", "eventfd", "other"};

/* -- figures ---------------------------------------------------------------------------------- */

/* Returns the difference since the last document. NAN: there is no such figure. */
static double since(struct json_object *new, struct json_object *old, const char *name)
{
	uint64_t is = client_number(new, name), was = client_number(old, name);

	if (!client_member(new, name))
		return NAN;
	return is > was ? (double)(is - was) : 0;
}

static double figure(struct json_object *o, const char *name)
{
	return client_member(o, name) ? (double)client_number(o, name) : NAN;
}

static uint64_t bucket(struct json_object *o, const char *name, size_t i)
{
	struct json_object *a = client_member(o, name);

	return i < client_length(a) ? json_object_get_uint64(json_object_array_get_idx(a, i)) : 0;
}

static void take_hist(uint64_t hist[HIST_LENGTH], struct json_object *new, struct json_object *old,
		      const char *name)
{
	for (size_t i = 0; i < HIST_LENGTH; i++) {
		uint64_t is = bucket(new, name, HIST_FIRST + i);
		uint64_t was = bucket(old, name, HIST_FIRST + i);

		hist[i] = is > was ? is - was : 0;
	}
	/* Shorter halts are in the first bucket. */
	for (size_t i = 0; i < HIST_FIRST; i++) {
		uint64_t is = bucket(new, name, i), was = bucket(old, name, i);

		hist[0] += is > was ? is - was : 0;
	}
}

static void take_word(char *buf, size_t size, struct json_object *o, const char *name)
{
	const char *text = client_text(o, name);

	opt_printable(text ? text : "-", buf, size);
}

static void take_row(struct row *r, int vcpu, struct json_object *new, struct json_object *old,
		     double seconds)
{
	double time = seconds > 0 ? seconds : 1;

	*r = (struct row){.vcpu = vcpu, .bias = "-"};
	take_word(r->policy, sizeof(r->policy), new, "policy");
	r->halts = since(new, old, "halt_exits") / time;
	r->exits = since(new, old, "exits") / time;
	r->exits_io = since(new, old, "exits_io") / time;
	r->exits_mmio = since(new, old, "exits_mmio") / time;
	r->exits_msr = since(new, old, "exits_msr") / time;
	r->injected = since(new, old, "injected") / time;
	r->tried = since(new, old, "halt_attempted_poll") / time;
	r->in_time = since(new, old, "halt_successful_poll") / time;
	r->in_vain = seconds > 0 ? since(new, old, "halt_poll_fail_ns") * 1e-9 / time : NAN;
	r->busy = seconds > 0 ? since(new, old, "cpu_ns") * 1e-9 / time : NAN;
	r->after_tried = since(new, old, "after_guest_attempted") / time;
	r->after_in_time = since(new, old, "after_guest_successful") / time;
	r->contended = since(new, old, "halt_poll_contended") / time;
	r->throttled = since(new, old, "halt_poll_throttled") / time;
	for (size_t i = 0; i < ROW_CAUSES; i++) {
		char name[32];

		snprintf(name, sizeof(name), "wakeups_%s", causes[i]);
		r->cause[i] = since(new, old, name) / time;
	}
	r->window_ns = figure(new, "window_ns");
	/* null: without an end. */
	if (isnan(r->window_ns) && json_object_is_type(new, json_type_object) &&
	    json_object_object_get_ex(new, "window_ns", NULL))
		r->window_ns = INFINITY;
	r->price_ns = client_number(new, "price_ns") ? figure(new, "price_ns") : NAN;
	take_hist(r->polled, new, old, "halt_poll_success_hist");
	take_hist(r->slept, new, old, "halt_wait_hist");
}

static void add(double *sum, double n)
{
	if (!isnan(n))
		*sum = isnan(*sum) ? n : *sum + n;
}

static void add_row(struct row *all, const struct row *r)
{
	add(&all->halts, r->halts);
	add(&all->exits, r->exits);
	add(&all->exits_io, r->exits_io);
	add(&all->exits_mmio, r->exits_mmio);
	add(&all->exits_msr, r->exits_msr);
	add(&all->injected, r->injected);
	add(&all->tried, r->tried);
	add(&all->in_time, r->in_time);
	add(&all->in_vain, r->in_vain);
	add(&all->busy, r->busy);
	add(&all->contended, r->contended);
	add(&all->throttled, r->throttled);
	for (size_t i = 0; i < ROW_CAUSES; i++)
		add(&all->cause[i], r->cause[i]);
	for (size_t i = 0; i < HIST_LENGTH; i++) {
		all->polled[i] += r->polled[i];
		all->slept[i] += r->slept[i];
	}
}

void rows_take(struct rows *r, struct json_object *new, struct json_object *old,
	       struct json_object *polling, double seconds)
{
	struct json_object *vcpus = client_member(new, "vcpus"),
			   *before = client_member(old, "vcpus");
	struct json_object *biases = client_member(polling, "vcpus"),
			   *io = client_member(new, "io");
	size_t n = client_length(vcpus);

	r->n = 0;
	r->seconds = seconds;
	take_row(&r->all, -2, NULL, NULL, seconds);
	for (size_t i = 0; i < n && r->n < ROWS_MOST - 1; i++) {
		struct row *row = &r->row[r->n++];

		take_row(row, (int)i, json_object_array_get_idx(vcpus, i),
			 i < client_length(before) ? json_object_array_get_idx(before, i) : NULL,
			 seconds);
		if (i < client_length(biases) && strcmp(row->policy, "adaptive") == 0)
			take_word(row->bias, sizeof(row->bias),
				  json_object_array_get_idx(biases, i), "bias");
		add_row(&r->all, row);
	}
	if (io) {
		take_row(&r->row[r->n], -1, io, client_member(old, "io"), seconds);
		add_row(&r->all, &r->row[r->n++]);
	}
}

/* -- columns ---------------------------------------------------------------------------------- */

static const char *count(char *buf, double n)
{
	return isnan(n) ? NULL : show_count(buf, n);
}

static const char *share(char *buf, double part, double whole)
{
	return isnan(part) || !(whole > 0) ? NULL : show_percent(buf, 100 * part / whole);
}

static const char *ns(char *buf, double n)
{
	if (isnan(n))
		return NULL;
	return n > 1e18 ? "no end" : show_ns(buf, (uint64_t)n);
}

static double ratio(double part, double whole)
{
	return isnan(part) || !(whole > 0) ? NAN : part / whole;
}

static double woken(const struct row *r)
{
	double sum = 0;

	for (size_t i = 0; i < ROW_CAUSES; i++)
		sum += r->cause[i];
	return sum;
}

static const char *show_vcpu(char *buf, const struct row *r)
{
	if (r->vcpu < 0)
		return r->vcpu == -1 ? "io" : "all";
	snprintf(buf, FIGURE_SIZE, "%d", r->vcpu);
	return buf;
}

/* Sorts by the numbers upwards, the I/O thread last. */
static double key_vcpu(const struct row *r)
{
	return r->vcpu < 0 ? -1000 : -r->vcpu;
}

static const char *show_policy(char *buf, const struct row *r)
{
	return r->policy;
}

static double key_policy(const struct row *r)
{
	return -(double)r->policy[0] * 256 - r->policy[1];
}

static const char *show_bias(char *buf, const struct row *r)
{
	return r->bias;
}

static double key_bias(const struct row *r)
{
	return -(double)r->bias[0] * 256 - r->bias[1];
}

static const char *show_in_time(char *buf, const struct row *r)
{
	return share(buf, r->in_time, r->tried);
}

static double key_in_time(const struct row *r)
{
	return ratio(r->in_time, r->tried);
}

static const char *show_in_vain(char *buf, const struct row *r)
{
	return share(buf, r->in_vain, 1);
}

static const char *show_busy(char *buf, const struct row *r)
{
	return share(buf, r->busy, 1);
}

static const char *show_after(char *buf, const struct row *r)
{
	return share(buf, r->after_in_time, r->after_tried);
}

static double key_after(const struct row *r)
{
	return ratio(r->after_in_time, r->after_tried);
}

/* Shows the cause of most wake-ups. */
static const char *show_main_cause(char *buf, const struct row *r)
{
	double all = woken(r);
	size_t most = 0;

	if (!(all > 0))
		return NULL;
	for (size_t i = 1; i < ROW_CAUSES; i++)
		if (r->cause[i] > r->cause[most])
			most = i;
	snprintf(buf, FIGURE_SIZE, "%s %.0f%%", causes[most], 100 * r->cause[most] / all);
	return buf;
}

static double key_main_cause(const struct row *r)
{
	return woken(r);
}

#define FIGURE(name, member)                                           \
	static const char *show_##name(char *buf, const struct row *r) \
	{                                                              \
		return count(buf, r->member);                          \
	}                                                              \
	static double key_##name(const struct row *r)                  \
	{                                                              \
		return r->member;                                      \
	}
FIGURE(halts, halts)
FIGURE(exits, exits)
FIGURE(exits_io, exits_io)
FIGURE(exits_mmio, exits_mmio)
FIGURE(exits_msr, exits_msr)
FIGURE(injected, injected)
FIGURE(contended, contended)
FIGURE(throttled, throttled)
#undef FIGURE

#define CAUSE(n)                                                         \
	static const char *show_cause##n(char *buf, const struct row *r) \
	{                                                                \
		return share(buf, r->cause[n], woken(r));                \
	}                                                                \
	static double key_cause##n(const struct row *r)                  \
	{                                                                \
		return r->cause[n];                                      \
	}
CAUSE(0)
CAUSE(1)
CAUSE(2)
CAUSE(3)
CAUSE(4)
#undef CAUSE

static const char *show_window(char *buf, const struct row *r)
{
	return ns(buf, r->window_ns);
}

static double key_window(const struct row *r)
{
	return r->window_ns;
}

static const char *show_price(char *buf, const struct row *r)
{
	return ns(buf, r->price_ns);
}

static double key_price(const struct row *r)
{
	return r->price_ns;
}

static double key_in_vain(const struct row *r)
{
	return r->in_vain;
}

static double key_busy(const struct row *r)
{
	return r->busy;
}

/* In the order in which they stand, and in which they find room: those of a second are counts
 * where the time is not known. */
static const struct column all_columns[] = {
	{"vcpu", "the number of the vCPU; io: the I/O thread", 4, show_vcpu, key_vcpu},
	{"<policy", "of its halt polling; kvm: KVM's own", 8, show_policy, key_policy},
	{"halts/s", "how often it halts", 7, show_halts, key_halts},
	{"in time", "of its polls, those that ended without a sleep", 7, show_in_time, key_in_time},
	{"in vain", "of a processor, polled and then slept after all", 7, show_in_vain,
	 key_in_vain},
	{"window", "how long the next halt would be polled for", 7, show_window, key_window},
	{"price", "what a sleep costs, as measured", 6, show_price, key_price},
	{"cpu", "processor time of its thread", 6, show_busy, key_busy},
	{"<cause", "what woke it most often", 12, show_main_cause, key_main_cause},
	{"exits/s", "exits of the guest, of all kinds", 7, show_exits, key_exits},
	{"<bias", "of policy adaptive", 8, show_bias, key_bias},
	{"ipi", "wake-ups by another vCPU", 6, show_cause0, key_cause0},
	{"timer", "wake-ups by its own timer", 6, show_cause1, key_cause1},
	{"i/o", "wake-ups by a completion of its own", 6, show_cause2, key_cause2},
	{"eventfd", "wake-ups by an eventfd", 7, show_cause3, key_cause3},
	{"other", "wake-ups by anything else", 6, show_cause4, key_cause4},
	{"inject/s", "interrupts", 8, show_injected, key_injected},
	{"after", "polls after the guest's own that ended in time", 6, show_after, key_after},
	{"port/s", "exits for ports", 6, show_exits_io, key_exits_io},
	{"mmio/s", "exits for memory of devices", 6, show_exits_mmio, key_exits_mmio},
	{"msr/s", "exits for MSRs", 6, show_exits_msr, key_exits_msr},
	{"busy/s", "halts without a poll: others waited for the processor", 6, show_contended,
	 key_contended},
	{"capped/s", "halts without a poll: over cpu-max", 8, show_throttled, key_throttled},
};

#define N_COLUMNS (sizeof(all_columns) / sizeof(all_columns[0]))

size_t columns_fit(const struct column *chosen[COLUMNS_MOST], int width)
{
	size_t n = 0;
	int used = 0;

	while (n < N_COLUMNS && used + (n > 0) + all_columns[n].width <= width) {
		used += (n > 0) + all_columns[n].width;
		chosen[n] = &all_columns[n];
		n++;
	}
	return n;
}

size_t columns_all(const struct column *chosen[COLUMNS_MOST])
{
	return columns_fit(chosen, 10000);
}

static size_t put(char *buf, size_t size, size_t at, const char *text, int width, bool left)
{
	const char *gap = at ? " " : "";
	int n = 0;

	if (at < size && left)
		n = snprintf(buf + at, size - at, "%s%-*.*s", gap, width, width, text);
	else if (at < size)
		n = snprintf(buf + at, size - at, "%s%*.*s", gap, width, width, text);
	return at + (size_t)n;
}

void columns_head(char *buf, size_t size, const struct column *const *c, size_t n,
		  const struct rows *r)
{
	size_t at = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < n; i++) {
		bool left = c[i]->head[0] == '<';
		char head[16];

		snprintf(head, sizeof(head), "%s", c[i]->head + left);
		/* Counts, and not rates. */
		if (!(r->seconds > 0) && strchr(head, '/') && strcmp(head, "i/o") != 0)
			*strchr(head, '/') = '\0';
		at = put(buf, size, at, head, c[i]->width, left);
	}
}

void columns_row(char *buf, size_t size, const struct column *const *c, size_t n,
		 const struct row *row)
{
	char text[FIGURE_SIZE];
	size_t at = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < n; i++) {
		const char *shown = c[i]->show(text, row);

		at = put(buf, size, at, shown ? shown : "-", c[i]->width, c[i]->head[0] == '<');
	}
}

/* The order by which qsort_r() compares. */
struct order {
	const struct column *by;
	bool up;
};

static int compare(const void *a, const void *b, void *ctx)
{
	const struct order *o = ctx;
	const struct row *x = a, *y = b;
	double m = o->by->key(x), n = o->by->key(y);

	if (isnan(m) != isnan(n))
		return isnan(m) ? 1 : -1;
	if (isnan(m) || m == n)
		return key_vcpu(x) < key_vcpu(y) ? 1 : -1;
	return (m < n) != o->up ? 1 : -1;
}

void rows_sort(struct rows *r, const struct column *by, bool up)
{
	struct order o = {.by = by, .up = up};

	qsort_r(r->row, r->n, sizeof(r->row[0]), compare, &o);
}
