/* SPDX-License-Identifier: Apache-2.0 */
/* See guest_window.h. */
#include "cli/guest_window.h"

static uint32_t least(uint64_t a, uint64_t b)
{
	uint64_t ns = a < b ? a : b;

	return ns < GUEST_WINDOW_MOST_NS ? (uint32_t)ns : GUEST_WINDOW_MOST_NS;
}

struct guest_window guest_window(struct host_price p, bool host_polls)
{
	uint64_t sleep = p.sleep_ns ? p.sleep_ns : SLEEP_PRICE_UNKNOWN_NS, exits = p.exit_ns;
	struct guest_window w = {.grow = LINUX_GUEST_GROW, .shrink = LINUX_GUEST_SHRINK};

	w.ns = least(host_polls ? sleep / 2 + exits * 13 / 4 : UINT64_MAX, sleep + exits);
	w.grow_start_ns = w.ns / 5;
	if (exits || !host_polls) {
		w.grow_start_ns = w.ns / 10;
		w.grow = 10;
		w.shrink = 0;
	}
	return w;
}
