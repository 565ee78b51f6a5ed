/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A child of fork(2) can give its copy of a VM back, and can do nothing else with it; the parent's
 * VMs, fifty at once, go on as if nothing had been.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include <catnap/snapshot.h>
#include "guest.h"

#define VMS	50
#define CHILD_S 120 /* a child that hangs is ended */

/* ThreadSanitizer ends a child that starts threads. */
#ifdef __SANITIZE_THREAD__
#define CHILD_HAS_NO_THREADS 1
#else
#define CHILD_HAS_NO_THREADS 0
#endif

/* In a child: says what is wrong, and goes on. */
static int bad;

#define EXPECT(what)                                                              \
	do {                                                                      \
		if (!(what)) {                                                    \
			fprintf(stderr, "child: line %d: %s\n", __LINE__, #what); \
			bad = 1;                                                  \
		}                                                                 \
	} while (0)

/* Runs @run in a child; it ends well. */
static void in_child(void (*run)(void *), void *arg)
{
	pid_t pid;
	int status;

	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		alarm(CHILD_S);
		run(arg);
		_exit(bad);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

/* -- every call ------------------------------------------------------------------------------- */

/* The objects that a call needs, as they were made in the parent. */
struct fix {
	struct guest *g;
	int event_fd, doorbell_fd;
};

#define CALL(name, expr)                                     \
	static int name(struct catnap_vm *vm, struct fix *f) \
	{                                                    \
		return (int)(expr);                          \
	}

static struct catnap_disk disk;
static struct catnap_rate_limit limit;
static struct catnap_pmem pmem;
static struct catnap_hotplug hotplug = {.size = sizeof(hotplug), .max = 1 << 21, .block = 1 << 21};
static struct catnap_hotplug_stats hotplug_stats = {.size = sizeof(hotplug_stats)};
static struct catnap_net net;
static struct catnap_vsock vsock;
static struct catnap_console console;
static struct catnap_balloon balloon;
static struct catnap_doorbell bell;
static struct catnap_halt_poll halt_poll;
static struct catnap_poll_limit_stats poll_limit_stats = {.size = sizeof(poll_limit_stats)};
static struct catnap_vm_config config = {.size = sizeof(config)};
static struct catnap_exit ending = {.size = sizeof(ending)};
static struct catnap_vcpu_stats vcpu_stats = {.size = sizeof(vcpu_stats)};
static struct catnap_policy_stats policy_stats = {.size = sizeof(policy_stats),
						  .context_size = sizeof(policy_stats.context[0])};
static struct catnap_device_stats device_stats = {.size = sizeof(device_stats)};
static struct catnap_io_stats io_stats = {.size = sizeof(io_stats)};
static struct catnap_balloon_stats balloon_stats = {.size = sizeof(balloon_stats)};
static struct catnap_event happening = {.size = sizeof(happening)};
static struct catnap_snapshot_request snapshot_request = {.size = sizeof(snapshot_request)};
static uint64_t number;
static size_t length;
static const char *text;
static const void *bytes;
static void *pointer;
static struct catnap_vhost vhost;
static int fd;

CALL(add_disk, catnap_vm_add_disk(vm, &disk))
CALL(set_hotplug, catnap_vm_set_hotplug(vm, &hotplug))
CALL(set_hotplug_size, catnap_vm_set_hotplug_size(vm, 0))
CALL(get_hotplug_stats, catnap_vm_get_hotplug_stats(vm, &hotplug_stats))
CALL(add_pmem, catnap_vm_add_pmem(vm, &pmem))
CALL(set_pmem_limit, catnap_vm_set_pmem_limit(vm, 0, &limit))
CALL(update_disk, catnap_vm_update_disk(vm, 0, &number))
CALL(change_disk, catnap_vm_change_disk(vm, 0, &disk, &number))
CALL(remove_disk, catnap_vm_remove_disk(vm, 0))
CALL(remove_net, catnap_vm_remove_net(vm, 0))
CALL(remove_vhost, catnap_vm_remove_vhost(vm, 0))
CALL(set_disk_limit, catnap_vm_set_disk_limit(vm, 0, &limit))
CALL(set_net_limit, catnap_vm_set_net_limit(vm, 0, &limit, &limit))
CALL(set_rng_limit, catnap_vm_set_rng_limit(vm, &limit))
CALL(add_net, catnap_vm_add_net(vm, &net))
CALL(add_vhost, catnap_vm_add_vhost(vm, &vhost))
CALL(set_link, catnap_vm_set_link(vm, 0, 0))
CALL(set_vsock, catnap_vm_set_vsock(vm, &vsock))
CALL(set_console, catnap_vm_set_console(vm, &console))
CALL(console_resize, catnap_vm_console_resize(vm, 80, 25))
CALL(set_balloon, catnap_vm_set_balloon(vm, &balloon))
CALL(set_balloon_target, catnap_vm_set_balloon_target(vm, 4096))
CALL(get_balloon_stats, catnap_vm_get_balloon_stats(vm, &balloon_stats))
CALL(start, catnap_vm_start(vm))
CALL(wait_for, catnap_vm_wait(vm, CATNAP_NO_DEADLINE, &ending))
CALL(look, catnap_vm_wait(vm, 0, NULL))
CALL(flush_halt_trace, catnap_vm_flush_halt_trace(vm, &number))
CALL(get_fd, catnap_vm_get_fd(vm))
CALL(get_stopping_fd, catnap_vm_get_stopping_fd(vm))
CALL(get_paused_fd, catnap_vm_get_paused_fd(vm))
CALL(request_stop, catnap_vm_request_stop(vm))
CALL(request_pause, catnap_vm_request_pause(vm))
CALL(request_destroy, catnap_vm_request_destroy(vm, f->event_fd))
CALL(get_event_fd, catnap_vm_get_event_fd(vm))
CALL(next_event, catnap_vm_next_event(vm, &happening))
CALL(get_state, catnap_vm_get_state(vm))
CALL(get_halt_poll, catnap_vm_get_halt_poll(vm, 0, &halt_poll))
CALL(get_config, catnap_vm_get_config(vm, &config))
CALL(get_poll_limit_fd, catnap_vm_get_poll_limit_fd(vm))
CALL(learn_poll_limit, catnap_vm_learn_poll_limit(vm))
CALL(get_poll_limit_stats, catnap_vm_get_poll_limit_stats(vm, &poll_limit_stats))
CALL(get_vcpu_tid, catnap_vm_get_vcpu_tid(vm, 0))
CALL(get_io_tid, catnap_vm_get_io_tid(vm))
CALL(reset, catnap_vm_reset(vm))
CALL(request_reset, catnap_vm_request_reset(vm))
CALL(stop, catnap_vm_stop(vm))
CALL(pause_it, catnap_vm_pause(vm))
CALL(resume, catnap_vm_resume(vm))
CALL(power_button, catnap_vm_power_button(vm))
CALL(signal_msi, catnap_vm_signal_msi(vm, 0xfee00000, PROBE_VECTOR_EVENT))
CALL(add_interrupt_event, catnap_vm_add_interrupt_event(vm, f->event_fd, 0xfee00000, 0x40))
CALL(del_interrupt_event, catnap_vm_del_interrupt_event(vm, f->event_fd))
CALL(add_doorbell, catnap_vm_add_doorbell(vm, &bell, &fd))
CALL(del_doorbell, catnap_vm_del_doorbell(vm, f->doorbell_fd))
CALL(guest_memory, catnap_vm_guest_memory(vm, 0, 4096, &pointer))
CALL(snapshot, catnap_vm_snapshot(vm, &snapshot_request))
CALL(get_memory_handler_fd, catnap_vm_get_memory_handler_fd(vm))
CALL(check_memory_handler, catnap_vm_check_memory_handler(vm))
CALL(write_working_set, catnap_vm_write_working_set(vm, -1))
CALL(get_memory_fd, catnap_vm_get_memory_fd(vm))
CALL(memory_fault, catnap_vm_memory_fault(vm, &pointer))
CALL(get_acpi_table, catnap_vm_get_acpi_table(vm, 0, &text, &bytes, &length))
CALL(get_device_tree, catnap_vm_get_device_tree(vm, &bytes, &length))
CALL(set_halt_poll, catnap_vm_set_halt_poll(vm, -1, &halt_poll))
CALL(get_stats, catnap_vm_get_stats(vm, 0, &vcpu_stats))
CALL(get_policy_stats, catnap_vm_get_policy_stats(vm, 0, &policy_stats))
CALL(get_device_stats, catnap_vm_get_device_stats(vm, 0, &device_stats))
CALL(get_io_stats, catnap_vm_get_io_stats(vm, &io_stats))
CALL(sandbox_thread, catnap_vm_sandbox_thread(vm, 0))

#define ENTRY(name)         \
	{                   \
#name, name \
	}

static const struct {
	const char *name;
	int (*call)(struct catnap_vm *vm, struct fix *f);
} calls[] = {
	ENTRY(add_disk),
	ENTRY(set_hotplug),
	ENTRY(set_hotplug_size),
	ENTRY(get_hotplug_stats),
	ENTRY(add_pmem),
	ENTRY(set_pmem_limit),
	ENTRY(update_disk),
	ENTRY(change_disk),
	ENTRY(remove_disk),
	ENTRY(remove_net),
	ENTRY(remove_vhost),
	ENTRY(set_disk_limit),
	ENTRY(set_net_limit),
	ENTRY(set_rng_limit),
	ENTRY(add_net),
	ENTRY(add_vhost),
	ENTRY(set_link),
	ENTRY(set_vsock),
	ENTRY(set_console),
	ENTRY(console_resize),
	ENTRY(set_balloon),
	ENTRY(set_balloon_target),
	ENTRY(get_balloon_stats),
	ENTRY(start),
	ENTRY(wait_for),
	ENTRY(look),
	ENTRY(flush_halt_trace),
	ENTRY(get_fd),
	ENTRY(get_stopping_fd),
	ENTRY(get_paused_fd),
	ENTRY(request_stop),
	ENTRY(request_pause),
	ENTRY(request_destroy),
	ENTRY(get_event_fd),
	ENTRY(next_event),
	ENTRY(get_state),
	ENTRY(get_halt_poll),
	ENTRY(get_config),
	ENTRY(get_poll_limit_fd),
	ENTRY(learn_poll_limit),
	ENTRY(get_poll_limit_stats),
	ENTRY(get_vcpu_tid),
	ENTRY(get_io_tid),
	ENTRY(reset),
	ENTRY(request_reset),
	ENTRY(stop),
	ENTRY(pause_it),
	ENTRY(resume),
	ENTRY(power_button),
	ENTRY(signal_msi),
	ENTRY(add_interrupt_event),
	ENTRY(del_interrupt_event),
	ENTRY(add_doorbell),
	ENTRY(del_doorbell),
	ENTRY(guest_memory),
	ENTRY(snapshot),
	ENTRY(get_memory_handler_fd),
	ENTRY(check_memory_handler),
	ENTRY(write_working_set),
	ENTRY(get_memory_fd),
	ENTRY(memory_fault),
	ENTRY(get_acpi_table),
	ENTRY(get_device_tree),
	ENTRY(set_halt_poll),
	ENTRY(get_stats),
	ENTRY(get_policy_stats),
	ENTRY(get_device_stats),
	ENTRY(get_io_stats),
	ENTRY(sandbox_thread),
};

static void init_arguments(void)
{
	catnap_disk_init(&disk);
	disk.path = "/dev/null";
	catnap_pmem_init(&pmem);
	pmem.path = "/dev/null";
	catnap_net_init(&net);
	net.tap = "none";
	catnap_vsock_init(&vsock);
	vsock.cid = 3;
	vsock.path = "/nonexistent/vsock";
	catnap_console_init(&console);
	catnap_balloon_init(&balloon);
	catnap_doorbell_init(&bell);
	bell.address = 0xd0000000;
	catnap_halt_poll_init(&halt_poll);
}

static void call_everything(void *arg)
{
	struct fix *f = arg;
	struct catnap_vm *vm = f->g->vm;

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		int ret = calls[i].call(vm, f);
		const char *sentence = catnap_vm_last_error(vm);

		if (ret != -EPERM || !strstr(sentence, "child")) {
			fprintf(stderr, "child: %s: %d, \"%s\"\n", calls[i].name, ret, sentence);
			bad = 1;
		}
	}
	EXPECT(strcmp(catnap_vm_get_name(vm), "") == 0);
	EXPECT(catnap_vm_get_vcpu_count(vm) == 1);
	EXPECT(catnap_vm_serial_input(vm, "x", 1) == 0);
	EXPECT(catnap_vm_console_input(vm, "x", 1) == 0);
	EXPECT(catnap_vm_destroy(&vm) == 0);
	EXPECT(!vm);
}

static void make(struct guest *g, uint32_t irqchip, uint32_t io)
{
	struct catnap_vm_config cfg;

	guest_config(g, &cfg, "event");
	cfg.irqchip = irqchip;
	cfg.io = io;
	assert_int_equal(guest_create(g, &cfg), 0);
}

static void ends_well(struct guest *g)
{
	struct catnap_exit e = {.size = sizeof(e)};

	assert_int_equal(guest_stop(g), 0);
	assert_int_equal(catnap_vm_wait(g->vm, UINT64_C(60000000000), &e), 0);
	assert_int_equal(e.reason, CATNAP_EXIT_DEBUG);
	assert_int_equal(e.code, PROBE_EXIT_OK);
	assert_int_equal(catnap_vm_destroy(&g->vm), 0);
}

static void every_call_is_refused(struct guest *g, bool started)
{
	struct fix f = {.g = g, .event_fd = eventfd(0, EFD_CLOEXEC)};
	uint64_t signalled;

	assert_int_equal(catnap_vm_add_doorbell(g->vm, &bell, &f.doorbell_fd), 0);
	assert_int_equal(catnap_vm_add_interrupt_event(g->vm, f.event_fd, 0xfee00000,
						       PROBE_VECTOR_EVENT),
			 0);
	if (started) {
		assert_int_equal(catnap_vm_start(g->vm), 0);
		assert_true(guest_reaches(&g->shared->halting, 1));
	}
	in_child(call_everything, &f);
	assert_false(readable(catnap_vm_get_stopping_fd(g->vm)));
	assert_false(readable(catnap_vm_get_fd(g->vm)));
	if (!started) {
		assert_int_equal(catnap_vm_start(g->vm), 0);
		assert_true(guest_reaches(&g->shared->halting, 1));
	}
	assert_int_equal(catnap_vm_pause(g->vm), 0);
	assert_int_equal(catnap_vm_resume(g->vm), 0);
	/* Both are still there: the child took neither. */
	assert_int_equal(catnap_vm_del_doorbell(g->vm, f.doorbell_fd), 0);
	assert_int_equal(catnap_vm_del_interrupt_event(g->vm, f.event_fd), 0);
	assert_true(read(f.event_fd, &signalled, 0) <= 0);
	close(f.event_fd);
	ends_well(g);
}

static void a_child_can_call_nothing(void **state)
{
	static struct guest g;

	for (uint32_t irqchip = 0; irqchip < 2; irqchip++)
		for (uint32_t io = 0; io < 2; io++)
			for (int started = 0; started < 2; started++) {
				make(&g, irqchip, io);
				every_call_is_refused(&g, started);
			}
}

/* -- many ------------------------------------------------------------------------------------- */

static struct guest *guests;
static unsigned int without;

static void give_all_back(void *arg)
{
	static struct guest own;
	struct catnap_exit e = {.size = sizeof(e)};
	struct catnap_vm_config cfg;

	for (int i = 0; i < VMS; i++) {
		EXPECT(catnap_vm_pause(guests[i].vm) == -EPERM);
		EXPECT(catnap_vm_request_stop(guests[i].vm) == -EPERM);
		EXPECT(catnap_vm_destroy(&guests[i].vm) == 0);
	}
	EXPECT(descriptors() == without);
	/* And has one of its own. */
	guest_config(&own, &cfg, "start");
	EXPECT(guest_create(&own, &cfg) == 0);
	EXPECT(catnap_vm_start(own.vm) == 0);
	EXPECT(catnap_vm_wait(own.vm, UINT64_C(60000000000), &e) == 0);
	EXPECT(e.code == PROBE_EXIT_OK);
	EXPECT(catnap_vm_destroy(&own.vm) == 0);
}

static void fifty_vms_do_not_notice_a_child(void **state)
{
	struct catnap_vm_config cfg;

	if (CHILD_HAS_NO_THREADS)
		skip();
	guests = calloc(VMS, sizeof(*guests));
	assert_non_null(guests);
	without = descriptors();
	for (int i = 0; i < VMS; i++) {
		guest_config(&guests[i], &cfg, "event");
		cfg.halt_poll.policy = CATNAP_POLICY_OFF;
		assert_int_equal(guest_create(&guests[i], &cfg), 0);
		assert_int_equal(catnap_vm_start(guests[i].vm), 0);
	}
	for (int i = 0; i < VMS; i++)
		assert_true(guest_reaches(&guests[i].shared->halting, 1));
	for (int i = 0; i < 3; i++)
		in_child(give_all_back, NULL);
	for (int i = 0; i < VMS; i++) {
		assert_false(readable(catnap_vm_get_stopping_fd(guests[i].vm)));
		ends_well(&guests[i]);
	}
	assert_int_equal(descriptors(), without);
	free(guests);
}

/* -- in a callback ---------------------------------------------------------------------------- */

static struct guest forker;
static int child_status = -1;

/* Its caller is a callback of the parent's VM: neither VM is taken for the other. */
static void end_and_begin(void)
{
	static struct guest own;
	struct catnap_exit e = {.size = sizeof(e)};
	struct catnap_vm_config cfg;

	EXPECT(catnap_vm_stop(forker.vm) == -EPERM);
	EXPECT(catnap_vm_destroy(&forker.vm) == 0);
	guest_config(&own, &cfg, "start");
	EXPECT(guest_create(&own, &cfg) == 0);
	EXPECT(catnap_vm_start(own.vm) == 0);
	EXPECT(catnap_vm_wait(own.vm, UINT64_C(60000000000), &e) == 0);
	EXPECT(e.code == PROBE_EXIT_OK);
	EXPECT(catnap_vm_destroy(&own.vm) == 0);
}

/* On the thread of a vCPU. */
static void fork_once(void *ctx, const void *data, size_t len)
{
	pid_t pid;

	if (child_status >= 0)
		return;
	pid = fork();
	if (pid == 0) {
		alarm(CHILD_S);
		end_and_begin();
		_exit(bad);
	}
	if (pid < 0 || waitpid(pid, &child_status, 0) != pid)
		child_status = 256;
}

static void a_callbacks_child_can_go_on(void **state)
{
	struct catnap_exit e = {.size = sizeof(e)};
	struct catnap_vm_config cfg;

	if (CHILD_HAS_NO_THREADS)
		skip();
	guest_config(&forker, &cfg, "start");
	cfg.serial_output = fork_once;
	assert_int_equal(guest_create(&forker, &cfg), 0);
	assert_int_equal(catnap_vm_start(forker.vm), 0);
	assert_int_equal(catnap_vm_wait(forker.vm, UINT64_C(120000000000), &e), 0);
	assert_int_equal(e.code, PROBE_EXIT_OK);
	assert_int_equal(catnap_vm_destroy(&forker.vm), 0);
	assert_int_equal(child_status, 0);
}

/* -- what a copy must not touch --------------------------------------------------------------- */

static void destroy(void *arg)
{
	EXPECT(catnap_vm_destroy(arg) == 0);
}

static void *wait_for_end(void *arg)
{
	catnap_vm_wait(arg, CATNAP_NO_DEADLINE, NULL);
	return NULL;
}

static void destroy_does_not_wait_for_who_waits(void **state)
{
	static struct guest g;
	pthread_t waiter;

	make(&g, CATNAP_IRQCHIP_USER, CATNAP_IO_VCPU);
	assert_int_equal(catnap_vm_start(g.vm), 0);
	assert_int_equal(pthread_create(&waiter, NULL, wait_for_end, g.vm), 0);
	assert_true(guest_reaches(&g.shared->halting, 1));
	in_child(destroy, &g.vm);
	assert_int_equal(catnap_vm_request_stop(g.vm), 0);
	pthread_join(waiter, NULL);
	catnap_vm_destroy(&g.vm);
}

static void destroy_before_a_timer(void *arg)
{
	struct sigevent ev = {.sigev_notify = SIGEV_NONE};
	struct itimerspec left;
	timer_t timers[4];

	for (int i = 0; i < 4; i++)
		EXPECT(timer_create(CLOCK_MONOTONIC, &ev, &timers[i]) == 0);
	EXPECT(catnap_vm_destroy(arg) == 0);
	for (int i = 0; i < 4; i++)
		EXPECT(timer_gettime(timers[i], &left) == 0);
}

static void the_childs_timers_are_its_own(void **state)
{
	static struct guest g;

	for (int started = 0; started < 2; started++) {
		make(&g, CATNAP_IRQCHIP_USER, CATNAP_IO_VCPU);
		if (started)
			assert_int_equal(catnap_vm_start(g.vm), 0);
		in_child(destroy_before_a_timer, &g.vm);
		catnap_vm_destroy(&g.vm);
	}
}

static void destroy_with_memory_there(void *arg)
{
	void *was = ((void **)arg)[1];
	uint32_t *mine = mmap(was, 4096, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	EXPECT(mine == was); /* nothing is there: the child has no copy */
	if (mine == MAP_FAILED)
		return;
	*mine = 42;
	EXPECT(catnap_vm_destroy(arg) == 0);
	EXPECT(*mine == 42);
}

static void the_childs_memory_is_its_own(void **state)
{
	static struct guest g;
	void *arg[2];

	make(&g, CATNAP_IRQCHIP_USER, CATNAP_IO_VCPU);
	arg[0] = g.vm;
	assert_int_equal(catnap_vm_guest_memory(g.vm, 0, 4096, &arg[1]), 0);
	in_child(destroy_with_memory_there, arg);
	assert_int_equal(catnap_vm_start(g.vm), 0);
	assert_true(guest_reaches(&g.shared->halting, 1));
	ends_well(&g);
}

static void the_socket_stays(void **state)
{
	static struct guest g;
	char folder[] = "/tmp/catnap-fork-XXXXXX", path[64];
	struct catnap_vsock v;
	struct stat st;

	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/vsock", folder);
	make(&g, CATNAP_IRQCHIP_USER, CATNAP_IO_VCPU);
	catnap_vsock_init(&v);
	v.cid = 3;
	v.path = path;
	assert_int_equal(catnap_vm_set_vsock(g.vm, &v), 0);
	assert_int_equal(catnap_vm_start(g.vm), 0);
	in_child(destroy, &g.vm);
	assert_int_equal(lstat(path, &st), 0);
	catnap_vm_destroy(&g.vm);
	assert_true(lstat(path, &st) < 0);
	assert_int_equal(rmdir(folder), 0);
}

static void each_halt_is_written_once(void **state)
{
	static struct guest g;
	char path[] = "/tmp/catnap-fork-XXXXXX";
	struct catnap_vm_config cfg;
	off_t before, after;
	int trace = mkostemp(path, O_APPEND | O_CLOEXEC);

	assert_true(trace >= 0);
	unlink(path);
	guest_config(&g, &cfg, "event");
	cfg.halt_trace_fd = trace;
	assert_int_equal(guest_create(&g, &cfg), 0);
	assert_int_equal(catnap_vm_start(g.vm), 0);
	for (uint32_t i = 0; i < 20; i++) {
		assert_true(guest_reaches(&g.shared->halting, 1));
		assert_int_equal(guest_event(&g), 0);
		usleep(1000);
	}
	assert_int_equal(catnap_vm_pause(g.vm), 0);
	before = lseek(trace, 0, SEEK_END);
	in_child(destroy, &g.vm);
	after = lseek(trace, 0, SEEK_END);
	assert_int_equal(after, before);
	assert_int_equal(catnap_vm_resume(g.vm), 0);
	ends_well(&g);
	assert_true(lseek(trace, 0, SEEK_END) > after); /* there was something to be written */
	close(trace);
}

/* -- memory in core dumps --------------------------------------------------------------------- */

/* Has the mapping of @at @flag among its VmFlags? */
static bool has_flag(const void *at, const char *flag)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	unsigned long from, to, where = (unsigned long)(uintptr_t)at;
	bool inside = false, found = false;
	char line[512];

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			inside = from <= where && where < to;
		else if (inside && strncmp(line, "VmFlags:", 8) == 0)
			found = strstr(line, flag);
	}
	fclose(f);
	return found;
}

