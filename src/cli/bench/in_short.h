/* SPDX-License-Identifier: Apache-2.0 */
/* The first screen of the page: in which workloads halting in user space wins, and where it loses. */
#ifndef CLI_BENCH_IN_SHORT_H
#define CLI_BENCH_IN_SHORT_H

#include "cli/bench/workload.h"

/* Writes what user:adaptive comes to, by the ratios that the tables have; nothing where there are
 * none. */
void bench_in_short(FILE *out, const struct bench_results *r);

#endif
