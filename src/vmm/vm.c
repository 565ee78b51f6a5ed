/* SPDX-License-Identifier: Apache-2.0 */
/* Making and taking apart a VM. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "sized.h"
#include "vmm/mptable.h"
#include "vmm/vm.h"

#define PROBE_PAGE UINT64_C(0x1000)
#define MEMORY_MIN (UINT64_C(1) << 20)
#define MEMORY_MAX (UINT64_C(1) << 46)
/* Room in the device tree for devices that are added after the image was loaded. */
#define DTB_MORE (VM_VIRTIO_MAX * 256)
/* And on the command line. */
#define CMDLINE_MORE (VM_VIRTIO_MAX * 48)

/* The sentence of this thread's last failed create. */
static _Thread_local struct kvm_error create_error;

const char *catnap_version(void)
{
	return CATNAP_VERSION;
}

const char *catnap_vm_last_error(const struct catnap_vm *vm)
{
	return vm ? vm->error.text : create_error.text;
}

void catnap_vm_config_init_sized(struct catnap_vm_config *cfg, size_t size)
{
	struct catnap_vm_config defaults;

	memset(&defaults, 0, sizeof(defaults));
	defaults.vcpus = 1;
	defaults.memory_size = UINT64_C(256) << 20;
	catnap_halt_poll_init(&defaults.halt_poll);
	defaults.debug_exit_port = -1;
	defaults.kick_signal = SIGRTMIN;
	defaults.halt_trace_fd = -1;
	sized_init(cfg, size, &defaults, sizeof(defaults));
}

void(catnap_vm_config_init)(struct catnap_vm_config *cfg)
{
	catnap_vm_config_init_sized(cfg, sizeof(*cfg));
}

static int check_config(const struct catnap_vm_config *c, struct kvm_error *err)
{
	const char *what = NULL;

	if (c->vcpus < 1 || c->vcpus > CATNAP_MAX_VCPUS)
		snprintf(err->text, sizeof(err->text), "vcpus: %u is out of range: 1 to %u",
			 c->vcpus, CATNAP_MAX_VCPUS);
	else if (c->memory_size < MEMORY_MIN || c->memory_size > MEMORY_MAX ||
		 c->memory_size & 4095)
		snprintf(err->text, sizeof(err->text),
			 "memory: %llu bytes: expected a multiple of 4096, at least 1 MiB",
			 (unsigned long long)c->memory_size);
	else if (c->irqchip > CATNAP_IRQCHIP_KERNEL)
		what = "irqchip: not one that is known";
	else if (c->image_kind > CATNAP_IMAGE_LINUX64)
		what = "image_kind: not one that is known";
	else if (!c->kernel_path == !c->kernel_data)
		what = c->kernel_path ? "kernel: either a path or data, not both"
				      : "no kernel given";
	else if (c->initramfs_path && c->initramfs_data)
		what = "initramfs: either a path or data, not both";
	else if (c->hw > CATNAP_HW_MPTABLE)
		what = "hw: not one that is known";
	else if (c->transport > CATNAP_TRANSPORT_MMIO)
		what = "transport: not one that is known";
	else if (c->io > CATNAP_IO_THREAD)
		what = "io: not one that is known";
	else if (c->sandbox > CATNAP_SANDBOX_ON)
		what = "sandbox: not one that is known";
	else if (catnap_halt_poll_check(&c->halt_poll) < 0)
		what = "halt_poll: the policy, the size or a reserved member is not one that is "
		       "known";
	else if (c->poll_after_guest > CATNAP_AFTER_GUEST_LEARNED)
		what = "poll_after_guest: not one that is known";
	else if (c->poll_after_guest && c->irqchip != CATNAP_IRQCHIP_USER)
		what = "poll_after_guest: with irqchip kernel the halts are KVM's";
	else if (c->debug_exit_port < -1 || c->debug_exit_port > 0xffff)
		what = "debug_exit_port: expected -1 to 65535";
	else if (c->kick_signal < SIGRTMIN || c->kick_signal > SIGRTMAX)
		what = "kick_signal: expected SIGRTMIN to SIGRTMAX";
	else
		return 0;
	if (what)
		snprintf(err->text, sizeof(err->text), "%s", what);
	return -EINVAL;
}

/* -- what vCPUs and devices call ----------------------------------------------------------------
 */

static void *host_memory(void *ctx, uint64_t gpa, uint64_t len)
{
	struct catnap_vm *vm = ctx;

	return memory_at(&vm->memory, gpa, len);
}

