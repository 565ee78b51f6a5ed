/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots of the probe that `catnap bench restore` goes on from: one for each size of memory, made
 * when it is first needed, in a folder of their own. */
#ifndef CLI_BENCH_SNAPSHOTS_H
#define CLI_BENCH_SNAPSHOTS_H

#include "cli/bench/bench.h"

#define BENCH_SNAPSHOT_PATH 256

/* The guest's memory that is written before the snapshot, and that of it which is read after it, in
 * pages. */
#define BENCH_SPAN  24576
#define BENCH_PAGES 2048

/* Finds the folder of a snapshot of the probe's workload restore, with @mib of memory, whose guest
 * halts as the cell's mode says; makes it if there is none so far. Returns 0, or -1 with
 * run->error. */
int bench_snapshot(struct bench_run *run, uint32_t mib, char path[BENCH_SNAPSHOT_PATH]);
/* Finds a file with the byte that the guest waits for. The same. */
int bench_snapshot_input(struct bench_run *run, char path[BENCH_SNAPSHOT_PATH]);
/* Puts a VM down that runs, and lets it go on: *@path is the folder. The same. */
int bench_snapshot_of(struct bench_run *run, struct catnap_vm *vm, char path[BENCH_SNAPSHOT_PATH]);
/* Removes all of them. */
void bench_snapshots_remove(void);

#endif
