/* SPDX-License-Identifier: Apache-2.0 */
/* A VM by its public interface: what is refused and how, its life, and what its statistics say. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "guest.h"

#define MS UINT64_C(1000000)

static struct catnap_vcpu_stats stats_of(struct guest *g, uint32_t vcpu)
{
	struct catnap_vcpu_stats s;

	memset(&s, 0, sizeof(s));
	s.size = sizeof(s);
	assert_int_equal(catnap_vm_get_stats(g->vm, vcpu, &s), 0);
	assert_int_equal(s.vcpu, vcpu);
	return s;
}

static struct catnap_exit end_of(struct guest *g)
{
	struct catnap_exit e;

	memset(&e, 0, sizeof(e));
	e.size = sizeof(e);
	assert_int_equal(catnap_vm_wait(g->vm, 20000 * MS, &e), 0);
	return e;
}

/* The probe has said that all went well. */
static void ended_well(struct guest *g)
{
	struct catnap_exit e = end_of(g);

	if (e.reason != CATNAP_EXIT_DEBUG || e.code != PROBE_EXIT_OK)
		fprintf(stderr, "%s%s", e.report, g->output);
	assert_int_equal(e.reason, CATNAP_EXIT_DEBUG);
	assert_int_equal(e.code, PROBE_EXIT_OK);
}

static void start(struct guest *g, const char *workload)
{
	struct catnap_vm_config cfg;

	guest_config(g, &cfg, workload);
	assert_int_equal(guest_create(g, &cfg), 0);
	assert_int_equal(catnap_vm_start(g->vm), 0);
}

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

/* -- what is refused -------------------------------------------------------------------------- */

static const char gzip[64] = "\x1f\x8b\x08";
static const char text[] = "not a kernel\n";
static char zeros[2 << 20];

struct refusal {
	void (*spoil)(struct catnap_vm_config *c);
	int error;
	const char *says; /* what the sentence must name */
};

#define SPOIL(name, assignment)                      \
	static void name(struct catnap_vm_config *c) \
	{                                            \
		assignment;                          \
	}

SPOIL(size_0, c->size = 0)
SPOIL(size_less, c->size = offsetof(struct catnap_vm_config, poll_after_guest) - 1)
SPOIL(no_vcpus, c->vcpus = 0)
SPOIL(many_vcpus, c->vcpus = CATNAP_MAX_VCPUS + 1)
SPOIL(little_memory, c->memory_size = 1 << 19)
SPOIL(odd_memory, c->memory_size += 512)
SPOIL(huge_memory, c->memory_size = UINT64_C(1) << 45)
SPOIL(bad_pages, c->memory_pages = 5)
SPOIL(odd_huge_memory, (c->memory_pages = CATNAP_PAGES_2M, c->memory_size = 5 << 20))
SPOIL(odd_giant_memory, (c->memory_pages = CATNAP_PAGES_1G, c->memory_size = 1 << 29))
SPOIL(no_nodes, c->memory_host_nodes = UINT64_C(1) << 62)
static const struct catnap_node no_host_node[] = {
	{.vcpus = 1, .memory_size = 4 << 20, .host_nodes = 1},
	{.memory_size = 4 << 20, .host_nodes = UINT64_C(1) << 62}};
SPOIL(no_host_nodes,
      (c->vcpus = 1, c->memory_size = 8 << 20, c->nodes = no_host_node, c->node_count = 2))
SPOIL(half_nodes,
      (c->vcpus = 1, c->memory_size = 8 << 20, c->nodes = no_host_node, c->node_count = 1))
SPOIL(bad_irqchip, c->irqchip = 7)
SPOIL(bad_kind, c->image_kind = 77)
SPOIL(no_kernel, c->kernel_data = NULL)
SPOIL(two_kernels, c->kernel_path = "/dev/null")
SPOIL(bad_policy, c->halt_poll.policy = 1000)
SPOIL(bad_poll_size, c->halt_poll.size = 0)
SPOIL(bad_port, c->debug_exit_port = 0x10000)
SPOIL(taken_port, c->debug_exit_port = 0x3f8)
SPOIL(bad_signal, c->kick_signal = SIGKILL)
SPOIL(not_ours, (c->poll_after_guest = 1, c->irqchip = CATNAP_IRQCHIP_KERNEL))
SPOIL(no_file, (c->kernel_data = NULL, c->kernel_path = "/nonexistent/kernel"))
SPOIL(directory, (c->kernel_data = NULL, c->kernel_path = "/"))
SPOIL(device, (c->kernel_data = NULL, c->kernel_path = "/dev/null"))
SPOIL(empty_image, c->kernel_size = 0)
SPOIL(gzip_image, (c->kernel_data = gzip, c->kernel_size = sizeof(gzip)))
SPOIL(text_image, (c->kernel_data = text, c->kernel_size = sizeof(text) - 1))
SPOIL(cut_image, c->kernel_size = 100)
SPOIL(text_as_pvh,
      (c->kernel_data = text, c->kernel_size = sizeof(text) - 1, c->image_kind = CATNAP_IMAGE_PVH))
