/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Draws the live view of `catnap stat`, in whatever size the terminal has. Text that somebody else
 * has chosen (names) comes as ASCII, so that each character is a column.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/ctl/view.h"
#include "cli/opts.h"

/* Returns the lines above the body, and below it; a small terminal has fewer. */
static int head_lines(const struct view *v)
{
	int rows = screen_rows(v->screen);

	return rows >= 10 ? 3 : rows >= 6 ? 1 : 0;
}

static int foot_lines(const struct view *v)
{
	return screen_rows(v->screen) >= 4;
}

/* Returns the first line of the body, and how many it has. */
static int body_top(const struct view *v)
{
	return head_lines(v);
}

static int body_lines(const struct view *v)
{
	int n = screen_rows(v->screen) - head_lines(v) - foot_lines(v);

	return n > 0 ? n : 0;
}

/* Returns the height without the line of heads. */
size_t view_height(const struct view *v)
{
	int n = body_lines(v) - 1;

	return n > 0 ? (size_t)n : 1;
}

size_t view_place(const struct view *v)
{
	for (size_t i = 0; i < v->rows.n; i++)
		if (v->rows.row[i].vcpu == v->chosen)
			return i;
	return 0;
}

/* -- above and below -------------------------------------------------------------------------- */

static void draw_host(struct view *v, int line)
{
	double load[3] = {0};

	if (getloadavg(load, 3) < 0)
		load[0] = load[1] = load[2] = 0;
	screen_put(v->screen, line, 0, LOOK_DIM,
		   "host: %ld processors, %.0f%% busy, load %.2f %.2f %.2f",
		   sysconf(_SC_NPROCESSORS_ONLN), 100 * v->busy, load[0], load[1], load[2]);
}

static void draw_head(struct view *v)
{
	char text[256], figure[FIGURE_SIZE], since[64];
	int lines = head_lines(v), columns = screen_columns(v->screen);

	if (lines == 0)
		return;
	screen_put(v->screen, 0, 0, LOOK_BOLD, "%s", look_title(text, sizeof(text), &v->now));
	if (v->total || !v->old.stats.json)
		snprintf(since, sizeof(since), "since its start");
	else
		snprintf(since, sizeof(since), "every %s", show_ns(figure, v->interval_ns));
	if ((int)(strlen(text) + strlen(since)) + 2 <= columns)
		screen_put(v->screen, 0, columns - (int)strlen(since), LOOK_DIM, "%s", since);
	if (lines < 3)
		return;
	screen_put(v->screen, 1, 0, LOOK_PLAIN, "%s", look_totals(text, sizeof(text), &v->rows));
	draw_host(v, 2);
}

static void name_of(char *buf, size_t size, int vcpu)
{
	if (vcpu < 0)
		snprintf(buf, size, "I/O thread");
	else
		snprintf(buf, size, "vCPU %d", vcpu);
}

static void draw_foot(struct view *v)
{
	static const char *const prompts[] = {
		[PROMPT_POLICY] = "a)daptive k)ernel f)ixed al(w)ays o)ff, capital: all vCPUs",
		[PROMPT_BIAS] = "l)atency b)alanced p)ower, capital: all vCPUs",
	};
	int line = screen_rows(v->screen) - 1;
	char text[256], who[24];

	if (!foot_lines(v) && !v->prompt && !v->message[0])
		return;
	if (v->prompt) {
		name_of(who, sizeof(who), v->chosen);
		snprintf(text, sizeof(text), "%s of %s: %s",
			 v->prompt == PROMPT_POLICY ? "policy" : "bias", who, prompts[v->prompt]);
		screen_line(v->screen, line, LOOK_HEAD, text);
	} else if (v->message[0]) {
		screen_line(v->screen, line, LOOK_BOLD,
			    opt_printable(v->message, text, sizeof(text)));
	} else {
		screen_line(v->screen, line, LOOK_DIM,
			    "q quit  ? help  < > sort  p policy  b bias  h histograms  l learned  "
			    "d devices");
	}
}

