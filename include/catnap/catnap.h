/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catnap/catnap.h - a virtual machine as a library.
 *
 *	catnap_vm_config_init(&cfg);          fill in cfg: kernel, memory, vCPUs, halt polling, ...
 *	catnap_vm_create(&cfg, &vm);          everything that can fail early fails here
 *	catnap_vm_start(vm);                  loads the image, one thread per vCPU
 *	catnap_vm_wait(vm, timeout_ns, &exit);
 *	catnap_vm_destroy(&vm);
 *
 * Errors: 0 or a negative errno value; catnap_vm_last_error() has the sentence for people. Nothing
 * here prints, exits, or changes a signal's disposition, but for the one kick signal (see "The kick
 * signal" below). Threads: a VM may be used by several threads at once unless a function says
 * otherwise; destroy is the last call. Any number of VMs may live in one process. Since: the manual
 * (section 3, VERSIONS) says which version a function came with. Documents (embedding.md,
 * sandbox.md) are installed with the library, in share/doc/catnap.
 *
 * The kick signal. A vCPU's thread is brought out of the guest by a signal, kick_signal. The first
 * catnap_vm_start() of the process installs the library's handler for it, once. A handler that the
 * program has for that signal is never replaced: create and start return -EBUSY. Before the start
 * the program may ignore or block the signal; from then on it leaves the signal's disposition
 * alone. A signal that comes to a thread without a vCPU does nothing. The shared library stays in
 * memory after dlclose(3), and the handler with it; a plugin that is linked with the static library
 * is to be linked with -z nodelete for that. Two copies of the library in one process need two
 * signals.
 *
 * fork(2). A VM belongs to the process that made it. A child has no copy of the guest's memory
 * (MADV_DONTFORK), nor the VM's threads. It may give back what else it has by catnap_vm_destroy().
 * That frees it and closes the child's descriptors. It waits for nobody, and touches nothing that
 * the parent goes on with: files, sockets, the halt trace. Every other call returns -EPERM with a
 * sentence there (a call that returns a number of bytes: 0), but for catnap_vm_last_error(),
 * _get_name() and _get_vcpu_count(). Pointers into guest memory are not valid in a child. The child
 * may make VMs of its own. A child that only calls execve(2) need not do anything: no descriptor of
 * a VM outlives that. The child of vfork(2) may do nothing else.
 *
 * Callbacks (serial_output, log, thread_start, a console's output) are called with no lock held, on
 * the VM's threads; log also on a thread of the caller's, from within catnap_vm_create(), the
 * functions that add something, a start that fails, and destroy. From each of them all functions
 * may be called, of this VM and of others, but for these on the callback's own VM, which return
 * -EDEADLK with a sentence, as they would wait for the calling thread or free what it uses:
 *
 *	catnap_vm_start(), _stop(), _pause(), _reset(), _destroy(), _sandbox_thread(); _wait() with
 *	a time;
 *	catnap_vm_change_disk();
 *	catnap_vm_add_disk(), _add_net(), _add_pmem(), _add_vhost(), _set_vsock(),
 *	_set_console(), _set_balloon(), _set_hotplug();
 *	from log on a thread of the caller's also _request_destroy().
 *
 * To end, pause, reset or destroy from there: catnap_vm_request_stop(), _request_pause(),
 * _request_reset(), _request_destroy(). A callback may block. The vCPU on whose thread it is stands
 * still meanwhile, and no other. catnap_vm_stop(), _pause() and _destroy() wait for that thread,
 * for CATNAP_STOP_LIMIT_NS at most. So a callback that waits for something waits for
 * catnap_vm_get_stopping_fd() as well, and comes back once that is readable. Two VMs whose
 * callbacks wait for each other's end wait until that limit.
 *
 * Given descriptors. A disk, an interface's queues and a listening socket may be given as
 * descriptors, where the process may not open them (catnap_sandbox_enter()), or another has opened
 * them for it. They are taken: when the call succeeds they are the VM's, which closes them at its
 * end, and their numbers are closed; when it fails they are the caller's, as before. O_NONBLOCK and
 * the like change the open file description, which duplicates share.
 *
 * States (and embedding.md). A VM is made by catnap_vm_create(), runs once catnap_vm_start() has
 * succeeded, may be paused while it runs, is ending from its end on, whoever asked for it, until
 * its threads have left, and has ended then. Stopped before its start, it has ended. Each call
 * returns:
 *
 *	                            made        runs        paused      ending      has ended
 *	add_disk, add_net, add_pmem,
 *	add_vhost, set_vsock,
 *	set_console, set_balloon,
 *	set_hotplug                 0           -EINVAL     -EINVAL     -EINVAL     -EINVAL
 *	add_disk, add_net,
 *	add_vhost, hotplug          0           0           0           -EINVAL     -EINVAL
 *	remove_disk, _net, _vhost,
 *	hotplug                     -EINVAL     0, -ENXIO   0, -ENXIO   -EINVAL     -EINVAL
 *	... without hotplug         -ENOTSUP    -ENOTSUP    -ENOTSUP    -ENOTSUP    -ENOTSUP
 *	start                       0           -EALREADY   -EALREADY   -EALREADY   -EALREADY
 *	... stopped before                                                          -ECANCELED
 *	sandbox_thread              -EINVAL     0           0           0           0
 *	... stopped before                                                          -EINVAL
 *	pause, request_pause        -EINVAL     0           0           -EINVAL     -EINVAL
 *	resume                      -EINVAL     0           0           -EINVAL     -EINVAL
 *	reset, request_reset        -EINVAL     0           0           -EINVAL     -EINVAL
 *	... on_reset END            -ENOTSUP    -ENOTSUP    -ENOTSUP    -ENOTSUP    -ENOTSUP
 *	power_button                -EINVAL     0, -ENXIO   0, -ENXIO   -EINVAL     -EINVAL
 *	wait                        -ETIMEDOUT  -ETIMEDOUT  -ETIMEDOUT  -ETIMEDOUT  0
 *	flush_halt_trace            -EBUSY      -EBUSY      -EBUSY      -EBUSY      0
 *	get_vcpu_tid, get_io_tid    -ESRCH      the id      the id      the id      -ESRCH
 *	next_event                  -EAGAIN     0 while there are events, then -EAGAIN
 *	request_stop, stop,
 *	request_destroy, destroy    0           0           0           0           0
 *
 * All others do the same in every state. A message, input or setting that comes before the start
 * is there when the guest begins; in a pause the guest finds it when it goes on; after the end
 * nobody looks at it, and statistics stay what they were.
 *
 * Structures begin with their own size, set by their _init function (a macro, which passes on how
 * large they are where the caller was built), and may grow at the end: see "Structs and their
 * sizes" in catnap/poll.h. A function that is given NULL for a structure, or for where a result
 * goes that it does not call optional, returns -EINVAL.
 */
#ifndef CATNAP_CATNAP_H
#define CATNAP_CATNAP_H

#include <catnap/balloon.h>
#include <catnap/config.h>
#include <catnap/console.h>
#include <catnap/disk.h>
#include <catnap/event.h>
#include <catnap/host.h>
#include <catnap/hotplug.h>
#include <catnap/interrupt.h>
#include <catnap/limit.h>
#include <catnap/memory.h>
#include <catnap/net.h>
#include <catnap/pmem.h>
#include <catnap/poll.h>
#include <catnap/sandbox.h>
#include <catnap/stats.h>
#include <catnap/vhost.h>
#include <catnap/vm.h>
#include <catnap/vm_poll.h>
#include <catnap/vsock.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Returns the library's version, "0.2.0"; CATNAP_VERSION_STRING is that of the headers. Any
 * thread. */
CATNAP_API const char *catnap_version(void);

#ifdef __cplusplus
}
#endif
#endif
