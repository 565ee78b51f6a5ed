/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every call from every callback: what the header excepts returns -EDEADLK with a sentence and has
 * done nothing, and all else is served, while the callback holds up nobody but itself.
 */
#include "states.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>

/* mov dx, PORT; mov al, BYTE; again: out dx, al; jmp again */
#define WRITES(port, byte)                                                     \
	{                                                                      \
		0xba, (port)&0xff, (port) >> 8, 0xb0, (byte), 0xee, 0xeb, 0xfd \
	}
static const uint8_t prints[] = WRITES(0x3f8, 'x');
static const uint8_t crashes[] = WRITES(0x505, 2); /* panicked, and goes on */

static const char *console_guest; /* its path */

struct scene {
	struct catnap_vm *vm;
	int event; /* an eventfd */
	bool on_caller;
	void (*once)(struct scene *s);
	_Atomic bool called;
	char failed[512]; /* a sentence; asserts are for the main thread */
};

/* -- the calls -------------------------------------------------------------------------------- */

#define CALL(name, body)                 \
	static int name(struct scene *s) \
	{                                \
		body                     \
	}

CALL(start, return catnap_vm_start(s->vm);)
CALL(stop, return catnap_vm_stop(s->vm);)
CALL(pause_vm, return catnap_vm_pause(s->vm);)
CALL(reset_vm, return catnap_vm_reset(s->vm);)
CALL(wait_long, return catnap_vm_wait(s->vm, UINT64_MAX, NULL);)
CALL(wait_short, return catnap_vm_wait(s->vm, 1, NULL);)
CALL(destroy, struct catnap_vm *copy = s->vm; int ret = catnap_vm_destroy(&copy);
     return copy == s->vm ? ret : -ENOMSG;)
CALL(sandbox_thread, return catnap_vm_sandbox_thread(s->vm, 0);)
CALL(add_disk, struct catnap_disk d; catnap_disk_init(&d); d.path = "/dev/null";
     return catnap_vm_add_disk(s->vm, &d);)
CALL(add_net, struct catnap_net n; catnap_net_init(&n); n.tap = "catnap-none";
     return catnap_vm_add_net(s->vm, &n);)
CALL(add_vhost, struct catnap_vhost v; catnap_vhost_init(&v); v.type = 2;
     v.socket = "/nonexistent/s"; return catnap_vm_add_vhost(s->vm, &v);)
CALL(set_vsock, struct catnap_vsock v; catnap_vsock_init(&v); v.cid = 3; v.path = "/nonexistent/s";
     return catnap_vm_set_vsock(s->vm, &v);)
CALL(set_hotplug, struct catnap_hotplug h; catnap_hotplug_init(&h); h.max = 1 << 21;
     return catnap_vm_set_hotplug(s->vm, &h);)
CALL(set_hotplug_size, return catnap_vm_set_hotplug_size(s->vm, 0);)
CALL(get_hotplug_stats, struct catnap_hotplug_stats h = {.size = sizeof(h)};
     return catnap_vm_get_hotplug_stats(s->vm, &h);)
CALL(add_pmem, struct catnap_pmem p; catnap_pmem_init(&p); p.path = "/dev/null";
     return catnap_vm_add_pmem(s->vm, &p);)
CALL(set_console, struct catnap_console c; catnap_console_init(&c);
     return catnap_vm_set_console(s->vm, &c);)
CALL(set_balloon, struct catnap_balloon b; catnap_balloon_init(&b);
     return catnap_vm_set_balloon(s->vm, &b);)
CALL(add_event, int ret = catnap_vm_add_interrupt_event(s->vm, s->event, 0xfee00000, 0x41);
     return ret == 0 ? catnap_vm_del_interrupt_event(s->vm, s->event) : ret;)
CALL(del_event, return catnap_vm_del_interrupt_event(s->vm, 12345);)
CALL(add_doorbell, struct catnap_doorbell b; int fd; int ret; catnap_doorbell_init(&b); b.port = 1;
     b.address = 0x700; ret = catnap_vm_add_doorbell(s->vm, &b, &fd);
     return ret == 0 ? catnap_vm_del_doorbell(s->vm, fd) : ret;)
CALL(wait_now, return catnap_vm_wait(s->vm, 0, NULL);)
CALL(flush_halt_trace, uint64_t lost; return catnap_vm_flush_halt_trace(s->vm, &lost);)
CALL(update_disk, return catnap_vm_update_disk(s->vm, 0, NULL);)
static const struct catnap_rate_limit some_limit = {
	.ops = {.refill_ns = 1000000, .size = 1000, .one_time_burst = 5}};

