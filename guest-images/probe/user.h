/* SPDX-License-Identifier: Apache-2.0 */
/*
 * User mode (ring 3): what a processor needs for it beyond what start.S gives, the way in and out,
 * and what user mode has the kernel do. On hosts that emulate a guest's kernel mode, user mode is
 * what runs by itself.
 *
 * It is no boundary here: both sides are this guest, share its memory, and a call of the kernel
 * names the kernel's instruction that it goes on at.
 */
#ifndef PROBE_USER_H
#define PROBE_USER_H

#include <stdint.h>

struct __attribute__((packed)) user_tss {
	uint32_t reserved;
	uint64_t rsp[3]; /* [0]: the stack for interrupts from user mode */
	uint8_t rest[74];
	uint16_t io_map;
};

_Static_assert(sizeof(struct user_tss) == 104, "fixed by the processor");

/* Each processor's own, because the stack for interrupts is named there. */
struct user_segments {
	uint64_t gdt[8];
	struct user_tss tss;
};

/* An operation that the kernel does for user mode, by user_call(): an instruction of user.S that
 * writes @low, or with an MSR @high and @low, to @where. */
struct user_op {
	const char *kernel;
	uint64_t where, low, high;
};

/* Before any processor is in user mode: it may use the lowest 4 MiB. */
void user_open_memory(void);
/* Lets user mode use what lies below @end, too, which is in the first GiB. */
void user_open_below(uint64_t end);
/* On this processor, until it ends: *@s must live as long. */
void user_segments_load(struct user_segments *s);
/* Calls @f in user mode, as processor @index of USER_CPUS. */
void user_run(uint32_t index, void (*f)(void *), void *arg);

#endif
