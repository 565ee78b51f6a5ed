/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks what this host offers: each capability that catnap uses, what its absence costs, what to
 * do about it. No VM needs this to run; catnap_vm_create() asks for itself.
 */
#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "vmm/vm.h"

#define KVM_RUN_DEAR_NS 2000

/* The caller's entries may be shorter than ours, or longer. */
struct list {
	struct catnap_check *checks;
	size_t n, max, entry_size;
};

static void add(struct list *l, const char *name, enum catnap_check_state state, const char *found,
		const char *advice)
{
	struct catnap_check c = {.name = name, .state = state};

	snprintf(c.found, sizeof(c.found), "%s", found);
	snprintf(c.advice, sizeof(c.advice), "%s", advice);
	if (l->n < l->max)
		memcpy((char *)l->checks + l->n * l->entry_size, &c,
		       l->entry_size < sizeof(c) ? l->entry_size : sizeof(c));
	l->n++;
}

static void add_cap(struct list *l, const char *name, bool there, enum catnap_check_state without,
		    const char *advice)
{
	add(l, name, there ? CATNAP_CHECK_OK : without, there ? "yes" : "no", there ? "" : advice);
}

/* Reads the first line of a file, such as a module parameter. Returns false if that cannot be
 * read. */
static bool read_line(const char *path, char *buf, size_t size)
{
	FILE *f = fopen(path, "re");
	bool ok = f && fgets(buf, (int)size, f);

	if (f)
		fclose(f);
	if (ok)
		buf[strcspn(buf, "\n")] = '\0';
	return ok;
}

static void check_kind(struct list *l)
{
	static const char *const kinds[] = {"kvm_intel", "kvm_amd", "kvm_pvm"};
	char path[64];

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		snprintf(path, sizeof(path), "/sys/module/%s", kinds[i]);
		if (access(path, F_OK) != 0)
			continue;
		if (strcmp(kinds[i], "kvm_pvm") == 0)
			add(l, "kind of KVM", CATNAP_CHECK_DEGRADED, kinds[i],
			    "Guest kernel code is emulated, instruction by instruction: bare-metal "
			    "guests run, "
			    "a Linux guest is too slow to be of use.");
		else
			add(l, "kind of KVM", CATNAP_CHECK_OK, kinds[i], "");
		return;
	}
	add(l, "kind of KVM", CATNAP_CHECK_OK, "not told by /sys/module", "");
}

/* Checks how polls wait, and why so. */
static void check_spin(struct list *l)
{
	const uint32_t khz = catnap_host_tsc_khz();
	const struct spin s = spin_find(khz);
	char all[128];

	if (s.late_ns[s.best])
		snprintf(all, sizeof(all), "%s: %s; a turn of %d ns comes back %u ns late",
			 spin_name(s.best), spin_reason(&s), SPIN_SLICE_NS, s.late_ns[s.best]);
	else
		snprintf(all, sizeof(all), "%s: %s", spin_name(s.best), spin_reason(&s));
	add(l, "spin of polls", CATNAP_CHECK_OK, all, "");
}

static void check_parameters(struct list *l)
{
	char ns[16], grow[16], start[16], shrink[16], all[128];

	if (!read_line("/sys/module/kvm/parameters/halt_poll_ns", ns, sizeof(ns)) ||
	    !read_line("/sys/module/kvm/parameters/halt_poll_ns_grow", grow, sizeof(grow)) ||
	    !read_line("/sys/module/kvm/parameters/halt_poll_ns_grow_start", start,
		       sizeof(start)) ||
	    !read_line("/sys/module/kvm/parameters/halt_poll_ns_shrink", shrink, sizeof(shrink)))
		return;
	snprintf(all, sizeof(all), "max %s ns, grow %s, grow_start %s ns, shrink %s", ns, grow,
		 start, shrink);
	add(l, "KVM's halt polling", CATNAP_CHECK_OK, all, "");
}

static void check_uring(struct list *l)
{
	struct io_uring ring;
	struct io_uring_probe *probe;
	int ret = ring_open(&ring, 4, 8, &probe);
	char advice[256];
	bool futex;

	if (ret < 0) {
		snprintf(
			advice, sizeof(advice),
			"One thread runs all devices, by poll(2) and plain reads and writes, which "
			"is slower%s.",
			ring_advice(ret));
		add(l, "io_uring", CATNAP_CHECK_DEGRADED, strerror(-ret), advice);
		return;
	}
	futex = io_uring_opcode_supported(probe, RING_OP_FUTEX_WAIT);
	io_uring_free_probe(probe);
	io_uring_queue_exit(&ring);
	add(l, "io_uring", CATNAP_CHECK_OK, "yes", "");
	add_cap(l, "io_uring futex wait", futex, CATNAP_CHECK_DEGRADED,
		"A vCPU with event sources sleeps on an eventfd instead (Linux 6.7 has it): some "
		"0.3 us "
		"more for a wake-up.");
}