SPOIL(large_flat, (c->kernel_data = zeros, c->kernel_size = sizeof(zeros),
		   c->image_kind = CATNAP_IMAGE_FLAT, c->memory_size = 1 << 20))

static const struct refusal refusals[] = {
	{size_0, -EINVAL, "size"},
	{size_less, -EINVAL, "size"},
	{no_vcpus, -EINVAL, "vcpus: 0"},
	{many_vcpus, -EINVAL, "vcpus: 65"},
	{little_memory, -EINVAL, "memory_size: 524288"},
	{odd_memory, -EINVAL, "memory_size: 8389120"},
	{huge_memory, -ENOMEM, "memory"},
	{bad_pages, -EINVAL, "memory_pages"},
	{odd_huge_memory, -EINVAL,
	 "memory_size: 5242880 bytes: expected a multiple of its pages, 2 MiB"},
	{odd_giant_memory, -EINVAL, "1 GiB"},
	{no_nodes, -EINVAL, "memory: host-nodes: "},
	{no_host_nodes, -EINVAL, "memory: host-nodes: not all of 62 are nodes"},
	{half_nodes, -EINVAL, "nodes: 4194304 bytes of memory are in none"},
	{bad_irqchip, -EINVAL, "irqchip"},
	{bad_kind, -EINVAL, "image_kind"},
	{no_kernel, -EINVAL, "kernel"},
	{two_kernels, -EINVAL, "kernel"},
	{bad_policy, -EINVAL, "halt_poll"},
	{bad_poll_size, -EINVAL, "halt_poll"},
	{bad_port, -EINVAL, "debug_exit_port"},
	{taken_port, -EEXIST, "0x3f8"},
	{bad_signal, -EINVAL, "kick_signal"},
	{not_ours, -EINVAL, "poll_after_guest"},
	{no_file, -ENOENT, "/nonexistent/kernel"},
	{directory, -EISDIR, "kernel /"},
	{device, -EINVAL, "/dev/null"},
	{empty_image, -ENOEXEC, "empty"},
	{gzip_image, -ENOEXEC, "gzip"},
	{text_image, -ENOEXEC, "text"},
	{cut_image, -ENOEXEC, "kernel"},
	{text_as_pvh, -ENOEXEC, "ELF"},
	{large_flat, -ENOEXEC, "0x7c00"},
};

static void bad_configurations_are_refused_with_a_sentence(void **state)
{
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		struct catnap_vm *vm = (void *)&i;
		struct catnap_vm_config cfg;
		struct guest g;
		const char *said;
		int ret;

		guest_config(&g, &cfg, "start");
		refusals[i].spoil(&cfg);
		ret = catnap_vm_create(&cfg, &vm);
		said = catnap_vm_last_error(NULL);
		if (ret != refusals[i].error || !strstr(said, refusals[i].says))
			fprintf(stderr, "refusal %zu (%s): %d, \"%s\"\n", i, refusals[i].says, ret,
				said);
		assert_int_equal(ret, refusals[i].error);
		assert_null(vm);
		assert_non_null(strstr(said, refusals[i].says));
		assert_null(strchr(said, '\n'));
	}
}

/* Built against headers in which the structure ended earlier: what stands behind it is not its. */
static void a_smaller_configuration_is_taken(void **state)
{
	struct catnap_vm_config cfg;
	struct guest g;

	guest_config(&g, &cfg, "start");
	cfg.size = offsetof(struct catnap_vm_config, poll_after_guest);
	cfg.irqchip = CATNAP_IRQCHIP_KERNEL;
	cfg.poll_after_guest = 1;
	assert_int_equal(guest_create(&g, &cfg), 0);
	catnap_vm_destroy(&g.vm);
}

static void a_larger_configuration_is_taken(void **state)
{
	struct {
		struct catnap_vm_config cfg;
		uint64_t later;
	} big;
	struct guest g;

	guest_config(&g, &big.cfg, "start");
	big.cfg.size = sizeof(big);
	assert_int_equal(guest_create(&g, &big.cfg), 0);
	catnap_vm_destroy(&g.vm);
	assert_null(g.vm);
	catnap_vm_destroy(&g.vm);
}

