/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each call that fails leaves its own sentence, for the thread that made it. The table has every
 * call that can be made to fail without help; tests/api/covered.py tells of one that is not in it.
 */
#include "states.h"
#include "uring.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define NOBODY UINT64_C(0xfee2a000) /* an APIC id that no vCPU has */

struct row {
	const char *name;
	enum vm_state state;
	int (*call)(struct catnap_vm *vm);
	int ret;
	const char *says;
};

#define CALL(name, body)                      \
	static int name(struct catnap_vm *vm) \
	{                                     \
		body                          \
	}

CALL(disk_size, struct catnap_disk d = {.size = 4}; return catnap_vm_add_disk(vm, &d);)
CALL(disk_path, struct catnap_disk d; catnap_disk_init(&d); return catnap_vm_add_disk(vm, &d);)
CALL(disk_file, struct catnap_disk d; catnap_disk_init(&d); d.path = "/nonexistent/image";
     return catnap_vm_add_disk(vm, &d);)
CALL(disk_null, return catnap_vm_add_disk(vm, NULL);)
CALL(disk_empty, struct catnap_disk d; catnap_disk_init(&d); d.path = "";
     return catnap_vm_add_disk(vm, &d);)
CALL(net_null, return catnap_vm_add_net(vm, NULL);)
CALL(vhost_null, return catnap_vm_add_vhost(vm, NULL);)
CALL(vhost_size, struct catnap_vhost v = {.size = 4}; return catnap_vm_add_vhost(vm, &v);)
CALL(vhost_socket, struct catnap_vhost v; catnap_vhost_init(&v); v.type = 2;
     return catnap_vm_add_vhost(vm, &v);)
CALL(vhost_both, struct catnap_vhost v; catnap_vhost_init(&v); v.socket = "s"; v.fd = 0;
     return catnap_vm_add_vhost(vm, &v);)
CALL(vhost_private, struct catnap_vhost v; catnap_vhost_init(&v); v.type = 26; v.socket = "s";
     return catnap_vm_add_vhost(vm, &v);)
CALL(vsock_null, return catnap_vm_set_vsock(vm, NULL);)
CALL(hotplug_null, return catnap_vm_set_hotplug(vm, NULL);)
CALL(pmem_null, return catnap_vm_add_pmem(vm, NULL);)
CALL(console_null, return catnap_vm_set_console(vm, NULL);)
CALL(balloon_null, return catnap_vm_set_balloon(vm, NULL);)
CALL(doorbell_null, int fd; return catnap_vm_add_doorbell(vm, NULL, &fd);)
CALL(doorbell_fd_null, struct catnap_doorbell b; catnap_doorbell_init(&b); b.port = 1;
     b.address = 0x700; return catnap_vm_add_doorbell(vm, &b, NULL);)
CALL(halt_poll_null, return catnap_vm_set_halt_poll(vm, 0, NULL);)
CALL(get_stats_null, return catnap_vm_get_stats(vm, 0, NULL);)
CALL(get_policy_stats_null, return catnap_vm_get_policy_stats(vm, 0, NULL);)
CALL(get_device_stats_null, return catnap_vm_get_device_stats(vm, 0, NULL);)
CALL(get_io_stats_null, return catnap_vm_get_io_stats(vm, NULL);)
CALL(get_balloon_stats_null, return catnap_vm_get_balloon_stats(vm, NULL);)
CALL(get_halt_poll_null, return catnap_vm_get_halt_poll(vm, 0, NULL);)
CALL(get_config_null, return catnap_vm_get_config(vm, NULL);)
CALL(guest_memory_null, return catnap_vm_guest_memory(vm, 0, 4096, NULL);)
CALL(flush_null, return catnap_vm_flush_halt_trace(vm, NULL);)
CALL(update_disk, return catnap_vm_update_disk(vm, 3, NULL);)
static const struct catnap_rate_limit some_limit = {
	.ops = {.refill_ns = 1000000, .size = 1000, .one_time_burst = 5}};

CALL(change_disk, struct catnap_disk d; catnap_disk_init(&d); d.path = "/nonexistent/image";
     return catnap_vm_change_disk(vm, 3, &d, NULL);)
CALL(change_disk_null, return catnap_vm_change_disk(vm, 0, NULL, NULL);)
CALL(change_disk_size, struct catnap_disk d = {.size = 4};
     return catnap_vm_change_disk(vm, 0, &d, NULL);)
CALL(remove_disk, return catnap_vm_remove_disk(vm, 3);)
CALL(remove_net, return catnap_vm_remove_net(vm, 3);)
CALL(remove_vhost, return catnap_vm_remove_vhost(vm, 3);)
CALL(disk_limit, return catnap_vm_set_disk_limit(vm, 3, &some_limit);)
CALL(net_limit, return catnap_vm_set_net_limit(vm, 3, &some_limit, NULL);)
CALL(hotplug_size, struct catnap_hotplug h = {.size = 4}; return catnap_vm_set_hotplug(vm, &h);)
CALL(hotplug_max, struct catnap_hotplug h; catnap_hotplug_init(&h);
     return catnap_vm_set_hotplug(vm, &h);)