/* -- the vCPUs -------------------------------------------------------------------------------- */

/* Returns the look of a row. A vCPU that polls a lot in vain is worth a look, and so is one that
 * does well. */
static enum screen_look look_of(const struct row *r)
{
	if (r->in_vain > 0.2)
		return LOOK_BAD;
	return r->tried > 0 && r->in_time / r->tried > 0.8 ? LOOK_GOOD : LOOK_PLAIN;
}

static void draw_vcpus(struct view *v)
{
	const struct column *columns[COLUMNS_MOST];
	int width = screen_columns(v->screen), top = body_top(v);
	size_t n = columns_fit(columns, width), height = view_height(v), place = view_place(v);
	char line[512];

	columns_head(line, sizeof(line), columns, n, &v->rows);
	screen_line(v->screen, top, LOOK_HEAD, line);
	if (v->sort < n) {
		int at = 0;

		for (size_t i = 0; i < v->sort; i++)
			at += columns[i]->width + 1;
		screen_put(v->screen, top, at, LOOK_BOLD, "%.*s", columns[v->sort]->width,
			   line + at);
	}
	/* The chosen one is always seen. */
	if (place < v->top)
		v->top = place;
	if (place >= v->top + height)
		v->top = place - height + 1;
	if (v->top + height > v->rows.n)
		v->top = v->rows.n > height ? v->rows.n - height : 0;
	for (size_t i = 0; i < height && v->top + i < v->rows.n; i++) {
		const struct row *r = &v->rows.row[v->top + i];
		bool chosen = v->top + i == place;

		columns_row(line, sizeof(line), columns, n, r);
		if (chosen)
			screen_line(v->screen, top + 1 + (int)i, LOOK_CHOSEN, line);
		else
			screen_put(v->screen, top + 1 + (int)i, 0, look_of(r), "%s", line);
	}
}

/* -- one vCPU: how long its halts are --------------------------------------------------------- */

/* Returns a column of a bar chart, of which @eighths of a line are filled, from below. */
static const char *bar(const struct view *v, uint64_t eighths)
{
	static const char *const blocks[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};

	if (screen_has_blocks(v->screen))
		return blocks[eighths > 8 ? 8 : eighths];
	return eighths >= 8 ? "#" : eighths >= 4 ? ":" : eighths ? "." : " ";
}

static void draw_chart(struct view *v, int top, int lines, const char *what, const uint64_t *hist)
{
	int width = screen_columns(v->screen) / HIST_LENGTH;
	uint64_t most = 1, all = 0;
	char figure[FIGURE_SIZE];

	width = width < 1 ? 1 : width > 6 ? 6 : width;
	for (int i = 0; i < HIST_LENGTH; i++) {
		all += hist[i];
		most = hist[i] > most ? hist[i] : most;
	}
	screen_put(v->screen, top, 0, LOOK_BOLD, "%s: %s", what, show_count(figure, (double)all));
	for (int y = 1; y < lines; y++) {
		uint64_t below = 8 * (uint64_t)(lines - 1 - y);

		for (int i = 0; i < HIST_LENGTH; i++) {
			double part = (double)hist[i] / (double)most;
			uint64_t n = (uint64_t)ceil(part * 8 * (lines - 1));

			if (n <= below)
				continue;
			for (int k = 0; k < (width > 1 ? width - 1 : 1); k++)
				screen_put(v->screen, top + y, i * width + k, LOOK_PLAIN, "%s",
					   bar(v, n - below));
		}
	}
}

