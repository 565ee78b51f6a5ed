/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catnap/console.h - the serial port's input, and a console beside it.
 *
 * catnap/catnap.h includes this, and says what holds for all calls on a VM.
 */
#ifndef CATNAP_CONSOLE_H
#define CATNAP_CONSOLE_H

#include <stddef.h>
#include <stdint.h>

#include <catnap/poll.h>

#ifdef __cplusplus
extern "C" {
#endif

struct catnap_vm;

/** A console beside the serial port; catnap_console_init() first. */
struct catnap_console {
	uint32_t size;	     /**< set by catnap_console_init() */
	uint16_t cols, rows; /**< 0: not known */
	/** Takes what the guest writes, in pieces; one call at a time, on the VM's thread that runs
	 * the device. It may block, and call all that "Callbacks" in catnap/catnap.h does not
	 * except. NULL: lost. */
	void (*output)(void *ctx, const void *data, size_t len);
	void *ctx;
};

/** Sets the defaults: output is lost, and the size is not known. */
CATNAP_API void catnap_console_init(struct catnap_console *console);
CATNAP_API void catnap_console_init_sized(struct catnap_console *console, size_t size);
#define catnap_console_init(console) \
	catnap_console_init_sized((console), sizeof(struct catnap_console))

/**
 * Adds a virtio console (hvc0), between create and start, once.
 * Errors:
 *   -EINVAL  size, started already
 *   -EEXIST
 *   -ENOSPC
 *   -ENOMEM
 */
CATNAP_API int catnap_vm_set_console(struct catnap_vm *vm, const struct catnap_console *console);
/** Gives input to the console. Returns how many bytes it took: none while no driver uses it. Any
 * thread. */
CATNAP_API size_t catnap_vm_console_input(struct catnap_vm *vm, const void *data, size_t len);
/**
 * Tells the guest its console's size. Any thread.
 * Errors:
 *   -ENOENT  there is no console
 */
CATNAP_API int catnap_vm_console_resize(struct catnap_vm *vm, uint16_t cols, uint16_t rows);

/** Gives input to the guest's serial port. Returns how many bytes it took, as a FIFO takes them.
 * Any thread, also while output is under way. */
CATNAP_API size_t catnap_vm_serial_input(struct catnap_vm *vm, const void *data, size_t len);

#ifdef __cplusplus
}
#endif
#endif
