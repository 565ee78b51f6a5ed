/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `catnap stat`: what a running VM's vCPUs do when they halt, a line for each, again and again. On a
 * terminal it is a live view (view.c); else, and with --once, --count and --json, lines for pipes.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "cli/ctl/stat.h"
#include "cli/opts.h"
#include "cli/printable.h"
#include "cli/wrap.h"

#define WIDTH 80

/* The last bucket of the learner's histograms, from 2^25 ns on: not a time. */
#define LONGER_NS 33554000

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
	 .help = "Looks so many times, and prints lines.",
	 .def = "until the VM ends"},
	{.f = {.name = "once", .type = OPT_FLAG, .offset = offsetof(struct stat_cfg, once)},
	 .letter = '1',
	 .help = "Looks once, and prints lines: what has been since the VM's start."},
	{.f = {.name = "histograms",
	       .type = OPT_FLAG,
	       .offset = offsetof(struct stat_cfg, histograms)},
	 .letter = 'H',
	 .help = "In lines: how long halts were, too."},
	{.f = {.name = "learned", .type = OPT_FLAG, .offset = offsetof(struct stat_cfg, learned)},
	 .letter = 'l',
	 .help = "In lines: what policy adaptive has learned, too."},
	{.f = {.name = "json", .type = OPT_FLAG, .offset = offsetof(struct stat_cfg, json)},
	 .letter = 'j',
	 .help = "Prints the documents as they come, one a line."},
	{.f = {.name = NULL}},
};

static const struct opt_command command = {
	.name = "stat",
	.synopsis = "[OPTIONS] SOCKET",
	.summary = "Shows the halts of a running VM, at its control socket (run --api-socket, or "
		   "serve): live on a terminal, where ? lists the keys, or in lines.",
	.options = options,
	.notes =
		"Exit status: 0; 1 there is no such VM, or it ended before the first look; 2 wrong "
		"command line.\n",
	.arg_name = "SOCKET",
	.min_args = 1,
	.max_args = 1,
};

/* -- lines ------------------------------------------------------------------------------------ */

static void print_legend(void)
{
	wrap_line(
		stdout, 0,
		"polled, slept: halts that ended while polling, and those that slept, by how long "
		"they did. A character is twice as long as the one before it, from 128 ns and less "
		"to 1 s and more (1us, 1ms, 1s stand above theirs); . : - = + * # %% @ stand for "
		"more and more halts, @ for the most.");
	putchar('\n');
}

static void print_histograms(const struct row *r)
{
	char polled[HIST_LENGTH + 1], slept[HIST_LENGTH + 1];

	histogram_line(polled, r->polled);
	histogram_line(slept, r->slept);
	printf("     polled |%s| slept |%s|\n", polled, slept);
}

static void print_time(struct json_object *o, const char *name)
{
	uint64_t ns = client_number(o, name);
	char text[FIGURE_SIZE];

	printf(" %9s", !client_member(o, name) ? "-"
		       : ns >= LONGER_NS       ? "longer"
					       : show_ns(text, ns));
}

static void print_learned(struct json_object *o)
{
	struct json_object *learned = client_member(o, "learned"),
			   *contexts = client_member(learned, "contexts");
	char before[16], last[16];

	if (!client_length(contexts))
		return;
	printf("     learned, with a sleep at");
	print_time(learned, "worth_ns");
	printf(", relearned %" PRIu64 " times:\n", client_number(learned, "relearned"));
	printf("     after          halts samples       p50       p90    window      cost\n");
	for (size_t i = 0; i < client_length(contexts); i++) {
		struct json_object *c = json_object_array_get_idx(contexts, i);

		if (!client_number(c, "halts"))
			continue;
		printf("     %-6s %-6s %7" PRIu64 " %7" PRIu64,
		       show_text(before, sizeof(before), client_text(c, "before")),
		       show_text(last, sizeof(last), client_text(c, "last")),
		       client_number(c, "halts"), client_number(c, "samples"));
		print_time(c, "p50_ns");
		print_time(c, "p90_ns");
		print_time(c, "window_ns");
		print_time(c, "cost_ns");
		putchar('\n');
	}
}

/* Returns the document's vCPU that a row is of. */
static struct json_object *document_of(struct json_object *stats, const struct row *r)
{
	struct json_object *vcpus = client_member(stats, "vcpus");

	return r->vcpu < 0 ? client_member(stats, "io")
			   : json_object_array_get_idx(vcpus, (size_t)r->vcpu);
}

static uint64_t since(struct json_object *new, struct json_object *old, const char *name)
{
	uint64_t is = client_number(new, name), was = client_number(old, name);

	return is > was ? is - was : 0;
}

static void print_count(uint64_t n, double seconds)
{
	printf(" %12.0f", seconds > 0 ? (double)n / seconds : (double)n);
}

/* Prints one direction of a pair of queues; names of members begin with it. */
static void print_direction(const char *who, const char *dir, struct json_object *new,
			    struct json_object *old, double seconds)
{
	bool rx = strcmp(dir, "rx") == 0;

	printf("%-4s %-8s", who, dir);
	print_count(since(new, old, rx ? "rx_packets" : "tx_packets"), seconds);
	print_count(since(new, old, rx ? "rx_bytes" : "tx_bytes"), seconds);
	printf(" %9" PRIu64, since(new, old, rx ? "rx_dropped" : "tx_dropped"));
	if (rx)
		printf(" %9" PRIu64, since(new, old, "rx_unwanted"));
	else
		printf(" %9s", "-");
	printf(" %9" PRIu64 "\n", since(new, old, rx ? "rx_starved" : "tx_blocked"));
}