/* Checks for what tells every policy but always that it should not poll. */
static void check_pressure(struct list *l)
{
	struct pressure p;
	struct clock clock;

	clock_init(&clock, 0);
	pressure_open(&p, &clock, "");
	add_cap(l, "cgroup throttling", p.groups, CATNAP_CHECK_DEGRADED,
		"No control group above this process has a limit that counts (cpu.stat without "
		"nr_throttled), so none is noticed: fine where none is set.");
	if (p.stall_fd >= 0)
		add(l, "processor pressure", CATNAP_CHECK_OK,
		    p.stall_host ? "yes, the host's" : "yes, the control group's", "");
	else
		add(l, "processor pressure", CATNAP_CHECK_DEGRADED, "no",
		    "A policy that gives way (all but always) only notices who waits for the very "
		    "processor that it polls on: needs CONFIG_PSI (Linux 4.20), and psi=1 on some "
		    "kernels.");
	pressure_close(&p);
}

static void check_sandbox(struct list *l)
{
	uint32_t have = catnap_sandbox_available();

	add_cap(l, "seccomp filters", have & CATNAP_SANDBOX_HAS_SECCOMP, CATNAP_CHECK_DEGRADED,
		"The sandbox does not limit system calls: needs CONFIG_SECCOMP_FILTER (Linux "
		"4.14).");
	add_cap(l, "Landlock", have & CATNAP_SANDBOX_HAS_LANDLOCK, CATNAP_CHECK_DEGRADED,
		"Of the sandbox only the filters refuse to open files: needs "
		"CONFIG_SECURITY_LANDLOCK "
		"(Linux 5.13), and landlock in the kernel's lsm= list.");
}

/* Makes a VM that is never started. */
static int small_vm(struct catnap_vm **vm)
{
	static const uint8_t hlt[] = {0xf4};
	struct catnap_vm_config cfg;

	catnap_vm_config_init(&cfg);
	cfg.memory_size = UINT64_C(1) << 20;
	cfg.kernel_data = hlt;
	cfg.kernel_size = sizeof(hlt);
	cfg.image_kind = CATNAP_IMAGE_FLAT;
	return catnap_vm_create(&cfg, vm);
}

/* Checks what only a VM with a vCPU can tell. */
static void check_vm(struct list *l)
{
	struct catnap_vm *vm;
	char text[32];
	uint64_t cost;

	if (small_vm(&vm) < 0) {
		add(l, "irqchip=user", CATNAP_CHECK_MISSING, catnap_vm_last_error(NULL),
		    "VMs can only run with --irqchip kernel.");
		return;
	}
	add(l, "irqchip=user", CATNAP_CHECK_OK, "yes", "");
	add_cap(l, "TSC deadline exits", vm->host.cpuid.tsc_deadline, CATNAP_CHECK_DEGRADED,
		"KVM keeps writes of that MSR to itself, or the TSC is no clock: guests are "
		"offered the APIC timer's one-shot and periodic modes.");
	cost = vcpu_probe_run_cost(vm->vcpus[0]);
	snprintf(text, sizeof(text), "%llu.%02llu us", (unsigned long long)cost / 1000,
		 (unsigned long long)cost % 1000 / 10);
	if (cost > KVM_RUN_DEAR_NS)
		add(l, "price of KVM_RUN", CATNAP_CHECK_DEGRADED, text,
		    "Entering KVM is dear here, often because this host is a virtual machine "
		    "itself and KVM "
		    "reads an MSR that the outer hypervisor traps. A wake-up by user space pays "
		    "it, one in "
		    "the kernel does not.");
	else
		add(l, "price of KVM_RUN", CATNAP_CHECK_OK, text, "");
	catnap_vm_destroy(&vm);
}

/* Returns advice by the group that owns /dev/kvm; root's is nobody's to join. */
static const char *kvm_advice(void)
{
	struct stat st;

	if (stat("/dev/kvm", &st) < 0)
		return "Nothing runs without it: load kvm_intel or kvm_amd (modprobe), and switch "
		       "virtualization on in the firmware setup.";
	if (st.st_gid == 0)
		return "Nothing runs without it, and it is root's alone: have a udev rule give it "
		       "to a group (KERNEL==\"kvm\", GROUP=\"kvm\", MODE=\"0660\"), or run as "
		       "root.";
	return "Nothing runs without it: join the group that owns it (ls -l /dev/kvm), or run as "
	       "root.";
}