CALL(change_disk, struct catnap_disk d; catnap_disk_init(&d); d.path = "/dev/null";
     return catnap_vm_change_disk(s->vm, 0, &d, NULL);)
CALL(remove_disk, return catnap_vm_remove_disk(s->vm, 0) == -ENOTSUP ? 0 : -1;)
CALL(remove_net, return catnap_vm_remove_net(s->vm, 0) == -ENOTSUP ? 0 : -1;)
CALL(remove_vhost, return catnap_vm_remove_vhost(s->vm, 0) == -ENOTSUP ? 0 : -1;)
CALL(set_disk_limit, return catnap_vm_set_disk_limit(s->vm, 0, &some_limit);)
CALL(set_net_limit, return catnap_vm_set_net_limit(s->vm, 0, &some_limit, &some_limit);)
CALL(set_pmem_limit, return catnap_vm_set_pmem_limit(s->vm, 0, &some_limit);)
CALL(set_rng_limit, return catnap_vm_set_rng_limit(s->vm, &some_limit);)
CALL(set_link, return catnap_vm_set_link(s->vm, 0, 1);)
CALL(serial_input, return catnap_vm_serial_input(s->vm, "a", 1) <= 1 ? 0 : -1;)
CALL(console_input, return catnap_vm_console_input(s->vm, "a", 1) <= 1 ? 0 : -1;)
CALL(console_resize, return catnap_vm_console_resize(s->vm, 80, 25);)
CALL(set_balloon_target, return catnap_vm_set_balloon_target(s->vm, 0);)
CALL(get_balloon_stats, struct catnap_balloon_stats b = {.size = sizeof(b)};
     return catnap_vm_get_balloon_stats(s->vm, &b);)
CALL(signal_msi, return catnap_vm_signal_msi(s->vm, 0xfee00000, 0x40);)
CALL(guest_memory, void *p; return catnap_vm_guest_memory(s->vm, 0, 4096, &p);)
CALL(snapshot, struct catnap_snapshot_request rq; catnap_snapshot_request_init(&rq);
     return catnap_vm_snapshot(s->vm, &rq);)
CALL(get_memory_handler_fd, return catnap_vm_get_memory_handler_fd(s->vm) == -ENOTSUP ? 0 : -1;)
CALL(check_memory_handler, return catnap_vm_check_memory_handler(s->vm) == -ENOTSUP ? 0 : -1;)
CALL(write_working_set, return catnap_vm_write_working_set(s->vm, -1) == -ENOTSUP ? 0 : -1;)
CALL(memory_fault, return catnap_vm_memory_fault(s->vm, s);)
CALL(get_memory_fd, return catnap_vm_get_memory_fd(s->vm) == -ENOTSUP ? 0 : -1;)
CALL(get_acpi_table, const char *name; const void *data; size_t len;
     return catnap_vm_get_acpi_table(s->vm, 0, &name, &data, &len);)
CALL(get_device_tree, const void *data; size_t len;
     return catnap_vm_get_device_tree(s->vm, &data, &len);)
CALL(set_halt_poll, struct catnap_halt_poll p; catnap_halt_poll_init(&p);
     return catnap_vm_set_halt_poll(s->vm, -1, &p);)
CALL(get_stats, struct catnap_vcpu_stats v = {.size = sizeof(v)};
     return catnap_vm_get_stats(s->vm, 0, &v);)
CALL(get_policy_stats, struct catnap_policy_stats p = {.size = sizeof(p)};
     p.context_size = sizeof(p.context[0]); return catnap_vm_get_policy_stats(s->vm, 0, &p);)
CALL(get_device_stats, struct catnap_device_stats d = {.size = sizeof(d)};
     return catnap_vm_get_device_stats(s->vm, 0, &d);)
CALL(get_io_stats, struct catnap_io_stats i = {.size = sizeof(i)};
     return catnap_vm_get_io_stats(s->vm, &i);)
CALL(get_fd, return catnap_vm_get_fd(s->vm) >= 0 ? 0 : -1;)
CALL(get_stopping_fd, return catnap_vm_get_stopping_fd(s->vm) >= 0 ? 0 : -1;)
CALL(get_paused_fd, return catnap_vm_get_paused_fd(s->vm) >= 0 ? 0 : -1;)
CALL(get_event_fd, return catnap_vm_get_event_fd(s->vm) >= 0 ? 0 : -1;)
CALL(next_event, struct catnap_event e = {.size = sizeof(e)};
     return catnap_vm_next_event(s->vm, &e);)