static struct json_object *element(struct json_object *list, size_t i)
{
	return i < client_length(list) ? json_object_array_get_idx(list, i) : NULL;
}

/* Prints a network interface's queues, in pairs; other devices have none. */
static void print_queues(struct json_object *new, struct json_object *old, double seconds)
{
	struct json_object *queues = client_member(new, "queues");
	char shown[64], who[24];

	if (!client_length(queues))
		return;
	printf("%s\n", show_text(shown, sizeof(shown), client_text(new, "name")));
	printf("%-13s %12s %12s %9s %9s %9s\n", "pair", seconds > 0 ? "packets/s" : "packets",
	       seconds > 0 ? "bytes/s" : "bytes", "dropped", "unwanted", "held up");
	for (size_t i = 0; i < client_length(queues); i++) {
		struct json_object *was = element(client_member(old, "queues"), i);

		snprintf(who, sizeof(who), "%zu", i);
		print_direction(who, "rx", element(queues, i), was, seconds);
		print_direction("", "tx", element(queues, i), was, seconds);
	}
}

static void print_interfaces(struct json_object *new, struct json_object *old, double seconds)
{
	struct json_object *devices = client_member(new, "devices");

	for (size_t i = 0; i < client_length(devices); i++)
		print_queues(element(devices, i), element(client_member(old, "devices"), i),
			     seconds);
}

static void print_table(const struct stat_cfg *cfg, const struct look *now, const struct look *old)
{
	const struct column *columns[COLUMNS_MOST];
	char line[WIDTH + 1];
	struct rows rows;
	size_t n = columns_fit(columns, WIDTH);

	look_rows(&rows, now, old);
	columns_head(line, sizeof(line), columns, n, &rows);
	printf("%s\n", line);
	if (cfg->histograms)
		printf("     time:   %s         %s\n", HISTOGRAM_AXIS, HISTOGRAM_AXIS);
	for (size_t i = 0; i < rows.n; i++) {
		columns_row(line, sizeof(line), columns, n, &rows.row[i]);
		printf("%s\n", line);
		if (cfg->histograms)
			print_histograms(&rows.row[i]);
		if (cfg->learned)
			print_learned(document_of(now->stats.json, &rows.row[i]));
	}
	print_interfaces(now->stats.json, old->stats.json, rows.seconds);
	putchar('\n');
}

static void print_look(const struct stat_cfg *cfg, const struct look *now, const struct look *old)
{
	char line[256];

	if (cfg->json) {
		printable_json(json_object_to_json_string_ext(
				       now->stats.json,
				       JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE),
			       stdout);
		putchar('\n');
		return;
	}
	if (!old->stats.json) {
		if (cfg->histograms)
			print_legend();
		wrap_line(stdout, 0, "%s; since its start:", look_title(line, sizeof(line), now));
	}
	print_table(cfg, now, old);
}

static int lines(const struct stat_cfg *cfg)
{
	const struct client_config client = {.command = "stat",
					     .path = cfg->path,
					     .limit_ns = CLIENT_LIMIT_NS,
					     .watch = {-1, -1}};
	const struct timespec pause = {.tv_sec = (time_t)(cfg->interval_ns / 1000000000u),
				       .tv_nsec = (long)(cfg->interval_ns % 1000000000u)};
	struct look now = {.at = 0}, old = {.at = 0};
	char why[64];
	struct client *c;
	int ret = client_open(&client, &c), status = ret < 0 ? client_failed(c) : CMD_OK;
	bool over = false;

	for (uint32_t i = 0; status == CMD_OK && !over && (!cfg->count || i < cfg->count); i++) {
		if (i)
			nanosleep(&pause, NULL);
		ret = look_take(&now, c);
		if (ret < 0) {
			/* It has ended. */
			status = i && client_is_gone(ret) ? CMD_OK : client_failed(c);
			break;
		}
		print_look(cfg, &now, &old);
		over = look_ended(&now, why, sizeof(why));
		look_free(&old);
		old = now;
		now = (struct look){.at = 0};
		if (fflush(stdout))
			status = CMD_ERROR;
	}
	look_free(&old);
	client_close(&c);
	return status;
}

/* -- the command ------------------------------------------------------------------------------ */

/* Refuses options that would do nothing. The interval is one of several looks, whose number scripts
 * may choose. */
static int check(struct opts *o, struct stat_cfg *cfg)
{
	if (cfg->json && (cfg->learned || cfg->histograms))
		return opts_fail(o,
				 "--%s: has no effect with --json, which has it anyway: "
				 "expected one of them",
				 cfg->learned ? "learned" : "histograms");
	if (cfg->once && cfg->count > 1)
		return opts_fail(o, "--once: contradicts --count %" PRIu32 ": expected one of them",
				 cfg->count);
	if (cfg->once)
		cfg->count = 1;
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
	if (status < 0) {
		bool live = !cfg.count && !cfg.json && !cfg.learned && !cfg.histograms &&
			    isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);

		cfg.path = o.args[0];
		status = live ? view_run(&cfg) : lines(&cfg);
	}
	opts_free(&o);
	return status;
}
