/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The modes of the terminal for the case that this process ends without a chance to put them right:
 * by SIGKILL, by a system call that its filter forbids, by a fault of its own. The keeper does it
 * then (catnap/sandbox.h), out of memory that both share.
 */
#ifndef CLI_RESCUE_H
#define CLI_RESCUE_H

#include <termios.h>

struct rescue;

/* Of the terminal @fd. NULL: it is none, or there is no memory; then nothing is rescued. */
struct rescue *rescue_new(int fd);
void rescue_free(struct rescue **r);
/* The terminal is about to get modes of ours, and @found are those to come back; NULL: they are
 * back. @r NULL is fine. */
void rescue_modes(struct rescue *r, const struct termios *found);
/* For the keeper; @ctx is a struct rescue. */
void rescue_terminal(void *ctx);

#endif