static void memory_is_in_no_core_dump_unless_asked_for(void **state)
{
	static struct guest g;
	struct catnap_vm_config cfg;
	void *p;

	for (uint32_t dump = 0; dump < 2; dump++) {
		guest_config(&g, &cfg, "event");
		cfg.dump_memory = dump;
		assert_int_equal(guest_create(&g, &cfg), 0);
		assert_int_equal(catnap_vm_guest_memory(g.vm, 0, 4096, &p), 0);
		assert_true(has_flag(p, " dc"));
		assert_int_equal(has_flag(p, " dd"), !dump);
		catnap_vm_destroy(&g.vm);
	}
}

/* -- the poll engine alone -------------------------------------------------------------------- */

static void use_halter(void *arg)
{
	struct catnap_policy_stats p = {.size = sizeof(p), .context_size = sizeof(p.context[0])};
	struct catnap_halt_stats s = {.size = sizeof(s)};
	struct catnap_halter *h = arg;
	struct catnap_source source;
	int event = eventfd(0, EFD_CLOEXEC);

	catnap_source_init(&source);
	source.fd = event;
	catnap_halter_wake(h, CATNAP_WORK_USER);
	EXPECT(catnap_halter_take(h) == 0);
	EXPECT(catnap_halter_halt(h, CATNAP_NO_DEADLINE, NULL) == -EPERM);
	EXPECT(!catnap_halter_enter(h));
	catnap_halter_leave(h);
	EXPECT(catnap_halter_add_eventfd(h, event) == -EPERM);
	EXPECT(catnap_halter_del_eventfd(h, event) == -EPERM);
	EXPECT(catnap_halter_add_source(h, &source) == -EPERM);
	EXPECT(catnap_halter_mod_source(h, &source) == -EPERM);
	EXPECT(catnap_halter_del_source(h, event) == -EPERM);
	EXPECT(catnap_halter_reap(h) == -EPERM);
	EXPECT(catnap_halter_set_halt_poll(h, &halt_poll) == -EPERM);
	EXPECT(catnap_halter_get_stats(h, &s) == -EPERM);
	EXPECT(catnap_halter_get_policy_stats(h, &p) == -EPERM);
	catnap_halter_destroy(&h);
	EXPECT(!h);
}

