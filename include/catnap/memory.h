/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catnap/memory.h - the guest's memory, and the tables that tell it of its hardware.
 *
 * catnap/catnap.h includes this, and says what holds for all calls on a VM.
 */
#ifndef CATNAP_MEMORY_H
#define CATNAP_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include <catnap/poll.h>

#ifdef __cplusplus
extern "C" {
#endif

struct catnap_vm;

/**
 * Finds @len bytes of guest memory at guest-physical @gpa, shared with the guest; valid until the
 * VM is destroyed. -EFAULT if not all of it is guest memory.
 */
CATNAP_API int catnap_vm_guest_memory(struct catnap_vm *vm, uint64_t gpa, size_t len, void **ptr);

/**
 * Returns the descriptor of the file that the guest's memory is (memory_shared), for another
 * process that maps it: what the guest has below 3 GiB is at the same place of the file, and what
 * it has from 4 GiB on follows there without a gap. It stays the VM's, until destroy closes it. Any
 * thread.
 * Errors:
 *   -ENOTSUP  the memory is private
 */
CATNAP_API int catnap_vm_get_memory_fd(struct catnap_vm *vm);
/**
 * For a handler of SIGBUS, with its si_addr, if si_code is positive. Memory of a guest may be a
 * file's: persistent memory, or that of a snapshot with memory_mode MAP or WORKING_SET. Where the file
 * has become shorter, or its file system is full or fails, a page of it cannot be had, and whoever
 * touches it gets that signal. If @address is in such memory of @vm, the page, a huge one if the
 * file's are, is all zeroes from now on, and no file's. The access goes on when the handler returns, and the VM ends: CATNAP_EXIT_HOST_ERROR,
 * with a sentence. A start, a restore or a snapshot that this happens to fails with -EIO; disks are
 * not written any more. A guest that touches such a page itself ends so without any signal.
 *
 * The library has no such handler, and without one the signal ends the process: a start warns of
 * that, by the VM's log. It comes on the thread that has touched the page, which may be one of the
 * VM's; they run no other handler of yours.
 * Async-signal-safe; any thread, from create to destroy. Returns 1: done; 0: the address is not in such
 * memory.
 * Errors: those of mmap(2); the page is as before
 */
CATNAP_API int catnap_vm_memory_fault(struct catnap_vm *vm, const void *address);

/**
 * Finds the ACPI table number @index: its name ("DSDT"; "RSDP" is the first), and the bytes, which
 * are the VM's, and constant once no more devices are added. They are made for every VM, whatever
 * its guest is told.
 * Errors:
 *   -ENOENT  there are not so many
 */
CATNAP_API int catnap_vm_get_acpi_table(struct catnap_vm *vm, uint32_t index, const char **name,
					const void **data, size_t *len);
/** Does the same for the flattened device tree. No errors. */
CATNAP_API int catnap_vm_get_device_tree(struct catnap_vm *vm, const void **data, size_t *len);

#ifdef __cplusplus
}
#endif
#endif
