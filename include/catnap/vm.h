/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catnap/vm.h - a VM's life, from create to destroy, and what it is meanwhile.
 *
 * catnap/catnap.h includes this, and says what holds for all calls on a VM.
 */
#ifndef CATNAP_VM_H
#define CATNAP_VM_H

#include <stdint.h>

#include <catnap/config.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Opaque. Thread-safe. */
struct catnap_vm;

/**
 * Makes a VM: checks the configuration and the image, opens /dev/kvm, allocates memory and vCPUs.
 * All that cfg points to is copied or used up, but for file descriptors, contexts and callbacks. On
 * success *vm is the caller's, for catnap_vm_destroy(). On failure *vm is NULL, nothing is left
 * behind, and catnap_vm_last_error(NULL) on this thread has the sentence.
 * Errors:
 *   -EINVAL   configuration; @cfg or @vm is NULL
 *   -EBUSY    the program has a handler for kick_signal
 *   -EBADF    a descriptor in the configuration is not open
 *   -ENOEXEC  not an image that can be started
 *   -ENOENT, -EACCES, ...  image file, /dev/kvm
 *   -ENOMEM
 *   -ENOTSUP  this KVM lacks something that is needed
 *   others    those of ioctls on /dev/kvm
 */
CATNAP_API int catnap_vm_create(const struct catnap_vm_config *cfg, struct catnap_vm **vm);

/**
 * Starts the VM: makes its threads, one for each vCPU, and lets them go when all are there. So it
 * is all or nothing: on failure no thread is left, nothing of the guest has run, and it can be
 * tried again. It succeeds once.
 *
 * The threads have all signals blocked but the kick signal. If the calling thread is in SCHED_FIFO
 * or SCHED_RR they are in SCHED_RR, one below its priority, or at 1: no guest keeps a processor
 * from what ends it. A thread that is not tied to a processor (vcpu_affinity) may run on those of
 * the process, not only on those of the calling thread: on what the process had when the library
 * was loaded (taskset(1), a cpuset), and what its main thread has now.
 * Errors:
 *   -EALREADY   started before
 *   -ECANCELED  stopped before it was started
 *   -EAGAIN     no thread, no timer
 *   -ENOMEM
 *   -EINVAL     a processor that is not there any more
 *   -EBUSY      the program has a handler for kick_signal
 *   -EDEADLK    by a callback
 */
CATNAP_API int catnap_vm_start(struct catnap_vm *vm);

/** Why a VM ended. */
enum catnap_exit_reason {
	CATNAP_EXIT_NONE = 0,	      /**< it has not */
	CATNAP_EXIT_POWEROFF = 1,     /**< the guest powered off */
	CATNAP_EXIT_RESET = 2,	      /**< the guest asked for a reset */
	CATNAP_EXIT_TRIPLE_FAULT = 3, /**< see report */
	CATNAP_EXIT_KVM_ERROR = 4,    /**< KVM could not go on; see report */
	CATNAP_EXIT_DEBUG = 5,	      /**< a write to debug_exit_port; code is the value */
	CATNAP_EXIT_STOPPED = 6,      /**< catnap_vm_stop() */
	CATNAP_EXIT_HOST_ERROR = 7,   /**< code is a negative errno value; see report */
	CATNAP_EXIT_PANIC = 8,	      /**< the guest said that it panicked */
};

struct catnap_exit {
	uint32_t size;	 /**< set by the caller to sizeof(struct catnap_exit) */
	uint32_t reason; /**< enum catnap_exit_reason */
	int32_t code;
	uint32_t vcpu; /**< where it happened */
	/** lines for people: what failed, the registers, the instruction; or "" */
	char report[2048];
};

/**
 * Waits until the VM has ended and its threads have left: at most @timeout_ns (UINT64_MAX: for
 * ever, 0: just looks). Fills @exit, if not NULL; also with -ETIMEDOUT, when reason is
 * CATNAP_EXIT_NONE, or why it is to end while threads have not left yet; the sentence names them.
 * Any thread.
 * Errors:
 *   -ETIMEDOUT
 *   -EINVAL     size
 *   -EDEADLK    by a callback, with a time
 */
CATNAP_API int catnap_vm_wait(struct catnap_vm *vm, uint64_t timeout_ns, struct catnap_exit *exit);
/**
 * Writes what the vCPUs have gathered of the halt trace and not written. catnap_vm_destroy() does
 * so as well, but reports no error. *@lost: the lines that are not in the file.
 * Errors:
 *   -EBUSY   it has not ended
 *   -EAGAIN  some wait for the reader of a pipe, see poll(2), and may be tried again
 *   others   those of write(2), from the first of which on nothing was written
 */
CATNAP_API int catnap_vm_flush_halt_trace(struct catnap_vm *vm, uint64_t *lost);
/** Returns a file descriptor that is readable once the VM has ended; it stays the VM's. Any
 * thread. */
