/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `catnap stat`: what a running VM's vCPUs do when they halt, a line for each, again and again. It
 * reads the JSON documents that `catnap run --stats-socket` gives out; a figure that is not there
 * is shown as a dash.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <json-c/json.h>

#include "cli/ask.h"
#include "cli/cmd.h"
#include "cli/now.h"
#include "cli/opts.h"
#include "cli/printable.h"
#include "cli/wrap.h"

/* Halts of 128 ns to 1 s and more: one character of the picture for each octave. */
#define HIST_FIRST 8
#define HIST_LAST  31

/* The last bucket of the learner's histograms, from 2^25 ns on: not a time. */
#define LONGER_US 33554

struct stat_cfg {
	uint64_t interval_ns;
	uint32_t count; /* 0: until the VM ends */
	bool json, learned;
};

static const struct opt_def options[] = {
	{.f = {.name = "interval",
	       .type = OPT_TIME,
	       .offset = offsetof(struct stat_cfg, interval_ns),
	       .min = 1000000,
	       .max = UINT64_C(3600000000000)},
	 .letter = 'i',
	 .form = "TIME",
	 .help = "The time between two looks.",
	 .def = "1s"},
	{.f = {.name = "count",
	       .type = OPT_U32,
	       .offset = offsetof(struct stat_cfg, count),
	       .min = 1},
	 .letter = 'n',
	 .form = "N",
	 .help = "Looks so many times.",
	 .def = "until the VM ends"},
	{.f = {.name = "learned", .type = OPT_FLAG, .offset = offsetof(struct stat_cfg, learned)},
	 .letter = 'l',
	 .help = "Shows what policy adaptive has learned, too."},
	{.f = {.name = "json", .type = OPT_FLAG, .offset = offsetof(struct stat_cfg, json)},
	 .letter = 'j',
	 .help = "Prints the documents as they come, one a line."},
	{.f = {.name = NULL}},
};

static const struct opt_command command = {
	.name = "stat",
	.synopsis = "[OPTIONS] SOCKET",
	.summary = "Shows the halts of a running VM, which was started with --stats-socket SOCKET: "
		   "first all since its start, then those of each interval.",
	.options = options,
	.notes =
		"Exit status: 0; 1 there is no such VM, or it ended before the first look; 2 wrong "
		"command line.\n",
	.arg_name = "SOCKET",
	.min_args = 1,
	.max_args = 1,
};

/* -- figures ---------------------------------------------------------------------------------- */

/* Since the last document; @old NULL: since the start. */
static uint64_t since(struct json_object *new, struct json_object *old, const char *name)
{
	uint64_t a = ask_number(new, name), b = ask_number(old, name);

	return a > b ? a - b : 0;
}

static uint64_t bucket(struct json_object *o, const char *name, size_t i)
{
	struct json_object *a = ask_member(o, name);

	return json_object_is_type(a, json_type_array)
		       ? json_object_get_uint64(json_object_array_get_idx(a, i))
		       : 0;
}

static void print_time(struct json_object *o, const char *name)
{
	struct json_object *m = ask_member(o, name);
	double us = json_object_get_double(m) / 1000;

	if (!m)
		printf(" %9s", "-");
	else if (us >= LONGER_US)
		printf(" %9s", "longer");
	else if (us < 10000)
		printf(" %7.1fus", us);
	else
		printf(" %7.1fms", us / 1000);
}

static void print_share(uint64_t part, double whole)
{
	if (whole > 0)
		printf(" %6.1f%%", 100 * (double)part / whole);
	else
		printf(" %7s", "-");
}

/* What the pictures are: once, above the first table. */
static void print_legend(void)
{
	wrap_line(
		stdout, 0,
		"polled, slept: halts that ended while polling, and those that slept, by how long "
		"they did. A character is twice as long as the one before it, from 128 ns to 1 s "
		"and more (1us, 1ms, 1s stand above theirs); . : - = + * # %% @ stand for more and "
		"more halts, @ for the most.");
	putchar('\n');
}

/* Halts by length, polled and slept apart: those that ended while polling in the first picture. */
static void print_hist(struct json_object *new, struct json_object *old, const char *name)
{
	static const char levels[] = " .:-=+*#%@";
	const uint64_t steps = sizeof(levels) - 2;
	uint64_t n[HIST_LAST + 1] = {0}, most = 1;

	for (size_t i = HIST_FIRST; i <= HIST_LAST; i++) {
		uint64_t was = bucket(old, name, i), is = bucket(new, name, i);

		n[i] = is > was ? is - was : 0;
		if (n[i] > most)
			most = n[i];
	}
	printf(" |");
	for (size_t i = HIST_FIRST; i <= HIST_LAST; i++)
		putchar(levels[n[i] ? 1 + n[i] * (steps - 1) / most : 0]);
	printf("|");
}

/* Whoever listens at the socket may say anything. */
static const char *word(struct json_object *o, char *buf, size_t size)
{
	const char *text = json_object_get_string(o);

	return text ? printable(text, false, buf, size) : "-";
}

static void print_line(const char *who, struct json_object *new, struct json_object *old,
		       double seconds)
{
	uint64_t halts = since(new, old, "halt_exits");
	struct json_object *policy = ask_member(new, "policy");
	char shown[64];

	printf("%-4s %-8s", who, word(policy, shown, sizeof(shown)));
	if (seconds > 0)
		printf(" %8.0f", (double)halts / seconds);
	else
		printf(" %8llu", (unsigned long long)halts);
	print_share(since(new, old, "halt_successful_poll"),
		    (double)since(new, old, "halt_attempted_poll"));
	print_share(since(new, old, "halt_poll_fail_ns"), seconds * 1e9);
	print_share(since(new, old, "cpu_ns"), seconds * 1e9);
	print_time(new, "window_ns");
	/* 0: none has been measured yet. */
	if (ask_number(new, "price_ns"))
		print_time(new, "price_ns");
	else
		printf(" %9s", "-");
	printf("\n     polled");
	print_hist(new, old, "halt_poll_success_hist");
	printf(" slept");
	print_hist(new, old, "halt_wait_hist");
	printf("\n");
}

