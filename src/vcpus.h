/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The words by which a sentence tells the vCPUs that there are, where one was named that is not.
 *
 * Every folder may include this. It needs the C library only.
 */
#ifndef VCPUS_H
#define VCPUS_H

#include <stdint.h>
#include <stdio.h>

struct vcpus_words {
	char text[40];
};

/* Returns "1 vCPU, 0" or "4 vCPUs, 0 to 3", for use within the expression. */
static inline struct vcpus_words vcpus_words(uint32_t count)
{
	struct vcpus_words w;

	if (count == 1)
		snprintf(w.text, sizeof(w.text), "1 vCPU, 0");
	else
		snprintf(w.text, sizeof(w.text), "%u vCPUs, 0 to %u", count, count - 1);
	return w;
}

#endif
