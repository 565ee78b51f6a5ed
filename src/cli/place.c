/* SPDX-License-Identifier: Apache-2.0 */
/* See place.h. */
#include <string.h>

#include "cli/place.h"

const char *place_file(const struct place *p)
{
	const char *from = p->file;

	for (const char *at = from; (at = strstr(at, "src/")); at++)
		from = at;
	return from;
}
