/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An eventfd that is an interrupt of the peer's guest, by its irqfd: the other side of QEMU's device
 * ivshmem-doorbell (docs/specs/ivshmem-spec.rst of QEMU), which asks a server for its eventfds. All
 * that the server says is written before QEMU starts.
 */
#ifndef CLI_BENCH_DOORBELL_H
#define CLI_BENCH_DOORBELL_H

#include "cli/bench/bench.h"

struct bench_doorbell {
	int event_fd; /* each write is an interrupt */
	int socket;   /* for bench_io_devices: the child inherits it */
	int server;   /* its other end, which stays open */
};

/* Returns 0 or -1 with run->error. */
int bench_doorbell_open(struct bench_run *run, struct bench_doorbell *d);
void bench_doorbell_close(struct bench_doorbell *d);

#endif