static void sizes_of_what_is_filled_are_checked(void **state)
{
	struct {
		struct catnap_vcpu_stats s;
		uint8_t more[32];
	} big;
	struct catnap_exit e;
	struct guest g;

	start(&g, "start");
	memset(&big, 0xee, sizeof(big));
	big.s.size = 3;
	assert_int_equal(catnap_vm_get_stats(g.vm, 0, &big.s), -EINVAL);
	big.s.size = sizeof(big);
	assert_int_equal(catnap_vm_get_stats(g.vm, 1, &big.s), -EINVAL);
	assert_int_equal(catnap_vm_get_stats(g.vm, UINT32_MAX, &big.s), -EINVAL);
	assert_int_equal(catnap_vm_get_stats(g.vm, 0, &big.s), 0);
	assert_int_equal(big.s.size, sizeof(big.s));
	assert_int_equal(big.more[0], 0xee);
	assert_int_equal(big.s.halt.size, sizeof(big.s.halt));
	/* A caller whose struct ends within the member that is the last. */
	memset(&big, 0xee, sizeof(big));
	big.s.size = offsetof(struct catnap_vcpu_stats, halt.halt_wait_ns);
	assert_int_equal(catnap_vm_get_stats(g.vm, 0, &big.s), 0);
	assert_int_equal(big.s.halt.size, offsetof(struct catnap_halt_stats, halt_wait_ns));
	assert_true(big.s.halt.halt_wait_ns == UINT64_C(0xeeeeeeeeeeeeeeee));
	memset(&e, 0xee, sizeof(e));
	e.size = 4;
	assert_int_equal(catnap_vm_wait(g.vm, 10000 * MS, &e), -EINVAL);
	e.size = offsetof(struct catnap_exit, report);
	assert_int_equal(catnap_vm_wait(g.vm, 10000 * MS, &e), 0);
	assert_int_equal(e.reason, CATNAP_EXIT_DEBUG);
	assert_int_equal((uint8_t)e.report[0], 0xee);
	assert_int_equal(catnap_vm_wait(g.vm, 0, NULL), 0);
	catnap_vm_destroy(&g.vm);
}

static void guest_memory_ends_where_it_ends(void **state)
{
	const uint64_t size = UINT64_C(8) << 20;
	struct catnap_vm_config cfg;
	struct guest g;
	void *p, *q;

	guest_config(&g, &cfg, "start");
	assert_int_equal(guest_create(&g, &cfg), 0);
	assert_int_equal(catnap_vm_guest_memory(g.vm, 0, size, &p), 0);
	assert_int_equal(catnap_vm_guest_memory(g.vm, size - 1, 1, &q), 0);
	assert_ptr_equal((char *)p + size - 1, q);
	assert_int_equal(catnap_vm_guest_memory(g.vm, size - 1, 2, &q), -EFAULT);
	assert_null(q);
	assert_int_equal(catnap_vm_guest_memory(g.vm, size, 1, &q), -EFAULT);
	assert_int_equal(catnap_vm_guest_memory(g.vm, 1, UINT64_MAX, &q), -EFAULT);
	assert_int_equal(catnap_vm_guest_memory(g.vm, UINT64_MAX, 1, &q), -EFAULT);
	assert_int_equal(catnap_vm_guest_memory(g.vm, UINT64_MAX, 2, &q), -EFAULT);
	assert_int_equal(catnap_vm_guest_memory(g.vm, 0xfee00000, 4, &q), -EFAULT);
	catnap_vm_destroy(&g.vm);
}

/* -- memory ----------------------------------------------------------------------------------- */

#define MEMORY (UINT64_C(8) << 20)

/* Resident bytes of the mapping that @at begins, by smaps; and which letter flags it has. */
static uint64_t resident(const void *at, char *flags, size_t size)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	unsigned long long start, end, kib = 0, value;
	bool here = false;
	char line[512];

	assert_non_null(f);
	flags[0] = '\0';
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%llx-%llx ", &start, &end) == 2)
			here = (uintptr_t)at >= start && (uintptr_t)at < end;
		else if (here && sscanf(line, "Rss: %llu kB", &value) == 1)
			kib += value;
		else if (here && strncmp(line, "VmFlags:", 8) == 0)
			snprintf(flags, size, "%s", line);
	}
	fclose(f);
	return kib << 10;
}

/* Returns a VM whose memory is as @spoil has it; @at: where it is. */
static void make_memory(struct guest *g, void (*set)(struct catnap_vm_config *c), void **at)
{
	struct catnap_vm_config cfg;

	guest_config(g, &cfg, "start");
	set(&cfg);
	assert_int_equal(guest_create(g, &cfg), 0);
	assert_int_equal(catnap_vm_guest_memory(g->vm, 0, MEMORY, at), 0);
}