CALL(hotplug_block, struct catnap_hotplug h; catnap_hotplug_init(&h); h.block = h.max = 3 << 20;
     return catnap_vm_set_hotplug(vm, &h);)
CALL(hotplug_more, struct catnap_hotplug h; catnap_hotplug_init(&h); h.max = 2 << 20;
     h.requested = 4 << 20; return catnap_vm_set_hotplug(vm, &h);)
CALL(hotplug_huge, struct catnap_hotplug h; catnap_hotplug_init(&h); h.max = UINT64_C(1) << 60;
     return catnap_vm_set_hotplug(vm, &h);)
CALL(set_hotplug_size, return catnap_vm_set_hotplug_size(vm, 0);)
CALL(get_hotplug_stats, struct catnap_hotplug_stats s = {.size = sizeof(s)};
     return catnap_vm_get_hotplug_stats(vm, &s);)
CALL(get_hotplug_stats_size, struct catnap_hotplug_stats s = {.size = 4};
     return catnap_vm_get_hotplug_stats(vm, &s);)
CALL(pmem_limit, return catnap_vm_set_pmem_limit(vm, 1, &some_limit);)
CALL(pmem_size, struct catnap_pmem p = {.size = 4}; return catnap_vm_add_pmem(vm, &p);)
CALL(pmem_path, struct catnap_pmem p; catnap_pmem_init(&p); return catnap_vm_add_pmem(vm, &p);)
CALL(pmem_both, struct catnap_pmem p; catnap_pmem_init(&p); p.path = "x"; p.fd = 0;
     return catnap_vm_add_pmem(vm, &p);)
CALL(pmem_none, struct catnap_pmem p; catnap_pmem_init(&p); p.path = "/nonexistent/file";
     return catnap_vm_add_pmem(vm, &p);)
CALL(pmem_folder, struct catnap_pmem p; catnap_pmem_init(&p); p.path = "/";
     return catnap_vm_add_pmem(vm, &p);)
CALL(pmem_odd, struct catnap_pmem p; catnap_pmem_init(&p); p.fd = memfd_create("odd", 0);
     assert_int_equal(ftruncate(p.fd, 4096), 0); int ret = catnap_vm_add_pmem(vm, &p); close(p.fd);
     return ret;)
CALL(pmem_huge, struct catnap_pmem p; catnap_pmem_init(&p); p.fd = memfd_create("huge", 0);
     assert_int_equal(ftruncate(p.fd, INT64_C(1) << 61), 0); int ret = catnap_vm_add_pmem(vm, &p);
     close(p.fd); return ret;)
CALL(rng_limit, return catnap_vm_set_rng_limit(vm, &some_limit);)
CALL(rng_limit_null, return catnap_vm_set_rng_limit(vm, NULL);)
CALL(net_size, struct catnap_net n = {.size = 4}; return catnap_vm_add_net(vm, &n);)
CALL(net_tap, struct catnap_net n; catnap_net_init(&n); return catnap_vm_add_net(vm, &n);)
CALL(set_link, return catnap_vm_set_link(vm, 7, 1);)
CALL(vsock_size, struct catnap_vsock v = {.size = 4}; return catnap_vm_set_vsock(vm, &v);)
CALL(vsock_cid, struct catnap_vsock v; catnap_vsock_init(&v); v.path = "/nonexistent/socket";
     return catnap_vm_set_vsock(vm, &v);)
CALL(console_size, struct catnap_console c = {.size = 4}; return catnap_vm_set_console(vm, &c);)
CALL(console_twice, struct catnap_console c; catnap_console_init(&c); catnap_vm_set_console(vm, &c);
     return catnap_vm_set_console(vm, &c);)
CALL(console_resize, return catnap_vm_console_resize(vm, 80, 25);)
CALL(balloon_size, struct catnap_balloon b = {.size = 4}; return catnap_vm_set_balloon(vm, &b);)
CALL(balloon_target, struct catnap_balloon b; catnap_balloon_init(&b); b.target = 1;
     return catnap_vm_set_balloon(vm, &b);)
CALL(balloon_twice, struct catnap_balloon b; catnap_balloon_init(&b); catnap_vm_set_balloon(vm, &b);
     return catnap_vm_set_balloon(vm, &b);)
CALL(set_balloon_target, return catnap_vm_set_balloon_target(vm, 4096);)
CALL(get_balloon_stats, struct catnap_balloon_stats s = {.size = sizeof(s)};
     return catnap_vm_get_balloon_stats(vm, &s);)
CALL(get_balloon_stats_size, struct catnap_balloon_stats s = {.size = 4};
     return catnap_vm_get_balloon_stats(vm, &s);)