static void host_end(void *ctx, const struct catnap_exit *exit)
{
	vm_end(ctx, exit);
}

static void host_log(void *ctx, enum catnap_log_level level, const char *message)
{
	vm_log(ctx, level, message);
}

static void host_deliver(void *ctx)
{
	vm_log_hand_over(ctx);
}

static void host_paused(void *ctx, struct vcpu *v)
{
	vm_log_hand_over(ctx);
	vm_stand(ctx);
}

static int host_confine(void *ctx, struct vcpu *v)
{
	struct catnap_vm *vm = ctx;

	return vm_confine(vm, &vm->vcpu_filter);
}

static void host_left(void *ctx, struct vcpu *v)
{
	vm_log_hand_over(ctx);
	vm_left(ctx, 1);
}

static void lapic_wake(void *ctx, uint32_t id, bool ipi)
{
	struct catnap_vm *vm = ctx;

	vcpu_wake(vm->vcpus[id], ipi ? CATNAP_WORK_IPI : VCPU_WORK_IRQ);
}

static void level_eoi(void *ctx, uint8_t vector)
{
	struct catnap_vm *vm = ctx;

	ioapic_eoi(&vm->ioapic, vector);
}

static void com1_irq(void *ctx, bool level)
{
	vm_set_pin(ctx, SERIAL_COM1_IRQ, level);
}

static void control_event(void *ctx, enum control_event event, uint32_t value)
{
	struct catnap_exit e = {.size = sizeof(e)};

	e.reason = event == CONTROL_DEBUG_EXIT ? CATNAP_EXIT_DEBUG : CATNAP_EXIT_RESET;
	e.code = (int32_t)value;
	vm_end(ctx, &e);
}

static void ioapic_bus_read(void *dev, uint64_t offset, void *data, unsigned int len)
{
	ioapic_mmio_read(dev, offset, data, len);
}

static void ioapic_bus_write(void *dev, uint64_t offset, const void *data, unsigned int len)
{
	ioapic_mmio_write(dev, offset, data, len);
}

static const struct bus_ops ioapic_bus_ops = {ioapic_bus_read, ioapic_bus_write};

/* -- creation --------------------------------------------------------------------------------- */

static int make_devices(struct catnap_vm *vm, struct kvm_error *err)
{
	int ret = serial_init(&vm->com1);

	if (ret < 0)
		return ret;
	vm->com1_made = true;
	vm->com1.outlet.output = vm->cfg.serial_output;
	vm->com1.outlet.ctx = vm->cfg.serial_ctx;
	vm->com1.irq = com1_irq;
	vm->com1.irq_ctx = vm;
	bus_add(&vm->pio, SERIAL_COM1_PORT, SERIAL_PORTS, &serial_ops, &vm->com1);
	vm->control.event = control_event;
	vm->control.ctx = vm;
	ret = control_add(&vm->control, &vm->pio, vm->cfg.debug_exit_port);
	if (ret < 0) {
		snprintf(err->text, sizeof(err->text),
			 "debug_exit_port: 0x%x belongs to another device",
			 (unsigned int)vm->cfg.debug_exit_port);
		return ret;
	}
	ret = hardware_add(vm, err);
	if (ret == 0)
		ret = pci_add(vm, err);
	if (ret < 0)
		return ret;
	if (vm->host.irqchip_user) {
		ret = ioapic_init(&vm->ioapic, &vm->lapics);
		if (ret < 0)
			return ret;
		vm->ioapic_made = true;
		bus_add(&vm->mmio, IOAPIC_MMIO_BASE, IOAPIC_MMIO_SIZE, &ioapic_bus_ops,
			&vm->ioapic);
	}
	return 0;
}

static int set_kernel_halt_poll(struct catnap_vm *vm, const struct catnap_halt_poll *p)
{
	struct kvm_enable_cap cap = {.cap = KVM_CAP_HALT_POLL};

	cap.args[0] = p->policy == CATNAP_POLICY_OFF ? 0 : p->max_ns;
	/* KVM has its own policy: what a better one has by default is too much for it. */
	if (p->policy == CATNAP_POLICY_ADAPTIVE && p->max_ns == CATNAP_ADAPTIVE_MAX_NS)
		cap.args[0] = CATNAP_KERNEL_MAX_NS;
	if (!vm->kvm.halt_poll)
		return -ENOTSUP;
	return ioctl(vm->kvm.vm_fd, KVM_ENABLE_CAP, &cap) < 0 ? -errno : 0;
}

