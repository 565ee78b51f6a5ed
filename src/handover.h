/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a device in the sandbox has another process connect for it: one message each way over a pair
 * of SOCK_SEQPACKET sockets. Open to every room, as sized.h is: devices ask, the sandbox's keeper
 * answers (src/sandbox/keeper.h).
 */
#ifndef HANDOVER_H
#define HANDOVER_H

#include <stdint.h>

struct handover_ask {
	uint32_t serial; /* comes back with the answer */
	uint32_t port;
};

struct handover_answer {
	uint32_t serial;
	int32_t error; /* 0: a connected, non-blocking descriptor comes along (SCM_RIGHTS); or
			  -errno */
};

_Static_assert(sizeof(struct handover_ask) == 8 && sizeof(struct handover_answer) == 8,
	       "what two processes exchange");

#endif
