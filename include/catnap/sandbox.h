/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catnap/sandbox.h - closing in a process that runs guests.
 *
 *	cfg.sandbox = CATNAP_SANDBOX_ON;       in struct catnap_vm_config: the vCPU threads' filters
 *	catnap_vm_create(&cfg, &vm);           and whatever else is to be opened
 *	catnap_sandbox_enter(&sandbox);        before there are threads
 *	catnap_vm_start(vm);
 *	catnap_vm_sandbox_thread(vm, 0);       the caller's own filter
 *
 * The three are independent; `catnap run` does them all. What each thread may do, and why, is in
 * docs/sandbox.md. Errors: 0 or a negative errno value. The struct's size: see "Structs and their
 * sizes" in catnap/poll.h. Since: everything here is in version 0.1.
 */
#ifndef CATNAP_SANDBOX_H
#define CATNAP_SANDBOX_H

#include <stdint.h>

#include <catnap/poll.h>

#ifdef __cplusplus
extern "C" {
#endif

struct catnap_vm;

enum catnap_sandbox_mode {
	CATNAP_SANDBOX_OFF = 0,
	CATNAP_SANDBOX_LOG = 1, /**< nothing is refused: the kernel logs what ON would end */
	CATNAP_SANDBOX_ON = 2,	/**< a system call that is not allowed ends the process (SIGSYS) */
};

/** What this kernel has. */
#define CATNAP_SANDBOX_HAS_SECCOMP                                    \
	(UINT32_C(1) << 0) /**< filters that kill the process, or log \
			    */
#define CATNAP_SANDBOX_HAS_LANDLOCK (UINT32_C(1) << 1)

/** CATNAP_SANDBOX_HAS_* of this host. Any thread. */
CATNAP_API uint32_t catnap_sandbox_available(void);

struct catnap_sandbox_config {
	uint32_t size; /**< set by catnap_sandbox_config_init() */
	uint32_t mode; /**< enum catnap_sandbox_mode; chroot and user change do not depend on it */
	const char *chroot_dir; /**< becomes the root and the working directory; NULL: none */
	uint32_t change_user;	/**< not 0: become uid and gid, with no supplementary groups */
	uint32_t uid, gid;
	/** Gives no leave any more, and is not looked at: sockets are removed by a keeper. */
	const char *const *socket_dirs;
	uint32_t n_socket_dirs;
	uint32_t n_read_files;
	/** n_read_files files that may still be opened to be read (and, devices, for those ioctls
	 * that the filter has), such as the slave of a pty. */
	const char *const *read_files;
	uint32_t missing; /**< out: those CATNAP_SANDBOX_HAS_* that were wanted and are not there */
	const char *failed; /**< out: what failed, "chroot" for instance; static, NULL if nothing */
};

/** Defaults: mode on, the rest none. */
CATNAP_API void catnap_sandbox_config_init(struct catnap_sandbox_config *cfg);
CATNAP_API void catnap_sandbox_config_init_sized(struct catnap_sandbox_config *cfg, size_t size);
#define catnap_sandbox_config_init(cfg) \
	catnap_sandbox_config_init_sized((cfg), sizeof(struct catnap_sandbox_config))

/**
 * Closes in the calling thread, and with it those that it starts from now on; so call it while the
 * process has no other. In this order: root folder, groups and user, no new privileges (unless
 * mode is off); with mode on also: no capabilities, and by Landlock no file, TCP port, abstract
 * socket or signal outside, and from Linux 7.1 on no Unix socket that has a path. What is open
 * stays open and usable. There is no way back, and none after a failure in the middle either:
 * @cfg->failed says where, and the process should end.
 *
 * Errors: -EINVAL (size, mode, uid or gid -1), -EPERM (chroot or user change without the
 * capability), -ENOENT, -ENOTDIR, -EACCES, ... (chroot_dir, read_files), -EAGAIN.
 */
CATNAP_API int catnap_sandbox_enter(struct catnap_sandbox_config *cfg);

/** For catnap_vm_sandbox_thread(): what the caller will still do, beyond calls on @vm. */
/** Unix sockets that are open: accept, send, receive. None can be made, and none connected. */
#define CATNAP_SANDBOX_ALLOW_SOCKETS (UINT32_C(1) << 0)
/** unlink() and lstat() fail with EACCES, where without it they end the process: for programs that
 * used to remove their sockets themselves, which is a keeper's work now. */
#define CATNAP_SANDBOX_ALLOW_UNLINK (UINT32_C(1) << 1)

/**
 * Gives the calling thread its filter: what the calls on a started @vm, reading and writing what is
 * open, memory and ending the process need, and what @allow names; see docs/sandbox.md. The mode is
 * that of @vm's configuration; nothing if it is off. After catnap_vm_start(), since the filter
 * allows no thread to be started. It cannot be taken back, and adds up with those of other VMs.
 *
 * Errors: -EINVAL (not started; allow), -ENOTSUP (no seccomp here), -ENOMEM.
 */
CATNAP_API int catnap_vm_sandbox_thread(struct catnap_vm *vm, uint32_t allow);

/**
 * A keeper: a small process beside the one that will be closed in, which does for it what nobody in
 * there may do any more. It removes Unix sockets when the process has ended, however it ends
 * (SIGKILL, a forbidden system call); it makes the connections that a guest asks for by its socket
 * device; and it may put a terminal right. From the start of the first VM that has it on it is
 * closed in as well, and takes no other orders. It ends by itself, soon after the process.
 *
 * A VM with a socket device and a sandbox makes one of its own if its configuration names none. One
 * may serve several VMs.
 */
struct catnap_keeper;

/**
 * Starts one: a copy of the calling process, so early is better; it keeps none of its descriptors
 * but @fd (-1: none). It is not a child that wait(2) tells of, and no SIGCHLD is sent.
 *
 * @mode: enum catnap_sandbox_mode, of the keeper itself.
 * @at_end: NULL, or called in the keeper if the process has ended without catnap_keeper_stop(). It
 * sees the memory of that moment, and what is shared (mmap(2), MAP_SHARED); it may read and set the
 * modes of the terminal @fd, and call nothing else of the system.
 *
 * Errors: -EINVAL (mode), -ENOMEM, and those of socketpair(2) and clone(2). Any thread.
 */
CATNAP_API int catnap_keeper_start(struct catnap_keeper **keeper, uint32_t mode, int fd,
				   void (*at_end)(void *ctx), void *ctx);

/**
 * The Unix socket that is now at @path is to be removed at the end, if it is still that one then.
 * At most 16.
 *
 * Errors: -EINVAL (no name), -EPERM (a VM has started), -ENOSPC (16), -ENOTSOCK, -ENAMETOOLONG,
 * those of opening it; -EPIPE, -ETIMEDOUT (the keeper was killed, or stopped). One thread at a
 * time.
 */
CATNAP_API int catnap_keeper_add_socket(struct catnap_keeper *keeper, const char *path);

/** An orderly end: the sockets are removed, and the keeper is gone, when it returns. After the VMs
 * that have it are destroyed. Sets *keeper to NULL; NULL is fine. Allowed by
 * catnap_vm_sandbox_thread(). */
CATNAP_API void catnap_keeper_stop(struct catnap_keeper **keeper);

#ifdef __cplusplus
}
#endif
#endif
