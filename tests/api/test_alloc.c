/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests each allocation's failure: the call that needed it returns an error and leaves a sentence,
 * or does without; nothing is left behind, and the same call succeeds when it is made again.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include <cmocka.h>

#include "alloc_fail.h"
#include "guest.h"

#define MOST_POINTS 2000
#define DISK_SIZE   (64 << 10)
#define PMEM_SIZE   (2 << 20)

static const char *image; /* the same that guests are given from memory */

struct fix {
	uint32_t irqchip, io, transport, sandbox;
	char disk[80], pmem[80], socket[80];
	int event_fd;
	struct guest g;
	struct catnap_vm_config cfg;
};

static void make_file(const char *path, off_t size)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	close(fd);
}

/* True: there was one. */
static bool end_of_failures(void)
{
	bool failed = alloc_failed();

	alloc_fail_at(0);
	return failed;
}

/* -- steps ------------------------------------------------------------------------------------ */

static int create(struct fix *f)
{
	return catnap_vm_create(&f->cfg, &f->g.vm);
}

static int add_disk(struct fix *f)
{
	struct catnap_disk d;

	catnap_disk_init(&d);
	d.path = f->disk;
	d.id = "one";
	d.limit.bw = (struct catnap_bucket){.refill_ns = 1000000000, .size = 1 << 20};
	return catnap_vm_add_disk(f->g.vm, &d);
}

static int set_hotplug(struct fix *f)
{
	struct catnap_hotplug h;

	catnap_hotplug_init(&h);
	h.max = 2 << 20;
	return catnap_vm_set_hotplug(f->g.vm, &h);
}

static int add_pmem(struct fix *f)
{
	struct catnap_pmem p;

	catnap_pmem_init(&p);
	p.path = f->pmem;
	return catnap_vm_add_pmem(f->g.vm, &p);
}

static int set_vsock(struct fix *f)
{
	struct catnap_vsock v;

	catnap_vsock_init(&v);
	v.cid = 3;
	v.path = f->socket;
	return catnap_vm_set_vsock(f->g.vm, &v);
}

static int set_console(struct fix *f)
{
	struct catnap_console c;

	catnap_console_init(&c);
	return catnap_vm_set_console(f->g.vm, &c);
}

static int set_balloon(struct fix *f)
{
	struct catnap_balloon b;

	catnap_balloon_init(&b);
	return catnap_vm_set_balloon(f->g.vm, &b);
}

static int add_event(struct fix *f)
{
	return catnap_vm_add_interrupt_event(f->g.vm, f->event_fd, 0xfee00000, PROBE_VECTOR_EVENT);
}

static int add_doorbell(struct fix *f)
{
	struct catnap_doorbell bell;
	int fd;

	catnap_doorbell_init(&bell);
	bell.address = 0xd0000000;
	return catnap_vm_add_doorbell(f->g.vm, &bell, &fd);
}

static int start(struct fix *f)
{
	return catnap_vm_start(f->g.vm);
}

static const struct {
	const char *name;
	int (*run)(struct fix *f);
} steps[] = {
	{"create", create},
	{"add_disk", add_disk},
	{"add_pmem", add_pmem},
	{"set_hotplug", set_hotplug},
	{"set_vsock", set_vsock},
	{"set_console", set_console},
	{"set_balloon", set_balloon},
	{"add_event", add_event},
	{"add_doorbell", add_doorbell},
	{"start", start},
};

/* One step, in which something may fail: then with an error and a sentence, and not again. */
static void step(struct fix *f, size_t i, unsigned int point)
{
	int ret = steps[i].run(f);

	if (ret == 0)
		return;
	if (!alloc_failed() || !catnap_vm_last_error(f->g.vm)[0])
		fail_msg("%s, allocation %u: %d, \"%s\"", steps[i].name, point, ret,
			 catnap_vm_last_error(f->g.vm));
	assert_true(ret < 0);
	if (steps[i].run == create)
		assert_null(f->g.vm);
	ret = steps[i].run(f);
	if (ret != 0)
		fail_msg("%s, made again after allocation %u had failed: %d, \"%s\"", steps[i].name,
			 point, ret, catnap_vm_last_error(f->g.vm));
}

static void run_to_its_end(struct fix *f, unsigned int point)
{
	struct catnap_exit e = {.size = sizeof(e)};

	assert_int_equal(catnap_vm_wait(f->g.vm, UINT64_C(60000000000), &e), 0);
	if (e.code != PROBE_EXIT_OK)
		fail_msg("allocation %u: the guest ended with %d: %s", point, e.code, e.report);
}

