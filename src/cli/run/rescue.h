/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The modes of the terminal for the case that this process ends without a chance to put them right:
 * by SIGKILL, by a system call that its filter forbids, by a fault of its own. The keeper does it
 * then (catnap/sandbox.h), out of memory that both share.
 */
#ifndef CLI_RESCUE_H
#define CLI_RESCUE_H

#include <termios.h>

struct run_rescue;

/* Makes a rescue of the terminal @fd. NULL: it is none, or there is no memory; then nothing is
 * rescued. */
struct run_rescue *run_rescue_new(int fd);
void run_rescue_free(struct run_rescue **r);
/* Tells that the terminal is about to get modes of ours, and that @found are those to come back;
 * NULL: they are back. @r NULL is fine. */
void run_rescue_modes(struct run_rescue *r, const struct termios *found);
/* Gives the terminal its modes back. For the keeper; @ctx is a struct run_rescue. */
void run_rescue_terminal(void *ctx);

#endif
