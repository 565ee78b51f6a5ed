/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catnap COMMAND: finds the command, runs it, and sees to it that what was printed has arrived.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "cli/opts.h"

struct command {
	const char *name;
	const char *summary;
	int (*fn)(int argc, char **argv);
};

/* In the order of the help text. */
static const struct command commands[] = {
	{"run", "launches a microVM and stays until it ends", cmd_run},
	{"serve", "waits to be told of a microVM, by Firecracker's API or in a file", cmd_serve},
	{"bench", "measures wake-up latency and processor time on this host", cmd_bench},
	{"check", "says what this host offers", cmd_check},
	{"ctl", "speaks to a running VM at its control socket", cmd_ctl},
	{"stat", "shows a running VM's halts", cmd_stat},
	{"snapshot", "tells about a snapshot, verifies it, merges its diffs", cmd_snapshot},
	{"replay", "runs halt-polling policies over a trace of halts", cmd_replay},
	{"advise", "says what KVM's halt polling costs the VMs of this host", cmd_advise},
	{"jail", "starts catnap in an empty root, with its own ids and limits", cmd_jail},
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const struct command *find(const char *name)
{
	size_t i;

	for (i = 0; i < N_COMMANDS; i++) {
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	}
	return NULL;
}

static int usage(const char *what, const char *name, const char *expected)
{
	char shown[96];

	fprintf(stderr, "catnap: %s", what);
	if (name)
		fprintf(stderr, " \"%s\"", opt_printable(name, shown, sizeof(shown)));
	fprintf(stderr, ": expected %s\n", expected);
	return CMD_USAGE;
}

static int unknown(const char *name)
{
	char list[256] = "";
	size_t i;

	for (i = 0; i < N_COMMANDS; i++) {
		size_t used = strlen(list);

		snprintf(list + used, sizeof(list) - used, "%s%s", i == 0 ? "" : ", ",
			 commands[i].name);
	}
	return usage("unknown command", name, list);
}

static int help(void)
{
	size_t i;

	printf("Usage: catnap COMMAND [OPTIONS]\n\n"
	       "A small KVM virtual machine monitor that halts in user space.\n\n"
	       "Commands:\n");
	for (i = 0; i < N_COMMANDS; i++)
		printf("  %-10s %s\n", commands[i].name, commands[i].summary);
	printf("\n"
	       "catnap COMMAND --help lists the options of a command.\n"
	       "catnap --version prints the version.\n");
	return CMD_OK;
}

/* Returns whether it was started by the name by which the command is `serve`, for those who start
 * Firecracker. */
static bool is_firecracker(const char *path)
{
	const char *slash = path ? strrchr(path, '/') : NULL;

	return path && strcmp(slash ? slash + 1 : path, "firecracker") == 0;
}

/* Completes the command, which is being written, for a shell. */
static int complete(const char *word)
{
	static const char *const more[] = {"help", "--help", "--version"};

	for (size_t i = 0; i < N_COMMANDS; i++)
		if (strncmp(commands[i].name, word, strlen(word)) == 0)
			puts(commands[i].name);
	for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++)
		if (strncmp(more[i], word, strlen(word)) == 0)
			puts(more[i]);
	return CMD_OK;
}

static int run(int argc, char **argv)
{
	const struct command *cmd;
	const char *name = argc > 1 ? argv[1] : NULL;

	if (is_firecracker(argv[0]))
		return cmd_serve(argc, argv);
	if (!name)
		return usage("no command", NULL, "one of those in catnap --help");
	if (strcmp(name, "--version") == 0 || strcmp(name, "--help") == 0 ||
	    strcmp(name, "-h") == 0) {
		if (argc > 2)
			return usage("one argument too many", argv[2], "nothing after it");
		if (strcmp(name, "--version") != 0)
			return help();
		printf("catnap %s\n", CATNAP_VERSION_STRING);
		return CMD_OK;
	}
	/* The shells' functions ask this: see opts_complete.h. */
	if (strcmp(name, "--complete") == 0 && argc == 3)
		return complete(argv[2]);
	if (strcmp(name, "help") == 0 && argc == 4 && strcmp(argv[2], "--complete") == 0)
		return complete(argv[3]);
	if (strcmp(name, "help") == 0) {
		char option[] = "--help";
		char *args[] = {argc > 2 ? argv[2] : NULL, option, NULL};

		if (argc == 2)
			return help();
		if (argc > 3)
			return usage("one argument too many", argv[3], "help COMMAND");
		cmd = find(argv[2]);
		return cmd ? cmd->fn(2, args) : unknown(argv[2]);
	}
	if (name[0] == '-')
		return usage("unknown option", name, "COMMAND, --help or --version");
	cmd = find(name);
	return cmd ? cmd->fn(argc - 1, argv + 1) : unknown(name);
}

/*
 * Occupies the first three descriptors. If the command was started without one of them, the next
 * file that is opened would take its number, and a message would be written into a disk image. The
 * wrong direction is on purpose: writing to a standard output that is not there still fails.
 */
static void occupy_standard_fds(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDONLY);
		/* Where that is not: what can be neither read nor written. */
		if (fd < 0)
			fd = open("/", O_PATH);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	sigset_t sigpipe;
	int status;

	occupy_standard_fds();
	/* A reader that went away, and a file as large as may be, are errors of write(2): no sudden
	 * end. */
	sigemptyset(&sigpipe);
	sigaddset(&sigpipe, SIGPIPE);
	sigprocmask(SIG_BLOCK, &sigpipe, NULL);
	signal(SIGXFSZ, SIG_IGN);
	status = run(argc, argv);
	errno = 0;
	if (fflush(stdout) || ferror(stdout)) {
		int err = errno;

		cmd_end_by_sigpipe();
		if (!cmd_stdout_told())
			fprintf(stderr, "catnap: standard output: %s\n", cmd_stdout_error(err));
		return status == CMD_OK ? CMD_ERROR : status;
	}
	return status;
}
