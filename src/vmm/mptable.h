/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine for kernels that know neither ACPI nor device trees: processors and interrupt pins as
 * a table of Intel's MultiProcessor Specification 1.4. It has no place for other devices; those are
 * found on the PCI bus or named on the command line.
 */
#ifndef VMM_MPTABLE_H
#define VMM_MPTABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where it is searched for: in the BIOS's read-only memory (4.1). */
#define MPTABLE_BASE UINT64_C(0xf0000)
#define MPTABLE_SIZE 0x1000u

/* Builds the table for MPTABLE_BASE, in @buffer of MPTABLE_SIZE bytes. Returns how many bytes there
 * are. @vcpus is at most 64; @pci: there is a root bus (devices/pci/bus.h), with interrupt pins. */
size_t mptable_build(uint32_t vcpus, bool pci, void *buffer);

#endif
