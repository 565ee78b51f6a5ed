/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine for kernels that know neither ACPI nor device trees: processors and interrupt pins as
 * a table of Intel's MultiProcessor Specification 1.4. It has no place for other devices; those are
 * named on the command line.
 */
#ifndef VMM_MPTABLE_H
#define VMM_MPTABLE_H

#include <stddef.h>
#include <stdint.h>

/* Where it is searched for: in the BIOS's read-only memory (4.1). */
#define MPTABLE_BASE UINT64_C(0xf0000)
#define MPTABLE_SIZE 0x1000u

/* For MPTABLE_BASE, into @buffer of MPTABLE_SIZE bytes; returns how many there are. @vcpus is at
 * most 64. */
size_t mptable_build(uint32_t vcpus, void *buffer);

#endif
