/* SPDX-License-Identifier: Apache-2.0 */
/* Eventfds as interrupts of the guest's, and as its doorbells. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <sys/syscall.h>
#include <cmocka.h>

#include "guest.h"

#define MSI UINT64_C(0xfee00000)

/* The ways to run a VM that each test is made for. */
struct way {
	uint32_t irqchip, policy, io, sandbox;
};

static const struct way ways[] = {
	{CATNAP_IRQCHIP_USER, CATNAP_POLICY_OFF, CATNAP_IO_VCPU, CATNAP_SANDBOX_OFF},
	{CATNAP_IRQCHIP_USER, CATNAP_POLICY_ALWAYS, CATNAP_IO_VCPU, CATNAP_SANDBOX_OFF},
	{CATNAP_IRQCHIP_USER, CATNAP_POLICY_KERNEL, CATNAP_IO_THREAD, CATNAP_SANDBOX_OFF},
	{CATNAP_IRQCHIP_KERNEL, CATNAP_POLICY_KERNEL, CATNAP_IO_VCPU, CATNAP_SANDBOX_OFF},
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	{CATNAP_IRQCHIP_USER, CATNAP_POLICY_KERNEL, CATNAP_IO_VCPU, CATNAP_SANDBOX_ON},
#endif
};
#define WAYS (sizeof(ways) / sizeof(ways[0]))

static void make(struct guest *g, const struct way *w, const char *workload)
{
	struct catnap_vm_config cfg;

	guest_config(g, &cfg, workload);
	cfg.irqchip = w->irqchip;
	cfg.halt_poll.policy = w->policy;
	cfg.io = w->io;
	cfg.sandbox = w->sandbox;
	assert_int_equal(guest_create(g, &cfg), 0);
}

static int event(int flags)
{
	int fd = eventfd(0, EFD_CLOEXEC | flags);

	assert_true(fd >= 0);
	return fd;
}

static void signal_fd(int fd)
{
	assert_int_equal(write(fd, &(uint64_t){1}, 8), 8);
}

static void an_eventfd_interrupts_the_guest(void **state)
{
	for (size_t i = 0; i < WAYS; i++) {
		int fd = event(i % 2 ? 0 : EFD_NONBLOCK); /* either kind */
		struct guest g;

		make(&g, &ways[i], "event");
		assert_int_equal(catnap_vm_add_interrupt_event(g.vm, fd, MSI, PROBE_VECTOR_EVENT),
				 0);
		assert_int_equal(catnap_vm_start(g.vm), 0);
		for (uint32_t n = 1; n <= 200; n++) {
			assert_true(guest_reaches(&g.shared->halting, n));
			signal_fd(fd);
			assert_true(guest_reaches(&g.shared->handled, n));
		}
		/* Without io_uring it is the I/O thread's, in any case. */
		if (ways[i].irqchip == CATNAP_IRQCHIP_USER && ways[i].io == CATNAP_IO_VCPU &&
		    has_uring()) {
			struct catnap_vcpu_stats s = {.size = sizeof(s)};

			assert_int_equal(catnap_vm_get_stats(g.vm, 0, &s), 0);
			assert_true(s.halt.wakeups[CATNAP_CAUSE_EVENTFD] > 100);
		}
		/* Removed, it is only an eventfd. */
		assert_int_equal(catnap_vm_del_interrupt_event(g.vm, fd), 0);
		assert_int_equal(catnap_vm_del_interrupt_event(g.vm, fd), -ENOENT);
		assert_true(guest_reaches(&g.shared->halting, 201));
		signal_fd(fd);
		usleep(20000);
		assert_int_equal(g.shared->handled, 200);
		assert_int_equal(guest_stop(&g), 0);
		catnap_vm_destroy(&g.vm);
		close(fd);
	}
}

static void events_come_and_go_while_it_runs(void **state)
{
	for (size_t i = 0; i < WAYS; i++) {
		struct guest g;

		if (ways[i].sandbox)
			continue;
		make(&g, &ways[i], "event");
		assert_int_equal(catnap_vm_start(g.vm), 0);
		for (uint32_t n = 1; n <= 20; n++) {
			int fd = event(0);

			assert_int_equal(catnap_vm_add_interrupt_event(g.vm, fd, MSI,
								       PROBE_VECTOR_EVENT),
					 0);
			assert_int_equal(catnap_vm_add_interrupt_event(g.vm, fd, MSI,
								       PROBE_VECTOR_EVENT),
					 -EEXIST);
			assert_true(guest_reaches(&g.shared->halting, n));
			signal_fd(fd);
			assert_true(guest_reaches(&g.shared->handled, n));
			assert_int_equal(catnap_vm_del_interrupt_event(g.vm, fd), 0);
			close(fd);
		}
		assert_int_equal(guest_stop(&g), 0);
		catnap_vm_destroy(&g.vm);
	}
}

