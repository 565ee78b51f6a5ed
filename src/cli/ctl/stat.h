/* SPDX-License-Identifier: Apache-2.0 */
/* `catnap stat`: what its two faces, the live view and the lines for pipes, have in common. */
#ifndef CLI_CTL_STAT_H
#define CLI_CTL_STAT_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/ctl/client.h"
#include "cli/ctl/rows.h"

struct stat_cfg {
	const char *path;
	uint64_t interval_ns;
	uint32_t count; /* 0: until the VM ends */
	bool json, learned, histograms, once;
};

/* One look at a VM. */
struct look {
	struct client_answer stats, status, polling; /* .json NULL: it has none */
	double at;				     /* CLOCK_MONOTONIC, in s */
};

/* look.c: takes a look. Zeroes are none. Returns 0, or what client_get() returns; then @l is
 * empty. */
int look_take(struct look *l, struct client *c);
void look_free(struct look *l);
/* Makes the rows of @now since @old, or, if that is empty, since the VM's start. */
void look_rows(struct rows *r, const struct look *now, const struct look *old);
/* Writes the title: "web, running, up 12m 34s, 2 vCPUs, 256M, irqchip user". */
const char *look_title(char *buf, size_t size, const struct look *l);
/* Returns whether the VM has ended. *@why (of @size) is how. */
bool look_ended(const struct look *l, char *why, size_t size);
/* Writes the totals: "12.3k halts/s, 74.2% of polls in time, 3.1% in vain, ...". */
const char *look_totals(char *buf, size_t size, const struct rows *r);

/* histogram.c: writes one character for each octave, by how many halts it has. */
void histogram_line(char buf[HIST_LENGTH + 1], const uint64_t hist[HIST_LENGTH]);
/* Where the times are, over such a line. */
#define HISTOGRAM_AXIS "   1us       1ms      1s"

/* view.c: runs the live view. Returns an exit status. */
int view_run(const struct stat_cfg *cfg);

#endif
