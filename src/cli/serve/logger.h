/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log of `catnap serve`, in the lines that readers of Firecracker's log know:
 *
 *	2026-11-29T12:00:00.123456789 [id:main:INFO:src/cli/main.c:12] text
 *
 * The level, and the place, are there if they were asked for. To a file, a FIFO, or standard output.
 * Nothing here waits for a reader: a line that is not taken is lost, and counted.
 *
 * Any thread, but for logger_set() and what begins and ends it, which are the main thread's.
 */
#ifndef CLI_SERVE_LOGGER_H
#define CLI_SERVE_LOGGER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <catnap/catnap.h>
#include "cli/api/api.h"
#include "cli/place.h"

struct logger {
	const char *id;
	pthread_t main;
	pthread_mutex_t lock; /* of all below */
	int fd;
	bool own;  /* fd is to be closed */
	int level; /* enum fc_level */
	bool show_level, show_origin;
	char *module; /* the beginning of the file's name; NULL: of all */
	atomic_ullong lost;
};

void logger_init(struct logger *l, const char *id);
/* Changes what @change says; the rest stays. Returns 0, or -errno if the path cannot be opened, and
 * nothing has changed. */
int logger_set(struct logger *l, const struct fc_logger_change *change);
void logger_free(struct logger *l);

/* Logs a message of the library's: struct catnap_vm_config's log; @ctx is the logger. The place is
 * libcatnap:0, for the library tells none. */
void logger_message(void *ctx, enum catnap_log_level level, const char *message);
/* Logs a line, of the place where this is written, or of @place. */
#define logger_line(l, level, text) logger_line_at(l, level, PLACE_HERE, text)
void logger_line_at(struct logger *l, int level, struct place place, const char *text);
/* Logs a line whatever the level is, as Firecracker's about its own begin and end. */
#define logger_always(l, ...) logger_always_at(l, PLACE_HERE, __VA_ARGS__)
void logger_always_at(struct logger *l, struct place place, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