CALL(start, return catnap_vm_start(vm);)
CALL(wait_now, return catnap_vm_wait(vm, 0, NULL);)
CALL(wait_size, struct catnap_exit e = {.size = 4}; return catnap_vm_wait(vm, 0, &e);)
CALL(flush_halt_trace, uint64_t lost; return catnap_vm_flush_halt_trace(vm, &lost);)
CALL(pause_vm, return catnap_vm_pause(vm);)
CALL(resume_vm, return catnap_vm_resume(vm);)
CALL(power_button, return catnap_vm_power_button(vm);)
CALL(signal_msi, return catnap_vm_signal_msi(vm, NOBODY, 0x41);)
CALL(add_event_address, return catnap_vm_add_interrupt_event(vm, 0, 0x1000, 0x41);)
CALL(add_event_fd, return catnap_vm_add_interrupt_event(vm, -1, 0xfee00000, 0x41);)
CALL(del_event, return catnap_vm_del_interrupt_event(vm, 12345);)
CALL(add_doorbell, struct catnap_doorbell b; int fd; catnap_doorbell_init(&b); b.len = 3;
     return catnap_vm_add_doorbell(vm, &b, &fd);)
CALL(del_doorbell, return catnap_vm_del_doorbell(vm, 12345);)
CALL(guest_memory, void *p; return catnap_vm_guest_memory(vm, UINT64_C(1) << 40, 4096, &p);)
CALL(snapshot, struct catnap_snapshot_request rq; catnap_snapshot_request_init(&rq);
     return catnap_vm_snapshot(vm, &rq);)
CALL(snapshot_null, return catnap_vm_snapshot(vm, NULL);)
CALL(get_memory_handler_fd, return catnap_vm_get_memory_handler_fd(vm);)
CALL(check_memory_handler, return catnap_vm_check_memory_handler(vm);)
CALL(write_working_set, return catnap_vm_write_working_set(vm, -1);)
CALL(get_memory_fd, return catnap_vm_get_memory_fd(vm);)
CALL(get_acpi_table, const char *name; const void *data; size_t len;
     return catnap_vm_get_acpi_table(vm, 99, &name, &data, &len);)
CALL(halt_poll_vcpu, struct catnap_halt_poll p; catnap_halt_poll_init(&p);
     return catnap_vm_set_halt_poll(vm, 5, &p);)
CALL(halt_poll_policy, struct catnap_halt_poll p; catnap_halt_poll_init(&p); p.policy = 99;
     return catnap_vm_set_halt_poll(vm, 0, &p);)
CALL(get_stats_vcpu, struct catnap_vcpu_stats s = {.size = sizeof(s)};
     return catnap_vm_get_stats(vm, 5, &s);)
CALL(get_stats_size, struct catnap_vcpu_stats s = {.size = 4};
     return catnap_vm_get_stats(vm, 0, &s);)
CALL(get_policy_stats_vcpu, struct catnap_policy_stats s = {.size = sizeof(s)};
     return catnap_vm_get_policy_stats(vm, 5, &s);)
CALL(get_policy_stats_io, struct catnap_policy_stats s = {.size = sizeof(s)};
     return catnap_vm_get_policy_stats(vm, CATNAP_IO_THREAD_VCPU, &s);)
CALL(get_policy_stats_size, struct catnap_policy_stats s = {.size = 4};
     return catnap_vm_get_policy_stats(vm, 0, &s);)
CALL(get_device_stats, struct catnap_device_stats s = {.size = sizeof(s)};
     return catnap_vm_get_device_stats(vm, 9, &s);)
CALL(get_device_stats_size, struct catnap_device_stats s = {.size = 4};
     return catnap_vm_get_device_stats(vm, 0, &s);)
CALL(get_io_stats, struct catnap_io_stats s = {.size = sizeof(s)};
     return catnap_vm_get_io_stats(vm, &s);)
CALL(get_io_stats_size, struct catnap_io_stats s = {.size = 4};
     return catnap_vm_get_io_stats(vm, &s);)
CALL(get_halt_poll_vcpu, struct catnap_halt_poll p = {.size = sizeof(p)};
     return catnap_vm_get_halt_poll(vm, 5, &p);)
CALL(get_halt_poll_size, struct catnap_halt_poll p = {.size = 20};
     return catnap_vm_get_halt_poll(vm, 0, &p);)
CALL(next_event, struct catnap_event e = {.size = sizeof(e)}; return catnap_vm_next_event(vm, &e);)
CALL(next_event_size, struct catnap_event e = {.size = 8}; return catnap_vm_next_event(vm, &e);)
CALL(next_event_null, return catnap_vm_next_event(vm, NULL);)
CALL(reset, return catnap_vm_reset(vm);)
CALL(request_reset, return catnap_vm_request_reset(vm);)
CALL(get_config_size, struct catnap_vm_config c = {.size = 2}; return catnap_vm_get_config(vm, &c);)
CALL(get_poll_limit_fd, return catnap_vm_get_poll_limit_fd(vm);)
CALL(learn_poll_limit, return catnap_vm_learn_poll_limit(vm);)
CALL(get_poll_limit_stats, struct catnap_poll_limit_stats s = {.size = sizeof(s)};
     return catnap_vm_get_poll_limit_stats(vm, &s);)