SPOIL(as_is, c->memory_size = MEMORY)
SPOIL(shared, (c->memory_size = MEMORY, c->memory_shared = 1))
SPOIL(prefaulted, (c->memory_size = MEMORY, c->memory_prefault = 1))
SPOIL(locked, (c->memory_size = MEMORY, c->memory_lock = 1, c->memory_shared = 1))
SPOIL(transparent, (c->memory_size = MEMORY, c->memory_pages = CATNAP_PAGES_TRANSPARENT))
SPOIL(small, (c->memory_size = MEMORY, c->memory_pages = CATNAP_PAGES_SMALL))
SPOIL(node, (c->memory_size = MEMORY, c->memory_host_nodes = 1, c->memory_prefault = 1))

static const struct catnap_node two_nodes[] = {
	{.vcpus = 1, .memory_size = MEMORY / 2, .host_nodes = 1}, {.memory_size = MEMORY / 2}};
SPOIL(in_nodes, (c->vcpus = 1, c->memory_size = MEMORY, c->nodes = two_nodes, c->node_count = 2,
		 c->memory_prefault = 1))

static void memory_is_of_what_was_asked_for(void **state)
{
	static const struct {
		void (*set)(struct catnap_vm_config *c);
		uint64_t least, most;
		const char *flag, *other;
	} kinds[] = {
		{as_is, 0, MEMORY / 2, " mr ", NULL},
		{shared, 0, MEMORY / 2, " sh ", NULL},
		{prefaulted, MEMORY, MEMORY, " mr ", NULL},
		{locked, 0, MEMORY / 2, " lo ", " lf "},
		{transparent, 0, MEMORY, " hg ", NULL},
		{small, 0, MEMORY / 2, " nh ", NULL},
		{node, MEMORY, MEMORY, " mr ", NULL},
		/* Its policy makes a mapping of its own of the first half. */
		{in_nodes, MEMORY / 2, MEMORY, " mr ", NULL},
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		char flags[512];
		struct guest g;
		uint64_t rss;
		void *at;

		make_memory(&g, kinds[i].set, &at);
		rss = resident(at, flags, sizeof(flags));
		if (rss < kinds[i].least || rss > kinds[i].most || !strstr(flags, kinds[i].flag))
			fail_msg("kind %zu: %llu bytes are resident, %s", i,
				 (unsigned long long)rss, flags);
		catnap_vm_destroy(&g.vm);
	}
}

/* Another mapping of the file shows what the guest sees, and nobody makes it shorter. */
static void shared_memory_is_seen_through_its_descriptor(void **state)
{
	struct guest g;
	uint32_t *ours;
	void *theirs;
	int fd;

	make_memory(&g, shared, &theirs);
	fd = catnap_vm_get_memory_fd(g.vm);
	assert_true(fd >= 0);
	ours = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(ours != MAP_FAILED);
	((uint32_t *)theirs)[0x700000 / 4] = 0x5a5a1234;
	assert_int_equal(ours[0x700000 / 4], 0x5a5a1234);
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(ftruncate(fd, 2 * MEMORY), -1);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	munmap(ours, MEMORY);
	catnap_vm_destroy(&g.vm);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

SPOIL(huge, (c->memory_size = MEMORY, c->memory_pages = CATNAP_PAGES_2M))
SPOIL(huge_shared,
      (c->memory_size = MEMORY, c->memory_pages = CATNAP_PAGES_2M, c->memory_shared = 1))

/* They are there, or the sentence says how they are to be had; no guest dies of a SIGBUS. */
static void huge_pages_are_reserved_or_refused(void **state)
{
	static void (*const kinds[])(struct catnap_vm_config * c) = {huge, huge_shared};

	for (size_t i = 0; i < 2; i++) {
		struct catnap_vm_config cfg;
		struct catnap_balloon balloon;
		struct guest g;
		void *at;
		int ret;

		guest_config(&g, &cfg, "start");
		kinds[i](&cfg);
		ret = catnap_vm_create(&cfg, &g.vm);
		if (ret < 0) {
			const char *why = catnap_vm_last_error(NULL);

			assert_non_null(strstr(why, "memory: hugepages: this host has "));
			assert_true(strstr(why, "nr_hugepages") ||
				    strstr(why, "no pages of 2 MiB"));
			continue;
		}
		assert_int_equal(catnap_vm_guest_memory(g.vm, 0, MEMORY, &at), 0);
		assert_int_equal((uintptr_t)at % (2 << 20), 0);
		memset(at, 1, MEMORY);
		catnap_balloon_init(&balloon);
		assert_int_equal(catnap_vm_set_balloon(g.vm, &balloon), -EINVAL);
		catnap_vm_destroy(&g.vm);
	}
}

/* With no right to lock any, the sentence says what is missing. */
static void memory_that_may_not_be_locked_is_refused(void **state)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		struct rlimit none = {0, 0};
		struct catnap_vm_config cfg;
		struct guest g;
		int ret;

		if (setrlimit(RLIMIT_MEMLOCK, &none) < 0 ||
		    (getuid() == 0 && setresuid(65534, 65534, 65534) < 0))
			_exit(77);
		guest_config(&g, &cfg, "start");
		locked(&cfg);
		ret = catnap_vm_create(&cfg, &g.vm);
		if (ret == -EACCES) /* /dev/kvm is not everybody's */
			_exit(77);
		_exit(ret < 0 && strstr(catnap_vm_last_error(NULL), "memory: lock: ") ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 77));
}

