/* SPDX-License-Identifier: Apache-2.0 */
/* Linux's haltpoll governor; see replay_guest.h. */
#include <errno.h>
#include <stddef.h>

#include "cli/replay_guest.h"

void guest_params_init(struct guest_params *p)
{
	*p = (struct guest_params){.ns = 200000,
				   .grow = 2,
				   .grow_start_ns = 50000,
				   .shrink = 2,
				   .allow_shrink = true,
				   .host = GUEST_HOST_OFF};
}

int guest_params_parse(struct opts *o, const struct opt_arg *arg, struct guest_params *p)
{
	static const struct opt_word hosts[] = {{"off", GUEST_HOST_OFF},
						{"break-even", GUEST_HOST_BREAK_EVEN},
						{"learned", GUEST_HOST_LEARNED},
						{NULL, 0}};
#define KEY(member) .offset = offsetof(struct guest_params, member)
	static const struct opt_field keys[] = {
		{.name = "ns", .type = OPT_TIME32, KEY(ns), .max = UINT32_MAX},
		{.name = "grow", .type = OPT_U32, KEY(grow), .max = UINT32_MAX},
		{.name = "grow-start", .type = OPT_TIME32, KEY(grow_start_ns), .max = UINT32_MAX},
		{.name = "shrink", .type = OPT_U32, KEY(shrink), .max = UINT32_MAX},
		{.name = "allow-shrink", .type = OPT_SWITCH, KEY(allow_shrink)},
		{.name = "host", .type = OPT_WORD, KEY(host), .words = hosts},
		{.name = NULL},
	};
#undef KEY

	return opt_keys(o, arg, keys, p) ? -EINVAL : 0;
}

/* adjust_poll_limit(): the window is 64 bits wide, what it becomes is computed in 32. */
static void adjust(struct governor *g, uint64_t block_ns)
{
	const struct guest_params *p = &g->params;
	uint32_t value;

	if (block_ns > g->window_ns && block_ns <= p->ns) {
		value = (uint32_t)(g->window_ns * p->grow);
		if (value < p->grow_start_ns)
			value = p->grow_start_ns;
		if (value > p->ns)
			value = p->ns;
		g->window_ns = value;
	} else if (block_ns > p->ns && p->allow_shrink) {
		value = p->shrink ? (uint32_t)g->window_ns / p->shrink : 0;
		if (value < p->grow_start_ns)
			value = 0;
		g->window_ns = value;
	}
}

bool guest_idle(struct governor *g, uint64_t idle_ns, uint64_t *polled_ns)
{
	*polled_ns = idle_ns < g->window_ns ? idle_ns : g->window_ns;
	/* Found something: the window stays, and the next time it polls again. */
	if (g->window_ns && idle_ns <= g->window_ns)
		return false;
	adjust(g, idle_ns - *polled_ns);
	return true;
}
