/* SPDX-License-Identifier: Apache-2.0 */
/* The costs of a run beside time, for the reports. */
#ifndef CLI_BENCH_COSTS_COLUMNS_H
#define CLI_BENCH_COSTS_COLUMNS_H

#include "cli/bench/workload.h"

extern const struct bench_column bench_costs_columns[];
extern const struct bench_member bench_costs_members[];
extern const char bench_costs_note[];
/* Returns whether the host has told any of it for one of these. */
bool bench_costs_among(const struct bench_cell *cells, size_t n);

#endif
