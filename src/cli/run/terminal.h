/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The user's terminal: raw while a guest has it, and always given back as it was found. With a
 * shell that has job control it is ours only in the foreground: in the background nothing is read
 * from it and its modes are somebody else's; what is found when we come back to the foreground is
 * what is given back later.
 */
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H

#include <stdbool.h>
#include <sys/types.h>
#include <termios.h>

#include "cli/run/rescue.h"

struct run_terminal {
	int fd;	     /* -1: none */
	pid_t group; /* ours */
	bool job;    /* it is our controlling terminal: there is a foreground */
	bool ours;   /* as last looked: it may be read */
	bool raw;    /* the modes are those that we have set */
	struct termios found, set;
	struct run_rescue *rescue; /* NULL: none */
};

void run_terminal_none(struct run_terminal *t);
/* Takes @fd, if it is a terminal; @rescue knows of its modes from now on. Then it is looked at.
 * SIGTTIN and SIGTTOU are to be ignored from before this on: between a look and a read the
 * foreground may change. */
void run_terminal_take(struct run_terminal *t, int fd, struct run_rescue *rescue);
/* Looks whether we are in the foreground. If that is new, the modes are raw from now on. Returns
 * whether it may be read; also for what is no terminal. */
bool run_terminal_look(struct run_terminal *t);
/* Looks anew after a SIGCONT: whoever had the terminal meanwhile may have changed its modes. */
void run_terminal_continued(struct run_terminal *t);
/* Gives the terminal back as it was found, if it is ours. */
void run_terminal_restore(struct run_terminal *t);

#endif