static int make_irqchip(struct catnap_vm *vm, struct kvm_error *err)
{
	uint64_t identity = MEMORY_KVM_START;
	const char *what = "KVM_SET_IDENTITY_MAP_ADDR";
	int ret;

	if (vm->host.irqchip_user && (!vm->kvm.msr_exits || !vm->kvm.msr_filter)) {
		snprintf(err->text, sizeof(err->text),
			 "irqchip=user needs KVM_CAP_X86_USER_SPACE_MSR and MSR_FILTER (Linux "
			 "5.10)");
		return -ENOTSUP;
	}
	if (ioctl(vm->kvm.vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0)
		goto fail;
	what = "KVM_SET_TSS_ADDR";
	if (ioctl(vm->kvm.vm_fd, KVM_SET_TSS_ADDR, MEMORY_KVM_START + 0x1000) < 0)
		goto fail;
	if (vm->host.irqchip_user)
		return vcpu_filter_msrs(&vm->host, err);
	what = "KVM_CREATE_IRQCHIP";
	if (ioctl(vm->kvm.vm_fd, KVM_CREATE_IRQCHIP, 0) < 0)
		goto fail;
	ret = set_kernel_halt_poll(vm, &vm->cfg.halt_poll);
	if (ret < 0)
		host_log(vm, CATNAP_LOG_WARN,
			 "this KVM has no KVM_CAP_HALT_POLL: its module parameters decide");
	return 0;
fail:
	ret = -errno;
	snprintf(err->text, sizeof(err->text), "%s: %s", what, strerror(-ret));
	return ret;
}

static struct vcpu *alloc_vcpu(void)
{
	struct vcpu *v = aligned_alloc(_Alignof(struct vcpu), sizeof(*v));

	if (v)
		memset(v, 0, sizeof(*v));
	return v;
}

static int make_vcpus(struct catnap_vm *vm, struct kvm_error *err)
{
	uint32_t n = vm->cfg.vcpus;
	int ret;

	vm->vcpus = calloc(n, sizeof(*vm->vcpus));
	if (!vm->vcpus)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		struct vcpu *v = alloc_vcpu();

		if (!v)
			return -ENOMEM;
		ret = vcpu_init(v, &vm->host, i, &vm->cfg.halt_poll, err);
		if (ret < 0) {
			free(v);
			return ret;
		}
		v->halter.budget = &vm->poll_budget; /* a VM's threads spend together */
		v->halter.pressure = vm->host.irqchip_user ? &vm->pressure : NULL;
		vm->vcpus[i] = v;
		vm->lapic_by_id[i] = &v->lapic;
		vm->vcpu_count = i + 1;
		ret = group_add(&vm->group, &v->halter);
		if (ret < 0)
			return ret;
		if (vm->cfg.halt_trace_fd >= 0 && vm->host.irqchip_user) {
			v->halter.trace = halt_trace_create(vm_trace_fd(vm));
			if (!v->halter.trace)
				return -ENOMEM;
		}
	}
	vm->lapics.lapics = vm->lapic_by_id;
	vm->lapics.count = n;
	return 0;
}

static int load(struct catnap_vm *vm, struct kvm_error *err)
{
	struct load_request req = {.memory = &vm->memory,
				   .cmdline = vm->cfg.cmdline ? vm->cfg.cmdline : "",
				   .linux_cmdline = vm->linux_args,
				   .places = &vm->places,
				   .kind = (enum catnap_image_kind)vm->cfg.image_kind};
	struct image img = {.name = "(memory)",
			    .fd = -1,
			    .data = vm->cfg.kernel_data,
			    .size = vm->cfg.kernel_size};
	struct image initramfs = {.what = "initramfs",
				  .name = "(memory)",
				  .fd = -1,
				  .data = vm->cfg.initramfs_data,
				  .size = vm->cfg.initramfs_size};
	uint8_t mptable[MPTABLE_SIZE];
	struct vcpu_entry entry;
	int ret;

	if (vm->cfg.kernel_path) {
		ret = image_open(&img, "kernel", vm->cfg.kernel_path, err);
		if (ret < 0)
			return ret;
	}
	req.image = &img;
	if (vm->cfg.initramfs_path) {
		ret = image_open(&initramfs, "initramfs", vm->cfg.initramfs_path, err);
		if (ret < 0) {
			image_close(&img);
			return ret;
		}
	}
	if (vm->cfg.initramfs_path || vm->cfg.initramfs_data)
		req.initramfs = &initramfs;
	switch (vm->cfg.hw) {
	case CATNAP_HW_ACPI:
		req.acpi = &vm->acpi;
		break;
	case CATNAP_HW_FDT:
		req.dtb = vm->dtb;
		req.dtb_len = vm->dtb_len;
		req.dtb_more = DTB_MORE;
		break;
	case CATNAP_HW_MPTABLE:
		req.mptable_len = mptable_build(vm->cfg.vcpus, vm->pci_made, mptable);
		req.mptable = mptable;
		req.cmdline_more = CMDLINE_MORE;
		break;
	}
	ret = image_load(&req, &entry, err);
	image_close(&img);
	image_close(&initramfs);
	return ret < 0 ? ret : vcpu_set_entry(vm->vcpus[0], &entry, err);
}

