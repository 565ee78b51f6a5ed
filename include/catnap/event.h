/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catnap/event.h - what happens to a VM.
 *
 * catnap/catnap.h includes this, and says what holds for all calls on a VM.
 */
#ifndef CATNAP_EVENT_H
#define CATNAP_EVENT_H

#include <stdint.h>

#include <catnap/poll.h>

#ifdef __cplusplus
extern "C" {
#endif

struct catnap_vm;

/** The events of a VM that are told of; see catnap_vm_next_event(). */
enum catnap_event_type {
	CATNAP_EVENT_STARTED = 1, /**< its threads are let go */
	CATNAP_EVENT_PAUSED = 2,  /**< it stands still: the last of its vCPUs does */
	/** It goes on after that. A pause that a resume overtakes tells neither. */
	CATNAP_EVENT_RESUMED = 3,
	/** The cable of device was plugged in (value 1) or out (0), by catnap_vm_set_link(), or since
	 * its interface was deleted. */
	CATNAP_EVENT_LINK = 4,
	/** The guest, on vcpu, asked for a reset: it ends, or RESTARTED follows. */
	CATNAP_EVENT_RESET = 5,
	/** The guest, on vcpu, said that it panicked (pvpanic). value 0: it is dead; 1: a crash kernel
	 * of its own takes over. */
	CATNAP_EVENT_PANIC = 6,
	/** The driver of device did what no driver may, and has to reset it: each time that the
	 * device comes into that state. text says what it did. */
	CATNAP_EVENT_DEVICE_NEEDS_RESET = 7,
	/**
	 * The guest is short of memory, as the balloon, device, can see it: the driver took pages
	 * back that the host had asked for (deflate_on_oom), told once until it has given them
	 * again or the target is changed; or its statistics say that it has ended more programs
	 * for want of memory (Linux 6.12), told when statistics come that say so.
	 */
	CATNAP_EVENT_GUEST_OUT_OF_MEMORY = 8,
	/** It has ended, and its threads have left. value is the enum catnap_exit_reason, with code
	 * and vcpu as in struct catnap_exit; text is the first line of the report. The last. */
	CATNAP_EVENT_ENDED = 9,
	/** Events were not taken in time: value of them, up to this number, are not known any more. */
	CATNAP_EVENT_LOST = 10,
	/** The guest begins anew, after a reset in place. */
	CATNAP_EVENT_RESTARTED = 11,
	/** The guest has let go of device, which it was asked to (catnap_vm_remove_disk()), and the
	 * device is gone. value is the number that it had among the disks, or interfaces, and of one
	 * with a back end of its own UINT32_MAX; code is virtio's number of its type, 1 an interface, 2
	 * a disk, 26 a folder; text has its name. */
	CATNAP_EVENT_DEVICE_REMOVED = 12,
	/** The guest has said that it does not let go of device, which it was asked to; it can be asked
	 * again. value is as for CATNAP_EVENT_DEVICE_REMOVED; code is ACPI's status (6.5, 6.3.5), 0x81 a
	 * program uses it, 0x82 it is busy; text has its name, and what the code says. */
	CATNAP_EVENT_DEVICE_KEPT = 13,
};

/** Something that happened to a VM. */
struct catnap_event {
	uint32_t size;	  /**< set by the caller to sizeof(struct catnap_event) */
	uint32_t type;	  /**< enum catnap_event_type; a later version may have others */
	uint64_t number;  /**< from 1, without gaps but for CATNAP_EVENT_LOST */
	uint64_t time_ns; /**< when, CLOCK_REALTIME */
	uint32_t device;  /**< its number, see catnap_vm_get_device_stats(); UINT32_MAX: none */
	uint32_t vcpu;	  /**< UINT32_MAX: none, or not known */
	uint32_t value;	  /**< as the type says */
	int32_t code;	  /**< of CATNAP_EVENT_ENDED, _DEVICE_REMOVED and _DEVICE_KEPT; 0 */
	/** For people, one line, or "". Parts of it may be what a guest or a file's name has chosen. */
	char text[256];
};

/**
 * Takes the oldest event that was not taken yet. Each is taken once: two who ask share them. The
 * last 64 are kept, from catnap_vm_create() on, whether anybody asks or not; a guest can cause any
 * number. Nobody calls back: the library has no thread for that. Any thread, any callback.
 * Errors:
 *   -EAGAIN  there is none now
 *   -EINVAL  @event is NULL, or its size
 */
CATNAP_API int catnap_vm_next_event(struct catnap_vm *vm, struct catnap_event *event);
/**
 * Returns a file descriptor that is readable while catnap_vm_next_event() has an event. It stays
 * the VM's, who alone reads it. Made by the first call, or with a sandbox by catnap_vm_create().
 * Any thread, any callback. Errors: those of eventfd(2).
 */
CATNAP_API int catnap_vm_get_event_fd(struct catnap_vm *vm);

#ifdef __cplusplus
}
#endif
#endif
