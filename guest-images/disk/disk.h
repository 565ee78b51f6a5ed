/* SPDX-License-Identifier: Apache-2.0 */
/* The two halves of the verifying disk load. They print, and return an exit status. */
#ifndef DISK_DISK_H
#define DISK_DISK_H

#include "stream.h"

struct load_options {
	const char *path;
	uint64_t seed;
	uint32_t workers;
	double seconds;
};

/* load.c, in the guest. 0: all went well; 1: not. */
int load(const struct load_options *o);

/* check.c, on the host. 0: everything promised is there; 1: not; 2: it cannot be told. */
int check(const char *image, const char *log);

#endif
