/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TAP device in a network namespace of this process alone, and frames to and from it: the other
 * side of `catnap bench echo`. It needs CAP_SYS_ADMIN and CAP_NET_ADMIN.
 */
#ifndef CLI_BENCH_NET_H
#define CLI_BENCH_NET_H

#include <stdint.h>

#include "cli/bench/bench.h"

#define BENCH_TAP "catnap0"

struct bench_net {
	int index; /* of the interface */
};

/* An Ethernet frame of the smallest size. */
struct bench_frame {
	uint8_t to[6], from[6];
	uint16_t type; /* 0x88b5, for local experiments (IEEE 802) */
	uint16_t reserved;
	uint32_t number;
	uint8_t rest[40];
};

_Static_assert(sizeof(struct bench_frame) == 60, "an Ethernet frame without its check sequence");

/* Moves this process to a namespace of its own, the first time, and makes the TAP. 0 or -1 with
 * run->error. */
int bench_net_open(struct bench_run *run, struct bench_net *net);
void bench_net_close(struct bench_net *net);
/* Opens a packet socket on it; whoever has the TAP open must have it open by then. Returns it, or
 * -1 with run->error. */
int bench_net_socket(struct bench_run *run, const struct bench_net *net);
void bench_frame_init(struct bench_frame *f, uint32_t number);
/* Returns 0 or -errno. */
int bench_frame_send(int sock, const struct bench_frame *f);
/* Takes one that has come, if one has: 0 and its number, -EAGAIN, -errno. */
int bench_frame_take(int sock, uint32_t *number);
/* Waits for the frame with this number; others are passed over. 0, -ETIMEDOUT, -errno. */
int bench_frame_receive(int sock, uint32_t number, int timeout_ms);

#endif
