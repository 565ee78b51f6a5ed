/* SPDX-License-Identifier: Apache-2.0 */
/* Linux's haltpoll governor; see guest.h. */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "cli/replay/guest.h"

enum key { NS, GROW, GROW_START, SHRINK }; /* as in the table below */

void replay_guest_params_init(struct replay_guest_params *p)
{
	*p = (struct replay_guest_params){.by_price = true,
					  .ns = 200000,
					  .grow = LINUX_GUEST_GROW,
					  .grow_start_ns = 50000,
					  .shrink = LINUX_GUEST_SHRINK,
					  .allow_shrink = 1,
					  .host = CATNAP_AFTER_GUEST_LEARNED};
}

/* Takes ns=TIME or ns=kernel. */
static int set_ns(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	static const struct opt_field time = {.type = OPT_TIME32, .max = UINT32_MAX};
	struct replay_guest_params *p = ptr;

	p->by_price = false;
	return strcmp(arg->text, "kernel") == 0 ? 0 : opt_value(o, arg, &time, &p->ns);
}

int replay_guest_params_parse(struct opts *o, const struct opt_arg *arg,
			      struct replay_guest_params *p)
{
	static const struct opt_field keys[] = {
		[NS] = {.name = "ns", .type = OPT_CALL, .set = set_ns},
		OPT_GUEST_POLL_KEYS(struct replay_guest_params, UINT32_MAX),
		OPT_GUEST_POLL_HOST(struct replay_guest_params),
		{.name = NULL},
	};

	return opt_keys_given(o, arg, keys, p, &p->given) ? -EINVAL : 0;
}

static uint32_t price32(uint64_t ns)
{
	return ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
}

static bool given(const struct replay_guest_params *p, unsigned key)
{
	return p->given >> key & 1;
}

bool replay_guest_host_polls(const struct replay_guest_params *p, uint32_t policy)
{
	if (policy == CATNAP_POLICY_OFF)
		return false;
	return p->host == CATNAP_AFTER_GUEST_BREAK_EVEN ||
	       (p->host == CATNAP_AFTER_GUEST_LEARNED && policy != CATNAP_POLICY_KERNEL);
}

void replay_guest_params_settle(struct replay_guest_params *p, uint64_t price_ns,
				uint64_t exit_price_ns, uint32_t policy)
{
	const struct host_price price = {.sleep_ns = price32(price_ns),
					 .exit_ns = price32(exit_price_ns)};
	const struct guest_window w = guest_window(price, replay_guest_host_polls(p, policy));

	if (!p->by_price)
		return;
	p->ns = w.ns;
	if (!given(p, GROW))
		p->grow = w.grow;
	if (!given(p, GROW_START))
		p->grow_start_ns = w.grow_start_ns;
	if (!given(p, SHRINK))
		p->shrink = w.shrink;
}

/* Does what adjust_poll_limit() does: the window is 64 bits wide, its next value is computed in
 * 32. */
static void adjust(struct replay_governor *g, uint64_t block_ns)
{
	const struct replay_guest_params *p = &g->params;
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

bool replay_guest_idle(struct replay_governor *g, uint64_t idle_ns, uint64_t *polled_ns)
{
	*polled_ns = idle_ns < g->window_ns ? idle_ns : g->window_ns;
	/* Found something: the window stays, and the next time it polls again. */
	if (g->window_ns && idle_ns <= g->window_ns)
		return false;
	adjust(g, idle_ns - *polled_ns);
	return true;
}