static void fill_host(struct catnap_vm *vm)
{
	vm->host = (struct vcpu_host){
		.kvm = &vm->kvm,
		.clock = &vm->clock,
		.pio = &vm->pio,
		.mmio = &vm->mmio,
		.lapics = &vm->lapics,
		.com1 = &vm->com1,
		.irqchip_user = vm->cfg.irqchip == CATNAP_IRQCHIP_USER,
		.poll_after_guest = (enum catnap_after_guest)vm->cfg.poll_after_guest,
		.kick_signal = vm->cfg.kick_signal,
		.memory = host_memory,
		.end = host_end,
		.paused = host_paused,
		.confine = host_confine,
		.left = host_left,
		.log = host_log,
		.deliver = host_deliver,
		.ctx = vm,
	};
	vm->host.cpuid = (struct cpuid_policy){
		.vcpus = vm->cfg.vcpus,
		.irqchip_user = vm->host.irqchip_user,
		/* KVM's own APIC has it; ours where probe() sees the MSR's writes. */
		.tsc_deadline = !vm->host.irqchip_user,
		.poll_control = true,
		.tsc_khz = vm->clock.tsc ? vm->clock.khz : 0,
		.apic_khz = LAPIC_TIMER_HZ / 1000, /* KVM's own, too */
		.realtime = vm->cfg.realtime,
	};
	if (!vm->host.irqchip_user)
		vm->sandbox_features |= SANDBOX_BIT(SANDBOX_KERNEL_IRQCHIP);
	vm->lapics.wake = lapic_wake;
	vm->lapics.eoi = level_eoi;
	vm->lapics.ctx = vm;
}

/* What has to be known before the vCPUs are made. */
static void probe(struct catnap_vm *vm)
{
	char text[128];
	int ret;

	if (!vm->host.irqchip_user)
		return;
	ret = vcpu_probe_tsc_deadline(&vm->host, PROBE_PAGE);
	/* The deadline is in TSC ticks: ours have to be that, too. */
	vm->host.cpuid.tsc_deadline = ret == 1 && vm->clock.tsc;
	if (vm->host.cpuid.tsc_deadline)
		return;
	snprintf(text, sizeof(text), "the APIC timer has no TSC deadline mode: %s",
		 ret == 1   ? "this host's TSC is not invariant"
		 : ret == 0 ? "this KVM keeps writes of its MSR to itself"
			    : strerror(-ret));
	host_log(vm, CATNAP_LOG_INFO, text);
}

static int make_locks(struct catnap_vm *vm)
{
	pthread_condattr_t attr;
	int ret = pthread_mutex_init(&vm->lock, NULL);

	if (ret)
		return -ret;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	ret = pthread_cond_init(&vm->changed, &attr);
	pthread_condattr_destroy(&attr);
	if (ret) {
		pthread_mutex_destroy(&vm->lock);
		return -ret;
	}
	vm->locks_made = true;
	return 0;
}