/* True: there was an allocation number @point, and it failed. */
static bool life(struct fix *f, unsigned int point)
{
	guest_config(&f->g, &f->cfg, "start");
	f->cfg.irqchip = f->irqchip;
	f->cfg.io = f->io;
	f->cfg.transport = f->transport;
	f->cfg.sandbox = f->sandbox;
	if (f->io == CATNAP_IO_THREAD) {
		f->cfg.kernel_data = NULL;
		f->cfg.kernel_path = image;
	}
	f->cfg.vcpus = 2;
	f->cfg.rng = 1;
	alloc_fail_at(point);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		step(f, i, point);
	run_to_its_end(f, point);
	assert_int_equal(catnap_vm_destroy(&f->g.vm), 0);
	return end_of_failures();
}

static void each_point(uint32_t irqchip, uint32_t io, uint32_t transport, uint32_t sandbox)
{
	static struct fix f;
	unsigned int fds, memory, point = 1;
	char folder[] = "/tmp/catnap-alloc-XXXXXX";

	f.irqchip = irqchip;
	f.io = io;
	f.transport = transport;
	f.sandbox = sandbox;
	assert_non_null(mkdtemp(folder));
	snprintf(f.disk, sizeof(f.disk), "%s/disk", folder);
	snprintf(f.pmem, sizeof(f.pmem), "%s/pmem", folder);
	snprintf(f.socket, sizeof(f.socket), "%s/socket", folder);
	make_file(f.disk, DISK_SIZE);
	make_file(f.pmem, PMEM_SIZE);
	f.event_fd = eventfd(0, EFD_CLOEXEC);
	assert_false(life(&f, 0));
	fds = descriptors();
	memory = alloc_live();
	while (life(&f, point)) {
		if (alloc_live() != memory || descriptors() != fds)
			fail_msg("allocation %u: %u pieces of memory and %u descriptors are left",
				 point, alloc_live() - memory, descriptors() - fds);
		assert_true(entries(folder) == 4); /* and the socket is gone */
		assert_true(point++ < MOST_POINTS);
	}
	print_message("%u allocations\n", point - 1);
	assert_true(point > 50);
	close(f.event_fd);
	unlink(f.disk);
	unlink(f.pmem);
	assert_int_equal(rmdir(folder), 0);
}

static void user_irqchip(void **state)
{
	each_point(CATNAP_IRQCHIP_USER, CATNAP_IO_VCPU, CATNAP_TRANSPORT_PCI, CATNAP_SANDBOX_OFF);
}

static void kernel_irqchip(void **state)
{
	each_point(CATNAP_IRQCHIP_KERNEL, CATNAP_IO_VCPU, CATNAP_TRANSPORT_MMIO,
		   CATNAP_SANDBOX_OFF);
}

static void io_thread(void **state)
{
	each_point(CATNAP_IRQCHIP_USER, CATNAP_IO_THREAD, CATNAP_TRANSPORT_MMIO,
		   CATNAP_SANDBOX_OFF);
}

/* The sanitizers make system calls of their own. */
static void sandbox(void **state)
{
#ifdef SANITIZED
	skip();
#else
	each_point(CATNAP_IRQCHIP_USER, CATNAP_IO_VCPU, CATNAP_TRANSPORT_PCI, CATNAP_SANDBOX_ON);
#endif
}

/* -- the poll engine alone -------------------------------------------------------------------- */

static bool halter_life(unsigned int point)
{
	struct catnap_halter_config cfg;
	struct catnap_halt_poll params;
	struct catnap_poll_limit *l = NULL;
	struct catnap_policy *p = NULL;
	struct catnap_halter *h = NULL;
	int ret;

	catnap_halter_config_init(&cfg);
	catnap_halt_poll_init(&params);
	alloc_fail_at(point);
	ret = catnap_halter_create(&cfg, &h);
	if (ret < 0) {
		assert_int_equal(ret, -ENOMEM);
		assert_null(h);
	} else {
		assert_int_equal(catnap_halter_halt(h, now_ns(), NULL), 0);
		catnap_halter_destroy(&h);
	}
	ret = catnap_policy_create(&params, &p);
	if (ret < 0) {
		assert_int_equal(ret, -ENOMEM);
		assert_null(p);
	}
	catnap_policy_destroy(&p);
	ret = catnap_poll_limit_create(&params, &l);
	if (ret < 0) {
		assert_int_equal(ret, -ENOMEM);
		assert_null(l);
	}
	catnap_poll_limit_destroy(&l);
	return end_of_failures();
}

static void a_halter_and_a_policy(void **state)
{
	unsigned int memory = alloc_live(), point = 1;

	while (halter_life(point)) {
		assert_int_equal(alloc_live(), memory);
		point++;
	}
	assert_true(point > 3);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(user_irqchip),
		cmocka_unit_test(kernel_irqchip),
		cmocka_unit_test(io_thread),
		cmocka_unit_test(sandbox),
		cmocka_unit_test(a_halter_and_a_policy),
	};

	if (access("/dev/kvm", R_OK | W_OK) < 0) {
		fprintf(stderr, "/dev/kvm: %s: skipped\n", strerror(errno));
		return SKIP;
	}
	if (argc != 2)
		return 2;
	image = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
