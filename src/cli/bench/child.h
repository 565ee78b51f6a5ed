/* SPDX-License-Identifier: Apache-2.0 */
/* Whole processes that are measured: `catnap run`, and QEMU's microvm. */
#ifndef CLI_BENCH_CHILD_H
#define CLI_BENCH_CHILD_H

#include "cli/bench/bench.h"

#define BENCH_CHILD_MIB 128 /* memory of its guest */

struct bench_child {
	pid_t pid;
	int out; /* its standard output */
	uint64_t started_ns;
};

/* Returns the probe as a memory file that children inherit, or -1. */
int bench_image_file(void);
/* Puts the peer's program and the arguments that all its runs share into @argv from @n. Returns how
 * many there are then. */
unsigned int bench_peer_args(char **argv, unsigned int n);
#define BENCH_DRIVE 512
/* Puts QEMU's disk there, read-only, with an I/O thread of its own: the file @path, past the page cache
 * if @direct. @drive is an argument's text, for as long as they are used. The same. */
unsigned int bench_peer_disk(char **argv, unsigned int n, char drive[BENCH_DRIVE], const char *path,
			     bool direct);
int bench_spawn(struct bench_run *run, struct bench_child *c, char *const argv[]);
/* The same, with the file @input as its standard input, not /dev/null. */
int bench_spawn_with(struct bench_run *run, struct bench_child *c, char *const argv[],
		     const char *input);
/* Waits for its end and closes its output. */
void bench_reap(struct bench_child *c, bool kill_it);

/* The command line of either program, which halts as its mode says; the strings are in it. */
struct bench_command {
	char *argv[32];
	char image[32], append[256], smp[8], memory[16];
};

/* Fills all but @append, the guest's command line; @image: bench_image_file(). */
void bench_command_init(struct bench_command *c, const struct bench_mode *mode, int image,
			uint32_t vcpus);
/* Waits for output; false: none came in time, or the process ended, or the run is stopped. */
bool bench_wait_output(const struct bench_run *run, const struct bench_child *c);
/* Starts the probe with the command line @append in a process and waits until it has printed
 * something, the first @size bytes of which go to @text. 0 or -1 with run->error; bench_reap() is
 * needed after success only. */
int bench_child_start(struct bench_run *run, struct bench_child *c, const char *append, char *text,
		      size_t size);
/* Measures the samples of a workload that the peer's guest prints, by the name of the cell's
 * workload. Returns 0 or -1 with run->error. */
int bench_peer(struct bench_run *run, uint32_t vcpus);

#endif