static int make(struct catnap_vm *vm, struct kvm_error *err)
{
	int ret = make_locks(vm);

	if (ret < 0)
		return ret;
	if (vm->cfg.halt_trace_fd >= 0)
		vm->trace_fd = halt_trace_own(vm->cfg.halt_trace_fd);
	vm->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	vm->stopping_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vm->end_fd < 0 || vm->stopping_fd < 0)
		return -errno;
	ret = kvm_open(&vm->kvm, err);
	if (ret == 0)
		ret = kvm_create_vm(&vm->kvm, err);
	if (ret < 0)
		return ret;
	if (vm->cfg.vcpus > vm->kvm.max_vcpus) {
		snprintf(err->text, sizeof(err->text), "vcpus: this KVM allows %u at most",
			 vm->kvm.max_vcpus);
		return -EINVAL;
	}
	clock_init(&vm->clock, vm->kvm.tsc_khz);
	if (vm->cfg.irqchip == CATNAP_IRQCHIP_USER)
		pressure_open(&vm->pressure, &vm->clock, "");
	fill_host(vm);
	vm_init_virtio(vm);
	/*
	 * The MSR filter before memory: each waits for an SRCU grace period, and only the first is
	 * quick. The other way round a start takes three times as long (docs/latency.md).
	 */
	ret = make_irqchip(vm, err);
	if (ret == 0)
		ret = memory_init(&vm->memory, &vm->kvm, vm->cfg.memory_size, err);
	if (ret == 0)
		probe(vm);
	if (ret == 0)
		ret = make_devices(vm, err);
	if (ret == 0)
		ret = make_vcpus(vm, err);
	if (ret == 0 && vm->cfg.io == CATNAP_IO_THREAD)
		ret = io_init(vm);
	if (ret == 0)
		ret = vm_make_virtio(vm, err);
	if (ret == 0)
		ret = hardware_describe(vm, err);
	if (ret == 0)
		ret = load(vm, err);
	return ret;
}

/* What callers built against 0.1's first headers have. */
#define CONFIG_SIZE_MIN offsetof(struct catnap_vm_config, poll_after_guest)

int catnap_vm_create(const struct catnap_vm_config *given, struct catnap_vm **out)
{
	struct catnap_vm_config config = {.size = 0}, *cfg = &config;
	struct kvm_error *err = &create_error;
	struct catnap_vm *vm;
	int ret;

	*out = NULL;
	err->text[0] = '\0';
	if (given->size < CONFIG_SIZE_MIN) {
		snprintf(err->text, sizeof(err->text),
			 "the configuration's size is not this library's");
		return -EINVAL;
	}
	/* What an older caller does not know is 0, which changes nothing. */
	memcpy(cfg, given, given->size < sizeof(*cfg) ? given->size : sizeof(*cfg));
	cfg->size = sizeof(*cfg);
	ret = check_config(cfg, err);
	if (ret < 0)
		return ret;
	if (cfg->sandbox && !(catnap_sandbox_available() & CATNAP_SANDBOX_HAS_SECCOMP)) {
		snprintf(err->text, sizeof(err->text),
			 "sandbox: this kernel has no seccomp filters");
		return -ENOTSUP;
	}
	vm = calloc(1, sizeof(*vm));
	if (!vm)
		return -ENOMEM;
	vm->cfg = *cfg;
	vm->keeper = cfg->keeper;
	vm->pid = getpid();
	vm->kvm.fd = vm->kvm.vm_fd = vm->pressure.stall_fd = -1;
	vm->end_fd = vm->stopping_fd = -1;
	vm->trace_fd = -1;
	events_init(vm);
	vm_log_init(vm);
	for (uint32_t i = 0; i < CATNAP_MAX_VCPUS; i++)
		vm->affinity[i] = cfg->vcpu_affinity && i < cfg->vcpus ? cfg->vcpu_affinity[i] : -1;
	ret = make(vm, err);
	if (ret < 0) {
		if (!err->text[0])
			snprintf(err->text, sizeof(err->text), "%s", strerror(-ret));
		catnap_vm_destroy(&vm);
		return ret;
	}
	/* The caller's memory is the caller's again. */
	vm->cfg.kernel_path = vm->cfg.cmdline = vm->cfg.linux_cmdline = NULL;
	vm->cfg.initramfs_path = NULL;
	vm->cfg.kernel_data = vm->cfg.initramfs_data = NULL;
	vm->cfg.vcpu_affinity = NULL;
	*out = vm;
	return 0;
}

/* In a child of fork(2): they run in the parent, and go on. */
static void forget_threads(struct catnap_vm *vm)
{
	for (uint32_t i = 0; i < vm->vcpu_count; i++)
		vm->vcpus[i]->has_thread = false;
	if (vm->io)
		vm->io->has_thread = false;
}

