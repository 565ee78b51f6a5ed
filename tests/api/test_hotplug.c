/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices that come and go while a guest runs that drives them (tests/guest/hotplug.c):
 * test_hotplug GUEST.
 */
#include <dirent.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "../unit/back_end.h"
#include "guest.h"

#define SECTORS 64
#define ROUNDS	50
#define SETTLED 10 /* rounds after which each thread has what it keeps for its next */
#define MARK	"end!"

struct fix {
	const char *image;
	char path[2][64];
	struct catnap_vm *vm;
	char cmdline[64];

	pthread_mutex_t lock;
	pthread_cond_t heard;
	char said[4096]; /* under the lock */
	size_t used;
};

static void output(void *ctx, const void *data, size_t len)
{
	struct fix *f = ctx;

	pthread_mutex_lock(&f->lock);
	if (len > sizeof(f->said) - 1 - f->used)
		len = sizeof(f->said) - 1 - f->used;
	memcpy(f->said + f->used, data, len);
	f->used += len;
	pthread_cond_broadcast(&f->heard);
	pthread_mutex_unlock(&f->lock);
}

/* Waits until the guest has said @what, and forgets all that it has said. */
static void hears(struct fix *f, const char *what)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 60;
	pthread_mutex_lock(&f->lock);
	while (!strstr(f->said, what))
		if (pthread_cond_timedwait(&f->heard, &f->lock, &until) == ETIMEDOUT)
			fail_msg("\"%s\" was not said: \"%s\"", what, f->said);
	memset(f->said, 0, sizeof(f->said));
	f->used = 0;
	pthread_mutex_unlock(&f->lock);
}

static void make_image(char *path, const char *text)
{
	int fd;

	snprintf(path, 64, "/tmp/test_hotplug.XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, SECTORS * 512), 0);
	assert_int_equal(pwrite(fd, text, strlen(text), 0), (ssize_t)strlen(text));
	close(fd);
}

static int setup(void **state)
{
	struct fix *f = calloc(1, sizeof(*f));

	f->image = *state;
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->heard, NULL);
	make_image(f->path[0], "another");
	make_image(f->path[1], MARK);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fix *f = *state;

	catnap_vm_destroy(&f->vm);
	unlink(f->path[0]);
	unlink(f->path[1]);
	*state = (void *)f->image;
	free(f);
	return 0;
}

static void config(struct fix *f, struct catnap_vm_config *cfg, const char *cmdline)
{
	catnap_vm_config_init(cfg);
	cfg->memory_size = UINT64_C(16) << 20;
	cfg->kernel_path = f->image;
	snprintf(f->cmdline, sizeof(f->cmdline), "%s", cmdline);
	cfg->cmdline = f->cmdline;
	cfg->debug_exit_port = EXIT_PORT;
	cfg->serial_output = output;
	cfg->serial_ctx = f;
	cfg->hotplug = 1;
}

static void make(struct fix *f, const struct catnap_vm_config *cfg)
{
	if (catnap_vm_create(cfg, &f->vm) < 0)
		fail_msg("%s", catnap_vm_last_error(NULL));
}

static void start(struct fix *f)
{
	if (catnap_vm_start(f->vm) < 0)
		fail_msg("%s", catnap_vm_last_error(f->vm));
	hears(f, "listens");
}

static int add(struct fix *f, const char *path)
{
	struct catnap_disk disk;

	catnap_disk_init(&disk);
	disk.path = path;
	return catnap_vm_add_disk(f->vm, &disk);
}

static void add_well(struct fix *f, const char *path)
{
	if (add(f, path) < 0)
		fail_msg("%s", catnap_vm_last_error(f->vm));
}

/* Waits until the guest has made its two requests of a device. */
static void is_driven(struct fix *f, uint32_t device)
{
	struct catnap_device_stats s = {.size = sizeof(s)};
	uint64_t begin = now_ns();

	do {
		assert_int_equal(catnap_vm_get_device_stats(f->vm, device, &s), 0);
		if (now_ns() - begin > UINT64_C(30000000000))
			fail_msg("device %u: %llu requests, and the guest says \"%s\"", device,
				 (unsigned long long)s.requests, f->said);
		usleep(100);
	} while (s.requests < 2 || s.inflight);
	assert_int_equal(s.errors, 0);
}

