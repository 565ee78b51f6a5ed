// SPDX-License-Identifier: Apache-2.0
/* How long each operation of a workload took: kept while it runs, and told at its end. */
#include <stdio.h>
#include <stdlib.h>

#include "guest.h"

bool samples_begin(struct samples *s, const char *name, long room)
{
	*s = (struct samples){.name = name, .room = room};
	s->ns = calloc((size_t)(room > 0 ? room : 1), sizeof(*s->ns));
	if (!s->ns)
		complain("%s: out of memory", name);
	return s->ns;
}

void samples_add(struct samples *s, int64_t ns)
{
	if (s->n < s->room)
		s->ns[s->n++] = ns;
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

void samples_end(struct samples *s, long checked)
{
	static const struct {
		const char *name;
		int permille;
	} quantiles[] = {{"p50", 500}, {"p90", 900}, {"p99", 990}, {"max", 1000}};
	char key[64];

	qsort(s->ns, (size_t)s->n, sizeof(*s->ns), compare);
	for (size_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]) && s->n; i++) {
		long at = s->n * quantiles[i].permille / 1000;

		snprintf(key, sizeof(key), "%s_%s_ns", s->name, quantiles[i].name);
		result(key, "%lld", (long long)s->ns[at < s->n ? at : s->n - 1]);
	}
	snprintf(key, sizeof(key), "%s_checked", s->name);
	result(key, "%ld", checked);
	free(s->ns);
	s->ns = NULL;
}