static void halters_are_their_makers(void **state)
{
	struct catnap_halter_config cfg;
	struct catnap_halter *h;
	int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), cause = -1;

	for (uint32_t flags = 0; flags <= CATNAP_HALTER_NO_RING; flags += CATNAP_HALTER_NO_RING) {
		catnap_halter_config_init(&cfg);
		cfg.flags = flags;
		assert_int_equal(catnap_halter_create(&cfg, &h), 0);
		assert_int_equal(catnap_halter_add_eventfd(h, event), 0);
		assert_int_equal(catnap_halter_halt(h, now_ns(), &cause), 0);
		in_child(use_halter, h);
		assert_int_equal(catnap_halter_take(h), 0);
		assert_int_equal(write(event, &(uint64_t){1}, 8), 8);
		assert_int_equal(catnap_halter_halt(h, CATNAP_NO_DEADLINE, &cause), 0);
		assert_int_equal(cause, CATNAP_CAUSE_EVENTFD);
		assert_int_equal(read(event, &(uint64_t){0}, 8), 8);
		catnap_halter_destroy(&h);
	}
	close(event);
}

static void tell_keeper(void *arg)
{
	struct catnap_keeper *k = arg;

	EXPECT(catnap_keeper_add_socket(k, "/tmp/none") == -EPERM);
	catnap_keeper_stop(&k);
}