/* Waits for the next event of @type. */
static struct catnap_event happens(struct fix *f, uint32_t type)
{
	struct catnap_event e = {.size = sizeof(e)};
	struct pollfd p = {.fd = catnap_vm_get_event_fd(f->vm), .events = POLLIN};

	for (;;) {
		if (poll(&p, 1, 60000) != 1)
			fail_msg("event %u does not come", type);
		e.size = sizeof(e);
		if (catnap_vm_next_event(f->vm, &e) == 0 && e.type == type)
			return e;
	}
}

/* Removes a disk, and waits until it is gone. */
static void remove_well(struct fix *f, uint32_t disk, uint32_t device)
{
	struct catnap_device_stats s = {.size = sizeof(s)};
	struct catnap_event e;

	if (catnap_vm_remove_disk(f->vm, disk) < 0)
		fail_msg("%s", catnap_vm_last_error(f->vm));
	e = happens(f, CATNAP_EVENT_DEVICE_REMOVED);
	assert_int_equal(e.device, device);
	assert_int_equal(e.value, disk);
	assert_int_equal(e.code, 2);
	assert_non_null(strstr(e.text, "disk test_hotplug."));
	assert_true(catnap_vm_get_device_stats(f->vm, device, &s) < 0);
}

static void ends_well(struct fix *f)
{
	struct catnap_exit e = {.size = sizeof(e)};

	assert_int_equal(catnap_vm_wait(f->vm, UINT64_C(60000000000), &e), 0);
	assert_int_equal(e.reason, CATNAP_EXIT_DEBUG);
	assert_int_equal(e.code, 0x21);
}

/* How many threads there are, but for those that the kernel runs for an io_uring as it likes. */
static unsigned int threads_now(void)
{
	DIR *d = opendir("/proc/self/task");
	struct dirent *entry;
	unsigned int n = 0;

	assert_non_null(d);
	while ((entry = readdir(d))) {
		char path[300], name[32] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
		f = fopen(path, "re");
		if (!f)
			continue;
		n += fgets(name, sizeof(name), f) && strncmp(name, "iou-", 4) != 0;
		fclose(f);
	}
	closedir(d);
	return n;
}

/* What is taken of memory: bytes of the heap that this thread's calls have, and mappings. */
struct taken {
	size_t heap, mappings;
};

/* Not with a sanitizer, whose heap is another and grows as it likes. */
static struct taken memory_taken(void)
{
	struct taken t = {0, 0};
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && __GLIBC_PREREQ(2, 33)
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512];

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		t.mappings += strchr(line, '\n') != NULL;
	fclose(f);
	t.heap = mallinfo2().uordblks;
#endif
	return t;
}

/* Less than a device's smallest piece for each round, so that none is left by all of them. */
#define ROUND_BYTES 16

/* Checks that nothing was kept by @rounds rounds since @before. */
static void nothing_is_kept(struct taken before, int rounds)
{
	struct taken now = memory_taken();

	if (now.heap > before.heap + (size_t)rounds * ROUND_BYTES)
		fail_msg("%d rounds: the heap had %zu bytes, and has %zu", rounds, before.heap,
			 now.heap);
	if (now.mappings > before.mappings + 2)
		fail_msg("%d rounds: there were %zu mappings, and are %zu", rounds, before.mappings,
			 now.mappings);
}

/* Lets the marked disk come and go, which ends the guest. */
static void finish(struct fix *f, uint32_t disk, uint32_t device)
{
	add_well(f, f->path[1]);
	is_driven(f, device);
	assert_int_equal(catnap_vm_remove_disk(f->vm, disk), 0);
	ends_well(f);
}

static void rounds(struct fix *f, uint32_t irqchip, uint32_t io, uint32_t sandbox)
{
	struct catnap_vm_config cfg;
	unsigned int fds = 0, threads = 0;
	struct taken taken = {0, 0};

	config(f, &cfg, "cpus=2");
	cfg.vcpus = 2;
	cfg.irqchip = irqchip;
	cfg.io = io;
	cfg.sandbox = sandbox;
	make(f, &cfg);
	start(f);
	for (int i = 0; i < ROUNDS; i++) {
		add_well(f, f->path[0]);
		is_driven(f, 0);
		/* It is locked while it is there. */
		assert_int_equal(add(f, f->path[0]), -EBUSY);
		remove_well(f, 0, 0);
		if (i == 0) {
			fds = descriptors();
			threads = threads_now();
		}
		if (i == SETTLED)
			taken = memory_taken();
	}
	assert_int_equal(descriptors(), fds);
	assert_int_equal(threads_now(), threads);
	nothing_is_kept(taken, ROUNDS - 1 - SETTLED);
	finish(f, 0, 0);
	catnap_vm_destroy(&f->vm);
}

