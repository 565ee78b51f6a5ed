/* SPDX-License-Identifier: Apache-2.0 */
/* The user's terminal: raw while a guest has it, and always given back as it was. */
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H

#include <stdbool.h>
#include <termios.h>

struct terminal {
	int fd;
	bool raw;
	struct termios saved;
};

/* Makes @fd raw if it is a terminal and this process is in its foreground. Returns whether it is.
 */
bool terminal_raw(struct terminal *t, int fd);
/* As it was. Does nothing if it is not raw. */
void terminal_restore(struct terminal *t);

#endif
