/* SPDX-License-Identifier: Apache-2.0 */
/* See leftovers.h. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/leftovers.h"

/* For the handler, which runs on any thread. A process is one command, so there is one. */
static struct leftovers *volatile watched;

static bool is_fault(int sig)
{
	return sig == SIGSEGV || sig == SIGBUS || sig == SIGILL || sig == SIGFPE ||
	       sig == SIGTRAP || sig == SIGSYS || sig == SIGABRT;
}

static bool ends_process(int sig)
{
	/* The kick is the library's, which takes no signal that has a handler. */
	if (sig == SIGRTMIN)
		return false;
	switch (sig) {
	case SIGKILL:
	case SIGSTOP:
	case SIGCONT:
	case SIGTSTP:
	case SIGTTIN:
	case SIGTTOU:
	case SIGCHLD:
	case SIGURG:
	case SIGWINCH:
		return false;
	}
	return true;
}

void ending_signals(sigset_t *set)
{
	struct sigaction sa;

	sigemptyset(set);
	for (int sig = 1; sig <= SIGRTMAX; sig++)
		/* One that is ignored, as SIGHUP under nohup(1), would come if it were blocked. */
		if (ends_process(sig) && (!is_fault(sig) || sig == SIGABRT) &&
		    sigaction(sig, NULL, &sa) == 0 && sa.sa_handler != SIG_IGN)
			sigaddset(set, sig);
}

/* Removes one, and calls only what a signal handler may call. */
static void remove_one(const struct leftover *f)
{
	struct stat st;

	if (lstat(f->path, &st) == 0 && st.st_dev == f->dev && st.st_ino == f->ino)
		unlink(f->path);
}

static void remove_all(const struct leftovers *l)
{
	for (size_t i = 0; i < l->n; i++)
		remove_one(&l->files[i]);
}

/* Ends the child, in the same way. When its end of the socket is closed, it cannot be stopped any
 * more. */
static void end_child(const struct leftovers *l)
{
	struct pollfd end = {.fd = l->child_fd, .events = POLLIN};

	shutdown(l->child_fd, SHUT_WR);
	if (poll(&end, 1, LEFTOVERS_PATIENCE_NS / 1000000) > 0)
		waitpid(l->child, NULL, 0);
}

void leftovers_now(const struct leftovers *l)
{
	remove_all(l);
	if (l->child)
		end_child(l);
}

void leftovers_die(int sig)
{
	const struct leftovers *l = watched;

	if (l)
		leftovers_now(l);
	/* It comes again when this returns, and a fault anyway. */
	signal(sig, SIG_DFL);
	raise(sig);
}

static void set_handlers(void (*from)(int), void (*to)(int))
{
	struct sigaction now, sa = {.sa_handler = to};

	sigfillset(&sa.sa_mask);
	for (int sig = 1; sig <= SIGRTMAX; sig++)
		if (ends_process(sig) && sigaction(sig, NULL, &now) == 0 && now.sa_handler == from)
			sigaction(sig, &sa, NULL);
}

void leftovers_watch(struct leftovers *l)
{
	l->n = 0;
	l->child = 0;
	watched = l;
	set_handlers(SIG_DFL, leftovers_die);
}

void leftovers_hold(sigset_t *before)
{
	sigset_t set;

	ending_signals(&set);
	sigprocmask(SIG_BLOCK, &set, before);
}

void leftovers_let(const sigset_t *before)
{
	sigprocmask(SIG_SETMASK, before, NULL);
}

void leftovers_add(struct leftovers *l, const char *path)
{
	struct leftover *f = &l->files[l->n];
	struct stat st;

	if (!path || l->n == LEFTOVERS || lstat(path, &st) < 0)
		return;
	f->path = strdup(path);
	f->dev = st.st_dev;
	f->ino = st.st_ino;
	if (f->path)
		l->n++;
}

static void end_of(struct leftovers *l, int fd, bool gone)
{
	sigset_t before;
	struct stat st;

	/* With none left there may be a filter that lets nobody ask for a signal's handler. */
	if (!l->n || fstat(fd, &st) < 0)
		return;
	leftovers_hold(&before);
	for (size_t i = 0; i < l->n;) {
		if (l->files[i].dev == st.st_dev && l->files[i].ino == st.st_ino) {
			if (gone)
				remove_one(&l->files[i]);
			free(l->files[i].path);
			l->files[i] = l->files[--l->n];
		} else {
			i++;
		}
	}
	leftovers_let(&before);
}

void leftovers_drop(struct leftovers *l, int fd)
{
	end_of(l, fd, false);
}

void leftovers_undo(struct leftovers *l, int fd)
{
	end_of(l, fd, true);
}

static void forget(struct leftovers *l)
{
	while (l->n) {
		struct leftover *f = &l->files[--l->n];

		free(f->path);
		f->path = NULL;
	}
}

void leftovers_remove(struct leftovers *l)
{
	sigset_t before;

	if (!l->n)
		return;
	leftovers_hold(&before);
	remove_all(l);
	forget(l);
	leftovers_let(&before);
}

void leftovers_end(struct leftovers *l)
{
	sigset_t before;

	if (watched != l)
		return;
	leftovers_hold(&before);
	set_handlers(leftovers_die, SIG_DFL);
	watched = NULL;
	forget(l);
	leftovers_let(&before);
}