/* Interrupts that come just when the guest is entered, while the one before is still in service: a
 * guest that computes does not exit by itself, so one that was forgotten stays forgotten. */
static void a_guest_that_computes_is_interrupted(void **state)
{
#ifdef __SANITIZE_THREAD__
	/* ThreadSanitizer keeps signals back until the thread's next call that it knows. So a kick
	 * between the last look and KVM_RUN comes to nothing, which other guests make good at their
	 * next exit, and this one, without any, never. */
	skip();
#endif
	for (size_t i = 0; i < WAYS; i++) {
		char path[] = "/tmp/test_events.XXXXXX";
		int fd = event(EFD_NONBLOCK), file = mkstemp(path);
		struct catnap_disk disk;
		struct guest g;
		void *progress;
		uint64_t end;

		assert_true(file >= 0);
		assert_int_equal(ftruncate(file, 1 << 20), 0);
		make(&g, &ways[i], "compute disk=1 pv_eoi=1 ecam=3758096384");
		catnap_disk_init(&disk);
		disk.path = path;
		if (catnap_vm_add_disk(g.vm, &disk) < 0)
			fail_msg("%s", catnap_vm_last_error(g.vm));
		assert_int_equal(catnap_vm_add_interrupt_event(g.vm, fd, MSI, PROBE_VECTOR_EVENT),
				 0);
		assert_int_equal(catnap_vm_start(g.vm), 0);
		/* Its local APIC takes nothing before. */
		assert_int_equal(catnap_vm_guest_memory(g.vm, PROBE_PROGRESS_GPA, 8, &progress), 0);
		assert_true(guest_reaches(progress, 1));
		/* Handled, it goes on to the disk's doorbell: the next comes about then. */
		end = now_ns() + 500000000;
		for (uint32_t n = 1; now_ns() < end; n++) {
			uint64_t until = now_ns() + n % 64 * 1000;

			while (now_ns() < until)
				;
			signal_fd(fd);
			for (until = now_ns() + 5000000;
			     __atomic_load_n(&g.shared->handled, __ATOMIC_ACQUIRE) < n;)
				if (now_ns() > until)
					assert_true(guest_reaches(&g.shared->handled, n));
		}
		assert_int_equal(guest_stop(&g), 0);
		catnap_vm_destroy(&g.vm);
		close(file);
		unlink(path);
		close(fd);
	}
}

/* A vCPU that is halted inside KVM, with a socket armed in its ring: KVM_RUN has to be left now and
 * then (vcpu.c says why), but a machine that does nothing is not to be busy with that. */
static void an_idle_guest_is_left_alone(void **state)
{
	const struct way w = {CATNAP_IRQCHIP_KERNEL, CATNAP_POLICY_KERNEL, CATNAP_IO_VCPU,
			      CATNAP_SANDBOX_OFF};
	struct catnap_vcpu_stats before = {.size = sizeof(before)}, after = before;
	char path[] = "/tmp/test_events.XXXXXX";
	struct catnap_vsock vsock;
	struct guest g;

	assert_non_null(mkdtemp(path));
	make(&g, &w, "idle");
	catnap_vsock_init(&vsock);
	vsock.cid = 0x60000000u + (uint32_t)getpid();
	strcat(g.output, path);
	strcat(g.output, "/s");
	vsock.path = g.output;
	if (catnap_vm_set_vsock(g.vm, &vsock) < 0)
		fail_msg("%s", catnap_vm_last_error(g.vm));
	g.output[0] = '\0';
	assert_int_equal(catnap_vm_start(g.vm), 0);
	assert_true(guest_reaches(&g.shared->magic, PROBE_MAGIC));
	usleep(500000);
	assert_int_equal(catnap_vm_get_stats(g.vm, 0, &before), 0);
	usleep(1000000);
	assert_int_equal(catnap_vm_get_stats(g.vm, 0, &after), 0);
	/* About 8; a slow host makes it fewer. */
	assert_in_range(after.exits_signal - before.exits_signal, 0, 50);
	assert_int_equal(guest_stop(&g), 0);
	catnap_vm_destroy(&g.vm);
	rmdir(path);
}

