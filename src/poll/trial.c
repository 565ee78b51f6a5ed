/* SPDX-License-Identifier: Apache-2.0 */
/* Polling on trial; see trial.h. */
#include <string.h>

#include "poll/trial.h"

/* Enough to be learned from; and while one polls, the other's halts are shorter, too, whether it
 * is in a trial of its own or not. */
#define TRIAL_HALTS 8
/* The first is as long as before, as the other one still sleeps; and some more by chance. */
#define LOST_MAX 5
/* A trial in vain is 5 halts of 5 worths at most, all of which would have cost one: with the
 * longest pause, 1 % of what the halts cost. */
#define PAUSE_MIN 8
#define PAUSE_MAX 1024
/* Halts of up to so many worths may be short in truth: one sleep of the other, its work, and one
 * more for chance. */
#define TIMES_MAX 4u

void trial_init(struct trial *t)
{
	memset(t, 0, sizeof(*t));
	t->wait = t->pause = PAUSE_MIN;
}

static void trial_begin(struct trial *t, uint64_t halt_ns)
{
	uint64_t window = halt_ns + halt_ns / 4;

	t->window_ns = window < UINT32_MAX ? (uint32_t)window : UINT32_MAX;
	t->left = TRIAL_HALTS;
	t->lost = 0;
}

static void trial_over(struct trial *t, bool lost)
{
	t->left = 0;
	if (!lost)
		t->pause = PAUSE_MIN;
	else if (t->pause < PAUSE_MAX)
		t->pause *= 2;
	t->wait = t->pause;
}

void trial_end(struct trial *t, uint64_t halt_ns, uint32_t worth_ns, bool ipi)
{
	if (t->left) {
		t->lost += !ipi || halt_ns > worth_ns;
		t->left--;
		if (t->lost == LOST_MAX || !t->left)
			trial_over(t, t->lost == LOST_MAX);
		return;
	}
	if (ipi && halt_ns > worth_ns && halt_ns <= (uint64_t)TIMES_MAX * worth_ns && !--t->wait)
		trial_begin(t, halt_ns);
}

void trial_save(const struct trial *t, struct state_writer *w)
{
	state_put_u32(w, t->window_ns);
	state_put_u16(w, t->wait);
	state_put_u16(w, t->pause);
	state_put_u8(w, t->left);
	state_put_u8(w, t->lost);
}

void trial_load(struct trial *t, struct state_in *in)
{
	t->window_ns = state_get_u32(in);
	t->wait = state_get_u16(in);
	t->pause = state_get_u16(in);
	state_check(in, t->pause >= PAUSE_MIN && t->pause <= PAUSE_MAX && t->wait <= t->pause,
		    "the pause between trials");
	t->left = state_get_u8(in);
	t->lost = state_get_u8(in);
	/* One that was lost has as many, and is over. */
	state_check(in, t->left <= TRIAL_HALTS && t->lost <= LOST_MAX - (t->left != 0), "a trial");
}
