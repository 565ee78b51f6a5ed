/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest gives or takes by and by: how much is asked for, and the wait until it has done it. */
#ifndef CLI_CTL_SIZE_H
#define CLI_CTL_SIZE_H

#include <stdint.h>

#include "cli/ctl/ctl.h"

#define MIB (UINT64_C(1) << 20)

struct ctl_size {
	uint64_t size; /* bytes, a multiple of MIB */
	uint64_t wait_ns;
};

/* Where the VM says how far the guest is: @member of @path, in units of so many bytes. */
struct ctl_awaited {
	const char *path, *member;
	uint64_t unit;
};

/* The time is over; an exit status is never negative. */
#define CTL_SIZE_LATE (-1)

/* The settings size= and wait=. */
extern const struct opt_field ctl_size_fields[];

/* Reads them into @wanted. Returns 0, or -1 with the error in ctl->opts: also without a size. */
int ctl_size_given(struct ctl *ctl, const char *command, struct ctl_size *wanted);
/* Waits for wanted->wait_ns until as much is there; without a time for none. *@actual is set to the
 * bytes that are. Returns an exit status, or CTL_SIZE_LATE. */
int ctl_size_await(struct ctl *ctl, const struct ctl_awaited *awaited,
		   const struct ctl_size *wanted, uint64_t *actual);

#endif