CALL(get_vcpu_tid_vcpu, return catnap_vm_get_vcpu_tid(vm, 5);)
CALL(get_vcpu_tid, return catnap_vm_get_vcpu_tid(vm, 0);)
CALL(get_io_tid, return catnap_vm_get_io_tid(vm);)
CALL(sandbox_thread, return catnap_vm_sandbox_thread(vm, 0);)
CALL(sandbox_thread_allow, return catnap_vm_sandbox_thread(vm, 0x80);)

#define ROW(state, call, ret, says)           \
	{                                     \
#call, state, call, ret, says \
	}

static const struct row rows[] = {
	ROW(MADE, disk_size, -EINVAL, "disk: the structure's size"),
	ROW(MADE, disk_path, -EINVAL, "disk: no path"),
	ROW(MADE, disk_file, -ENOENT, "/nonexistent/image"),
	ROW(RUNNING, disk_path, -EINVAL, "disk: the VM was started"),
	ROW(MADE, disk_null, -EINVAL, "disk: expected a structure, not NULL"),
	ROW(MADE, disk_empty, -EINVAL, "disk: path: expected a file's"),
	ROW(MADE, net_null, -EINVAL, "net: expected a structure, not NULL"),
	ROW(MADE, vhost_null, -EINVAL, "vhost: expected a structure, not NULL"),
	ROW(MADE, vhost_size, -EINVAL, "vhost: the structure's size"),
	ROW(MADE, vhost_socket, -EINVAL, "disk: no socket of a back end"),
	ROW(MADE, vhost_both, -EINVAL, "vhost: either a socket or fd, not both"),
	ROW(MADE, vhost_private, -EINVAL, "fs: a back end needs the guest's memory"),
	ROW(MADE, vsock_null, -EINVAL, "vsock: expected a structure, not NULL"),
	ROW(MADE, console_null, -EINVAL, "console: expected a structure, not NULL"),
	ROW(MADE, balloon_null, -EINVAL, "balloon: expected a structure, not NULL"),
	ROW(MADE, doorbell_null, -EINVAL, "doorbell: expected a structure, not NULL"),
	ROW(MADE, doorbell_fd_null, -EINVAL, "doorbell: fd: expected a pointer"),
	ROW(MADE, halt_poll_null, -EINVAL, "set_halt_poll: "),
	ROW(MADE, get_stats_null, -EINVAL, "get_stats: "),
	ROW(MADE, get_policy_stats_null, -EINVAL, "get_policy_stats: "),
	ROW(MADE, get_device_stats_null, -EINVAL, "get_device_stats: "),
	ROW(MADE, get_io_stats_null, -EINVAL, "get_io_stats: "),
	ROW(MADE, get_balloon_stats_null, -EINVAL, "get_balloon_stats: "),
	ROW(MADE, get_halt_poll_null, -EINVAL, "get_halt_poll: "),
	ROW(MADE, get_config_null, -EINVAL, "get_config: "),
	ROW(MADE, guest_memory_null, -EINVAL, "guest_memory: ptr: expected a pointer"),
	ROW(ENDED, flush_null, -EINVAL, "flush_halt_trace: lost: expected a pointer"),
	ROW(MADE, update_disk, -ENOENT, "disk: there is none of number 3"),
	ROW(MADE, change_disk, -ENOENT, "disk: there is none of number 3"),
	ROW(MADE, change_disk_null, -EINVAL, "disk: expected a structure, not NULL"),
	ROW(MADE, change_disk_size, -EINVAL, "disk: the structure's size"),
	ROW(MADE, remove_disk, -ENOTSUP, "disk: expected a VM that was made with hotplug"),
	ROW(MADE, remove_net, -ENOTSUP, "net: expected a VM that was made with hotplug"),
	ROW(MADE, remove_vhost, -ENOTSUP, "vhost: expected a VM that was made with hotplug"),
	ROW(MADE, disk_limit, -ENOENT, "disk: there is none of number 3"),
	ROW(MADE, net_limit, -ENOENT, "net: there is none of number 3"),
	ROW(MADE, hotplug_null, -EINVAL, "hotplug: expected a structure, not NULL"),
	ROW(MADE, hotplug_size, -EINVAL, "hotplug: the structure's size"),
	ROW(MADE, hotplug_max, -EINVAL, "hotplug: max: 0 bytes"),
	ROW(MADE, hotplug_block, -EINVAL, "hotplug: block: 3145728 bytes"),
	ROW(MADE, hotplug_more, -EINVAL, "hotplug: requested: 4194304 bytes"),
	ROW(MADE, hotplug_huge, -ENOMEM, "more than this host has"),
	ROW(MADE, set_hotplug_size, -ENOENT, "there is no such memory"),
	ROW(MADE, get_hotplug_stats, -ENOENT, "there is no such memory"),
	ROW(MADE, get_hotplug_stats_size, -EINVAL, "get_hotplug_stats: the structure's size"),
	ROW(MADE, pmem_null, -EINVAL, "pmem: expected a structure, not NULL"),
	ROW(MADE, pmem_limit, -ENOENT, "pmem: there is none of number 1"),
	ROW(MADE, pmem_size, -EINVAL, "pmem: the structure's size"),
	ROW(MADE, pmem_path, -EINVAL, "pmem: no path"),
	ROW(MADE, pmem_both, -EINVAL, "pmem: either a path or fd"),
	ROW(MADE, pmem_none, -ENOENT, "pmem: /nonexistent/file: No such file"),
	ROW(MADE, pmem_folder, -EISDIR, "pmem: /: is a directory"),
	ROW(MADE, pmem_odd, -EINVAL, "has 4096 bytes: expected a multiple of 2 MiB"),
	ROW(MADE, pmem_huge, -ENOSPC, "this processor's guests have no addresses"),
	ROW(MADE, rng_limit, -ENOENT, "rng: there is none"),
	ROW(MADE, rng_limit_null, -EINVAL, "rng: expected a structure, not NULL"),
	ROW(MADE, net_size, -EINVAL, "net: the structure's size"),
	ROW(MADE, net_tap, -EINVAL, "net: tap"),
	ROW(MADE, set_link, -EINVAL, "device 7"),
	ROW(MADE, vsock_size, -EINVAL, "vsock: the structure's size"),
	ROW(MADE, vsock_cid, -EINVAL, "vsock: cid"),
	ROW(MADE, console_size, -EINVAL, "console: the structure's size"),
	ROW(MADE, console_twice, -EEXIST, "console: there is one"),
	ROW(MADE, console_resize, -ENOENT, "no console"),
	ROW(MADE, balloon_size, -EINVAL, "balloon: the structure's size"),
	ROW(MADE, balloon_target, -EINVAL, "balloon: 1 bytes"),
	ROW(MADE, balloon_twice, -EEXIST, "balloon: there is one"),
	ROW(MADE, set_balloon_target, -ENOENT, "no balloon"),
	ROW(MADE, get_balloon_stats, -ENOENT, "no balloon"),
	ROW(MADE, get_balloon_stats_size, -EINVAL, "get_balloon_stats: the structure's size"),
	ROW(RUNNING, start, -EALREADY, "started before"),
	ROW(MADE, wait_now, -ETIMEDOUT, "was not started"),
	ROW(RUNNING, wait_now, -ETIMEDOUT, "the VM runs"),
	ROW(MADE, wait_size, -EINVAL, "wait: the structure's size"),
	ROW(RUNNING, flush_halt_trace, -EBUSY, "flush_halt_trace: the VM has not ended"),
	ROW(MADE, pause_vm, -EINVAL, "pause: the VM does not run"),
	ROW(ENDED, pause_vm, -EINVAL, "pause: the VM does not run"),
	ROW(MADE, resume_vm, -EINVAL, "resume: the VM does not run"),
	ROW(ENDED, resume_vm, -EINVAL, "resume: the VM does not run"),
	ROW(MADE, power_button, -EINVAL, "power_button: the VM does not run"),
	ROW(RUNNING, power_button, -ENXIO, "does not listen to the power button"),
	ROW(MADE, signal_msi, -EINVAL, "signal_msi: 0xfee2a000"),
	ROW(MADE, add_event_address, -EINVAL, "interrupt event: 0x1000"),
	ROW(MADE, add_event_fd, -EBADF, "interrupt event: descriptor -1"),
	ROW(MADE, del_event, -ENOENT, "interrupt event: descriptor 12345"),
	ROW(MADE, add_doorbell, -EINVAL, "doorbell: len"),
	ROW(MADE, del_doorbell, -ENOENT, "doorbell: descriptor 12345"),
	ROW(MADE, guest_memory, -EFAULT, "guest_memory: not all of 0x1000 bytes"),
	ROW(RUNNING, snapshot, -EINVAL, "snapshot: expected the VM to stand in a pause"),
	ROW(PAUSED, snapshot, -EBADF, "snapshot: the memory file cannot be written"),
	ROW(PAUSED, snapshot_null, -EINVAL, "snapshot: "),
	ROW(MADE, get_memory_handler_fd, -ENOTSUP, "get_memory_handler_fd: memory is not served"),
	ROW(MADE, check_memory_handler, -ENOTSUP, "check_memory_handler: memory is not served"),
	ROW(MADE, write_working_set, -ENOTSUP,
	    "write_working_set: the memory is no snapshot's file"),
	ROW(MADE, get_memory_fd, -ENOTSUP, "get_memory_fd: the memory is private"),
	ROW(MADE, get_acpi_table, -ENOENT, "get_acpi_table: there is no table 99"),
	ROW(MADE, halt_poll_vcpu, -EINVAL,
	    "set_halt_poll: there is no vCPU 5: the VM has 1 vCPU, 0; -1: all"),
	ROW(MADE, halt_poll_policy, -EINVAL, "set_halt_poll: the policy"),
	ROW(MADE, get_stats_vcpu, -EINVAL, "get_stats: there is no vCPU 5"),
	ROW(MADE, get_stats_size, -EINVAL, "get_stats: the structure's size"),
	ROW(MADE, get_policy_stats_vcpu, -EINVAL, "get_policy_stats: there is no vCPU 5"),
	ROW(MADE, get_policy_stats_io, -ENOENT, "get_policy_stats: this VM has no I/O thread"),
	ROW(MADE, get_policy_stats_size, -EINVAL, "get_policy_stats: the structure's size"),
	ROW(MADE, get_device_stats, -ENOENT, "get_device_stats: there is no device 9"),
	ROW(MADE, get_device_stats_size, -EINVAL, "get_device_stats: the structure's size"),
	ROW(MADE, get_io_stats, -ENOENT, "get_io_stats: this VM has no I/O thread"),
	ROW(MADE, get_io_stats_size, -EINVAL, "get_io_stats: the structure's size"),
	ROW(MADE, get_halt_poll_vcpu, -EINVAL, "get_halt_poll: there is no vCPU 5"),
	ROW(MADE, get_halt_poll_size, -EINVAL, "get_halt_poll: the structure's size"),
	ROW(MADE, next_event, -EAGAIN, "next_event: nothing has happened"),
	ROW(RUNNING, next_event_size, -EINVAL, "next_event: the structure's size"),
	ROW(RUNNING, next_event_null, -EINVAL, "next_event: "),
	ROW(RUNNING, reset, -ENOTSUP, "reset: the VM has not kept its image"),
	ROW(RUNNING, request_reset, -ENOTSUP, "request_reset: the VM has not kept its image"),
	ROW(MADE, get_config_size, -EINVAL, "get_config: the structure's size"),
	ROW(MADE, get_poll_limit_fd, -ENOTSUP, "get_poll_limit_fd: with irqchip user"),
	ROW(MADE, learn_poll_limit, -ENOTSUP, "learn_poll_limit: with irqchip user"),
	ROW(MADE, get_poll_limit_stats, -ENOTSUP, "get_poll_limit_stats: with irqchip user"),
	ROW(MADE, get_vcpu_tid_vcpu, -EINVAL,
	    "get_vcpu_tid: there is no vCPU 5: the VM has 1 vCPU, 0"),
	ROW(MADE, get_vcpu_tid, -ESRCH, "get_vcpu_tid: vCPU 0 has no thread now"),
	ROW(ENDED, get_vcpu_tid, -ESRCH, "get_vcpu_tid: vCPU 0 has no thread now"),
	ROW(MADE, get_io_tid, -ENOENT, "get_io_tid: this VM has no I/O thread"),
	ROW(MADE, sandbox_thread, -EINVAL, "sandbox_thread: the VM was not started"),
	ROW(RUNNING, sandbox_thread_allow, -EINVAL, "sandbox_thread: allow: 0x80"),
};

