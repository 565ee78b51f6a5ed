/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every call in every state of a VM's life: the table under "States" in catnap/catnap.h, cell by
 * cell. Each cell has a VM of its own.
 */
#include "states.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

/* In the header's order; the last is one that was stopped before it was started. */
enum column { C_MADE, C_RUNS, C_PAUSED, C_ENDING, C_ENDED, C_STOPPED, COLUMNS };

static const char *const names[COLUMNS] = {"made",   "runs",	  "paused",
					   "ending", "has ended", "stopped before its start"};

/* mov dx, 0x3f8; mov al, 'x'; again: out dx, al; jmp again */
static const uint8_t printing[] = {0xba, 0xf8, 0x03, 0xb0, 'x', 0xee, 0xeb, 0xfd};

struct cell {
	struct catnap_vm *vm; /* NULL: the call has taken it */
	int event;
	char image[32];
	_Atomic bool held, release; /* the callback */
};

/* Keeps a VM that ends from having ended. */
static void hold(void *ctx, const void *data, size_t len)
{
	struct cell *c = ctx;

	atomic_store(&c->held, true);
	while (!atomic_load(&c->release))
		usleep(1000);
}

static void make(struct cell *c, bool devices, bool held)
{
	struct catnap_console console;
	struct catnap_balloon balloon;
	struct catnap_vm_config cfg;
	struct catnap_disk disk;

	tiny_config(&cfg);
	if (held) {
		cfg.kernel_data = printing;
		cfg.kernel_size = sizeof(printing);
		cfg.serial_output = hold;
		cfg.serial_ctx = c;
	}
	cfg.io = CATNAP_IO_THREAD;
	cfg.on_reset = CATNAP_ON_RESET_RESTART;
	c->vm = tiny_vm(&cfg, MADE);
	c->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!devices)
		return;
	catnap_disk_init(&disk);
	disk.path = c->image;
	assert_int_equal(catnap_vm_add_disk(c->vm, &disk), 0);
	catnap_console_init(&console);
	assert_int_equal(catnap_vm_set_console(c->vm, &console), 0);
	catnap_balloon_init(&balloon);
	assert_int_equal(catnap_vm_set_balloon(c->vm, &balloon), 0);
}

static void bring(struct cell *c, enum column state)
{
	if (state == C_STOPPED)
		assert_int_equal(catnap_vm_stop(c->vm), 0);
	if (state == C_MADE || state == C_STOPPED)
		return;
	assert_int_equal(catnap_vm_start(c->vm), 0);
	if (state == C_PAUSED)
		assert_int_equal(catnap_vm_pause(c->vm), 0);
	if (state == C_ENDED)
		assert_int_equal(catnap_vm_stop(c->vm), 0);
	if (state != C_ENDING)
		return;
	for (uint64_t begin = now_ns(); !atomic_load(&c->held); usleep(1000))
		assert_true(now_ns() - begin < LIMIT);
	assert_int_equal(catnap_vm_request_stop(c->vm), 0);
}

/* -- the calls -------------------------------------------------------------------------------- */

#define CALL(name, body)                \
	static int name(struct cell *c) \
	{                               \
		body                    \
	}

/* A refusal that is not for the VM's state: there is no such interface here. */
static int but_for_the_state(struct catnap_vm *vm, int ret)
{
	return ret < 0 && !strstr(catnap_vm_last_error(vm), "the VM was") ? 0 : ret;
}

CALL(add_disk, struct catnap_disk d; catnap_disk_init(&d); d.path = c->image;
     return catnap_vm_add_disk(c->vm, &d);)
CALL(add_pmem, struct catnap_pmem p; catnap_pmem_init(&p); p.path = "/nonexistent/file";
     return but_for_the_state(c->vm, catnap_vm_add_pmem(c->vm, &p));)
CALL(add_vhost, struct catnap_vhost v; catnap_vhost_init(&v); v.type = 2;
     v.socket = "/nonexistent/s"; int ret = catnap_vm_add_vhost(c->vm, &v);
     return ret == -EINVAL && strstr(catnap_vm_last_error(c->vm), "expected memory that is shared")
		    ? 0
		    : ret;)
CALL(add_net, struct catnap_net n; catnap_net_init(&n); n.tap = "catnap-none";
     return but_for_the_state(c->vm, catnap_vm_add_net(c->vm, &n));)