static void check_kvm(struct list *l)
{
	struct error err = {""};
	char text[96];
	struct kvm kvm = {.fd = -1};
	int ret = kvm_open(&kvm, -1, &err);

	if (ret < 0) {
		/* The sentence for others sends people here. */
		add(l, "/dev/kvm", CATNAP_CHECK_MISSING,
		    ret == -EACCES ? "permission denied" : err.text, kvm_advice());
		return;
	}
	add(l, "/dev/kvm", CATNAP_CHECK_OK, "yes", "");
	check_kind(l);
	check_parameters(l);
	add_cap(l, "user-space MSRs and filter", kvm.msr_exits && kvm.msr_filter,
		CATNAP_CHECK_MISSING,
		"irqchip=user needs them (Linux 5.10); --irqchip kernel works.");
	add_cap(l, "events in kvm_run", kvm.sync_events, CATNAP_CHECK_DEGRADED,
		"Each interrupt costs an ioctl (KVM_INTERRUPT): some 2 us more for a wake-up.");
	add_cap(l, "injection without an exit", kvm.sync_events && kvm.block_irq,
		CATNAP_CHECK_DEGRADED,
		"With irqchip=user, each interrupt costs an exit more (Linux 5.15 does without).");
	add_cap(l, "halt polling per VM", kvm.halt_poll, CATNAP_CHECK_DEGRADED,
		"With --irqchip kernel, KVM's module parameters decide.");
	add_cap(l, "binary statistics", kvm.stats_fd, CATNAP_CHECK_DEGRADED,
		"With --irqchip kernel, halts are not counted (Linux 5.14 has it).");
	snprintf(text, sizeof(text), "%u", kvm.max_vcpus);
	add(l, "vCPUs per VM",
	    kvm.max_vcpus >= CATNAP_MAX_VCPUS ? CATNAP_CHECK_OK : CATNAP_CHECK_DEGRADED, text,
	    kvm.max_vcpus >= CATNAP_MAX_VCPUS ? "" : "Fewer than the 64 that catnap can run.");
	check_vm(l);
	kvm_close(&kvm);
}

size_t catnap_check_host_sized(struct catnap_check *checks, size_t max, size_t entry_size)
{
	struct list l = {.checks = checks, .max = max, .entry_size = entry_size};
	struct utsname u;
	struct clock clock;
	char text[96];

	if (uname(&u) == 0) {
		snprintf(text, sizeof(text), "%.60s, %ld processors", u.release,
			 sysconf(_SC_NPROCESSORS_ONLN));
		add(&l, "host", CATNAP_CHECK_OK, text, "");
	}
	check_kvm(&l);
	clock_init(&clock, catnap_host_tsc_khz());
	if (clock.tsc) {
		snprintf(text, sizeof(text), "yes, %u.%03u MHz", clock.khz / 1000,
			 clock.khz % 1000);
		add(&l, "invariant TSC", CATNAP_CHECK_OK, text, "");
	} else {
		add(&l, "invariant TSC", CATNAP_CHECK_DEGRADED, "no",
		    "Poll loops read CLOCK_MONOTONIC instead: coarser, and guests' timers may "
		    "drift.");
	}
	check_spin(&l);
	check_uring(&l);
	check_pressure(&l);
	check_sandbox(&l);
	return l.n;
}

size_t(catnap_check_host)(struct catnap_check *checks, size_t max)
{
	return catnap_check_host_sized(checks, max, sizeof(*checks));
}

uint32_t catnap_host_tsc_khz(void)
{
	struct error err;
	struct clock clock;
	struct kvm kvm = {.fd = -1};
	uint32_t khz = 0;

	if (kvm_open(&kvm, -1, &err) == 0) {
		if (kvm_create_vm(&kvm, &err) == 0)
			khz = kvm.tsc_khz;
		kvm_close(&kvm);
	}
	clock_init(&clock, khz);
	return clock.tsc ? clock.khz : 0;
}

uint64_t catnap_host_kvm_run_ns(void)
{
	struct catnap_vm *vm;
	uint64_t cost;

	if (small_vm(&vm) < 0)
		return 0;
	cost = vcpu_probe_run_cost(vm->vcpus[0]);
	catnap_vm_destroy(&vm);
	return cost;
}
