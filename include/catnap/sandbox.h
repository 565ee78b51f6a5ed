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
 * The three are independent; `catnap run` does them all. sandbox.md says what each thread may do,
 * and why. Errors: 0 or a negative errno value. The struct's size: see "Structs and their sizes" in
 * catnap/poll.h.
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

/** The means of a sandbox that this kernel has. */
#define CATNAP_SANDBOX_HAS_SECCOMP  (UINT32_C(1) << 0) /**< filters that kill the process, or log */
#define CATNAP_SANDBOX_HAS_LANDLOCK (UINT32_C(1) << 1)

/** Returns the CATNAP_SANDBOX_HAS_* of this host. Any thread. */
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
	/** n_write_dirs folders in which files may still be made, read, written, renamed and
	 * removed. Since version 0.2. */
	const char *const *write_dirs;
	uint32_t n_write_dirs;
	uint32_t reserved;
};

/** Sets the defaults: mode on, the rest none. */
CATNAP_API void catnap_sandbox_config_init(struct catnap_sandbox_config *cfg);
CATNAP_API void catnap_sandbox_config_init_sized(struct catnap_sandbox_config *cfg, size_t size);
#define catnap_sandbox_config_init(cfg) \
	catnap_sandbox_config_init_sized((cfg), sizeof(struct catnap_sandbox_config))

/**
 * Closes in the calling thread, and with it those that it starts from now on; so call it while the
 * process has no other. In this order: root folder, groups and user, no new privileges (unless mode
 * is off); with mode on also: no capabilities, and by Landlock no file, TCP port, abstract socket
 * or signal outside, and from Linux 7.1 on no Unix socket that has a path. Descriptors that are
 * open stay open and usable. There is no way back, and none after a failure in the middle either:
 * @cfg->failed says where, and the process should end.
 * Errors:
 *   -EINVAL  @cfg is NULL; size, mode, uid or gid -1
 *   -EPERM   chroot or user change without the capability
 *   -ENOENT, -ENOTDIR, -EACCES, ...  chroot_dir, read_files
 *   -EAGAIN
 */
CATNAP_API int catnap_sandbox_enter(struct catnap_sandbox_config *cfg);

/** For catnap_vm_sandbox_thread(): what the caller will still do, beyond calls on @vm. */
/** Unix sockets that are open: accept, send, receive. None can be made, and none connected. */
#define CATNAP_SANDBOX_ALLOW_SOCKETS (UINT32_C(1) << 0)
/** unlink() and lstat() fail with EACCES, where without it they end the process: for programs that
 * used to remove their sockets themselves, which is a keeper's work now. */
#define CATNAP_SANDBOX_ALLOW_UNLINK (UINT32_C(1) << 1)
/** A loop of epoll(7) that serves clients of a socket; with what ALLOW_SOCKETS allows. The
 * descriptors of epoll are made before. Since version 0.2. */
#define CATNAP_SANDBOX_ALLOW_CONTROL (UINT32_C(1) << 2)
/** Files that are opened by their path for catnap_vm_change_disk(); none is made. Landlock, where
 * catnap_sandbox_enter() has switched it on, still refuses them. Since version 0.2. */
#define CATNAP_SANDBOX_ALLOW_IMAGES (UINT32_C(1) << 3)

/** Snapshots (catnap/snapshot.h) in files that are made, with openat(2) and O_EXCL, in folders that
 * are there or are made. Landlock refuses all but write_dirs. Since version 0.2. */
#define CATNAP_SANDBOX_ALLOW_SNAPSHOTS (UINT32_C(1) << 4)

/**
 * Gives the calling thread its filter: what the calls on a started @vm, reading and writing what is
 * open, memory and ending the process need, and what @allow names; see sandbox.md. The mode is that
 * of @vm's configuration; nothing if it is off. After catnap_vm_start(), since the filter allows no
 * thread to be started. It cannot be taken back, and adds up with those of other VMs.
 * Errors:
 *   -EINVAL   not started; allow
 *   -ENOTSUP  no seccomp here
 *   -ENOMEM
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
 * @mode: enum catnap_sandbox_mode, of the keeper itself. @at_end: NULL, or called in the keeper if
 * the process has ended without catnap_keeper_stop(). It sees the memory of that moment, and what
 * is shared (mmap(2), MAP_SHARED); it may read and set the modes of the terminal @fd, and call
 * nothing else of the system. Any thread.
 * Errors:
 *   -EINVAL  mode, @keeper is NULL
 *   -ENOMEM
 *   others   those of socketpair(2) and clone(2)
 */
CATNAP_API int catnap_keeper_start(struct catnap_keeper **keeper, uint32_t mode, int fd,
				   void (*at_end)(void *ctx), void *ctx);

/**
 * Has the Unix socket that is now at @path removed at the end, if it is still that one then. At
 * most 16. One thread at a time.
 * Errors:
 *   -EINVAL        no name
 *   -EPERM         a VM has started, or a child of fork(2) asks
 *   -ENOSPC        16
 *   -ENOTSOCK
 *   -ENAMETOOLONG
 *   -EPIPE, -ETIMEDOUT  the keeper was killed, or stopped
 *   others         those of opening it
 */
CATNAP_API int catnap_keeper_add_socket(struct catnap_keeper *keeper, const char *path);

/** Ends in order: the sockets are removed, and the keeper is gone, when it returns. After the VMs
 * that have it are destroyed. Sets *keeper to NULL; NULL is fine. Allowed by
 * catnap_vm_sandbox_thread(). */
CATNAP_API void catnap_keeper_stop(struct catnap_keeper **keeper);

#ifdef __cplusplus
}
#endif
#endif