static void disks_come_and_go(void **state)
{
	rounds(*state, CATNAP_IRQCHIP_USER, CATNAP_IO_VCPU, CATNAP_SANDBOX_OFF);
}

static void disks_come_and_go_with_an_io_thread(void **state)
{
	rounds(*state, CATNAP_IRQCHIP_USER, CATNAP_IO_THREAD, CATNAP_SANDBOX_OFF);
}

static void disks_come_and_go_with_kvms_irqchip(void **state)
{
	rounds(*state, CATNAP_IRQCHIP_KERNEL, CATNAP_IO_VCPU, CATNAP_SANDBOX_OFF);
}

static void disks_come_and_go_in_a_sandbox(void **state)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	skip(); /* it makes system calls of its own */
#endif
	rounds(*state, CATNAP_IRQCHIP_USER, CATNAP_IO_VCPU, CATNAP_SANDBOX_ON);
}

/* The guest keeps it for as long as it likes, and can be asked again. */
static void a_guest_keeps_what_it_uses(void **state)
{
	struct catnap_vm_config cfg;
	struct fix *f = *state;
	struct catnap_device_stats s = {.size = sizeof(s)};

	config(f, &cfg, "keep=2");
	make(f, &cfg);
	start(f);
	add_well(f, f->path[0]);
	is_driven(f, 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(catnap_vm_remove_disk(f->vm, 0), 0);
		hears(f, "keeps");
		assert_int_equal(catnap_vm_get_device_stats(f->vm, 0, &s), 0);
		assert_int_equal(catnap_vm_update_disk(f->vm, 0, NULL), 0);
	}
	remove_well(f, 0, 0);
	assert_int_equal(catnap_vm_update_disk(f->vm, 0, NULL), -ENOENT);
	finish(f, 0, 0);
}

/* It may also say so, and can be asked again. */
static void a_guest_refuses(void **state)
{
	struct catnap_vm_config cfg;
	struct catnap_event e;
	struct fix *f = *state;

	config(f, &cfg, "refuse=2");
	make(f, &cfg);
	start(f);
	add_well(f, f->path[0]);
	is_driven(f, 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(catnap_vm_remove_disk(f->vm, 0), 0);
		hears(f, "refuses");
		e = happens(f, CATNAP_EVENT_DEVICE_KEPT);
		assert_int_equal(e.device, 0);
		assert_int_equal(e.value, 0);
		assert_int_equal(e.code, 0x82);
		assert_non_null(strstr(e.text, "disk test_hotplug."));
		assert_non_null(strstr(e.text, "the guest keeps it: it is busy"));
		e.size = sizeof(e);
		assert_int_equal(catnap_vm_next_event(f->vm, &e), -EAGAIN);
		assert_int_equal(catnap_vm_update_disk(f->vm, 0, NULL), 0);
	}
	remove_well(f, 0, 0);
	finish(f, 0, 0);
}

/* A guest cannot give away what it was not asked for. */
static void what_nobody_asked_for_stays(void **state)
{
	struct catnap_vm_config cfg;
	struct fix *f = *state;

	config(f, &cfg, "greedy=1");
	make(f, &cfg);
	start(f);
	add_well(f, f->path[0]);
	is_driven(f, 0);
	remove_well(f, 0, 0);
	finish(f, 0, 0);
}