/* -- life ------------------------------------------------------------------------------------- */

/* The first that starts a VM: SIGRTMIN is still as it was. */
static void the_kick_signal_is_the_callers_choice(void **state)
{
	struct sigaction before, after, other;
	struct catnap_vm_config cfg;
	struct guest g;

	sigaction(SIGRTMIN + 3, NULL, &before);
	assert_true(before.sa_handler == SIG_DFL);
	guest_config(&g, &cfg, "event");
	cfg.kick_signal = SIGRTMIN + 3;
	assert_int_equal(guest_create(&g, &cfg), 0);
	sigaction(SIGRTMIN + 3, NULL, &after);
	assert_true(after.sa_handler == SIG_DFL); /* not before the start */
	assert_int_equal(catnap_vm_start(g.vm), 0);
	sigaction(SIGRTMIN + 3, NULL, &after);
	assert_true(after.sa_handler != SIG_DFL);
	for (int signo = 1; signo <= SIGRTMAX; signo++) {
		if (signo == SIGRTMIN + 3 || sigaction(signo, NULL, &other) < 0)
			continue;
		if (signo < SIGRTMIN && other.sa_handler != SIG_DFL)
			continue; /* cmocka's or a sanitizer's */
		assert_true(other.sa_handler == SIG_DFL);
	}
	assert_true(guest_reaches(&g.shared->halting, 1));
	assert_int_equal(catnap_vm_pause(g.vm), 0);
	assert_int_equal(catnap_vm_resume(g.vm), 0);
	assert_int_equal(guest_stop(&g), 0);
	ended_well(&g);
	catnap_vm_destroy(&g.vm);
}

static void a_guest_runs_prints_and_ends(void **state)
{
	struct catnap_vm_config cfg;
	struct guest g;
	int fd;

	guest_config(&g, &cfg, "start");
	assert_int_equal(guest_create(&g, &cfg), 0);
	fd = catnap_vm_get_fd(g.vm);
	assert_false(readable(fd));
	assert_int_equal(catnap_vm_pause(g.vm), -EINVAL);
	assert_true(strlen(catnap_vm_last_error(g.vm)) > 0);
	assert_int_equal(catnap_vm_resume(g.vm), -EINVAL);
	assert_int_equal(catnap_vm_wait(g.vm, 0, NULL), -ETIMEDOUT);
	assert_int_equal(catnap_vm_start(g.vm), 0);
	assert_int_equal(catnap_vm_start(g.vm), -EALREADY);
	assert_non_null(strstr(catnap_vm_last_error(g.vm), "started"));
	ended_well(&g);
	assert_true(readable(fd));
	assert_true(readable(fd)); /* looking does not consume it */
	assert_string_equal(g.output, "probe: start workload=start abi=1\nprobe: end samples=0\n");
	assert_int_equal(catnap_vm_pause(g.vm), -EINVAL);
	assert_int_equal(catnap_vm_stop(g.vm), 0); /* too late: the reason stays */
	ended_well(&g);
	assert_true(stats_of(&g, 0).exits > 0);
	assert_true(stats_of(&g, 0).cpu_ns > 0);
	catnap_vm_destroy(&g.vm);
}

static void waiting_ends_in_time(void **state)
{
	struct guest g;
	uint64_t begin;

	start(&g, "event");
	assert_int_equal(catnap_vm_wait(g.vm, 0, NULL), -ETIMEDOUT);
	begin = now_ns();
	assert_int_equal(catnap_vm_wait(g.vm, 30 * MS, NULL), -ETIMEDOUT);
	assert_true(now_ns() - begin >= 30 * MS);
	assert_false(readable(catnap_vm_get_fd(g.vm)));
	assert_int_equal(catnap_vm_stop(g.vm), 0);
	assert_int_equal(end_of(&g).reason, CATNAP_EXIT_STOPPED);
	assert_true(readable(catnap_vm_get_fd(g.vm)));
	catnap_vm_destroy(&g.vm);
}