static struct catnap_vm *make(enum vm_state state)
{
	struct catnap_vm_config cfg;

	tiny_config(&cfg);
	return tiny_vm(&cfg, state);
}

/* A sentence of something else, that an earlier call has left. */
static void leave_another(struct catnap_vm *vm)
{
	struct catnap_disk disk = {.size = sizeof(disk), .path = "/nonexistent/older"};

	assert_true(catnap_vm_add_disk(vm, &disk) < 0);
}

static void each_failure_has_its_sentence(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *r = &rows[i];
		struct catnap_vm *vm;
		const char *said;
		int ret;

		if (!has_uring() && strstr(r->says, "no I/O thread"))
			continue;
		vm = make(r->state);
		leave_another(vm);
		ret = r->call(vm);
		said = catnap_vm_last_error(vm);
		if (ret != r->ret || !strstr(said, r->says) || strstr(said, "older"))
			fail_msg("%s: %d, expected %d; said \"%s\", expected \"%s\"", r->name, ret,
				 r->ret, said, r->says);
		assert_string_equal(catnap_vm_last_error(NULL), said);
		catnap_vm_destroy(&vm);
	}
}

static void one_that_succeeds_changes_nothing(void **state)
{
	struct catnap_vm *vm = make(MADE);
	struct catnap_vcpu_stats s = {.size = sizeof(s)};

	assert_string_equal(catnap_vm_last_error(vm), "");
	update_disk(vm);
	assert_int_equal(catnap_vm_get_stats(vm, 0, &s), 0);
	assert_non_null(strstr(catnap_vm_last_error(vm), "number 3"));
	catnap_vm_destroy(&vm);
	assert_non_null(strstr(catnap_vm_last_error(NULL), "number 3")); /* it is the thread's */
}