/* Numbers are stable, and those that are free are used again, the lowest first. */
static void numbers_are_used_again(void **state)
{
	struct catnap_device_stats s = {.size = sizeof(s)};
	char paths[16][64];
	struct catnap_vm_config cfg;
	struct fix *f = *state;

	config(f, &cfg, "");
	cfg.rng = 1;
	make(f, &cfg);
	start(f);
	for (uint32_t i = 0; i < 15; i++) {
		make_image(paths[i], "one of many");
		add_well(f, paths[i]);
		is_driven(f, i + 1);
	}
	assert_int_equal(add(f, f->path[0]), -ENOSPC);
	remove_well(f, 3, 4);
	assert_int_equal(catnap_vm_get_device_stats(f->vm, 4, &s), -ENODEV);
	assert_int_equal(catnap_vm_get_device_stats(f->vm, 5, &s), 0);
	assert_non_null(strstr(s.name, paths[4] + strlen("/tmp/")));
	assert_int_equal(catnap_vm_update_disk(f->vm, 3, NULL), -ENOENT);
	assert_int_equal(catnap_vm_update_disk(f->vm, 4, NULL), 0);
	assert_int_equal(catnap_vm_remove_disk(f->vm, 3), -ENOENT);
	assert_int_equal(catnap_vm_remove_net(f->vm, 0), -ENOENT);
	add_well(f, f->path[0]);
	is_driven(f, 4);
	assert_int_equal(catnap_vm_update_disk(f->vm, 3, NULL), 0);
	remove_well(f, 14, 15);
	assert_int_equal(catnap_vm_get_device_stats(f->vm, 15, &s), -ENOENT);
	finish(f, 14, 15);
	for (uint32_t i = 0; i < 15; i++)
		unlink(paths[i]);
}

/* One that was there from the start can go as well, and an interface's other end is closed. */
static void an_interface_goes(void **state)
{
	struct catnap_vm_config cfg;
	struct fix *f = *state;
	struct catnap_net net;
	struct pollfd p = {.events = POLLIN};
	struct catnap_event e;
	int pair[2];
	char byte;

	config(f, &cfg, "cpus=2");
	cfg.vcpus = 2;
	make(f, &cfg);
	add_well(f, f->path[0]);
	start(f);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
					    pair),
				 0);
		catnap_net_init(&net);
		net.stream_fd = pair[0];
		assert_int_equal(catnap_vm_add_net(f->vm, &net), 0);
		assert_int_equal(catnap_vm_set_link(f->vm, 1, 0), 0);
		assert_int_equal(catnap_vm_set_link(f->vm, 1, 1), 0);
		assert_int_equal(read(pair[1], &byte, 1), -1);
		assert_int_equal(catnap_vm_remove_net(f->vm, 0), 0);
		e = happens(f, CATNAP_EVENT_DEVICE_REMOVED);
		assert_int_equal(e.device, 1);
		p.fd = pair[1];
		assert_int_equal(poll(&p, 1, 60000), 1);
		assert_int_equal(read(pair[1], &byte, 1), 0);
		close(pair[1]);
	}
	remove_well(f, 0, 0);
	finish(f, 0, 0);
}

/* -- folders ---------------------------------------------------------------------------------- */

#define FOLDER	      26
#define FOLDER_ROUNDS 20

/* Adds a folder that @b serves, over a connection. */
static void add_folder(struct fix *f, struct back *b)
{
	struct catnap_vhost v;

	back_init(b);
	catnap_vhost_init(&v);
	v.type = FOLDER;
	v.tag = "work";
	v.fd = back_begin(b);
	if (catnap_vm_add_vhost(f->vm, &v) < 0)
		fail_msg("%s", catnap_vm_last_error(f->vm));
}

/* Removes the only device, a folder, and waits until it is gone. */
static void remove_folder_called(struct fix *f, const char *name)
{
	struct catnap_device_stats s = {.size = sizeof(s)};
	struct catnap_event e;

	if (catnap_vm_remove_vhost(f->vm, 0) < 0)
		fail_msg("%s", catnap_vm_last_error(f->vm));
	e = happens(f, CATNAP_EVENT_DEVICE_REMOVED);
	assert_int_equal(e.device, 0);
	assert_int_equal(e.value, UINT32_MAX);
	assert_int_equal(e.code, FOLDER);
	assert_non_null(strstr(e.text, name));
	assert_true(catnap_vm_get_device_stats(f->vm, 0, &s) < 0);
}

static void remove_folder(struct fix *f)
{
	remove_folder_called(f, "fs descriptor");
}

static void folder_config(struct fix *f, struct catnap_vm_config *cfg, const char *cmdline)
{
	config(f, cfg, cmdline);
	cfg->vcpus = 2;
	cfg->memory_shared = 1;
}

