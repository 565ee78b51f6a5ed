/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catnap/net.h - network interfaces.
 *
 * catnap/catnap.h includes this, and says what holds for all calls on a VM.
 */
#ifndef CATNAP_NET_H
#define CATNAP_NET_H

#include <stddef.h>
#include <stdint.h>

#include <catnap/limit.h>
#include <catnap/poll.h>

#ifdef __cplusplus
extern "C" {
#endif

struct catnap_vm;

#define CATNAP_MAX_NET_QUEUES 32
/** The smallest MTU that IPv4 knows (RFC 791). */
#define CATNAP_MIN_MTU 68

/** A network interface; catnap_net_init() first. */
struct catnap_net {
	uint32_t size;	 /**< set by catnap_net_init() */
	uint32_t queues; /**< pairs of queues, 1 to CATNAP_MAX_NET_QUEUES; 0: 1 */
	const char *tap; /**< a TAP interface of the host's, which exists and is free */
	uint8_t mac[6];	 /**< not a multicast address; all zeroes: a random one */
	uint16_t mtu;	 /**< told to the guest, CATNAP_MIN_MTU or more; 0: not told */
	/** Of packets, which may have segments to be: those that the guest receives, and those that
	 * it sends. */
	struct catnap_rate_limit rx_limit, tx_limit;
	/** Instead of tap: one descriptor for each pair of queues, of one interface's queues, see
	 * "Given descriptors" in catnap/catnap.h. Made with IFF_TAP, IFF_NO_PI, IFF_VNET_HDR, and
	 * IFF_MULTI_QUEUE if they are several. NULL: none. */
	const int32_t *tap_fds;
	/** Instead of both: where somebody listens with whom packets are exchanged over a stream
	 * socket, each after its length in 32 bits, in network order, as QEMU's stream sockets and
	 * passt(1) do. One pair of queues; nothing is left to the other end, neither checksums nor
	 * segments. When that has gone, the guest's link is down. NULL: nowhere. */
	const char *stream;
	/** The same as a connected socket, see "Given descriptors"; -1: none. */
	int32_t stream_fd;
	int32_t reserved;
};

/** Sets the defaults: no TAP, one pair of queues, a random address, the guest's own MTU, no
 * limit. */
CATNAP_API void catnap_net_init(struct catnap_net *net);
CATNAP_API void catnap_net_init_sized(struct catnap_net *net, size_t size);
#define catnap_net_init(net) catnap_net_init_sized((net), sizeof(struct catnap_net))

/**
 * Adds a virtio network device, between create and start, or with hotplug at any time until the end,
 * as catnap_vm_add_disk() does. All that @net points to is copied.
 * Packets for queue pair i are received by vCPU i (modulo the number of vCPUs), or by the I/O
 * thread. Errors:
 *   -EINVAL        size, queues, mac, mtu, a limit; not a TAP; one that was not made for several
 *                  queues; more than one of tap, tap_fds, stream and stream_fd; started already,
 *                  without hotplug
 *   -EBADF         one of tap_fds, or stream_fd, is not open
 *   -ENODEV        no such interface
 *   -EBUSY         another program has it, and still after a quarter of a second: what a process
 *                  that was killed had is free some time after it was waited for
 *   -ENAMETOOLONG
 *   -ENOSPC        16 devices
 *   -ENOMEM
 *   others         those of open(2) for /dev/net/tun, and those of connect(2) for stream
 */
CATNAP_API int catnap_vm_add_net(struct catnap_vm *vm, const struct catnap_net *net);
/** Asks the guest to let go of a network interface, @net among them, as catnap_vm_remove_disk() does
 * of a disk, with the same errors. */
CATNAP_API int catnap_vm_remove_net(struct catnap_vm *vm, uint32_t net);

/**
 * Plugs the cable of device number @device (see catnap_vm_get_device_stats()) in or out (@up 0),
 * while the VM runs or not. One whose interface was deleted stays unplugged.
 * Errors:
 *   -EINVAL  it is no network device
 */
CATNAP_API int catnap_vm_set_link(struct catnap_vm *vm, uint32_t device, int up);

#ifdef __cplusplus
}
#endif
#endif
