/* SPDX-License-Identifier: Apache-2.0 */
/* Linux's haltpoll governor; see governor.h. */
#include "governor.h"

bool governor_polls(const struct governor *g)
{
	return g->window_ns && !g->in_vain;
}

void governor_polled(struct governor *g, bool found)
{
	g->in_vain = !found;
}

/* The window is 64 bits wide, what it becomes is computed in 32. */
static uint32_t grown(const struct governor *g)
{
	const struct governor_params *p = &g->params;
	uint32_t value = (uint32_t)(g->window_ns * p->grow);

	if (value < p->grow_start)
		value = p->grow_start;
	return value < p->ns ? value : p->ns;
}

static uint32_t shrunk(const struct governor *g)
{
	const struct governor_params *p = &g->params;
	uint32_t value = p->shrink ? (uint32_t)g->window_ns / p->shrink : 0;

	return value < p->grow_start ? 0 : value;
}

void governor_halted(struct governor *g, uint64_t block_ns)
{
	const struct governor_params *p = &g->params;

	g->in_vain = false;
	if (block_ns > g->window_ns && block_ns <= p->ns)
		g->window_ns = grown(g);
	else if (block_ns > p->ns && p->allow_shrink)
		g->window_ns = shrunk(g);
}