static void folder_rounds(struct fix *f, uint32_t irqchip, uint32_t io, uint32_t sandbox)
{
	unsigned int fds = 0, threads = 0;
	struct catnap_vm_config cfg;
	struct taken taken = {0, 0};
	struct back b;

	folder_config(f, &cfg, "fill=1 cpus=2");
	cfg.irqchip = irqchip;
	cfg.io = io;
	cfg.sandbox = sandbox;
	make(f, &cfg);
	start(f);
	for (int i = 0; i < FOLDER_ROUNDS; i++) {
		add_folder(f, &b);
		hears(f, "served");
		assert_int_equal(atomic_load(&b.requests), 1);
		remove_folder(f);
		/* It ends by itself: the connection is closed. */
		assert_int_equal(pthread_join(b.thread, NULL), 0);
		if (i == 0) {
			fds = descriptors();
			threads = threads_now();
		}
		if (i == SETTLED)
			taken = memory_taken();
	}
	assert_int_equal(descriptors(), fds);
	assert_int_equal(threads_now(), threads);
	nothing_is_kept(taken, FOLDER_ROUNDS - 1 - SETTLED);
	finish(f, 0, 0);
	catnap_vm_destroy(&f->vm);
}

static void folders_come_and_go(void **state)
{
	folder_rounds(*state, CATNAP_IRQCHIP_USER, CATNAP_IO_VCPU, CATNAP_SANDBOX_OFF);
}

static void folders_come_and_go_with_an_io_thread(void **state)
{
	folder_rounds(*state, CATNAP_IRQCHIP_USER, CATNAP_IO_THREAD, CATNAP_SANDBOX_OFF);
}

static void folders_come_and_go_with_kvms_irqchip(void **state)
{
	folder_rounds(*state, CATNAP_IRQCHIP_KERNEL, CATNAP_IO_VCPU, CATNAP_SANDBOX_OFF);
}

static void folders_come_and_go_in_a_sandbox(void **state)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	skip(); /* it makes system calls of its own */
#endif
	folder_rounds(*state, CATNAP_IRQCHIP_KERNEL, CATNAP_IO_THREAD, CATNAP_SANDBOX_ON);
}

/* One that was there from the start, whose calls do not leave the kernel, goes as well; and so does
 * one whose back end has gone before. */
static void a_folder_goes_with_a_back_end_or_without(void **state)
{
	struct catnap_vm_config cfg;
	struct fix *f = *state;
	struct back b;

	folder_config(f, &cfg, "fill=1");
	cfg.irqchip = CATNAP_IRQCHIP_KERNEL;
	make(f, &cfg);
	add_folder(f, &b);
	start(f);
	remove_folder(f);
	assert_int_equal(pthread_join(b.thread, NULL), 0);
	add_folder(f, &b);
	hears(f, "served");
	back_end(&b);
	happens(f, CATNAP_EVENT_DEVICE_NEEDS_RESET);
	remove_folder(f);
	finish(f, 0, 0);
}

static void folders_that_cannot_be_are_refused(void **state)
{
	struct catnap_vm_config cfg;
	struct fix *f = *state;
	struct catnap_vhost v;
	struct back b;
	char place[80];

	catnap_vhost_init(&v);
	v.type = FOLDER;
	v.tag = "work";
	v.socket = "/nonexistent/socket";
	config(f, &cfg, "");
	make(f, &cfg);
	start(f);
	assert_int_equal(catnap_vm_add_vhost(f->vm, &v), -EINVAL);
	assert_non_null(strstr(catnap_vm_last_error(f->vm), "memory that is shared"));
	add_well(f, f->path[0]);
	is_driven(f, 0);
	assert_int_equal(catnap_vm_remove_vhost(f->vm, 0), -EINVAL);
	assert_non_null(strstr(catnap_vm_last_error(f->vm), "no back end of its own"));
	assert_int_equal(catnap_vm_remove_vhost(f->vm, 1), -ENOENT);
	catnap_vm_destroy(&f->vm);
	folder_config(f, &cfg, "fill=1");
	cfg.sandbox = CATNAP_SANDBOX_LOG;
	make(f, &cfg);
	start(f);
	assert_int_equal(catnap_vm_add_vhost(f->vm, &v), -ENOENT);
	/* There, and to be taken back if it goes. */
	snprintf(place, sizeof(place), "%s.socket", f->path[0]);
	v.socket = place;
	back_init(&b);
	back_listen(&b, v.socket);
	assert_int_equal(catnap_vm_add_vhost(f->vm, &v), -ENOTSUP);
	assert_non_null(strstr(catnap_vm_last_error(f->vm), "expected no_reconnect"));
	back_end(&b);
	v.no_reconnect = 1;
	back_init(&b);
	back_listen(&b, v.socket);
	assert_int_equal(catnap_vm_add_vhost(f->vm, &v), 0);
	hears(f, "served");
	/* A guest mounts by the tag. */
	assert_int_equal(catnap_vm_add_vhost(f->vm, &v), -EEXIST);
	assert_non_null(strstr(catnap_vm_last_error(f->vm), "\"work\" is that of another folder"));
	remove_folder_called(f, "fs /tmp/test_hotplug.");
	back_end(&b);
	unlink(v.socket);
	finish(f, 0, 0);
}

