/* SPDX-License-Identifier: Apache-2.0 */
/* The map of a workload in the page of --html: how each mode does under each condition. */
#ifndef CLI_BENCH_HEAT_H
#define CLI_BENCH_HEAT_H

#include "cli/bench/workload.h"

/* Writes the ratios of each mode, a column for each condition, if there are several. */
void bench_heat(FILE *out, const struct bench_results *r, const struct bench_workload *w);

#endif