CALL(set_vsock, struct catnap_vsock v; catnap_vsock_init(&v); v.cid = 3; v.path = "/nonexistent/s";
     return but_for_the_state(c->vm, catnap_vm_set_vsock(c->vm, &v));)
CALL(set_console, struct catnap_console k; catnap_console_init(&k);
     return catnap_vm_set_console(c->vm, &k);)
CALL(set_balloon, struct catnap_balloon b; catnap_balloon_init(&b);
     return catnap_vm_set_balloon(c->vm, &b);)
CALL(set_hotplug, struct catnap_hotplug h; catnap_hotplug_init(&h); h.max = 1 << 21;
     return catnap_vm_set_hotplug(c->vm, &h);)
CALL(set_hotplug_size, return catnap_vm_set_hotplug_size(c->vm, 0);)
CALL(get_hotplug_stats, struct catnap_hotplug_stats s = {.size = sizeof(s)};
     return catnap_vm_get_hotplug_stats(c->vm, &s);)
CALL(start, return catnap_vm_start(c->vm);)
CALL(sandbox_thread, return catnap_vm_sandbox_thread(c->vm, 0);)
CALL(pause_vm, return catnap_vm_pause(c->vm);)
CALL(request_pause, return catnap_vm_request_pause(c->vm);)
CALL(resume_vm, return catnap_vm_resume(c->vm);)
CALL(reset_vm, return catnap_vm_reset(c->vm);)
CALL(request_reset, return catnap_vm_request_reset(c->vm);)
CALL(power_button, return catnap_vm_power_button(c->vm);)
CALL(wait_now, return catnap_vm_wait(c->vm, 0, NULL);)
CALL(wait_a_little, return catnap_vm_wait(c->vm, 1000000, NULL);)
CALL(flush_halt_trace, uint64_t lost; return catnap_vm_flush_halt_trace(c->vm, &lost);)
CALL(request_stop, return catnap_vm_request_stop(c->vm);)
CALL(stop, atomic_store(&c->release, true); return catnap_vm_stop(c->vm);)
CALL(destroy, atomic_store(&c->release, true); return catnap_vm_destroy(&c->vm);)
CALL(request_destroy, int ret = catnap_vm_request_destroy(c->vm, c->event);
     atomic_store(&c->release, true); c->vm = NULL; return ret;)
CALL(update_disk, return catnap_vm_update_disk(c->vm, 0, NULL);)
static const struct catnap_rate_limit some_limit = {
	.ops = {.refill_ns = 1000000, .size = 1000, .one_time_burst = 5}};

CALL(change_disk, struct catnap_disk d; catnap_disk_init(&d); d.path = c->image;
     return catnap_vm_change_disk(c->vm, 0, &d, NULL);)
CALL(remove_disk, return catnap_vm_remove_disk(c->vm, 0);)
CALL(remove_net, return catnap_vm_remove_net(c->vm, 0);)
CALL(remove_vhost, return catnap_vm_remove_vhost(c->vm, 0);)
CALL(set_disk_limit, return catnap_vm_set_disk_limit(c->vm, 0, &some_limit);)
CALL(set_net_limit, return catnap_vm_set_net_limit(c->vm, 0, NULL, NULL);)
CALL(set_pmem_limit, return catnap_vm_set_pmem_limit(c->vm, 0, &some_limit);)
CALL(set_rng_limit, return catnap_vm_set_rng_limit(c->vm, &some_limit);)
CALL(set_link, return catnap_vm_set_link(c->vm, 9, 1);)
CALL(console_input, return (int)catnap_vm_console_input(c->vm, "a", 1);)
CALL(console_resize, return catnap_vm_console_resize(c->vm, 80, 25);)
CALL(set_balloon_target, return catnap_vm_set_balloon_target(c->vm, 4096);)
CALL(get_balloon_stats, struct catnap_balloon_stats s = {.size = sizeof(s)};
     return catnap_vm_get_balloon_stats(c->vm, &s);)
