/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catnap/vsock.h - sockets between guest and host.
 *
 * catnap/catnap.h includes this, and says what holds for all calls on a VM.
 */
#ifndef CATNAP_VSOCK_H
#define CATNAP_VSOCK_H

#include <stddef.h>
#include <stdint.h>

#include <catnap/poll.h>

#ifdef __cplusplus
extern "C" {
#endif

struct catnap_vm;

/** Sockets between guest and host; catnap_vsock_init() first. */
struct catnap_vsock {
	uint32_t size;	  /**< set by catnap_vsock_init() */
	uint32_t cid;	  /**< of the guest, 3 to 0xfffffffe */
	const char *path; /**< of the Unix socket to be made; at most 96 bytes */
	/** A Unix stream socket that listens, instead of one that is made at path, see "Given
	 * descriptors" in catnap/catnap.h; -1: none. path is then only what path_P begins with;
	 * NULL: the guest reaches no program on the host. Nobody removes the socket but the
	 * caller. */
	int32_t fd;
	int32_t reserved;
};

/** Sets the defaults: none; cid and path are to be set. */
CATNAP_API void catnap_vsock_init(struct catnap_vsock *vsock);
CATNAP_API void catnap_vsock_init_sized(struct catnap_vsock *vsock, size_t size);
#define catnap_vsock_init(vsock) catnap_vsock_init_sized((vsock), sizeof(struct catnap_vsock))

/**
 * Adds the virtio socket device, between create and start, once. A program on the host reaches port
 * P of the guest by connecting to the socket at path and writing "CONNECT P\n"; "OK N\n" comes back
 * first. The guest reaches port P of CID 2 where a program listens at path_P. The socket has mode
 * 0600, and is removed when the VM is destroyed, if it is still this one. Connections take no more
 * descriptors than leave the process 64, or a quarter, of its limit at this call (RLIMIT_NOFILE).
 * Data that guests have sent by the end reaches the programs on the host that read it:
 * catnap_vm_destroy() waits for that, 250 ms at most. With a sandbox a keeper removes it, and
 * connects to path_P, which may not be a symbolic link then (catnap/sandbox.h); one is made here if
 * the configuration names none.
 * Errors:
 *   -EINVAL        size, cid, fd is no such socket, started already
 *   -EBADF         fd is not open
 *   -EEXIST        there is one
 *   -ENAMETOOLONG
 *   -EADDRINUSE    something is at path
 *   -ENOSPC        16 devices
 *   -ENOMEM
 *   others         those of bind(2), and, where there is a keeper, those of catnap_keeper_start()
 *                  and catnap_keeper_add_socket()
 */
CATNAP_API int catnap_vm_set_vsock(struct catnap_vm *vm, const struct catnap_vsock *vsock);

#ifdef __cplusplus
}
#endif
#endif