/* Draws the axis of a histogram: those octaves whose lower end has a name; the first is 128 ns. */
static void draw_axis(struct view *v, int line)
{
	static const struct {
		int octave;
		const char *name;
	} marks[] = {{0, "<256"}, {3, "1us"},  {6, "8us"},   {9, "64us"},
		     {13, "1ms"}, {16, "8ms"}, {19, "64ms"}, {23, "1s"}};
	int width = screen_columns(v->screen) / HIST_LENGTH, end = -1;

	width = width < 1 ? 1 : width > 6 ? 6 : width;
	screen_line(v->screen, line, LOOK_HEAD, "");
	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
		int at = marks[i].octave * width;

		/* Where there is room. */
		if (at <= end)
			continue;
		screen_put(v->screen, line, at, LOOK_HEAD, "%s", marks[i].name);
		end = at + (int)strlen(marks[i].name);
	}
}

static const struct row *chosen_row(const struct view *v)
{
	return v->rows.n ? &v->rows.row[view_place(v)] : NULL;
}

static void draw_name(struct view *v, const struct row *r, const char *what)
{
	char text[160], who[24];

	name_of(who, sizeof(who), r->vcpu);
	snprintf(text, sizeof(text), "%s, policy %s: %s", who, r->policy, what);
	screen_line(v->screen, body_top(v), LOOK_HEAD, text);
}

static void draw_histogram(struct view *v)
{
	const struct row *r = chosen_row(v);
	int top = body_top(v), lines = body_lines(v), each = (lines - 2) / 2;

	if (!r)
		return;
	draw_name(v, r,
		  v->total || !v->old.stats.json ? "how long its halts were, since its start"
						 : "how long its halts were");
	draw_chart(v, top + 1, each, "polled, and did not sleep", r->polled);
	draw_chart(v, top + 1 + each, each, "slept", r->slept);
	draw_axis(v, top + lines - 1);
}

/* -- one vCPU: what its policy has learned ---------------------------------------------------- */

static const char *time_of(char buf[FIGURE_SIZE], struct json_object *o, const char *name)
{
	return client_member(o, name) ? show_ns(buf, client_number(o, name)) : "-";
}

static void draw_context(struct view *v, int line, struct json_object *c)
{
	char text[4][FIGURE_SIZE], before[16], last[16];
	const char *a = client_text(c, "before"), *b = client_text(c, "last");

	screen_put(v->screen, line, 0, LOOK_PLAIN,
		   "%-6s %-6s %9" PRIu64 " %9" PRIu64 " %9s %9s %9s %9s",
		   opt_printable(a ? a : "-", before, sizeof(before)),
		   opt_printable(b ? b : "-", last, sizeof(last)), client_number(c, "halts"),
		   client_number(c, "samples"), time_of(text[0], c, "p50_ns"),
		   time_of(text[1], c, "p90_ns"), time_of(text[2], c, "window_ns"),
		   time_of(text[3], c, "cost_ns"));
}

static void draw_learned(struct view *v)
{
	const struct row *r = chosen_row(v);
	struct json_object *vcpus = client_member(v->now.stats.json, "vcpus"), *o, *learned, *list;
	int top = body_top(v);
	char text[FIGURE_SIZE];

	if (!r)
		return;
	o = r->vcpu < 0 ? client_member(v->now.stats.json, "io")
			: json_object_array_get_idx(vcpus, (size_t)r->vcpu);
	learned = client_member(o, "learned");
	list = client_member(learned, "contexts");
	draw_name(v, r, "what it has learned of halts");
	if (!client_length(list)) {
		screen_put(v->screen, top + 1, 0, LOOK_PLAIN,
			   "nothing: only policy adaptive learns");
		return;
	}
	screen_put(v->screen, top + 1, 0, LOOK_PLAIN,
		   "a sleep is worth %s; relearned %" PRIu64 " times",
		   time_of(text, learned, "worth_ns"), client_number(learned, "relearned"));
	screen_put(v->screen, top + 2, 0, LOOK_BOLD,
		   "after             halts   samples       p50       p90    window      cost");
	for (size_t i = 0; i < client_length(list) && (int)i < body_lines(v) - 3; i++)
		draw_context(v, top + 3 + (int)i, json_object_array_get_idx(list, i));
}

/* -- devices ---------------------------------------------------------------------------------- */