CATNAP_API int catnap_vm_get_fd(struct catnap_vm *vm);
/**
 * Returns a file descriptor that is readable as soon as the VM is to end, whoever says so, while
 * its threads are on their way: for callbacks that wait for something else. It stays the VM's, who
 * alone reads it. Made by the first call, or with a sandbox by catnap_vm_create(). Any thread, any
 * callback. Errors: those of eventfd(2).
 */
CATNAP_API int catnap_vm_get_stopping_fd(struct catnap_vm *vm);
/**
 * Ends the VM as by pulling the plug, and does not wait; catnap_vm_wait() does. Of several causes
 * of an end the first counts. Any thread, any callback. No errors.
 */
CATNAP_API int catnap_vm_request_stop(struct catnap_vm *vm);
/**
 * For how long catnap_vm_stop(), _pause() and _destroy() wait at most, in ns, for threads that do
 * not come: a callback has not returned, or the host holds a request up. Other limits:
 * catnap_vm_request_stop() and then catnap_vm_wait().
 */
#define CATNAP_STOP_LIMIT_NS UINT64_C(10000000000)
/**
 * Does the same as catnap_vm_request_stop(), and waits until the VM's threads have left.
 * Errors:
 *   -ETIMEDOUT  they have not after CATNAP_STOP_LIMIT_NS; the sentence names them, they leave as
 *               soon as they can, and any call may wait for that again
 *   -EDEADLK    by a callback
 */
CATNAP_API int catnap_vm_stop(struct catnap_vm *vm);
/**
 * Stops all vCPUs, and waits until they stand still; resume lets them go on. Pauses are not
 * counted: a VM is paused or it is not, whoever said so, and one resume ends any number of pauses.
 *
 *	calls, one after the other     the VM then     returns
 *	pause, pause                   stands still    0, 0
 *	pause, pause, resume           runs            0, 0, 0
 *	pause, resume, resume          runs            0, 0, 0
 *	resume                         runs            0
 *	pause, stop                    has ended       0, 0
 *
 * A pause that another thread's resume overtakes, before all vCPUs stood still, is -ECANCELED. Time
 * goes on meanwhile, for the guest too; a guest with kvmclock is told that it was stopped
 * (KVM_KVMCLOCK_CTRL), so that its watchdogs do not take it for stuck. It is told as well when the
 * process was stopped (SIGSTOP), or had no processor, for a second or more.
 * Errors:
 *   -EINVAL     not started, or ended
 *   -ECANCELED
 *   -EDEADLK    pause, by a callback
 *   -ETIMEDOUT  pause: not all vCPUs stand still after CATNAP_STOP_LIMIT_NS; they will as soon as
 *               they can, until a resume
 */
CATNAP_API int catnap_vm_pause(struct catnap_vm *vm);
CATNAP_API int catnap_vm_resume(struct catnap_vm *vm);
/**
 * Begins a pause, and does not wait until all vCPUs stand still: catnap_vm_get_paused_fd() tells,
 * catnap_vm_pause() waits. Any thread, any callback; the vCPU of a callback's own thread stands
 * still once that has returned.
 * Errors:
 *   -EINVAL  not started, or ended
 */
CATNAP_API int catnap_vm_request_pause(struct catnap_vm *vm);
/**
 * Returns a file descriptor that is readable while the VM stands still, from when its last vCPU
 * does until a resume, and for good as soon as the VM is to end, so that nobody waits for it in
 * vain. It stays the VM's, who alone reads it. Made by the first call, or with a sandbox by
 * catnap_vm_create(). Any thread, any callback. Errors: those of eventfd(2).
 */
CATNAP_API int catnap_vm_get_paused_fd(struct catnap_vm *vm);
/**
 * Resets the VM in place, and waits until that is done: the guest begins anew from its image, as
 * after a power-on, in a VM that is running or paused, and stays so. Its memory is empty but for
 * the image, which is read again from the file that was open, or the bytes that were copied, by
 * catnap_vm_create(): what was written into the file since is read as well. All that is the host's
 * stays: the VM, its threads and descriptors; disks, TAPs, the vsock socket; eventfds and
 * doorbells; links, limits, sizes and targets that were changed; statistics and the state of halt
 * polling, with what it has learned. Connections of vsock end, input that was not read is gone,
 * requests in flight end before. The clocks go on: kvmclock, and the TSC with the offset that it
 * had at the start.
 *
 * The same happens when the guest asks for a reset and on_reset is CATNAP_ON_RESET_RESTART. If the
 * image cannot be loaded any more the VM ends, CATNAP_EXIT_HOST_ERROR. CATNAP_EVENT_RESTARTED
 * follows; several that are asked for at once are one. Any thread.
 * Errors:
 *   -ENOTSUP    on_reset is END
 *   -EINVAL     the VM was not started, or has ended
 *   -EDEADLK    by a callback
 *   -ETIMEDOUT  not all threads stand after CATNAP_STOP_LIMIT_NS; it comes as soon as they do
 */