/* The guest begins anew: what it was asked for has gone by that, and what is there is in its place. */
static void a_reset_lets_go(void **state)
{
	struct catnap_device_stats s = {.size = sizeof(s)};
	struct catnap_vm_config cfg;
	struct fix *f = *state;
	struct catnap_event e;

	config(f, &cfg, "keep=1");
	cfg.on_reset = CATNAP_ON_RESET_RESTART;
	make(f, &cfg);
	add_well(f, f->path[0]);
	start(f);
	assert_int_equal(catnap_vm_remove_disk(f->vm, 0), 0);
	hears(f, "keeps");
	assert_int_equal(catnap_vm_reset(f->vm), 0);
	e = happens(f, CATNAP_EVENT_DEVICE_REMOVED);
	assert_int_equal(e.device, 0);
	assert_int_equal(catnap_vm_get_device_stats(f->vm, 0, &s), -ENOENT);
	hears(f, "listens");
	add_well(f, f->path[0]);
	is_driven(f, 0);
}

/* It stands still: it is told, and lets go, when it goes on. */
static void a_pause_holds_it_up(void **state)
{
	struct catnap_device_stats s = {.size = sizeof(s)};
	struct catnap_vm_config cfg;
	struct fix *f = *state;
	char other[64];

	make_image(other, "a third");
	config(f, &cfg, "");
	make(f, &cfg);
	start(f);
	add_well(f, f->path[0]);
	is_driven(f, 0);
	assert_int_equal(catnap_vm_pause(f->vm), 0);
	assert_int_equal(catnap_vm_remove_disk(f->vm, 0), 0);
	add_well(f, other);
	assert_int_equal(catnap_vm_get_device_stats(f->vm, 0, &s), 0);
	assert_int_equal(catnap_vm_get_device_stats(f->vm, 1, &s), 0);
	assert_int_equal(s.requests, 0);
	assert_int_equal(catnap_vm_resume(f->vm), 0);
	happens(f, CATNAP_EVENT_DEVICE_REMOVED);
	is_driven(f, 1);
	remove_well(f, 1, 1);
	finish(f, 0, 0);
	unlink(other);
}

/* A VM may be taken apart amid it all. */
static void the_end_comes_first(void **state)
{
	struct catnap_vm_config cfg;
	struct fix *f = *state;

	for (int i = 0; i < 20; i++) {
		config(f, &cfg, i & 1 ? "cpus=2" : "keep=1000000");
		cfg.vcpus = 2;
		make(f, &cfg);
		start(f);
		add_well(f, f->path[0]);
		if (i & 2)
			is_driven(f, 0);
		assert_int_equal(catnap_vm_remove_disk(f->vm, 0), 0);
		usleep((useconds_t)(i * 100));
		catnap_vm_destroy(&f->vm);
	}
}

static void refused(struct fix *f, int ret, int expected, const char *what)
{
	assert_int_equal(ret, expected);
	if (!strstr(catnap_vm_last_error(f->vm), what))
		fail_msg("\"%s\" lacks \"%s\"", catnap_vm_last_error(f->vm), what);
}

/* Another guest, which has no driver. */
static void probe(struct catnap_vm_config *cfg)
{
	cfg->kernel_path = NULL;
	cfg->kernel_data = probe_image;
	cfg->kernel_size = probe_image_size;
	cfg->cmdline = "workload=idle exit=244";
}