static void one_that_never_started_can_be_stopped(void **state)
{
	struct catnap_vm_config cfg;
	struct guest g;

	guest_config(&g, &cfg, "start");
	assert_int_equal(guest_create(&g, &cfg), 0);
	assert_int_equal(catnap_vm_stop(g.vm), 0);
	assert_int_equal(end_of(&g).reason, CATNAP_EXIT_STOPPED);
	assert_true(readable(catnap_vm_get_fd(g.vm)));
	catnap_vm_destroy(&g.vm);
}

static void paused(enum catnap_irqchip irqchip)
{
	struct catnap_vm_config cfg;
	struct guest g;
	uint32_t ticks;

	guest_config(&g, &cfg, "idle tick_hz=250");
	cfg.irqchip = irqchip;
	assert_int_equal(guest_create(&g, &cfg), 0);
	assert_int_equal(catnap_vm_start(g.vm), 0);
	assert_true(guest_reaches(&g.shared->ticks, 5));
	for (int i = 0; i < 5; i++) {
		assert_int_equal(catnap_vm_pause(g.vm), 0);
		ticks = g.shared->ticks;
		usleep(60000); /* 15 ticks */
		assert_int_equal(g.shared->ticks, ticks);
		assert_int_equal(catnap_vm_pause(g.vm), 0); /* twice is once */
		assert_int_equal(catnap_vm_resume(g.vm), 0);
		assert_true(guest_reaches(&g.shared->ticks, ticks + 5));
	}
	/* Quick ones, one upon the other. */
	for (int i = 0; i < 200; i++) {
		assert_int_equal(catnap_vm_pause(g.vm), 0);
		assert_int_equal(catnap_vm_resume(g.vm), 0);
	}
	assert_true(guest_reaches(&g.shared->ticks, g.shared->ticks + 5));
	assert_int_equal(catnap_vm_pause(g.vm), 0);
	assert_int_equal(catnap_vm_stop(g.vm), 0);
	assert_int_equal(end_of(&g).reason, CATNAP_EXIT_STOPPED);
	catnap_vm_destroy(&g.vm);
}

static void a_paused_guest_stands_still(void **state)
{
	paused(CATNAP_IRQCHIP_USER);
	paused(CATNAP_IRQCHIP_KERNEL);
}

static void a_paused_one_may_be_destroyed(void **state)
{
	struct guest g;

	start(&g, "event");
	assert_int_equal(catnap_vm_pause(g.vm), 0);
	catnap_vm_destroy(&g.vm);
	assert_null(g.vm);
}

/* -- several at once -------------------------------------------------------------------------- */

/* Did others want the processor in a halt? */
static bool gave_way(const struct catnap_halt_stats *h)
{
	return h->halt_poll_contended || h->halt_poll_pressure || h->halt_poll_throttled;
}

static void two_vms_live_in_one_process(void **state)
{
	struct catnap_vm_config ca, cb;
	struct guest a, b;

	guest_config(&a, &ca, "ipi samples=300 gap_ns=0");
	ca.vcpus = 2;
	ca.halt_poll.policy = CATNAP_POLICY_FIXED;
	guest_config(&b, &cb, "timer samples=40 gap_ns=2000000");
	cb.irqchip = CATNAP_IRQCHIP_KERNEL;
	cb.memory_size = UINT64_C(16) << 20;
	cb.kick_signal = SIGRTMIN + 1;
	assert_int_equal(guest_create(&a, &ca), 0);
	assert_int_equal(guest_create(&b, &cb), 0);
	assert_int_equal(catnap_vm_start(a.vm), 0);
	assert_int_equal(catnap_vm_start(b.vm), 0);
	ended_well(&a);
	ended_well(&b);
	assert_non_null(strstr(a.output, "workload=ipi"));
	assert_non_null(strstr(a.output, "probe: end samples=300"));
	assert_non_null(strstr(b.output, "workload=timer"));
	assert_non_null(strstr(b.output, "probe: end samples=40"));
	assert_int_equal(stats_of(&a, 1).halt.policy, CATNAP_POLICY_FIXED);
	assert_true(stats_of(&a, 0).exits_hlt >= 300);
	assert_int_equal(stats_of(&b, 0).exits_hlt, 0);
	assert_int_equal(stats_of(&b, 0).injected, 0);
	catnap_vm_destroy(&a.vm);
	catnap_vm_destroy(&b.vm);
}