CALL(get_state, return catnap_vm_get_state(s->vm) >= 0 ? 0 : -1;)
CALL(get_name, return catnap_vm_get_name(s->vm)[0] == '\0' ? 0 : -1;)
CALL(get_vcpu_count, return catnap_vm_get_vcpu_count(s->vm) == 1 ? 0 : -1;)
CALL(get_halt_poll, struct catnap_halt_poll p = {.size = sizeof(p)};
     return catnap_vm_get_halt_poll(s->vm, 0, &p);)
CALL(get_config, struct catnap_vm_config cfg = {.size = sizeof(cfg)};
     return catnap_vm_get_config(s->vm, &cfg);)
CALL(get_poll_limit_fd, return catnap_vm_get_poll_limit_fd(s->vm) == -ENOTSUP ? 0 : -1;)
CALL(learn_poll_limit, return catnap_vm_learn_poll_limit(s->vm) == -ENOTSUP ? 0 : -1;)
CALL(get_poll_limit_stats, struct catnap_poll_limit_stats l = {.size = sizeof(l)};
     return catnap_vm_get_poll_limit_stats(s->vm, &l) == -ENOTSUP ? 0 : -1;)
CALL(get_vcpu_tid, int ret = catnap_vm_get_vcpu_tid(s->vm, 0); return ret > 0 ? 0 : ret;)
CALL(get_io_tid, int ret = catnap_vm_get_io_tid(s->vm); return ret > 0 ? 0 : ret;)
CALL(last_error, return catnap_vm_last_error(s->vm) ? 0 : -1;)
CALL(request_reset, return catnap_vm_request_reset(s->vm);)
CALL(power_button, return catnap_vm_power_button(s->vm);)
CALL(request_pause, return catnap_vm_request_pause(s->vm);)
CALL(resume_vm, return catnap_vm_resume(s->vm);)
CALL(request_stop, return catnap_vm_request_stop(s->vm);)
CALL(request_destroy, return catnap_vm_request_destroy(s->vm, s->event);)

enum where { EVERYWHERE = 1, ON_CALLER, NOWHERE };

static const struct call {
	const char *name;
	int (*call)(struct scene *s);
	enum where refused;
} calls[] = {
#define ROW(name, refused)           \
	{                            \
#name, name, refused \
	}
	ROW(start, EVERYWHERE),
	ROW(stop, EVERYWHERE),
	ROW(pause_vm, EVERYWHERE),
	ROW(snapshot, EVERYWHERE),
	ROW(reset_vm, EVERYWHERE),
	ROW(wait_long, EVERYWHERE),
	ROW(wait_short, EVERYWHERE),
	ROW(destroy, EVERYWHERE),
	ROW(sandbox_thread, EVERYWHERE),
	ROW(add_disk, EVERYWHERE),
	ROW(add_pmem, EVERYWHERE),
	ROW(set_hotplug, EVERYWHERE),
	ROW(set_hotplug_size, NOWHERE),
	ROW(get_hotplug_stats, NOWHERE),
	ROW(add_net, EVERYWHERE),
	ROW(add_vhost, EVERYWHERE),
	ROW(set_vsock, EVERYWHERE),
	ROW(set_console, EVERYWHERE),
	ROW(set_balloon, EVERYWHERE),
	ROW(add_event, NOWHERE),
	ROW(del_event, NOWHERE),
	ROW(add_doorbell, NOWHERE),
	ROW(wait_now, NOWHERE),
	ROW(flush_halt_trace, NOWHERE),
	ROW(update_disk, NOWHERE),
	ROW(change_disk, EVERYWHERE),
	ROW(remove_disk, NOWHERE),
	ROW(remove_net, NOWHERE),
	ROW(remove_vhost, NOWHERE),
	ROW(set_disk_limit, NOWHERE),
	ROW(set_net_limit, NOWHERE),
	ROW(set_pmem_limit, NOWHERE),
	ROW(set_rng_limit, NOWHERE),
	ROW(set_link, NOWHERE),
	ROW(serial_input, NOWHERE),
	ROW(console_input, NOWHERE),
	ROW(console_resize, NOWHERE),
	ROW(set_balloon_target, NOWHERE),
	ROW(get_balloon_stats, NOWHERE),
	ROW(signal_msi, NOWHERE),
	ROW(guest_memory, NOWHERE),
	ROW(get_memory_handler_fd, NOWHERE),
	ROW(check_memory_handler, NOWHERE),
	ROW(write_working_set, NOWHERE),
	ROW(memory_fault, NOWHERE),
	ROW(get_memory_fd, NOWHERE),
	ROW(get_acpi_table, NOWHERE),
	ROW(get_device_tree, NOWHERE),
	ROW(set_halt_poll, NOWHERE),
	ROW(get_stats, NOWHERE),
	ROW(get_policy_stats, NOWHERE),
	ROW(get_device_stats, NOWHERE),
	ROW(get_io_stats, NOWHERE),
	ROW(get_fd, NOWHERE),
	ROW(get_stopping_fd, NOWHERE),
	ROW(get_paused_fd, NOWHERE),
	ROW(get_event_fd, NOWHERE),
	ROW(next_event, NOWHERE),
	ROW(get_state, NOWHERE),
	ROW(get_name, NOWHERE),
	ROW(get_vcpu_count, NOWHERE),
	ROW(get_halt_poll, NOWHERE),
	ROW(get_config, NOWHERE),
	ROW(get_poll_limit_fd, NOWHERE),
	ROW(learn_poll_limit, NOWHERE),
	ROW(get_poll_limit_stats, NOWHERE),
	ROW(get_vcpu_tid, NOWHERE),
	ROW(get_io_tid, NOWHERE),
	ROW(last_error, NOWHERE),
	ROW(request_reset, NOWHERE),
	ROW(power_button, NOWHERE),
	ROW(request_pause, NOWHERE),
	ROW(resume_vm, NOWHERE),
	/* These end it. */
	ROW(request_stop, NOWHERE),
	ROW(request_destroy, ON_CALLER),
};

