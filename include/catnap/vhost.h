/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catnap/vhost.h - devices whose back end is another process.
 *
 * catnap/catnap.h includes this, and says what holds for all calls on a VM.
 */
#ifndef CATNAP_VHOST_H
#define CATNAP_VHOST_H

#include <stddef.h>
#include <stdint.h>

#include <catnap/poll.h>

#ifdef __cplusplus
extern "C" {
#endif

struct catnap_vm;

/** Queues of a device whose back end is another process. */
#define CATNAP_MAX_VHOST_QUEUES 64
/** Bytes of a folder's tag. */
#define CATNAP_MAX_TAG 36

/**
 * A virtio device whose back end is another process, by the vhost-user protocol; catnap_vhost_init()
 * first. The back end has all of the guest's memory, and what it does is not limited by the sandbox.
 */
struct catnap_vhost {
	uint32_t size; /**< set by catnap_vhost_init() */
	/** virtio's number of the type: 1 a network interface, 2 a disk, 26 a folder; or another one,
	 * of which the library knows nothing. */
	uint32_t type;
	/** Queues for requests: of a disk at most 16, of a network interface pairs, of a folder
	 * without the one for urgent ones, of others all. 0: 1, of a disk one for each vCPU as far as
	 * the back end has so many. */
	uint32_t queues;
	/** Bytes of the configuration space, which the back end tells, of a type that is not named
	 * above; at most 256. 0: it has none. */
	uint32_t config_size;
	const char *socket; /**< where the back end listens; NULL with fd */
	/** A connected socket instead, see "Given descriptors" in catnap/catnap.h; -1: none. A back
	 * end that has gone is not taken back then. */
	int32_t fd;
	/** Not 0: a back end that has gone is not taken back, and the device needs a reset. */
	uint32_t no_reconnect;
	const char
		*tag; /**< of a folder: the name that its guest mounts; 1 to CATNAP_MAX_TAG bytes */
	uint8_t mac[6];	   /**< of a network interface, as in struct catnap_net */
	uint16_t mtu;	   /**< the same */
	uint64_t reserved; /**< 0 */
};

/** Sets the defaults: no type, no socket, taken back. */
CATNAP_API void catnap_vhost_init(struct catnap_vhost *vhost);
CATNAP_API void catnap_vhost_init_sized(struct catnap_vhost *vhost, size_t size);
#define catnap_vhost_init(vhost) catnap_vhost_init_sized((vhost), sizeof(struct catnap_vhost))

/**
 * Adds such a device, between create and start, or with hotplug at any time until the end, to a VM
 * with memory_shared. All that @vhost points to is copied. It connects, and agrees with the back end
 * on what that can do; that takes 5 s at most. In a sandbox nobody connects again to a back end that
 * has come after the start: it is given with no_reconnect, or by fd. A thread that
 * catnap_vm_sandbox_thread() has confined cannot add one after the start: what that takes is not among
 * its system calls.
 *
 * While the guest runs, its doorbells reach the back end without leaving the kernel, and the back
 * end's calls are seen by the vCPU whose queue it is; with irqchip kernel, on PCI, KVM makes interrupts
 * of those of a device that was there from the start, unless a back end that keeps no list is to be
 * taken back. A back end that has gone, breaks the protocol
 * or does not answer within 5 s is given up, with a message; the guest's requests wait, and the
 * library connects to the socket again until there is one. That one is given the requests that were
 * in flight, if its predecessor kept a list (INFLIGHT_SHMFD), or had used the requests in order.
 * Otherwise the device needs a reset (CATNAP_EVENT_DEVICE_NEEDS_RESET). Such disks and interfaces
 * do not count in calls that name a disk or an interface by its number.
 * Errors:
 *   -EINVAL        size, type, queues, tag, mac, mtu; neither or both of socket and fd; private
 *                  memory; started already, without hotplug
 *   -EEXIST        another folder has the tag
 *   -ENOTSUP       the back end lacks something; it was to be taken back where nobody can
 *   -EPROTO        it does not speak the protocol
 *   -EPIPE         it has closed the socket
 *   -ETIMEDOUT     it does not answer
 *   -ENOSPC        16 devices
 *   -ENAMETOOLONG
 *   -EBADF
 *   -ENOMEM
 *   -EMFILE
 *   others         those of connect(2)
 */
CATNAP_API int catnap_vm_add_vhost(struct catnap_vm *vm, const struct catnap_vhost *vhost);
/** Asks the guest to let go of such a device, a folder among them, as catnap_vm_remove_disk() does of
 * a disk, with the same errors, and -EINVAL if it is none. @device is its number among all devices, see
 * catnap_vm_get_device_stats(). Its back end finds the connection closed when it has gone. */
CATNAP_API int catnap_vm_remove_vhost(struct catnap_vm *vm, uint32_t device);

#ifdef __cplusplus
}
#endif
#endif