static void two_vms_with_the_user_irqchip_do_not_meet(void **state)
{
	struct catnap_vm_config ca, cb;
	struct catnap_vcpu_stats of_b;
	struct guest a, b;

	guest_config(&a, &ca, "event");
	ca.halt_poll.policy = CATNAP_POLICY_OFF;
	guest_config(&b, &cb, "event");
	cb.halt_poll.policy = CATNAP_POLICY_FIXED;
	cb.halt_poll.max_ns = 5000;
	assert_int_equal(guest_create(&a, &ca), 0);
	assert_int_equal(guest_create(&b, &cb), 0);
	assert_int_equal(catnap_vm_start(a.vm), 0);
	assert_int_equal(catnap_vm_start(b.vm), 0);
	for (uint32_t n = 1; n <= 100; n++) {
		assert_true(guest_reaches(&a.shared->halting, n));
		assert_int_equal(guest_event(&a), 0);
		assert_true(guest_reaches(&a.shared->handled, n));
		if (n > 60)
			continue;
		assert_true(guest_reaches(&b.shared->halting, n));
		assert_int_equal(guest_event(&b), 0);
		assert_true(guest_reaches(&b.shared->handled, n));
	}
	assert_int_equal(b.shared->handled, 60);
	assert_int_equal(stats_of(&a, 0).halt.halt_attempted_poll, 0);
	/* On a busy host it gives way, and says so. */
	of_b = stats_of(&b, 0);
	assert_true(of_b.halt.halt_attempted_poll >= 50 || gave_way(&of_b.halt));
	assert_int_equal(stats_of(&b, 0).halt.window_ns, 5000);
	assert_int_equal(stats_of(&a, 0).injected, 100);
	assert_int_equal(stats_of(&b, 0).injected, 60);
	assert_int_equal(guest_stop(&a), 0);
	assert_int_equal(guest_stop(&b), 0);
	ended_well(&a);
	ended_well(&b);
	catnap_vm_destroy(&a.vm);
	catnap_vm_destroy(&b.vm);
}

/* -- halt polling ----------------------------------------------------------------------------- */

static void events(struct guest *g, uint32_t from, uint32_t to)
{
	for (uint32_t n = from; n <= to; n++) {
		assert_true(guest_reaches(&g->shared->halting, n));
		usleep(300); /* from the store of halting to the HLT */
		assert_int_equal(guest_event(g), 0);
		assert_true(guest_reaches(&g->shared->handled, n));
	}
}

static void to_a_polling_vcpu_an_event_costs_no_system_call(void **state)
{
	struct catnap_vcpu_stats before, after;
	struct catnap_vm_config cfg;
	struct guest g;

	guest_config(&g, &cfg, "event");
	cfg.halt_poll.policy = CATNAP_POLICY_ALWAYS;
	assert_int_equal(guest_create(&g, &cfg), 0);
	assert_int_equal(catnap_vm_start(g.vm), 0);
	events(&g, 1, 10);
	before = stats_of(&g, 0);
	events(&g, 11, 310);
	after = stats_of(&g, 0);
	assert_int_equal(g.shared->handled, 310);
	assert_in_range(after.injected - before.injected, 299, 301);
	assert_int_equal(after.halt.futex_wakes, 0);
	assert_int_equal(after.halt.halt_wait_ns, 0);
	/* Where others take our processors the guest may still be on its way to the HLT: a kick,
	 * then. */
	assert_true(after.halt.kicks_saved - before.halt.kicks_saved >= 200);
	assert_int_equal(after.halt.kicks_saved + after.halt.kicks_sent, 310);
	assert_true(after.halt.halt_poll_success_ns > before.halt.halt_poll_success_ns);
	assert_int_equal(catnap_vm_signal_msi(g.vm, 0xfee00000 | 9 << 12, PROBE_VECTOR_EVENT),
			 -EINVAL);
	assert_int_equal(guest_stop(&g), 0);
	ended_well(&g);
	catnap_vm_destroy(&g.vm);
}