static void a_create_that_fails_says_what_it_did(void **state)
{
	struct catnap_vm_config cfg;
	struct catnap_vm *vm;

	tiny_config(&cfg);
	cfg.size = 4;
	assert_int_equal(catnap_vm_create(&cfg, &vm), -EINVAL);
	assert_non_null(strstr(catnap_vm_last_error(NULL), "size"));
	tiny_config(&cfg);
	cfg.vcpus = 1000;
	assert_int_equal(catnap_vm_create(&cfg, &vm), -EINVAL);
	assert_non_null(strstr(catnap_vm_last_error(NULL), "vcpus: 1000"));
	assert_int_equal(catnap_vm_create(NULL, &vm), -EINVAL);
	assert_null(vm);
	assert_non_null(strstr(catnap_vm_last_error(NULL), "expected a configuration, not NULL"));
	tiny_config(&cfg);
	assert_int_equal(catnap_vm_create(&cfg, NULL), -EINVAL);
	assert_non_null(strstr(catnap_vm_last_error(NULL), "expected a place for the VM"));
}

/* A processor that cannot be had: which element it was, and why. */
static void modifiers_that_cannot_be_say_why(void **state)
{
	static const struct {
		struct catnap_cpuid_modifier cpuid;
		struct catnap_msr_modifier msr;
		const char *says;
	} cases[] = {
		{{1, 0, CATNAP_CPUID_ECX, 1 << 3, 1 << 3, 0}, {0}, "MONITOR/MWAIT"},
		{{1, 0, CATNAP_CPUID_EBX, 0xff000000, 0x55000000, 0}, {0}, "the APIC id"},
		{{1, 0, 4, 1, 1, 0}, {0}, "register 4: expected 0 to 3"},
		{{0x12345678, 0, CATNAP_CPUID_EAX, 1, 1, 0}, {0}, "leaf 0x12345678"},
		{{1, 7, CATNAP_CPUID_EAX, 1, 1, 0}, {0}, "leaf 0x1, subleaf 0x7"},
		{{0}, {0x808, 0, 1, 1}, "MSR 0x808 cannot be changed: it is the local APIC's"},
		{{0}, {0x10, 0, 1, 1}, "MSR 0x10 cannot be changed"},
		{{0}, {0xdeadbeef, 0, 1, 1}, "MSR 0xdeadbeef: this KVM does not have it"},
	};
	const uint32_t immediate_exit = 136, none = 60000;
	struct catnap_vm_config cfg;
	struct catnap_vm *vm;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		tiny_config(&cfg);
		cfg.cpuid_modifiers = &cases[i].cpuid;
		cfg.cpuid_modifier_count = cases[i].cpuid.mask != 0;
		cfg.msr_modifiers = &cases[i].msr;
		cfg.msr_modifier_count = cases[i].msr.mask != 0;
		assert_int_equal(catnap_vm_create(&cfg, &vm), -EINVAL);
		if (!strstr(catnap_vm_last_error(NULL), cases[i].says) ||
		    !strstr(catnap_vm_last_error(NULL), "_modifiers: number 0"))
			fail_msg("\"%s\", expected \"%s\"", catnap_vm_last_error(NULL),
				 cases[i].says);
	}
	tiny_config(&cfg);
	cfg.kvm_required = &none;
	cfg.kvm_required_count = 1;
	assert_int_equal(catnap_vm_create(&cfg, &vm), -ENOTSUP);
	assert_non_null(strstr(catnap_vm_last_error(NULL), "kvm_required: capability 60000"));
	tiny_config(&cfg);
	cfg.kvm_dropped = &immediate_exit;
	cfg.kvm_dropped_count = 1;
	assert_true(catnap_vm_create(&cfg, &vm) < 0);
	assert_non_null(strstr(catnap_vm_last_error(NULL), "capability 136"));
	tiny_config(&cfg);
	cfg.cpuid_modifier_count = 1;
	assert_int_equal(catnap_vm_create(&cfg, &vm), -EINVAL);
	assert_non_null(strstr(catnap_vm_last_error(NULL), "cpuid_modifiers: expected an array"));
}

