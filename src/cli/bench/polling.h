/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Modes in which the guest polls before it halts, as Linux does with the haltpoll driver: what the
 * probe guest is told, and what it and its host have done.
 */
#ifndef CLI_BENCH_POLLING_H
#define CLI_BENCH_POLLING_H

#include "cli/bench/workload.h"
#include "probe.h"

/* Appends to a probe's command line what has it poll as @mode says; nothing if it does not. */
void bench_polling_cmdline(const struct bench_mode *mode, uint32_t tsc_khz, char *cmdline,
			   size_t size);
/* Reads what the guest has counted in its shared page, and the VM of its vCPUs, into @p. */
void bench_polling_read(struct bench_polling *p, const volatile struct probe_shared *shared,
			struct catnap_vm *vm, uint32_t vcpus);
/* Adds to @sum what came between @before and @after. */
void bench_polling_add(struct bench_polling *sum, const struct bench_polling *before,
		       const struct bench_polling *after);

/* The figures that are shown of a cell in such a mode. */
extern const struct bench_column bench_polling_columns[];
extern const struct bench_member bench_polling_members[];
extern const char bench_polling_note[];

/* Returns whether one of the cells at least has something of it to show. */
bool bench_polling_among(const struct bench_cell *cells, size_t n);

#endif