static void keepers_are_their_makers(void **state)
{
	struct catnap_keeper *k;

	assert_int_equal(catnap_keeper_start(&k, CATNAP_SANDBOX_OFF, -1, NULL, NULL), 0);
	in_child(tell_keeper, k);
	assert_int_equal(catnap_keeper_add_socket(k, "/nonexistent/socket"), -ENOENT);
	catnap_keeper_stop(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_child_can_call_nothing),
		cmocka_unit_test(fifty_vms_do_not_notice_a_child),
		cmocka_unit_test(a_callbacks_child_can_go_on),
		cmocka_unit_test(destroy_does_not_wait_for_who_waits),
		cmocka_unit_test(the_childs_timers_are_its_own),
		cmocka_unit_test(the_childs_memory_is_its_own),
		cmocka_unit_test(the_socket_stays),
		cmocka_unit_test(each_halt_is_written_once),
		cmocka_unit_test(memory_is_in_no_core_dump_unless_asked_for),
		cmocka_unit_test(halters_are_their_makers),
		cmocka_unit_test(keepers_are_their_makers),
	};

	if (access("/dev/kvm", R_OK | W_OK) < 0) {
		fprintf(stderr, "/dev/kvm: %s: skipped\n", strerror(errno));
		return SKIP;
	}
	init_arguments();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
