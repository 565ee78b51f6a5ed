/* SPDX-License-Identifier: Apache-2.0 */
/* `catnap ctl`: finds the command among its arguments, and the socket that it is said to. */
#include <stdio.h>
#include <string.h>

#include "cli/cmd.h"
#include "cli/ctl/ctl.h"
#include "cli/wrap.h"

#define SECOND UINT64_C(1000000000)
#define INDENT 10
/* Some GiB take a while. */
#define SNAPSHOT_LIMIT (600 * SECOND)

struct ctl_cfg {
	bool json, diff;
	int then;
	uint64_t limit_ns;
};

/* In the order of the help text. */
static const struct ctl_command *const commands[] = {
	&ctl_status, &ctl_pause,   &ctl_resume, &ctl_stop,	&ctl_power_button, &ctl_threads,
	&ctl_config, &ctl_metrics, &ctl_events, &ctl_halt_poll, &ctl_disk,	   &ctl_net,
	&ctl_fs,     &ctl_balloon, &ctl_memory, &ctl_snapshot,
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static int set_then(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	const struct opt_field word = {.type = OPT_WORD, .words = ctl_snapshot_thens};
	struct ctl_cfg *cfg = ptr;

	return opt_value(o, arg, &word, &cfg->then);
}

static const struct opt_def options[] = {
	{.f = {.name = "json", .type = OPT_FLAG, .offset = offsetof(struct ctl_cfg, json)},
	 .letter = 'j',
	 .help = "Prints the answer as it came, as JSON. A command that only changes something "
		 "prints nothing in either way."},
	{.f = {.name = "time-limit",
	       .type = OPT_TIME,
	       .offset = offsetof(struct ctl_cfg, limit_ns),
	       .min = 1000000,
	       .max = 3600 * SECOND},
	 .letter = 't',
	 .form = "TIME",
	 .help = "How long an answer may take.",
	 .def = "5s; of snapshot: 10 min"},
	{.f = {.name = "diff", .type = OPT_FLAG, .offset = offsetof(struct ctl_cfg, diff)},
	 .help = "Of snapshot: only what has changed since the last one."},
	{.f = {.name = "then", .type = OPT_CALL, .set = set_then},
	 .form = "resume|stop|pause",
	 .help = "Of snapshot: what becomes of the VM after it.",
	 .def = "as it was before"},
	{.f = {.name = NULL}},
};

static const char exits[] =
	"Exit status: 0 it is done; 1 there is no such VM, it refuses, or it does not answer in "
	"time; 2 wrong command line.";

static const char synopsis[] = "[OPTIONS] SOCKET COMMAND [SETTINGS]";
static const char summary[] =
	"Speaks to a running VM at its control socket, that of catnap run --api-socket or of "
	"catnap serve.";

/* -- help ------------------------------------------------------------------------------------- */

static int print_help(void)
{
	const struct opt_command all = {
		.name = "ctl", .synopsis = synopsis, .summary = summary, .options = options};

	opts_help(&all, stdout);
	printf("\nCommands (catnap ctl COMMAND --help tells their settings):\n");
	for (size_t i = 0; i < N_COMMANDS; i++)
		printf("  %-13s %s\n", commands[i]->name, commands[i]->summary);
	putchar('\n');
	wrap_line(stdout, 0, "%s", exits);
	return CMD_OK;
}

static int print_command_help(const struct ctl_command *cmd)
{
	char head[96];
	struct opt_command one = {
		.name = "ctl", .synopsis = head, .summary = cmd->summary, .options = options};

	snprintf(head, sizeof(head), "[OPTIONS] SOCKET %s%s", cmd->name,
		 cmd->form ? " [SETTINGS]" : "");
	opts_help(&one, stdout);
	putchar('\n');
	if (cmd->form)
		wrap_line(stdout, INDENT, "Settings: %s", cmd->form);
	if (cmd->more)
		printf("%s", cmd->more);
	if (cmd->form || cmd->more)
		putchar('\n');
	wrap_line(stdout, 0, "%s", exits);
	return CMD_OK;
}

static const struct ctl_command *find(const char *name)
{
	for (size_t i = 0; i < N_COMMANDS; i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

/* Helps. Returns -1 if nobody asked for help. */
static int help(int argc, char **argv)
{
	const struct ctl_command *cmd = NULL;
	bool asked = false;

	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		asked |= strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0;
		cmd = cmd ? cmd : find(argv[i]);
	}
	if (!asked)
		return -1;
	return cmd ? print_command_help(cmd) : print_help();
}

/* -- the command ------------------------------------------------------------------------------ */

static int fail_unknown(struct opts *o, const char *name)
{
	char list[256] = "", shown[96];

	for (size_t i = 0; i < N_COMMANDS; i++) {
		size_t used = strlen(list);

		snprintf(list + used, sizeof(list) - used, "%s%s",
			 i == 0		      ? ""
			 : i + 1 < N_COMMANDS ? ", "
					      : " or ",
			 commands[i]->name);
	}
	return opts_fail(o, "unknown command \"%s\": expected %s",
			 opt_printable(name, shown, sizeof(shown)), list);
}

/* Returns what stands before a setting in an error: it is no option, and has no dashes. */
static const char *no_dashes(void *ctx, const char *key)
{
	(void)ctx;
	(void)key;
	return "";
}

static int check(struct opts *o, const struct ctl_command *cmd, const struct ctl_cfg *cfg,
		 struct opt_arg *settings)
{
	char shown[96];

	if (cmd && cmd != &ctl_snapshot && (cfg->diff || cfg->then))
		return opts_fail(o, "--%s: has no effect with %s: expected snapshot",
				 cfg->diff ? "diff" : "then", cmd->name);

	if (!cmd)
		return fail_unknown(o, o->args[1]);
	if (o->n_args > 2 && !cmd->form)
		return opts_fail(o, "one argument too many \"%s\": expected nothing after %s",
				 opt_printable(o->args[2], shown, sizeof(shown)), cmd->name);
	settings->option = cmd->name;
	settings->text = o->n_args > 2 ? o->args[2] : NULL;
	o->place = no_dashes;
	return settings->text ? opt_check_quotes(o, settings) : 0;
}

static int run(const struct ctl_command *cmd, struct opts *o, const struct ctl_cfg *cfg,
	       const struct opt_arg *settings)
{
	const struct client_config client = {
		.command = "ctl", .path = o->args[0], .limit_ns = cfg->limit_ns, .watch = {-1, -1}};
	struct ctl ctl = {.opts = o,
			  .json = cfg->json,
			  .diff = cfg->diff,
			  .then = cfg->then,
			  .limit_ns = cfg->limit_ns,
			  .settings = *settings};
	int status;

	status = client_open(&client, &ctl.client) < 0 ? client_failed(ctl.client) : cmd->run(&ctl);
	client_close(&ctl.client);
	return status;
}

/* Completes for the shells: a socket, a command, and its settings. */
static bool argument(char *const *args, size_t n, struct opt_def *value, char *buf, size_t size)
{
	const struct ctl_command *cmd = n == 2 ? find(args[1]) : NULL;
	size_t used = 0;

	if (n == 0) {
		value->form = "PATH";
	} else if (n == 1) {
		for (size_t i = 0; i < N_COMMANDS && used < size; i++)
			used += (size_t)snprintf(buf + used, size - used, "%s%s", i ? "|" : "",
						 commands[i]->name);
		value->form = buf;
	} else if (cmd && cmd->form) {
		value->form = cmd->form;
		value->keys = cmd->keys;
	}
	return *value->form;
}

int cmd_ctl(int argc, char **argv)
{
	static const struct opt_command command = {
		.name = "ctl",
		.synopsis = synopsis,
		.summary = summary,
		.options = options,
		.arg_name = "SOCKET COMMAND",
		.min_args = 2,
		.max_args = 3,
		.argument = argument,
	};
	struct ctl_cfg cfg = {.limit_ns = CLIENT_LIMIT_NS};
	const struct ctl_command *cmd = NULL;
	struct opt_arg settings = {.key = NULL};
	struct opts o;
	int status = help(argc, argv);

	if (status >= 0)
		return status;
	status = opts_command(&o, &command, argc, argv, &cfg);
	if (status < 0) {
		cmd = find(o.args[1]);
		if (check(&o, cmd, &cfg, &settings) < 0) {
			fprintf(stderr, "%s\n", o.error);
			status = CMD_USAGE;
		}
	}
	if (cmd == &ctl_snapshot && !opts_given(&o, "time-limit"))
		cfg.limit_ns = SNAPSHOT_LIMIT;
	/* check() has refused what is no command. */
	if (status < 0 && cmd)
		status = run(cmd, &o, &cfg, &settings);
	opts_free(&o);
	return status;
}