#define CALLS (sizeof(calls) / sizeof(calls[0]))

static void call_everything(struct scene *s)
{
	for (size_t i = 0; i < CALLS && !s->failed[0]; i++) {
		const struct call *c = &calls[i];
		bool refused =
			c->refused == EVERYWHERE || (c->refused == ON_CALLER && s->on_caller);
		int ret = c->call(s);
		const char *said = ret == -EDEADLK ? catnap_vm_last_error(s->vm) : "callback";

		if ((ret == -EDEADLK) != refused)
			snprintf(s->failed, sizeof(s->failed), "%s: %d, expected %srefused",
				 c->name, ret, refused ? "" : "not ");
		else if (!strstr(said, "callback"))
			snprintf(s->failed, sizeof(s->failed), "%s: said \"%s\"", c->name, said);
	}
}

/* -- the callbacks ---------------------------------------------------------------------------- */

static void call_once(struct scene *s)
{
	void (*once)(struct scene *) = s->once;

	if (!s->vm)
		return; /* catnap_vm_create() says something: there is no VM to call yet */
	s->once = NULL;
	if (once) {
		once(s);
		atomic_store(&s->called, true);
	}
}

static void on_output(void *ctx, const void *data, size_t len)
{
	call_once(ctx);
}

static int on_thread(void *ctx, uint32_t vcpu)
{
	if (vcpu == 0)
		call_once(ctx);
	return 0;
}

static void on_log(void *ctx, enum catnap_log_level level, const char *message)
{
	if (level <= CATNAP_LOG_WARN)
		call_once(ctx);
}

enum callback { SERIAL, LOG, CONSOLE, THREAD, CALLBACKS };

static void make(struct scene *s, enum callback from, uint32_t irqchip, uint32_t io)
{
	struct catnap_console console;
	struct catnap_vm_config cfg;

	tiny_config(&cfg);
	cfg.irqchip = irqchip;
	cfg.io = io;
	cfg.rng = 1;
	cfg.kernel_data = from == LOG ? crashes : prints;
	cfg.kernel_size = sizeof(prints);
	cfg.serial_ctx = cfg.log_ctx = s;
	if (from == SERIAL)
		cfg.serial_output = on_output;
	if (from == LOG)
		cfg.log = on_log;
	if (from == THREAD)
		cfg.thread_start = on_thread;
	cfg.thread_ctx = s;
	if (from == CONSOLE) {
		cfg.kernel_data = NULL;
		cfg.kernel_path = console_guest;
		cfg.image_kind = CATNAP_IMAGE_AUTO;
		cfg.memory_size = UINT64_C(64) << 20;
		cfg.transport = CATNAP_TRANSPORT_MMIO;
	}
	s->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->vm = tiny_vm(&cfg, MADE);
	if (from != CONSOLE)
		return;
	catnap_console_init(&console);
	console.output = on_output;
	console.ctx = s;
	assert_int_equal(catnap_vm_set_console(s->vm, &console), 0);
}