static void what_cannot_be_is_refused(void **state)
{
	struct catnap_vm_config cfg;
	struct fix *f = *state;

	config(f, &cfg, "");
	cfg.transport = CATNAP_TRANSPORT_MMIO;
	refused(f, catnap_vm_create(&cfg, &f->vm), -EINVAL,
		"hotplug: devices come and go on the PCI");
	cfg.transport = CATNAP_TRANSPORT_PCI;
	cfg.hw = CATNAP_HW_FDT;
	refused(f, catnap_vm_create(&cfg, &f->vm), -EINVAL, "hotplug: ACPI tells the guest");
	cfg.hw = CATNAP_HW_ACPI;
	cfg.no_rings = 1;
	refused(f, catnap_vm_create(&cfg, &f->vm), -EINVAL,
		"hotplug: the VM was made with no_rings");
	cfg.no_rings = 0;
	cfg.debug_exit_port = 0xae02;
	refused(f, catnap_vm_create(&cfg, &f->vm), -EEXIST, "PCI hotplug");
	cfg.debug_exit_port = EXIT_PORT;
	cfg.hotplug = 0;
	probe(&cfg);
	make(f, &cfg);
	add_well(f, f->path[0]);
	assert_int_equal(catnap_vm_start(f->vm), 0);
	refused(f, catnap_vm_remove_disk(f->vm, 0), -ENOTSUP, "made with hotplug");
	refused(f, add(f, f->path[1]), -EINVAL, "made with hotplug");
	catnap_vm_destroy(&f->vm);
	config(f, &cfg, "");
	make(f, &cfg);
	add_well(f, f->path[0]);
	refused(f, catnap_vm_remove_disk(f->vm, 0), -EINVAL, "does not run");
	catnap_vm_destroy(&f->vm);
	/* One that does not listen: the probe has no driver. */
	probe(&cfg);
	make(f, &cfg);
	add_well(f, f->path[0]);
	assert_int_equal(catnap_vm_start(f->vm), 0);
	refused(f, catnap_vm_remove_disk(f->vm, 0), -ENXIO, "does not listen");
	assert_int_equal(add(f, f->path[1]), 0);
	assert_int_equal(catnap_vm_stop(f->vm), 0);
	refused(f, catnap_vm_remove_disk(f->vm, 0), -EINVAL, "does not run");
	refused(f, add(f, f->path[1]), -EINVAL, "has ended");
}

int main(int argc, char **argv)
{
	struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(disks_come_and_go, setup, teardown),
		cmocka_unit_test_setup_teardown(disks_come_and_go_with_an_io_thread, setup,
						teardown),
		cmocka_unit_test_setup_teardown(disks_come_and_go_with_kvms_irqchip, setup,
						teardown),
		cmocka_unit_test_setup_teardown(disks_come_and_go_in_a_sandbox, setup, teardown),
		cmocka_unit_test_setup_teardown(folders_come_and_go, setup, teardown),
		cmocka_unit_test_setup_teardown(folders_come_and_go_with_an_io_thread, setup,
						teardown),
		cmocka_unit_test_setup_teardown(folders_come_and_go_with_kvms_irqchip, setup,
						teardown),
		cmocka_unit_test_setup_teardown(folders_come_and_go_in_a_sandbox, setup, teardown),
		cmocka_unit_test_setup_teardown(a_folder_goes_with_a_back_end_or_without, setup,
						teardown),
		cmocka_unit_test_setup_teardown(folders_that_cannot_be_are_refused, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_guest_keeps_what_it_uses, setup, teardown),
		cmocka_unit_test_setup_teardown(a_guest_refuses, setup, teardown),
		cmocka_unit_test_setup_teardown(what_nobody_asked_for_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(numbers_are_used_again, setup, teardown),
		cmocka_unit_test_setup_teardown(an_interface_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(a_reset_lets_go, setup, teardown),
		cmocka_unit_test_setup_teardown(a_pause_holds_it_up, setup, teardown),
		cmocka_unit_test_setup_teardown(the_end_comes_first, setup, teardown),
		cmocka_unit_test_setup_teardown(what_cannot_be_is_refused, setup, teardown),
	};

	if (argc < 2)
		return 2;
	if (access("/dev/kvm", R_OK | W_OK) < 0)
		return SKIP;
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tests[i].initial_state = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