CALL(serial_input, return catnap_vm_serial_input(c->vm, "abc", 3) == 3 ? 0 : -1;)
/* An NMI, which a guest cannot have switched off. */
CALL(signal_msi, return catnap_vm_signal_msi(c->vm, 0xfee00000, 0x400);)
CALL(add_event, return catnap_vm_add_interrupt_event(c->vm, c->event, 0xfee00000, 0x41);)
CALL(del_event, return catnap_vm_del_interrupt_event(c->vm, 12345);)
CALL(add_doorbell, struct catnap_doorbell b; int fd; catnap_doorbell_init(&b); b.port = 1;
     b.address = 0x700; return catnap_vm_add_doorbell(c->vm, &b, &fd);)
CALL(del_doorbell, return catnap_vm_del_doorbell(c->vm, 12345);)
CALL(guest_memory, void *p; return catnap_vm_guest_memory(c->vm, 0, 4096, &p);)
CALL(snapshot, struct catnap_snapshot_request rq; catnap_snapshot_request_init(&rq);
     return catnap_vm_snapshot(c->vm, &rq);)
CALL(get_memory_handler_fd, return catnap_vm_get_memory_handler_fd(c->vm);)
CALL(check_memory_handler, return catnap_vm_check_memory_handler(c->vm);)
CALL(write_working_set, return catnap_vm_write_working_set(c->vm, -1);)
CALL(memory_fault, return catnap_vm_memory_fault(c->vm, c);)
CALL(get_memory_fd, return catnap_vm_get_memory_fd(c->vm);)
CALL(get_acpi_table, const char *name; const void *data; size_t len;
     return catnap_vm_get_acpi_table(c->vm, 0, &name, &data, &len);)
CALL(get_device_tree, const void *data; size_t len;
     return catnap_vm_get_device_tree(c->vm, &data, &len);)
CALL(set_halt_poll, struct catnap_halt_poll p; catnap_halt_poll_init(&p);
     return catnap_vm_set_halt_poll(c->vm, -1, &p);)
CALL(get_stats, struct catnap_vcpu_stats s = {.size = sizeof(s)};
     return catnap_vm_get_stats(c->vm, 0, &s);)
CALL(get_policy_stats, struct catnap_policy_stats s = {.size = sizeof(s)};
     s.context_size = sizeof(s.context[0]); return catnap_vm_get_policy_stats(c->vm, 0, &s);)
CALL(get_device_stats, struct catnap_device_stats s = {.size = sizeof(s)};
     return catnap_vm_get_device_stats(c->vm, 0, &s);)
CALL(get_io_stats, struct catnap_io_stats s = {.size = sizeof(s)};
     return catnap_vm_get_io_stats(c->vm, &s);)
CALL(get_fd, return catnap_vm_get_fd(c->vm) >= 0 ? 0 : -1;)
CALL(get_stopping_fd, return catnap_vm_get_stopping_fd(c->vm) >= 0 ? 0 : -1;)
CALL(get_paused_fd, return catnap_vm_get_paused_fd(c->vm) >= 0 ? 0 : -1;)
CALL(get_event_fd, return catnap_vm_get_event_fd(c->vm) >= 0 ? 0 : -1;)
CALL(next_event, struct catnap_event e = {.size = sizeof(e)};
     return catnap_vm_next_event(c->vm, &e);)
CALL(get_state, return catnap_vm_get_state(c->vm) >= 0 ? 0 : -1;)
CALL(get_name, return catnap_vm_get_name(c->vm)[0] == '\0' ? 0 : -1;)
CALL(get_vcpu_count, return catnap_vm_get_vcpu_count(c->vm) == 1 ? 0 : -1;)
CALL(get_halt_poll, struct catnap_halt_poll p = {.size = sizeof(p)};
     return catnap_vm_get_halt_poll(c->vm, 0, &p);)
CALL(get_config, struct catnap_vm_config cfg = {.size = sizeof(cfg)};
     return catnap_vm_get_config(c->vm, &cfg);)
CALL(get_poll_limit_fd, return catnap_vm_get_poll_limit_fd(c->vm);)
CALL(learn_poll_limit, return catnap_vm_learn_poll_limit(c->vm);)
CALL(get_poll_limit_stats, struct catnap_poll_limit_stats s = {.size = sizeof(s)};
     return catnap_vm_get_poll_limit_stats(c->vm, &s);)
CALL(get_vcpu_tid, int ret = catnap_vm_get_vcpu_tid(c->vm, 0); return ret > 0 ? 0 : ret;)
CALL(get_io_tid, int ret = catnap_vm_get_io_tid(c->vm); return ret > 0 ? 0 : ret;)
CALL(last_error, return catnap_vm_last_error(c->vm)[0] == '\0' ? 0 : -1;)

