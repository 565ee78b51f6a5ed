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
	/**
	 * n_socket_dirs folders in which files may still be removed and sockets made, by those
	 * whose filter allows it (CATNAP_SANDBOX_ALLOW_UNLINK). All else that has a path is out of
	 * reach.
	 */
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
 * socket or signal outside. What is open stays open and usable. There is no way back, and none
 * after a failure in the middle either: @cfg->failed says where, and the process should end.
 *
 * Errors: -EINVAL (size, mode, uid or gid -1), -EPERM (chroot or user change without the
 * capability), -ENOENT, -ENOTDIR, -EACCES, ... (chroot_dir, socket_dirs), -EAGAIN.
 */
CATNAP_API int catnap_sandbox_enter(struct catnap_sandbox_config *cfg);

/** For catnap_vm_sandbox_thread(): what the caller will still do, beyond calls on @vm. */
#define CATNAP_SANDBOX_ALLOW_SOCKETS                                                            \
	(UINT32_C(1) << 0)			       /**< Unix sockets: accept, connect, send \
							*/
#define CATNAP_SANDBOX_ALLOW_UNLINK (UINT32_C(1) << 1) /**< remove files; see socket_dirs */

/**
 * Gives the calling thread its filter: what the calls on a started @vm, reading and writing what is
 * open, memory and ending the process need, and what @allow names; see docs/sandbox.md. The mode is
 * that of @vm's configuration; nothing if it is off. After catnap_vm_start(), since the filter
 * allows no thread to be started. It cannot be taken back, and adds up with those of other VMs.
 *
 * Errors: -EINVAL (not started; allow), -ENOTSUP (no seccomp here), -ENOMEM.
 */
CATNAP_API int catnap_vm_sandbox_thread(struct catnap_vm *vm, uint32_t allow);

#ifdef __cplusplus
}
#endif
#endif
