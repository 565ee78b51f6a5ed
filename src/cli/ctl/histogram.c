/* SPDX-License-Identifier: Apache-2.0 */
/* How long halts were, in a line of characters; see stat.h. */
#include "cli/ctl/stat.h"

void histogram_line(char buf[HIST_LENGTH + 1], const uint64_t hist[HIST_LENGTH])
{
	static const char levels[] = " .:-=+*#%@";
	const double steps = sizeof(levels) - 3;
	uint64_t most = 1;

	for (size_t i = 0; i < HIST_LENGTH; i++)
		if (hist[i] > most)
			most = hist[i];
	for (size_t i = 0; i < HIST_LENGTH; i++)
		buf[i] = levels[hist[i] ? 1 + (size_t)((double)hist[i] * steps / (double)most) : 0];
	buf[HIST_LENGTH] = '\0';
}