/* A call that waits by a ring is refused where there is none. */
static void a_vm_without_rings_says_so(void **state)
{
	char path[] = "/tmp/catnap-sentences-XXXXXX";
	struct catnap_vm_config cfg;
	struct catnap_disk disk;
	struct catnap_vm *vm;
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	tiny_config(&cfg);
	cfg.no_rings = 1;
	vm = tiny_vm(&cfg, MADE);
	catnap_disk_init(&disk);
	disk.path = path;
	assert_int_equal(catnap_vm_add_disk(vm, &disk), -EINVAL);
	assert_non_null(strstr(catnap_vm_last_error(vm), "no_rings"));
	assert_int_equal(catnap_vm_add_interrupt_event(vm, 0, 0xfee00000, 0x41), -EINVAL);
	assert_non_null(strstr(catnap_vm_last_error(vm), "no_rings"));
	assert_int_equal(catnap_vm_start(vm), 0);
	assert_int_equal(catnap_vm_add_interrupt_event(vm, 0, 0xfee00000, 0x41), -EINVAL);
	assert_non_null(strstr(catnap_vm_last_error(vm), "no_rings"));
	catnap_vm_destroy(&vm);
	close(fd);
	unlink(path);
}

/* The sentence says what is wrong with a size of memory, and no more than that. */
static void memory_that_cannot_be_says_why(void **state)
{
	const uint64_t host = catnap_host_memory() & ~UINT64_C(4095);
	const struct {
		uint64_t bytes;
		int ret;
		const char *says;
	} cases[] = {
		{UINT64_C(1) << 60, -EINVAL,
		 "memory_size: 1152921504606846976 bytes is out of range: 1 MiB to 64 TiB"},
		{4096, -EINVAL, "memory_size: 4096 bytes is out of range: 1 MiB"},
		{(UINT64_C(2) << 20) + 1, -EINVAL, "expected a multiple of 4096"},
		{host + 4096, -ENOMEM, "bytes is more than this host has: "},
	};
	unsigned long long asked, has;
	struct catnap_vm_config cfg;
	struct catnap_vm *vm;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		tiny_config(&cfg);
		cfg.memory_size = cases[i].bytes;
		assert_int_equal(catnap_vm_create(&cfg, &vm), cases[i].ret);
		assert_non_null(strstr(catnap_vm_last_error(NULL), cases[i].says));
	}
	assert_int_equal(sscanf(catnap_vm_last_error(NULL),
				"memory_size: %llu bytes is more than this host has: %llu", &asked,
				&has),
			 2);
	assert_true(asked > has);
}

