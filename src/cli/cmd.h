/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands of `catnap`, one function each. argv[0] is the command's name. They return the exit
 * status; what they left in stdout's buffer is written, and checked, by main().
 */
#ifndef CLI_CMD_H
#define CLI_CMD_H

#include <stdbool.h>

/* Exit statuses of every command; `run` has more. */
enum {
	CMD_OK = 0,
	CMD_ERROR = 1, /* the host, a file, the network said no */
	CMD_USAGE = 2, /* the command line is wrong; nothing has been started */
};

/*
 * Ends the process as any filter ends, by the SIGPIPE that has been waiting, if the reader of
 * standard output went away. Standard output cannot be written then, and all has been tidied up.
 * Returns if that is ignored, or the reason is another.
 */
void cmd_end_by_sigpipe(void);

/* Returns why standard output could not be written, for a message; @err: errno of the call that
 * failed, 0: not known. main() has such a message for every command that has not asked. */
const char *cmd_stdout_error(int err);
/* Returns whether a command has asked. */
bool cmd_stdout_told(void);

int cmd_run(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_ctl(int argc, char **argv);
int cmd_stat(int argc, char **argv);
int cmd_serve(int argc, char **argv);
int cmd_replay(int argc, char **argv);
int cmd_advise(int argc, char **argv);
int cmd_snapshot(int argc, char **argv);
int cmd_jail(int argc, char **argv);

#endif
