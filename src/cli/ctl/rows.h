/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The figures that `catnap stat` shows of each vCPU, reckoned from two documents of statistics (GET
 * /catnap/stats), and the columns that they are shown in. A figure that a document has not is NAN,
 * and is shown as a dash: the answer may be anybody's.
 */
#ifndef CLI_CTL_ROWS_H
#define CLI_CTL_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <json-c/json.h>

#include "cli/ctl/figures.h"

#define ROWS_MOST   65 /* the vCPUs of a VM, and its I/O thread */
#define ROW_CAUSES  5
#define HIST_FIRST  8  /* octaves of ns: 255 ns and less */
#define HIST_LAST   31 /* 1 s and more */
#define HIST_LENGTH (HIST_LAST - HIST_FIRST + 1)

struct row {
	int vcpu; /* -1: the I/O thread; -2: all together */
	char policy[24], bias[24];
	double halts, exits, exits_io, exits_mmio, exits_msr, injected; /* a second */
	double tried, in_time;	  /* polls; of these, without a sleep */
	double in_vain, busy;	  /* time polled before a sleep, processor time: of one processor */
	double cause[ROW_CAUSES]; /* wake-ups by ipi, timer, io, eventfd, other */
	double after_tried, after_in_time; /* polls that went on where the guest's had stopped */
	double contended, throttled;
	double window_ns, price_ns; /* INFINITY: it has no end */
	uint64_t polled[HIST_LENGTH], slept[HIST_LENGTH];
};

struct rows {
	struct row row[ROWS_MOST], all;
	size_t n;
	double seconds; /* that they are of; 0: not known, and all figures are counts */
};

/* Takes the rows of two documents. @old NULL: since the VM's start. @polling: GET
 * /catnap/halt-polling, or NULL. */
void rows_take(struct rows *r, struct json_object *new, struct json_object *old,
	       struct json_object *polling, double seconds);

struct column {
	const char *head; /* '<' before it: flush left */
	const char *what; /* for the help */
	int width;
	/* Into @buf, and returns it; NULL: not known. */
	const char *(*show)(char buf[FIGURE_SIZE], const struct row *row);
	double (*key)(const struct row *row); /* to sort by, the largest first */
};

#define COLUMNS_MOST 32

/* Chooses the columns that fit in @width, in their order: the first of @chosen are always there.
 * Returns how many. */
size_t columns_fit(const struct column *chosen[COLUMNS_MOST], int width);
/* Chooses all columns that there are. Returns how many. */
size_t columns_all(const struct column *chosen[COLUMNS_MOST]);
/* Writes the head of the table, or a row, in at most @size - 1 bytes. */
void columns_head(char *buf, size_t size, const struct column *const *c, size_t n,
		  const struct rows *r);
void columns_row(char *buf, size_t size, const struct column *const *c, size_t n,
		 const struct row *row);
/* Sorts the rows by @by; @up: the smallest first. NAN is last. */
void rows_sort(struct rows *r, const struct column *by, bool up);

#endif
