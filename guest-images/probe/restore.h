/* SPDX-License-Identifier: Apache-2.0 */
/* Workload restore: a guest that shows when it goes on, and what its memory costs then. */
#ifndef PROBE_RESTORE_H
#define PROBE_RESTORE_H

#include <stdint.h>

#define PROBE_SPAN_MAX 258048u /* pages: up to the end of the first GiB */

/* Writes to @span pages, and then answers each byte of input by a round over @pages of them. Never
 * returns. */
void restore_run(uint64_t pages, uint64_t span);

#endif