static bool readable_soon(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint64_t n;

	/* Read, for that is what orders memory, and what a sanitizer knows of. */
	return poll(&p, 1, 60000) == 1 && read(fd, &n, sizeof(n)) == sizeof(n);
}

static void every_call_from_every_callback(void **state)
{
	for (enum callback from = SERIAL; from < CALLBACKS; from++)
		for (uint32_t n = 0; n < 4; n++) {
			struct scene s = {.once = call_everything};

			make(&s, from, n & 1, n >> 1);
			assert_int_equal(catnap_vm_start(s.vm), 0);
			/* The last call has destroyed it. */
			assert_true(readable_soon(s.event));
			assert_true(atomic_load(&s.called));
			if (s.failed[0])
				fail_msg("callback %d, irqchip %u, io %u: %s", (int)from, n & 1,
					 n >> 1, s.failed);
			close(s.event);
		}
}

/* log is called within catnap_vm_update_disk(), on the thread that calls that. */
static int shrink_with_a_message(struct scene *shared)
{
	struct scene s = {.once = call_everything, .on_caller = true};
	char path[] = "/tmp/catnap-callbacks-XXXXXX";
	int fd = mkstemp(path);
	struct catnap_disk disk;

	if (fd < 0 || ftruncate(fd, 2 << 20) < 0)
		return 1;
	make(&s, LOG, CATNAP_IRQCHIP_USER, CATNAP_IO_VCPU);
	catnap_disk_init(&disk);
	disk.path = path;
	if (catnap_vm_add_disk(s.vm, &disk) < 0)
		return 2;
	unlink(path);
	if (ftruncate(fd, 1 << 20) < 0 || catnap_vm_update_disk(s.vm, 0, NULL) < 0)
		return 2;
	memcpy(shared->failed, s.failed, sizeof(s.failed));
	if (!atomic_load(&s.called) || s.failed[0])
		return 3;
	return catnap_vm_destroy(&s.vm) == 0 ? 42 : 4;
}

static void every_call_from_log_within_a_call(void **state)
{
	struct scene *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid;
	int status;

	assert_true(shared != MAP_FAILED);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(shrink_with_a_message(shared));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (status != 42 << 8)
		fail_msg("status 0x%x: %s", (unsigned int)status, shared->failed);
	munmap(shared, sizeof(*shared));
}

/* -- another VM ------------------------------------------------------------------------------- */

static void make_and_end_another(struct scene *s)
{
	struct catnap_vm_config cfg;
	struct catnap_vm *other = NULL;

	tiny_config(&cfg);
	if (catnap_vm_create(&cfg, &other) < 0 || catnap_vm_start(other) < 0 ||
	    catnap_vm_pause(other) < 0 || catnap_vm_resume(other) < 0 ||
	    catnap_vm_stop(other) < 0 || catnap_vm_wait(other, UINT64_MAX, NULL) < 0 ||
	    catnap_vm_destroy(&other) < 0)
		snprintf(s->failed, sizeof(s->failed), "%s", catnap_vm_last_error(NULL));
	catnap_vm_request_stop(s->vm);
}

static void another_vm_is_not_excepted(void **state)
{
	struct scene s = {.once = make_and_end_another};

	make(&s, SERIAL, CATNAP_IRQCHIP_USER, CATNAP_IO_VCPU);
	assert_int_equal(catnap_vm_start(s.vm), 0);
	assert_int_equal(catnap_vm_wait(s.vm, LIMIT, NULL), 0);
	assert_string_equal(s.failed, "");
	assert_int_equal(catnap_vm_destroy(&s.vm), 0);
	close(s.event);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_call_from_every_callback),
		cmocka_unit_test(every_call_from_log_within_a_call),
		cmocka_unit_test(another_vm_is_not_excepted),
	};

	if (argc != 2)
		return 2;
	console_guest = argv[1];
	if (access("/dev/kvm", R_OK | W_OK) < 0)
		return SKIP;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