static void halt_polling_changes_while_it_runs(void **state)
{
	struct catnap_vcpu_stats s[4];
	struct catnap_halt_poll p, got = {.size = sizeof(got)};
	struct guest g;

	start(&g, "event");
	catnap_halt_poll_init(&p);
	p.policy = CATNAP_POLICY_OFF;
	p.cpu_max = 1234;
	assert_int_equal(catnap_vm_set_halt_poll(g.vm, -1, &p), 0);
	assert_int_equal(catnap_vm_get_halt_poll(g.vm, 0, &got), 0);
	assert_memory_equal(&got, &p, sizeof(p));
	events(&g, 1, 5);
	s[0] = stats_of(&g, 0);
	events(&g, 6, 25);
	s[1] = stats_of(&g, 0);
	assert_int_equal(s[1].halt.policy, CATNAP_POLICY_OFF);
	assert_int_equal(s[1].halt.halt_attempted_poll, s[0].halt.halt_attempted_poll);
	assert_true(s[1].halt.halt_wait_ns > s[0].halt.halt_wait_ns);
	assert_true(s[1].halt.futex_wakes - s[0].halt.futex_wakes >= 10);
	p.policy = CATNAP_POLICY_ALWAYS;
	assert_int_equal(catnap_vm_set_halt_poll(g.vm, 0, &p), 0);
	events(&g, 26, 30); /* the halt that is under way was begun under the old one */
	s[2] = stats_of(&g, 0);
	events(&g, 31, 60);
	s[3] = stats_of(&g, 0);
	assert_int_equal(s[3].halt.policy, CATNAP_POLICY_ALWAYS);
	assert_true(s[3].halt.halt_attempted_poll >= s[2].halt.halt_attempted_poll + 20);
	assert_int_equal(s[3].halt.halt_wait_ns, s[2].halt.halt_wait_ns);
	assert_int_equal(s[3].halt.futex_wakes, s[2].halt.futex_wakes);
	assert_int_equal(catnap_vm_set_halt_poll(g.vm, 1, &p), -EINVAL);
	assert_int_equal(catnap_vm_set_halt_poll(g.vm, -2, &p), -EINVAL);
	p.policy = 500;
	assert_int_equal(catnap_vm_set_halt_poll(g.vm, 0, &p), -EINVAL);
	assert_int_equal(catnap_vm_get_halt_poll(g.vm, 0, &got), 0);
	assert_int_equal(got.policy, CATNAP_POLICY_ALWAYS);
	/* As much as a caller of the first version has room for. */
	memset(&got, 0, sizeof(got));
	got.size = 24;
	assert_int_equal(catnap_vm_get_halt_poll(g.vm, 0, &got), 0);
	assert_int_equal(got.size, 24);
	assert_int_equal(got.cpu_max, 0);
	assert_int_equal(got.policy, CATNAP_POLICY_ALWAYS);
	assert_int_equal(guest_stop(&g), 0);
	ended_well(&g);
	catnap_vm_destroy(&g.vm);
}

struct reader {
	struct guest *g;
	_Atomic bool stop;
	uint64_t reads, backwards;
};

static void *read_stats(void *arg)
{
	struct catnap_vcpu_stats s, last;
	struct reader *r = arg;

	memset(&last, 0, sizeof(last));
	while (!r->stop) {
		s.size = sizeof(s);
		if (catnap_vm_get_stats(r->g->vm, 0, &s) < 0 || s.exits < last.exits ||
		    s.halt.halt_exits < last.halt.halt_exits || s.cpu_ns < last.cpu_ns)
			r->backwards++;
		last = s;
		r->reads++;
	}
	return NULL;
}

static void statistics_may_be_read_while_it_runs(void **state)
{
	struct reader r;
	pthread_t thread;
	struct guest g;

	start(&g, "event");
	memset(&r, 0, sizeof(r));
	r.g = &g;
	assert_int_equal(pthread_create(&thread, NULL, read_stats, &r), 0);
	events(&g, 1, 100);
	assert_int_equal(guest_stop(&g), 0);
	ended_well(&g);
	usleep(2000); /* the vCPU's thread ends meanwhile */
	r.stop = true;
	pthread_join(thread, NULL);
	assert_true(r.reads > 10);
	assert_int_equal(r.backwards, 0);
	catnap_vm_destroy(&g.vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_kick_signal_is_the_callers_choice),
		cmocka_unit_test(bad_configurations_are_refused_with_a_sentence),
		cmocka_unit_test(a_smaller_configuration_is_taken),
		cmocka_unit_test(a_larger_configuration_is_taken),
		cmocka_unit_test(sizes_of_what_is_filled_are_checked),
		cmocka_unit_test(guest_memory_ends_where_it_ends),
		cmocka_unit_test(memory_is_of_what_was_asked_for),
		cmocka_unit_test(shared_memory_is_seen_through_its_descriptor),
		cmocka_unit_test(huge_pages_are_reserved_or_refused),
		cmocka_unit_test(memory_that_may_not_be_locked_is_refused),
		cmocka_unit_test(a_guest_runs_prints_and_ends),
		cmocka_unit_test(waiting_ends_in_time),
		cmocka_unit_test(one_that_never_started_can_be_stopped),
		cmocka_unit_test(a_paused_guest_stands_still),
		cmocka_unit_test(a_paused_one_may_be_destroyed),
		cmocka_unit_test(two_vms_live_in_one_process),
		cmocka_unit_test(two_vms_with_the_user_irqchip_do_not_meet),
		cmocka_unit_test(to_a_polling_vcpu_an_event_costs_no_system_call),
		cmocka_unit_test(halt_polling_changes_while_it_runs),
		cmocka_unit_test(statistics_may_be_read_while_it_runs),
	};

	if (access("/dev/kvm", R_OK | W_OK) < 0) {
		fprintf(stderr, "/dev/kvm: %s: skipped\n", strerror(errno));
		return SKIP;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
