/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `catnap balloon`: asks a running VM's balloon how large it is, or the guest for another size. It
 * speaks to the socket of `catnap run --balloon socket=`; what is said there, balloon_socket.c has.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/ask.h"
#include "cli/cmd.h"
#include "cli/now.h"
#include "cli/opts.h"
#include "cli/printable.h"

#define PAGE	4096u
#define LOOK_NS 50000000 /* how often it is looked whether the guest has done it */

struct balloon_cfg {
	uint64_t size, wait_ns; /* wait_ns 0: not at all */
	bool sized, json;
};

static int set_size(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	static const struct opt_field size = {.type = OPT_SIZE};
	struct balloon_cfg *cfg = ptr;

	if (opt_value(o, arg, &size, &cfg->size))
		return -EINVAL;
	if (cfg->size % PAGE)
		return opt_fail(o, arg, "is not a multiple of 4K");
	cfg->sized = true;
	return 0;
}

static const struct opt_def options[] = {
	{.f = {.name = "size", .type = OPT_CALL, .set = set_size},
	 .letter = 's',
	 .form = "SIZE",
	 .help = "Asks the guest to give so much of its memory back to the host, or to take so "
		 "much of it back that this is left; 0: all of it. May also be given as the "
		 "second argument."},
	{.f = {.name = "wait",
	       .type = OPT_TIME,
	       .offset = offsetof(struct balloon_cfg, wait_ns),
	       .min = 1,
	       .max = UINT64_C(3600000000000)},
	 .letter = 'w',
	 .form = "TIME",
	 .help = "Waits until the guest has done it, or, at first, until its driver is there; at "
		 "most so long.",
	 .def = "no wait"},
	{.f = {.name = "json", .type = OPT_FLAG, .offset = offsetof(struct balloon_cfg, json)},
	 .letter = 'j',
	 .help = "Prints the answer as it came, as JSON on a line."},
	{.f = {.name = NULL}},
};

static const struct opt_command command = {
	.name = "balloon",
	.synopsis = "[OPTIONS] SOCKET [SIZE]",
	.summary = "Tells what is in the memory balloon of a running VM, which was started with "
		   "--balloon size=SIZE,socket=SOCKET, after asking the guest for another size if "
		   "one is given.",
	.options = options,
	.notes = "Exit status: 0; 1 there is no such VM, no driver in its guest uses the balloon, "
		 "the guest has not so much memory, or the time of --wait was over; 2 wrong "
		 "command line.\n",
	.arg_name = "SOCKET",
	.min_args = 1,
	.max_args = 2,
};

/* -- what it says ----------------------------------------------------------------------------- */

static void print_state(struct json_object *o)
{
	static const struct {
		const char *name, *what;
	} lines[] = {
		{"target", "asked for"},
		{"actual", "in the balloon"},
		{"released", "given to the host so far"},
		{"reported", "of this, reported as free"},
		{"total", "the guest's memory"},
		{"free", "free in it"},
		{"available", "available in it"},
		{"caches", "its caches"},
	};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		if (ask_member(o, lines[i].name))
			printf("%-26s %10.1fM\n", lines[i].what,
			       (double)ask_number(o, lines[i].name) / (1 << 20));
}

/* -- asking ----------------------------------------------------------------------------------- */

/* What came of one request. */
enum came { CAME_STATE, CAME_NO_DRIVER, CAME_FAILED };

/* *@text and *@doc are the caller's to free, whatever came; a failure has been told. */
static enum came request(const char *path, const char *what, char **text, struct json_object **doc)
{
	struct json_object *error;

	*doc = NULL;
	*text = ask(path, what);
	if (!*text) {
		ask_failed("balloon", path, strerror(errno));
		return CAME_FAILED;
	}
	*doc = json_tokener_parse(*text);
	error = ask_member(*doc, "error");
	if (error && !json_object_get_boolean(ask_member(*doc, "driver")) &&
	    strncmp(what, "target", 6) == 0)
		return CAME_NO_DRIVER;
	if (error)
		ask_failed("balloon", path, json_object_get_string(error));
	else if (!ask_member(*doc, "target") || !ask_member(*doc, "actual"))
		ask_failed("balloon", path,
			   **text ? "not a balloon's socket: expected that of --balloon socket="
				  : "the VM ended, or this is not a balloon's socket");
	else
		return CAME_STATE;
	return CAME_FAILED;
}

static void forget(char **text, struct json_object **doc)
{
	free(*text);
	json_object_put(*doc);
}

/* The time of --wait is over. */
static int late(const char *path, struct json_object *doc, uint64_t target)
{
	char why[128];

	snprintf(why, sizeof(why),
		 "the time is over: %" PRIu64 " bytes of %" PRIu64 " are in the balloon",
		 ask_number(doc, "actual"), target);
	return ask_failed("balloon", path, why);
}

static int run(const struct balloon_cfg *cfg, const char *path)
{
	const struct timespec nap = {.tv_nsec = LOOK_NS};
	uint64_t deadline = now_ns() + cfg->wait_ns, target = cfg->size;
	char what[64] = "state\n", *text;
	struct json_object *doc;
	int status = -1;

	if (cfg->sized)
		snprintf(what, sizeof(what), "target %" PRIu64 "\n", cfg->size);
	while (status < 0) {
		enum came came = request(path, what, &text, &doc);
		bool over = now_ns() >= deadline, done = true;

		if (came == CAME_STATE) {
			snprintf(what, sizeof(what), "state\n");
			if (!cfg->sized)
				target = ask_number(doc, "target");
			done = !cfg->wait_ns || ask_number(doc, "actual") == target;
			status = done ? CMD_OK : over ? late(path, doc, target) : -1;
			if (done && cfg->json)
				printable_json(text, stdout);
			else if (done)
				print_state(doc);
		} else if (came == CAME_FAILED) {
			status = CMD_ERROR;
		} else if (over) {
			status = ask_failed("balloon", path,
					    json_object_get_string(ask_member(doc, "error")));
		}
		forget(&text, &doc);
		if (status < 0)
			nanosleep(&nap, NULL);
	}
	return status;
}

int cmd_balloon(int argc, char **argv)
{
	struct balloon_cfg cfg = {.sized = false};
	struct opts o;
	int status = opts_command(&o, &command, argc, argv, &cfg), ret = 0;

	if (status < 0 && o.n_args > 1) {
		ret = cfg.sized ? opts_fail(&o, "a size was given twice: --size and \"%s\"",
					    o.args[1])
				: opts_set(&o, "size", o.args[1], &cfg);
		if (ret < 0) {
			fprintf(stderr, "%s\n", o.error);
			status = CMD_USAGE;
		}
	}
	if (status < 0)
		status = run(&cfg, o.args[0]);
	opts_free(&o);
	return status;
}