#define BARE 0 /* a VM with no devices, so that they can be added */
#define FULL 1 /* with a disk, a console and a balloon */

static const struct row {
	const char *name;
	int (*call)(struct cell *c);
	int devices;
	int expected[COLUMNS];
} rows[] = {
#define ROW(name, devices, ...)       \
	{                             \
#name, name, devices, \
		{                     \
			__VA_ARGS__   \
		}                     \
	}
#define ALWAYS(name, devices, ret) ROW(name, devices, ret, ret, ret, ret, ret, ret)
#define ADDED(name)		   ROW(name, BARE, 0, -EINVAL, -EINVAL, -EINVAL, -EINVAL, -EINVAL)
	ADDED(add_disk),
	ADDED(add_pmem),
	ADDED(add_vhost),
	ADDED(add_net),
	ADDED(set_vsock),
	ADDED(set_console),
	ADDED(set_balloon),
	ADDED(set_hotplug),
	ROW(start, BARE, 0, -EALREADY, -EALREADY, -EALREADY, -EALREADY, -ECANCELED),
	ROW(sandbox_thread, BARE, -EINVAL, 0, 0, 0, 0, -EINVAL),
	ROW(pause_vm, BARE, -EINVAL, 0, 0, -EINVAL, -EINVAL, -EINVAL),
	ROW(request_pause, BARE, -EINVAL, 0, 0, -EINVAL, -EINVAL, -EINVAL),
	ROW(resume_vm, BARE, -EINVAL, 0, 0, -EINVAL, -EINVAL, -EINVAL),
	ROW(reset_vm, BARE, -EINVAL, 0, 0, -EINVAL, -EINVAL, -EINVAL),
	ROW(request_reset, BARE, -EINVAL, 0, 0, -EINVAL, -EINVAL, -EINVAL),
	/* Nobody in these guests listens. */
	ROW(power_button, BARE, -EINVAL, -ENXIO, -ENXIO, -EINVAL, -EINVAL, -EINVAL),
	ROW(wait_now, BARE, -ETIMEDOUT, -ETIMEDOUT, -ETIMEDOUT, -ETIMEDOUT, 0, 0),
	ROW(wait_a_little, BARE, -ETIMEDOUT, -ETIMEDOUT, -ETIMEDOUT, -ETIMEDOUT, 0, 0),
	ROW(flush_halt_trace, BARE, -EBUSY, -EBUSY, -EBUSY, -EBUSY, 0, 0),
	ALWAYS(request_stop, BARE, 0),
	ALWAYS(stop, BARE, 0),
	ALWAYS(destroy, BARE, 0),
	ALWAYS(request_destroy, BARE, 0),
	ALWAYS(update_disk, FULL, 0),
	ALWAYS(change_disk, FULL, 0),
	ALWAYS(remove_disk, FULL, -ENOTSUP), /* it was made without hotplug */
	ALWAYS(remove_net, FULL, -ENOTSUP),
	ALWAYS(remove_vhost, FULL, -ENOTSUP),
	ALWAYS(set_disk_limit, FULL, 0),
	ALWAYS(set_net_limit, FULL, -ENOENT),  /* there is no interface */
	ALWAYS(set_pmem_limit, FULL, -ENOENT), /* nor these */
	ALWAYS(set_rng_limit, FULL, -ENOENT),
	ALWAYS(set_link, FULL, -EINVAL), /* it is no network device */
	ALWAYS(console_input, FULL, 0),	 /* no driver takes it */
	ALWAYS(console_resize, FULL, 0),
	ALWAYS(set_balloon_target, FULL, 0),
	ALWAYS(get_balloon_stats, FULL, 0),
	ALWAYS(set_hotplug_size, FULL, -ENOENT), /* a VM with it is not saved */
	ALWAYS(get_hotplug_stats, FULL, -ENOENT),
	ALWAYS(serial_input, FULL, 0),
	ALWAYS(signal_msi, FULL, 0),
	ALWAYS(add_event, FULL, 0),
	ALWAYS(del_event, FULL, -ENOENT),
	ALWAYS(add_doorbell, FULL, 0),
	ALWAYS(del_doorbell, FULL, -ENOENT),
	ALWAYS(guest_memory, FULL, 0),
	/* The pause is the only state in which it looks at the files, which there are not. */
	ROW(snapshot, FULL, -EINVAL, -EINVAL, -EBADF, -EINVAL, -EINVAL, -EINVAL),
	ALWAYS(get_memory_handler_fd, FULL, -ENOTSUP),
	ALWAYS(check_memory_handler, FULL, -ENOTSUP),
	ALWAYS(write_working_set, FULL, -ENOTSUP),
	ALWAYS(memory_fault, FULL, 0),	       /* the address is none of its */
	ALWAYS(get_memory_fd, FULL, -ENOTSUP), /* it is private */
	ALWAYS(get_acpi_table, FULL, 0),
	ALWAYS(get_device_tree, FULL, 0),
	ALWAYS(set_halt_poll, FULL, 0),
	ALWAYS(get_stats, FULL, 0),
	ALWAYS(get_policy_stats, FULL, 0),
	ALWAYS(get_device_stats, FULL, 0),
	ALWAYS(get_io_stats, FULL, 0),
	ALWAYS(get_fd, FULL, 0),
	ALWAYS(get_stopping_fd, FULL, 0),
	ALWAYS(get_paused_fd, FULL, 0),
	ALWAYS(get_event_fd, FULL, 0),
	ROW(next_event, FULL, -EAGAIN, 0, 0, 0, 0, 0),
	ALWAYS(get_state, FULL, 0),
	ALWAYS(get_name, FULL, 0),
	ALWAYS(get_vcpu_count, FULL, 0),
	ALWAYS(get_halt_poll, FULL, 0),
	ALWAYS(get_config, FULL, 0),
	/* With irqchip user the halts are not KVM's. */
	ALWAYS(get_poll_limit_fd, FULL, -ENOTSUP),
	ALWAYS(learn_poll_limit, FULL, -ENOTSUP),
	ALWAYS(get_poll_limit_stats, FULL, -ENOTSUP),
	ROW(get_vcpu_tid, FULL, -ESRCH, 0, 0, 0, -ESRCH, -ESRCH),
	ROW(get_io_tid, FULL, -ESRCH, 0, 0, 0, -ESRCH, -ESRCH),
	ALWAYS(last_error, FULL, 0),
};