static void what_cannot_be_an_interrupt_is_refused(void **state)
{
	int fds[33];
	struct guest g;

	make(&g, &ways[0], "event");
	assert_int_equal(catnap_vm_add_interrupt_event(g.vm, -1, MSI, 0x41), -EBADF);
	assert_int_equal(catnap_vm_add_interrupt_event(g.vm, 0, 0x1000, 0x41), -EINVAL);
	assert_non_null(strstr(catnap_vm_last_error(g.vm), "0xfee00000"));
	assert_int_equal(catnap_vm_del_interrupt_event(g.vm, -1), -ENOENT);
	for (int i = 0; i < 33; i++) {
		fds[i] = event(0);
		assert_int_equal(catnap_vm_add_interrupt_event(g.vm, fds[i], MSI, 0x41),
				 i < 32 ? 0 : -ENOSPC);
	}
	catnap_vm_destroy(&g.vm);
	for (int i = 0; i < 33; i++)
		close(fds[i]);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	fds[0] = event(0);
	make(&g, &ways[WAYS - 1], "event");
	assert_int_equal(catnap_vm_start(g.vm), 0);
	assert_int_equal(catnap_vm_add_interrupt_event(g.vm, fds[0], MSI, 0x41), -EPERM);
	assert_true(guest_reaches(&g.shared->halting, 1));
	assert_int_equal(guest_stop(&g), 0);
	catnap_vm_destroy(&g.vm);
	close(fds[0]);
#endif
}

/* The probe prints to its serial port, one byte a write: a doorbell there counts them. */
static void a_doorbell_counts_the_guests_writes(void **state)
{
	struct catnap_doorbell bell, other;
	struct pollfd p = {.events = POLLIN};
	struct guest g;
	uint64_t n = 0;
	int fd = -1, fd2 = -1;

	make(&g, &ways[0], "start");
	catnap_doorbell_init(&bell);
	bell.port = 1;
	bell.address = 0x3f8;
	bell.len = 1;
	bell.match = 1;
	bell.value = '\n';
	assert_int_equal(catnap_vm_add_doorbell(g.vm, &bell, &fd), 0);
	other = bell;
	other.value = 'p'; /* another value is another doorbell */
	assert_int_equal(catnap_vm_add_doorbell(g.vm, &other, &fd2), 0);
	assert_int_equal(catnap_vm_add_doorbell(g.vm, &bell, &fd2), -EEXIST);
	assert_int_equal(catnap_vm_del_doorbell(g.vm, fd2), 0);
	assert_int_equal(catnap_vm_del_doorbell(g.vm, fd2), -ENOENT);
	p.fd = fd;
	assert_int_equal(poll(&p, 1, 0), 0);
	assert_int_equal(catnap_vm_start(g.vm), 0);
	assert_int_equal(catnap_vm_wait(g.vm, UINT64_C(10000000000), NULL), 0);
	assert_int_equal(read(fd, &n, sizeof(n)), sizeof(n));
	assert_int_equal(n, 2); /* two lines */
	/* They did not come to the serial port: it was a write of the doorbell's. */
	g.output[g.used] = '\0';
	assert_non_null(strstr(g.output, "probe: start"));
	assert_null(strchr(g.output, '\n'));
	catnap_vm_destroy(&g.vm);
	assert_int_equal(read(fd, &n, sizeof(n)), -1);
	assert_int_equal(errno, EBADF); /* it was the VM's */
}

static void doorbells_that_cannot_be_are_refused(void **state)
{
	struct catnap_doorbell bell;
	struct guest g;
	int fd;

	make(&g, &ways[0], "start");
#define REFUSED(says, ...)                                                           \
	do {                                                                         \
		catnap_doorbell_init(&bell);                                         \
		bell.address = 0xd8000000;                                           \
		__VA_ARGS__;                                                         \
		assert_int_equal(catnap_vm_add_doorbell(g.vm, &bell, &fd), -EINVAL); \
		assert_non_null(strstr(catnap_vm_last_error(g.vm), says));           \
	} while (0)
	REFUSED("size", bell.size = 4);
	REFUSED("len", bell.len = 3);
	REFUSED("len", (bell.len = 8, bell.port = 1));
	REFUSED("match", bell.match = 1);
	REFUSED("port", (bell.port = 1, bell.address = 0xffff, bell.len = 2));
	REFUSED("memory", bell.address = 0x1000);
	for (int i = 0; i < 33; i++) {
		catnap_doorbell_init(&bell);
		bell.address = 0xd8000000 + 8 * (uint64_t)i;
		bell.len = 4;
		assert_int_equal(catnap_vm_add_doorbell(g.vm, &bell, &fd), i < 32 ? 0 : -ENOSPC);
	}
	catnap_vm_destroy(&g.vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_eventfd_interrupts_the_guest),
		cmocka_unit_test(events_come_and_go_while_it_runs),
		cmocka_unit_test(a_guest_that_computes_is_interrupted),
		cmocka_unit_test(an_idle_guest_is_left_alone),
		cmocka_unit_test(what_cannot_be_an_interrupt_is_refused),
		cmocka_unit_test(a_doorbell_counts_the_guests_writes),
		cmocka_unit_test(doorbells_that_cannot_be_are_refused),
	};

	if (access("/dev/kvm", R_OK | W_OK) < 0)
		return SKIP;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