int catnap_vm_destroy(struct catnap_vm **vmp)
{
	struct catnap_vm *vm = *vmp;

	if (!vm)
		return 0;
	if (vm_from_inside(vm, "destroy"))
		return -EDEADLK;
	if (vm->pid != getpid())
		forget_threads(vm);
	else if (vm->locks_made && vm->started)
		catnap_vm_stop(vm);
	if (vm->pid == getpid())
		vm_log_hand_over(vm);
	for (uint32_t i = 0; i < vm->vcpu_count; i++) {
		vcpu_join(vm->vcpus[i]);
		vcpu_fini(vm->vcpus[i]);
		free(vm->vcpus[i]);
	}
	free(vm->vcpus);
	io_fini(vm);
	pci_fini(vm);
	vm_fini_virtio(vm);
	events_fini(vm);
	if (vm->ioapic_made)
		ioapic_destroy(&vm->ioapic);
	if (vm->com1_made)
		serial_destroy(&vm->com1);
	hardware_fini(vm);
	pressure_close(&vm->pressure);
	kvm_close(&vm->kvm);
	memory_fini(&vm->memory);
	if (vm->end_fd >= 0)
		close(vm->end_fd);
	if (vm->stopping_fd >= 0)
		close(vm->stopping_fd);
	vm_log_fini(vm);
	if (vm->trace_fd >= 0)
		close(vm->trace_fd);
	if (vm->locks_made) {
		pthread_cond_destroy(&vm->changed);
		pthread_mutex_destroy(&vm->lock);
	}
	if (vm->keeper_own)
		catnap_keeper_stop(&vm->keeper);
	/* Not before: callbacks may have looked there for the VM. */
	*vmp = NULL;
	free(vm);
	return 0;
}

int catnap_vm_set_halt_poll(struct catnap_vm *vm, int32_t vcpu,
			    const struct catnap_halt_poll *params)
{
	int ret = catnap_halt_poll_check(params);

	if (ret < 0 || vcpu < -1 || vcpu >= (int32_t)vm->vcpu_count)
		return -EINVAL;
	if (!vm->host.irqchip_user)
		return set_kernel_halt_poll(vm, params); /* KVM has one setting per VM */
	for (uint32_t i = 0; i < vm->vcpu_count; i++)
		if (vcpu < 0 || (uint32_t)vcpu == i)
			vcpu_set_halt_poll(vm->vcpus[i], params);
	if (vm->io && vcpu < 0)
		policy_set(&vm->io->halter.policy, params);
	return 0;
}

int catnap_vm_get_stats(struct catnap_vm *vm, uint32_t vcpu, struct catnap_vcpu_stats *stats)
{
	struct catnap_vcpu_stats s;
	uint32_t size = stats->size;

	if (vcpu >= vm->vcpu_count || size < offsetof(struct catnap_vcpu_stats, halt))
		return -EINVAL;
	memset(&s, 0, sizeof(s));
	vcpu_get_stats(vm->vcpus[vcpu], &s);
	if (size > sizeof(s))
		size = sizeof(s);
	s.size = size;
	memcpy(stats, &s, size);
	return 0;
}

int catnap_vm_get_policy_stats(struct catnap_vm *vm, uint32_t vcpu,
			       struct catnap_policy_stats *stats)
{
	if (vcpu == CATNAP_IO_THREAD_VCPU)
		return vm->io ? halter_get_policy_stats(&vm->io->halter, stats) : -ENOENT;
	if (vcpu >= vm->vcpu_count)
		return -EINVAL;
	if (!vm->host.irqchip_user)
		return -ENOTSUP;
	return halter_get_policy_stats(&vm->vcpus[vcpu]->halter, stats);
}

int catnap_vm_guest_memory(struct catnap_vm *vm, uint64_t gpa, size_t len, void **ptr)
{
	*ptr = memory_at(&vm->memory, gpa, len);
	return *ptr ? 0 : -EFAULT;
}

int catnap_vm_signal_msi(struct catnap_vm *vm, uint64_t address, uint32_t data)
{
	if (vm->host.irqchip_user)
		return lapic_bus_msi(&vm->lapics, address, data) ? 0 : -EINVAL;

	struct kvm_msi msi = {.address_lo = (uint32_t)address,
			      .address_hi = (uint32_t)(address >> 32),
			      .data = data};
	int ret = ioctl(vm->kvm.vm_fd, KVM_SIGNAL_MSI, &msi);

	return ret < 0 ? -errno : ret ? 0 : -EINVAL;
}

size_t catnap_vm_serial_input(struct catnap_vm *vm, const void *data, size_t len)
{
	return serial_input(&vm->com1, data, len);
}
