/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The messages of a running VM's process, the library's and its own, on standard error or in
 * --log-file. Nothing here waits for a reader, so that no reader can stop a VM. A message that is
 * not taken at once is lost and counted, and the next one that is taken says so. Control characters
 * are shown, not sent. Where standard error is a service's journal, messages go there with their
 * priority.
 *
 * Any thread.
 */
#ifndef CLI_LOG_H
#define CLI_LOG_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <catnap/catnap.h>

struct log {
	int fd;
	bool own;     /* a description of ours, which does not block; to be closed */
	bool journal; /* it takes entries of the journal, one by one */
	enum catnap_log_level level;
	pthread_mutex_t lock; /* nothing that may block is done with it held */
	uint64_t lost;	      /* under the lock: lines since the last that was taken */
	int error;	      /* under the lock: why, an errno value; 0: nobody read */
	bool torn;	      /* under the lock: the last one lacks its end */
};

/* Opens the log to @fd, which stays the caller's. Before the process is closed in: it may be opened
 * anew. */
void log_open(struct log *l, int fd, enum catnap_log_level level);
/* Logs a message of the library's: struct catnap_vm_config's log; @ctx is the log. */
void log_message(void *ctx, enum catnap_log_level level, const char *message);
/* Says one line or several, whole, whatever the level; for the journal a notice. */
void log_say(struct log *l, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Says at the end what went wrong: a reader that is only late has a moment for it. */
void log_last(struct log *l, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Says what was lost, if that can be said. */
void log_close(struct log *l);

#endif
