/* SPDX-License-Identifier: Apache-2.0 */
/* The halts of one thread: a list that grows, up to a limit. */
#include <errno.h>
#include <stdlib.h>

#include "cli/advise/advise.h"

#define MOST_HALTS (UINT64_C(4) << 20)
#define LONGEST_NS (UINT64_MAX >> 2)

int advise_thread_keep(struct advise_thread *t, const struct advise_halt *halt)
{
	const uint64_t ns = halt->ns < LONGEST_NS ? halt->ns : LONGEST_NS;

	if (t->n == t->room) {
		size_t room = t->room ? t->room * 2 : 1024;
		uint64_t *more =
			room <= MOST_HALTS ? realloc(t->halts, room * sizeof(*more)) : NULL;

		if (!more)
			return -ENOMEM;
		t->halts = more;
		t->room = room;
	}
	t->halts[t->n++] = ns << 2 | (uint64_t)halt->waited << 1 | halt->valid;
	return 0;
}
