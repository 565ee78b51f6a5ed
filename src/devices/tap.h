/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TAP interface of the host's (Documentation/networking/tuntap.rst): its queues as file
 * descriptors, each packet with a virtio_net_hdr of 12 bytes before it.
 */
#ifndef DEVICES_TAP_H
#define DEVICES_TAP_H

#include <stddef.h>
#include <stdint.h>

#include "devices/virtio/net.h"
#include "errors.h"

struct tap {
	unsigned int queues; /* open */
	unsigned int attached;
	int fds[NET_PAIRS_MAX];
};

/*
 * Opens @queues queues of the interface @name, which must exist. 0, or -errno with a sentence:
 * -ENAMETOOLONG, -ENODEV (no such interface), -EBUSY (somebody else has it, and still after a
 * quarter of a second: see lingering.h), -EINVAL (not a TAP; made for one queue only), -ENOENT,
 * -EACCES, -EPERM (/dev/net/tun).
 */
int tap_open(struct tap *tap, const char *name, unsigned int queues, struct error *err);
/*
 * Takes queues that somebody else has opened, @fds, of which it makes duplicates; they are those of
 * one interface, whose name is put into @name (IFNAMSIZ). 0, or with a sentence: -EBADF, -EINVAL
 * (not a TAP's, or not made with the flags that it needs), -EMFILE.
 */
int tap_take(struct tap *tap, const int *fds, unsigned int queues, char *name, struct error *err);
void tap_close(struct tap *tap);
/* Does what struct net_backend asks; @tap is the context. */
int tap_set_offload(void *tap, uint32_t offloads);
int tap_set_pairs(void *tap, unsigned int pairs);

#endif