static void gone(int event)
{
	uint64_t n;

	for (uint64_t begin = now_ns(); read(event, &n, sizeof(n)) < 0; usleep(1000))
		assert_true(now_ns() - begin < LIMIT);
}

static void try_cell(const struct row *r, enum column state)
{
	struct cell c = {.image = "/tmp/catnap-states-XXXXXX"};
	int fd = mkstemp(c.image), ret;

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	make(&c, r->devices, state == C_ENDING);
	bring(&c, state);
	ret = r->call(&c);
	if (ret != r->expected[state])
		fail_msg("%s of a VM that %s: %d, expected %d: %s", r->name, names[state], ret,
			 r->expected[state], catnap_vm_last_error(NULL));
	if (ret < 0 && c.vm && !catnap_vm_last_error(c.vm)[0])
		fail_msg("%s of a VM that %s: no sentence", r->name, names[state]);
	atomic_store(&c.release, true);
	if (r->call == request_destroy)
		gone(c.event);
	assert_int_equal(catnap_vm_destroy(&c.vm), 0);
	close(c.event);
	close(fd);
	unlink(c.image);
}

static void every_call_in_every_state(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (enum column c = C_MADE; c < COLUMNS; c++)
			try_cell(&rows[i], c);
}

/* Input from before the start is there when the guest begins; a pause keeps it. */
static void a_stop_ends_a_pause(void **state)
{
	struct cell c = {.image = ""};

	make(&c, BARE, false);
	bring(&c, C_PAUSED);
	assert_int_equal(catnap_vm_request_stop(c.vm), 0);
	assert_int_equal(catnap_vm_wait(c.vm, LIMIT, NULL), 0);
	assert_int_equal(catnap_vm_destroy(&c.vm), 0);
	close(c.event);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_call_in_every_state),
		cmocka_unit_test(a_stop_ends_a_pause),
	};

	if (access("/dev/kvm", R_OK | W_OK) < 0)
		return SKIP;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