static double rate(const struct view *v, struct json_object *new, struct json_object *old,
		   const char *name)
{
	uint64_t is = client_number(new, name), was = v->total ? 0 : client_number(old, name);

	return (is > was ? (double)(is - was) : 0) / (v->rows.seconds > 0 ? v->rows.seconds : 1);
}

static void draw_device(struct view *v, int line, struct json_object *new, struct json_object *old)
{
	char requests[FIGURE_SIZE], in[FIGURE_SIZE], out[FIGURE_SIZE], name[32],
		errors[FIGURE_SIZE];
	const char *its = client_text(new, "name");

	screen_put(v->screen, line, 0, LOOK_PLAIN, "%-20.20s %10s %10s %10s %8s %8" PRIu64 " %8.0f",
		   opt_printable(its ? its : "-", name, sizeof(name)),
		   show_count(requests, rate(v, new, old, "requests")),
		   show_bytes(in, (uint64_t)rate(v, new, old, "read_bytes")),
		   show_bytes(out, (uint64_t)rate(v, new, old, "written_bytes")),
		   show_count(errors, (double)client_number(new, "errors")),
		   client_number(new, "inflight"), rate(v, new, old, "limit_waits"));
}

static void draw_devices(struct view *v)
{
	struct json_object *list = client_member(v->now.stats.json, "devices"),
			   *before = client_member(v->old.stats.json, "devices");
	int top = body_top(v);

	screen_line(
		v->screen, top, LOOK_HEAD,
		"device               requests/s       in/s      out/s   errors inflight  waits/s");
	for (size_t i = 0; i < client_length(list) && (int)i < body_lines(v) - 1; i++)
		draw_device(v, top + 1 + (int)i, json_object_array_get_idx(list, i),
			    i < client_length(before) ? json_object_array_get_idx(before, i)
						      : NULL);
}

/* -- help ------------------------------------------------------------------------------------- */

static void draw_help(struct view *v)
{
	static const char *const lines[] = {
		"up down PgUp PgDn Home End   choose a vCPU",
		"< >  sort by another column, r  the other way round",
		"p  its policy, b  its bias (policy adaptive); capital letters: of all vCPUs",
		"h  how long its halts are, l  what its policy has learned, d  devices",
		"t  all since the VM's start, or since the last look",
		"+ -  twice or half the time between looks, space  look now",
		"q  quit, ? or Esc  back",
		"",
	};
	const struct column *all[COLUMNS_MOST];
	size_t n = columns_all(all), known = sizeof(lines) / sizeof(lines[0]);
	int top = body_top(v), room = body_lines(v) - 1, from = (int)known;

	screen_line(v->screen, top, LOOK_HEAD, "keys, and columns");
	for (size_t i = 0; i < known && (int)i < room; i++)
		screen_put(v->screen, top + 1 + (int)i, 0, LOOK_PLAIN, "%s", lines[i]);
	/* In two halves where there is room. */
	for (size_t i = 0; i < n; i++) {
		bool wide = screen_columns(v->screen) >= 140;
		int half = wide ? (int)(n + 1) / 2 : (int)n;
		int line = from + (int)i % half, column = (int)i / half * 70;

		if (line < room)
			screen_put(v->screen, top + 1 + line, column, LOOK_PLAIN, "%-9s %s",
				   all[i]->head + (all[i]->head[0] == '<'), all[i]->what);
	}
}

void view_draw(struct view *v)
{
	screen_erase(v->screen);
	draw_head(v);
	switch (v->page) {
	case PAGE_VCPUS:
		draw_vcpus(v);
		break;
	case PAGE_HISTOGRAM:
		draw_histogram(v);
		break;
	case PAGE_LEARNED:
		draw_learned(v);
		break;
	case PAGE_DEVICES:
		draw_devices(v);
		break;
	case PAGE_HELP:
		draw_help(v);
		break;
	}
	draw_foot(v);
	screen_show(v->screen);
}