/* The vCPUs' threads share the descriptor's position: nothing else has to keep them apart. */
static void a_trace_need_not_be_appended_to(void **state)
{
	char path[] = "/tmp/catnap-trace-XXXXXX";
	int made = mkstemp(path), fd = open(path, O_WRONLY | O_CLOEXEC);
	struct catnap_vm_config cfg;
	struct catnap_vm *vm;

	assert_true(made >= 0 && fd >= 0);
	tiny_config(&cfg);
	cfg.halt_trace_fd = fd;
	vm = tiny_vm(&cfg, RUNNING);
	catnap_vm_destroy(&vm);
	assert_true(lseek(fd, 0, SEEK_CUR) > 0); /* the header, at least */
	close(fd);
	close(made);
	unlink(path);
}

/* A refusal from within a callback, of a VM that has a name: that is said once. */
static int ask_from_a_thread(void *ctx, uint32_t vcpu)
{
	struct catnap_vm **vm = ctx;
	struct catnap_console console;

	catnap_console_init(&console);
	if (catnap_vm_set_console(*vm, &console) != -EDEADLK ||
	    strcmp(catnap_vm_last_error(*vm), "alpha: console: not from a callback, on one of the "
					      "VM's own threads") != 0)
		return -EPROTO;
	return 0;
}

static void a_vms_name_is_said_once(void **state)
{
	struct catnap_vm *vm = NULL;
	struct catnap_vm_config cfg;

	tiny_config(&cfg);
	cfg.name = "alpha";
	cfg.thread_start = ask_from_a_thread;
	cfg.thread_ctx = &vm;
	assert_int_equal(catnap_vm_create(&cfg, &vm), 0);
	assert_int_equal(catnap_vm_start(vm), 0);
	catnap_vm_destroy(&vm);
}

static void two_vms_are_told_apart(void **state)
{
	struct catnap_vm *a = make(MADE), *b = make(MADE);

	update_disk(a);
	assert_string_equal(catnap_vm_last_error(b), "");
	set_link(b);
	assert_string_equal(catnap_vm_last_error(a), "");
	assert_non_null(strstr(catnap_vm_last_error(b), "device 7"));
	catnap_vm_destroy(&a);
	catnap_vm_destroy(&b);
}

struct caller {
	struct catnap_vm *vm;
	int (*call)(struct catnap_vm *vm);
	const char *says;
	int others; /* sentences that were not its own */
};

static void *fail_often(void *arg)
{
	struct caller *c = arg;

	for (int i = 0; i < 2000; i++) {
		c->call(c->vm);
		if (!strstr(catnap_vm_last_error(c->vm), c->says))
			c->others++;
	}
	return NULL;
}

static void threads_do_not_see_each_others(void **state)
{
	struct catnap_vm *vm = make(MADE);
	struct caller callers[2] = {{vm, update_disk, "number 3", 0},
				    {vm, set_link, "device 7", 0}};
	pthread_t threads[2];

	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, fail_often, &callers[i]), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(callers[0].others + callers[1].others, 0);
	assert_string_equal(catnap_vm_last_error(vm), ""); /* this thread has met none */
	catnap_vm_destroy(&vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_failure_has_its_sentence),
		cmocka_unit_test(one_that_succeeds_changes_nothing),
		cmocka_unit_test(a_create_that_fails_says_what_it_did),
		cmocka_unit_test(modifiers_that_cannot_be_say_why),
		cmocka_unit_test(a_vm_without_rings_says_so),
		cmocka_unit_test(memory_that_cannot_be_says_why),
		cmocka_unit_test(a_trace_need_not_be_appended_to),
		cmocka_unit_test(a_vms_name_is_said_once),
		cmocka_unit_test(two_vms_are_told_apart),
		cmocka_unit_test(threads_do_not_see_each_others),
	};

	if (access("/dev/kvm", R_OK | W_OK) < 0)
		return SKIP;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
