/* SPDX-License-Identifier: Apache-2.0 */
/* The live view of `catnap stat`: what it is showing, and how that is drawn. */
#ifndef CLI_CTL_VIEW_H
#define CLI_CTL_VIEW_H

#include "cli/ctl/screen.h"
#include "cli/ctl/stat.h"

enum view_page { PAGE_VCPUS, PAGE_HISTOGRAM, PAGE_LEARNED, PAGE_DEVICES, PAGE_HELP };
enum view_prompt { PROMPT_NONE, PROMPT_POLICY, PROMPT_BIAS };

struct view {
	struct screen *screen;
	uint64_t interval_ns;
	enum view_page page;
	enum view_prompt prompt;
	struct look now, old; /* of the last two looks */
	struct rows rows;     /* sorted */
	bool total;	      /* since the VM's start, and not since the look before */
	size_t sort;	      /* of all columns */
	bool up;	      /* the smallest first */
	int chosen;	      /* the vCPU; -1: the I/O thread */
	size_t top;	      /* the first row that is shown */
	char message[160];    /* until the next key */
	double busy;	      /* share of the host's processors */
};

/* view_draw.c */
void view_draw(struct view *v);
/* Returns how many rows of the table are seen. */
size_t view_height(const struct view *v);
/* Returns where the chosen vCPU is in the rows; 0 if it is not. */
size_t view_place(const struct view *v);

#endif
