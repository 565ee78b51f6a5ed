/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files and sockets that a command makes before it is known to succeed. If it does not, they go,
 * whatever ends it: an error, or a signal at any moment. (SIGKILL leaves them.)
 *
 * The main thread's, while it is the only one. Between leftovers_hold() and leftovers_let() no
 * signal ends the process: there a file is made, and told.
 */
#ifndef CLI_LEFTOVERS_H
#define CLI_LEFTOVERS_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define LEFTOVERS 32

/* So long is the child waited for: it may be stopped, and ends by itself when it goes on. */
#define LEFTOVERS_PATIENCE_NS UINT64_C(1000000000)

struct leftover {
	char *path;
	dev_t dev; /* not what somebody else has put there meanwhile */
	ino_t ino;
};

struct leftovers {
	struct leftover files[LEFTOVERS];
	size_t n;
	pid_t child; /* a process that ends when @child_fd, a socket, says no more; 0: none */
	int child_fd;
};

/* Lets a signal that ends the process remove what is told here, and wait for the child, before it
 * does. */
void leftovers_watch(struct leftovers *l);
void leftovers_hold(sigset_t *before);
void leftovers_let(const sigset_t *before);
/* Adds @path, which was just made; a copy is kept. NULL, or nothing there: none. */
void leftovers_add(struct leftovers *l, const char *path);
/* Takes the file that is open as @fd off the list: it stays. */
void leftovers_drop(struct leftovers *l, int fd);
/* Takes it off the list, and removes it if it still has the name that was told. -1: none. */
void leftovers_undo(struct leftovers *l, int fd);
/* Removes them all now. */
void leftovers_remove(struct leftovers *l);
/* Removes them, and waits for the child, as a signal would: the process ends at once, on whatever
 * thread. */
void leftovers_now(const struct leftovers *l);
/* Does that in a handler of the signal @sig, and has it end the process. */
void leftovers_die(int sig);
/* Ends the watch: the files stay, or are gone, and signals do what they did before. */
void leftovers_end(struct leftovers *l);

/* Fills @set with the signals that end a process and can be waited for: none that a fault
 * raises. */
void ending_signals(sigset_t *set);

#endif
