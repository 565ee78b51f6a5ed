/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The probe guest's governor (guest-images/probe/governor.c, the file that the guest is built from)
 * as a filter, for probe_governor.py. A line of input is "p NS GROW GROW_START SHRINK ALLOW", which
 * begins anew with these parameters, or "i NS", an idle period; to each of those a line says for
 * how long of it the guest polls, how long its HLT is (-: there is none), and the window then.
 */
#include <inttypes.h>
#include <stdio.h>

#include "governor.h"

static void idle(struct governor *g, uint64_t length)
{
	uint64_t window = g->window_ns;

	if (governor_polls(g)) {
		bool found = length <= window;

		governor_polled(g, found);
		if (found) {
			printf("%" PRIu64 " - %" PRIu64 "\n", length, g->window_ns);
			return;
		}
	}
	governor_halted(g, length - window);
	printf("%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", window, length - window, g->window_ns);
}

int main(void)
{
	struct governor g = {.window_ns = 0};
	uint64_t length;
	char line[128];

	while (fgets(line, sizeof(line), stdin)) {
		struct governor_params p;
		unsigned int allow;

		if (sscanf(line, "p %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32 " %u", &p.ns,
			   &p.grow, &p.grow_start, &p.shrink, &allow) == 5) {
			p.allow_shrink = allow != 0;
			g = (struct governor){.params = p};
		} else if (sscanf(line, "i %" SCNu64, &length) == 1) {
			idle(&g, length);
		} else {
			fprintf(stderr, "not understood: %s", line);
			return 1;
		}
	}
	return 0;
}