CATNAP_API int catnap_vm_reset(struct catnap_vm *vm);
/**
 * Asks for the same, and does not wait. Any thread, any callback.
 * Errors:
 *   -ENOTSUP  as catnap_vm_reset()
 *   -EINVAL   the same
 */
CATNAP_API int catnap_vm_request_reset(struct catnap_vm *vm);
/**
 * Presses the power button: a guest with ACPI is asked to shut down. Whether and when it does is
 * its own affair.
 * Errors:
 *   -ENXIO   nobody in the guest listens to the button
 *   -EINVAL  the VM does not run
 */
CATNAP_API int catnap_vm_power_button(struct catnap_vm *vm);
/**
 * Stops the VM if it runs, frees everything, sets *vm to NULL. Nothing if *vm is NULL. In a child
 * of fork(2) it frees the copy: see "fork(2)" in catnap/catnap.h.
 * Errors:
 *   -EDEADLK    by a callback; nothing was done
 *   -ETIMEDOUT  as catnap_vm_stop(); the VM was told to end, nothing was freed, and destroy may be
 *               called again
 */
CATNAP_API int catnap_vm_destroy(struct catnap_vm **vm);
/**
 * Does the same without waiting: ends the VM as catnap_vm_request_stop() does, and has the last of
 * its threads free everything as it leaves. A VM whose threads have left, or that was not started,
 * is freed by this call. @eventfd, unless it is -1, is an eventfd of the caller's, which is written
 * to once all is freed and no callback will come any more; it stays open until then.
 *
 * It is the last call: only callbacks of the VM may still use it, and a catnap_vm_start() that has
 * not returned. Any thread, any callback, but for log within another call on the VM. After an error
 * nothing was done.
 * Errors:
 *   -EDEADLK   log, within another call
 *   -EBADF     @eventfd is not open, or no eventfd
 *   -EALREADY  a callback, of a VM whose destroy was asked for before; the first eventfd is written
 *              to
 */
CATNAP_API int catnap_vm_request_destroy(struct catnap_vm *vm, int eventfd);

/**
 * Returns the sentence of the calling thread's last failed call, if that was a call on @vm, and ""
 * if it was not; with @vm NULL whatever it was on, as for catnap_vm_create(), which leaves no VM.
 * Each call that is given a VM leaves one when it fails, and changes nothing when it succeeds, so
 * ask right after a failure, on the thread that met it. Threads that use one VM do not see each
 * other's sentences.
 *
 * Never NULL. The text belongs to the thread: it is valid until the thread's next failed call, or
 * its end, and outlives @vm. Any thread, any callback.
 */
CATNAP_API const char *catnap_vm_last_error(const struct catnap_vm *vm);

/** Where a VM stands in its life; see "States" in catnap/catnap.h. */
enum catnap_vm_state {
	CATNAP_VM_MADE = 0,
	CATNAP_VM_RUNNING = 1, /**< also while catnap_vm_start() is under way */
	CATNAP_VM_PAUSED = 2,  /**< it stands still, or will once all vCPUs have come out */
	CATNAP_VM_ENDING = 3,
	CATNAP_VM_ENDED = 4,
};

/** Returns the enum catnap_vm_state of this moment. Any thread, any callback. No errors but that of
 * a child of fork(2). */
CATNAP_API int catnap_vm_get_state(struct catnap_vm *vm);
/** Returns the VM's name, or "" if it has none. It is the VM's, and constant. Any thread. */
CATNAP_API const char *catnap_vm_get_name(const struct catnap_vm *vm);
/** Returns how many vCPUs the VM has. Any thread. */
CATNAP_API uint32_t catnap_vm_get_vcpu_count(const struct catnap_vm *vm);
/**
 * Fills @cfg with the configuration that the VM was made with. Set size before. name,
 * vcpu_affinity, the modifiers, kvm_dropped and nodes are the VM's own copies; kernel, initramfs,
 * command lines, kvm_required and cgroup, of which it keeps none, are NULL. Halt polling is that of
 * the start; catnap_vm_get_halt_poll() has the present values. Any thread, any callback.
 * Errors:
 *   -EINVAL  size
 */
CATNAP_API int catnap_vm_get_config(struct catnap_vm *vm, struct catnap_vm_config *cfg);
/**
 * Returns the thread id (gettid(2)) of vCPU @vcpu, from the call of thread_start on until the
 * thread leaves. Any thread, any callback.
 * Errors:
 *   -EINVAL  no such vCPU
 *   -ESRCH   it has no thread now: the VM was not started, or has ended
 */
CATNAP_API int catnap_vm_get_vcpu_tid(struct catnap_vm *vm, uint32_t vcpu);
/**
 * Does the same for the I/O thread.
 * Errors:
 *   -ENOENT  this VM has none
 *   -ESRCH   not now
 */
CATNAP_API int catnap_vm_get_io_tid(struct catnap_vm *vm);

#ifdef __cplusplus
}
#endif
#endif