static void print_learned(const char *who, struct json_object *o)
{
	struct json_object *learned = ask_member(o, "learned"),
			   *contexts = ask_member(learned, "contexts");

	if (!json_object_is_type(contexts, json_type_array))
		return;
	printf("%-4s learned, with a sleep at", who);
	print_time(learned, "worth_ns");
	printf(", relearned %llu times:\n", (unsigned long long)ask_number(learned, "relearned"));
	printf("     after          halts samples       p50       p90    window      cost\n");
	for (size_t i = 0; i < json_object_array_length(contexts); i++) {
		struct json_object *c = json_object_array_get_idx(contexts, i);
		char before[32], last[32];

		if (!ask_number(c, "halts"))
			continue;
		printf("     %-6s %-6s %7llu %7llu",
		       word(ask_member(c, "before"), before, sizeof(before)),
		       word(ask_member(c, "last"), last, sizeof(last)),
		       (unsigned long long)ask_number(c, "halts"),
		       (unsigned long long)ask_number(c, "samples"));
		print_time(c, "p50_ns");
		print_time(c, "p90_ns");
		print_time(c, "window_ns");
		print_time(c, "cost_ns");
		printf("\n");
	}
}

/* @seconds 0: since the start, which nobody knows the time of. */
static void print_table(const struct stat_cfg *cfg, struct json_object *new,
			struct json_object *old, double seconds)
{
	struct json_object *vcpus = ask_member(new, "vcpus"), *before = ask_member(old, "vcpus");
	struct json_object *io = ask_member(new, "io");
	/* Under the digit: the character of that octave; the last one is 1 s and more. */
	static const char axis[] = "1us       1ms      1s";
	size_t n =
		json_object_is_type(vcpus, json_type_array) ? json_object_array_length(vcpus) : 0;

	printf("%-4s %-8s %8s %7s %7s %7s %9s %9s\n", "vcpu", "policy",
	       seconds > 0 ? "halts/s" : "halts", "success", "in vain", "cpu", "window", "price");
	printf("     time:      %s            %s\n", axis, axis);
	for (size_t i = 0; i < n; i++) {
		char who[24];

		snprintf(who, sizeof(who), "%zu", i);
		print_line(who, json_object_array_get_idx(vcpus, i),
			   before ? json_object_array_get_idx(before, i) : NULL, seconds);
		if (cfg->learned)
			print_learned(who, json_object_array_get_idx(vcpus, i));
	}
	if (io) {
		print_line("io", io, ask_member(old, "io"), seconds);
		if (cfg->learned)
			print_learned("io", io);
	}
	printf("\n");
}

/* -- the command ------------------------------------------------------------------------------ */

static int look(const struct stat_cfg *cfg, const char *path)
{
	const struct timespec pause = {.tv_sec = (time_t)(cfg->interval_ns / 1000000000u),
				       .tv_nsec = (long)(cfg->interval_ns % 1000000000u)};
	struct json_object *old = NULL;
	double then = 0;
	int status = CMD_OK;

	for (uint32_t i = 0; (!cfg->count || i < cfg->count) && status == CMD_OK; i++) {
		struct json_object *new = NULL;
		char *text;
		double at;

		if (i)
			nanosleep(&pause, NULL);
		text = ask(path, NULL);
		at = (double)now_ns() * 1e-9;
		if (!text && i)
			break; /* it has ended */
		if (!text) {
			status = ask_failed("stat", path, strerror(errno));
			break;
		}
		new = json_tokener_parse(text);
		/* Ended while it was to answer. */
		if (!*text && i)
			status = -1;
		else if (!ask_member(new, "vcpus"))
			status = ask_failed("stat", path, "no statistics came");
		else if (cfg->json)
			printable_json(text, stdout);
		else if (i == 0)
			print_legend();
		if (status == CMD_OK && !cfg->json)
			print_table(cfg, new, old, i ? at - then : 0);
		free(text);
		json_object_put(old);
		old = new;
		then = at;
		if (fflush(stdout))
			status = CMD_ERROR;
	}
	json_object_put(old);
	return status < 0 ? CMD_OK : status;
}

/* What would do nothing; the interval is one of several looks, whose number scripts may choose. */
static int check(struct opts *o, const struct stat_cfg *cfg)
{
	if (cfg->json && cfg->learned)
		return opts_fail(o, "--learned: has no effect with --json, which has it anyway: "
				    "expected one of them");
	if (cfg->count == 1 && opts_given(o, "interval"))
		fprintf(stderr, "catnap stat: --interval: has no effect with --count 1\n");
	return 0;
}

int cmd_stat(int argc, char **argv)
{
	struct stat_cfg cfg = {.interval_ns = 1000000000};
	struct opts o;
	int status = opts_command(&o, &command, argc, argv, &cfg);

	if (status < 0 && check(&o, &cfg) < 0) {
		fprintf(stderr, "%s\n", o.error);
		status = CMD_USAGE;
	}
	if (status < 0)
		status = look(&cfg, o.args[0]);
	opts_free(&o);
	return status;
}
