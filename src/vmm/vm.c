/* SPDX-License-Identifier: Apache-2.0 */
/* Making and taking apart a VM. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "sized.h"
#include "vmm/irq.h"
#include "vmm/config.h"
#include "vmm/vm.h"

#define PROBE_PAGE UINT64_C(0x1000)

const char *catnap_version(void)
{
	return CATNAP_VERSION_STRING;
}

/* -- what vCPUs and devices call -------------------------------------------------------------- */

static void host_end(void *ctx, const struct catnap_exit *exit)
{
	vm_end(ctx, exit);
}

static bool host_reset(void *ctx, struct vcpu *v)
{
	return vm_guest_resets(ctx);
}

static void host_log(void *ctx, enum catnap_log_level level, const char *message)
{
	vm_log(ctx, level, message);
}

static void host_deliver(void *ctx)
{
	vm_log_hand_over(ctx);
}

static bool host_lost(void *ctx, struct vcpu *v, uint64_t gpa, bool write)
{
	return vm_memory_lost(ctx, v, gpa, write);
}

static void host_paused(void *ctx, struct vcpu *v)
{
	vm_log_hand_over(ctx);
	vm_stand(ctx);
}

static int host_begin(void *ctx, struct vcpu *v)
{
	return vm_begin_thread(ctx, v->id);
}

static int host_confine(void *ctx, struct vcpu *v)
{
	struct catnap_vm *vm = ctx;

	return vm_confine(vm, &vm->own->vcpu_filter);
}

static bool host_ready(void *ctx, struct vcpu *v, const char *what, int error)
{
	char who[16];

	snprintf(who, sizeof(who), "vCPU %u", v->id);
	return vm_ready(ctx, who, what, error);
}

static void host_left(void *ctx, struct vcpu *v)
{
	vm_log_hand_over(ctx);
	vm_left(ctx);
}

static void com1_irq(void *ctx, bool level)
{
	irq_set_pin(ctx, SERIAL_COM1_IRQ, level);
}

static void control_event(void *ctx, enum control_event event, uint32_t value)
{
	struct catnap_exit e = {
		.size = sizeof(e), .reason = CATNAP_EXIT_DEBUG, .code = (int32_t)value};

	if (event == CONTROL_RESET) {
		vm_guest_resets(ctx);
		return;
	}
	e.vcpu = vm_current_vcpu(ctx);
	vm_end(ctx, &e);
}

/* -- creation --------------------------------------------------------------------------------- */

static int make_devices(struct catnap_vm *vm, struct error *err)
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
	if (ret < 0)
		return error_fail(err, ret, "debug_exit_port: 0x%x belongs to another device",
				  (unsigned int)vm->cfg.debug_exit_port);
	ret = power_devices_add(vm, err);
	if (ret == 0)
		ret = pci_add(vm, err);
	if (ret == 0)
		ret = hotplug_add(vm, err);
	if (ret == 0)
		ret = irq_add_ioapic(vm);
	return ret;
}

static int make_irqchip(struct catnap_vm *vm, struct error *err)
{
	uint64_t identity = MEMORY_KVM_START;
	const char *what = "KVM_SET_IDENTITY_MAP_ADDR";
	int ret;

	if (vm->host.irqchip_user && (!vm->kvm.msr_exits || !vm->kvm.msr_filter))
		return error_fail(
			err, -ENOTSUP,
			"irqchip=user needs KVM_CAP_X86_USER_SPACE_MSR and MSR_FILTER (Linux "
			"5.10)");
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
	return kernel_poll_prepare(vm, err);
fail:
	ret = -errno;
	return error_errno(err, ret, "%s", what);
}

static struct vcpu *alloc_vcpu(void)
{
	struct vcpu *v = aligned_alloc(_Alignof(struct vcpu), sizeof(*v));

	if (v)
		memset(v, 0, sizeof(*v));
	return v;
}

static int make_vcpus(struct catnap_vm *vm, struct error *err)
{
	const bool traced = vm->cfg.halt_trace_fd >= 0 && vm->host.irqchip_user;
	const struct halter_env env = {
		.spin = &vm->spin,
		.budget = &vm->poll_budget, /* a VM's threads spend together */
		.pressure = vm->host.irqchip_user ? &vm->pressure : NULL,
		.group = &vm->group,
	};
	uint32_t n = vm->cfg.vcpus;
	int ret;

	vm->vcpus = calloc(n, sizeof(*vm->vcpus));
	if (!vm->vcpus)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		struct vcpu *v = alloc_vcpu();
		struct halt_trace *trace = NULL;

		if (!v)
			return -ENOMEM;
		if (traced) {
			trace = halt_trace_create(vm_trace_fd(vm));
			if (!trace) {
				free(v);
				return -ENOMEM;
			}
		}
		ret = vcpu_init(v, &vm->host, i, &vm->cfg.halt_poll, &env, trace, err);
		if (ret < 0) {
			free(v);
			return ret;
		}
		vm->vcpus[i] = v;
		vm->lapic_by_id[i] = &v->lapic;
		vm->vcpu_count = i + 1;
	}
	vm->lapics.lapics = vm->lapic_by_id;
	vm->lapics.count = n;
	return 0;
}

static void fill_host(struct catnap_vm *vm)
{
	const struct numa nodes = {vm->cfg.nodes, vm->cfg.node_count};

	vm->dma = memory_dma(&vm->memory);
	vm->host = (struct vcpu_host){
		.kvm = &vm->kvm,
		.clock = &vm->clock,
		.pio = &vm->pio,
		.mmio = &vm->mmio,
		.lapics = &vm->lapics,
		.com1 = &vm->com1,
		.cpuid_modifiers = vm->cpuid_modifiers,
		.msr_modifiers = vm->msr_modifiers,
		.cpuid_modifier_count = vm->cfg.cpuid_modifier_count,
		.msr_modifier_count = vm->cfg.msr_modifier_count,
		.irqchip_user = vm->cfg.irqchip == CATNAP_IRQCHIP_USER,
		.poll_after_guest = (enum catnap_after_guest)vm->cfg.poll_after_guest,
		.kick_signal = vm->cfg.kick_signal,
		.name = vm->name[0] ? vm->name : "catnap",
		.dma = &vm->dma,
		.end = host_end,
		.reset = host_reset,
		.remember = vm->cfg.on_reset != CATNAP_ON_RESET_END,
		.paused = host_paused,
		.begin = host_begin,
		.confine = host_confine,
		.ready = host_ready,
		.left = host_left,
		.log = host_log,
		.deliver = host_deliver,
		.lost = host_lost,
		.ctx = vm,
	};
	vm->host.cpuid = (struct cpuid_policy){
		.vcpus = vm->cfg.vcpus,
		.package_vcpus = numa_package_vcpus(&nodes, vm->cfg.vcpus),
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
	irq_init(vm);
}

/* Finds out what has to be known before the vCPUs are made. */
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
	int ret = -pthread_mutex_init(&vm->lock, NULL);

	if (ret < 0)
		return ret;
	ret = -pthread_mutex_init(&vm->routes_lock, NULL);
	if (ret == 0) {
		ret = clock_cond_init(&vm->changed);
		if (ret < 0)
			pthread_mutex_destroy(&vm->routes_lock);
	}
	if (ret < 0) {
		pthread_mutex_destroy(&vm->lock);
		return ret;
	}
	vm->locks_made = true;
	return 0;
}

static int open_pressure(struct catnap_vm *vm, struct error *err)
{
	const struct catnap_vm_config *cfg = &vm->cfg;

	if (cfg->cgroup)
		return pressure_open_group(&vm->pressure, &vm->clock, cfg->cgroup, err);
	if (cfg->pressure_fd >= 0 || cfg->throttle_fd >= 0)
		return pressure_borrow(&vm->pressure, &vm->clock, cfg->pressure_fd,
				       cfg->throttle_fd, err);
	pressure_open(&vm->pressure, &vm->clock, "");
	return 0;
}

/* Copies @count elements of @size bytes, or makes it NULL if there are none. Returns 0 or
 * -ENOMEM. */
static int copy_array(void *to, const void *from, uint32_t count, size_t size)
{
	void *copy = NULL;

	if (count) {
		copy = malloc(count * size);
		if (!copy)
			return -ENOMEM;
		memcpy(copy, from, count * size);
	}
	memcpy(to, &copy, sizeof(copy));
	return 0;
}

static int copy_arrays(struct catnap_vm *vm)
{
	const struct catnap_vm_config *c = &vm->cfg;
	int ret = copy_array(&vm->cpuid_modifiers, c->cpuid_modifiers, c->cpuid_modifier_count,
			     sizeof(*c->cpuid_modifiers));

	if (ret == 0)
		ret = copy_array(&vm->msr_modifiers, c->msr_modifiers, c->msr_modifier_count,
				 sizeof(*c->msr_modifiers));
	if (ret == 0)
		ret = copy_array(&vm->kvm_dropped, c->kvm_dropped, c->kvm_dropped_count,
				 sizeof(*c->kvm_dropped));
	if (ret == 0)
		ret = copy_array(&vm->nodes, c->nodes, c->node_count, sizeof(*c->nodes));
	if (ret < 0)
		return ret;
	vm->cfg.nodes = vm->nodes;
	vm->kvm.dropped = vm->kvm_dropped;
	vm->kvm.dropped_count = c->kvm_dropped_count;
	return 0;
}

static int make(struct catnap_vm *vm, struct error *err)
{
	int ret = vm_own_init(vm);

	if (ret == 0)
		ret = make_locks(vm);
	if (ret < 0)
		return ret;
	if (vm->cfg.halt_trace_fd >= 0)
		vm->trace_fd = halt_trace_own(vm->cfg.halt_trace_fd);
	vm->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vm->end_fd < 0)
		return -errno;
	/* Threads in a sandbox may make none later. */
	if (vm->cfg.sandbox != CATNAP_SANDBOX_OFF) {
		ret = vm_make_paused_fd(vm);
		if (ret >= 0)
			ret = vm_make_stopping_fd(vm);
		if (ret >= 0)
			ret = history_make_fd(&vm->history);
		if (ret < 0)
			return ret;
	}
	ret = genid_init(&vm->genid);
	if (ret == 0)
		ret = copy_arrays(vm);
	if (ret == 0)
		ret = kvm_check_dropped(&vm->kvm, vm->cfg.irqchip == CATNAP_IRQCHIP_USER, err);
	if (ret == 0)
		ret = kvm_open(&vm->kvm, vm->cfg.kvm_fd, err);
	if (ret == 0)
		ret = kvm_create_vm(&vm->kvm, err);
	if (ret == 0)
		ret = kvm_check_required(&vm->kvm, vm->cfg.kvm_required, vm->cfg.kvm_required_count,
					 err);
	if (ret < 0)
		return ret;
	if (vm->cfg.vcpus > vm->kvm.max_vcpus)
		return error_fail(err, -EINVAL, "vcpus: this KVM allows %u at most",
				  vm->kvm.max_vcpus);
	clock_init(&vm->clock, vm->kvm.tsc_khz);
	vm->spin = spin_find(vm->clock.tsc ? vm->clock.khz : 0);
	if (vm->cfg.irqchip == CATNAP_IRQCHIP_USER)
		ret = open_pressure(vm, err);
	if (ret < 0)
		return ret;
	fill_host(vm);
	/*
	 * The MSR filter before memory: each waits for an SRCU grace period, and only the first is
	 * quick. The other way round a start takes three times as long (docs/latency.md).
	 */
	ret = make_irqchip(vm, err);
	if (ret == 0 && vm->host.remember)
		ret = irq_remember(vm, err);
	if (ret == 0)
		ret = memory_init(&vm->memory, &vm->kvm, &vm->cfg,
				  vm->source ? &vm->source->memory : NULL, err);
	if (ret == 0 && vm->source && vm->source->handler) {
		/* Before anybody touches a page. */
		ret = uffd_begin(&vm->uffd, &vm->memory, vm->source->handler, err);
		vm->sandbox_features |= SANDBOX_BIT(SANDBOX_UFFD);
	}
	if (ret == 0 && vm->cfg.track_dirty)
		ret = memory_track(&vm->memory, &vm->kvm, err);
	if (ret == 0)
		probe(vm);
	if (ret == 0)
		ret = make_devices(vm, err);
	if (ret == 0)
		ret = make_vcpus(vm, err);
	if (ret == 0)
		ret = kernel_poll_make(vm, err);
	if (ret == 0 && vm->cfg.io == CATNAP_IO_THREAD)
		ret = io_init(vm);
	if (ret == 0)
		ret = vm_make_rings(vm);
	if (ret == 0)
		ret = hotplug_prepare(vm, err);
	if (ret == 0)
		ret = vm_make_virtio(vm, err);
	if (ret == 0)
		ret = hardware_describe(vm, err);
	if (ret == 0)
		ret = vm_open_images(vm, err);
	if (ret == 0 && !vm->source)
		ret = vm_load(vm, err);
	return ret < 0 ? ret : vm_keep_images(vm);
}

/* The size that callers built against 0.1's first headers have. */
#define CONFIG_SIZE_MIN offsetof(struct catnap_vm_config, poll_after_guest)

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void join_threads(struct catnap_vm *vm)
{
	for (uint32_t i = 0; i < vm->vcpu_count; i++)
		vcpu_join(vm->vcpus[i]);
	if (vm->io)
		io_join(vm->io);
}

static void free_vcpus(struct catnap_vm *vm)
{
	for (uint32_t i = 0; i < vm->vcpu_count; i++) {
		vcpu_fini(vm->vcpus[i]);
		free(vm->vcpus[i]);
	}
	free(vm->vcpus);
}

static void close_fds(struct catnap_vm *vm)
{
	const int fds[] = {vm->end_fd, vm->stopping_fd, vm->paused_fd, vm->trace_fd,
			   vm->pagemap_fd};

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static void take_apart(struct catnap_vm *vm)
{
	const bool copy = vm_is_copy(vm);
	int gone = vm->gone_fd;

	join_threads(vm);
	if (!copy)
		vm_log_hand_over(vm);
	free_vcpus(vm);
	io_fini(vm);
	pci_fini(vm);
	vm_fini_virtio(vm);
	events_fini(vm);
	irq_fini(vm);
	if (vm->com1_made)
		serial_destroy(&vm->com1);
	hardware_fini(vm);
	pressure_close(&vm->pressure);
	kernel_poll_fini(&vm->kernel_poll);
	kvm_close(&vm->kvm);
	memory_fini(&vm->memory);
	uffd_fini(&vm->uffd);
	chain_free(&vm->chain);
	close_fds(vm);
	vm_log_fini(vm);
	history_fini(&vm->history);
	/* Not a copy's condition: it would wait for threads that are not there. */
	if (vm->locks_made && !copy) {
		pthread_cond_destroy(&vm->changed);
		pthread_mutex_destroy(&vm->lock);
	}
	if (vm->locks_made)
		pthread_mutex_destroy(&vm->routes_lock);
	free(vm->routes);
	if (vm->keeper_own)
		catnap_keeper_stop(&vm->keeper);
	vm_own_fini(vm);
	vm_close_images(vm);
	free(vm->cpuid_modifiers);
	free(vm->msr_modifiers);
	free(vm->kvm_dropped);
	free(vm->nodes);
	free(vm);
	if (gone >= 0)
		vm_tell(gone);
}

int vm_create(const struct catnap_vm_config *given, const struct vm_source *source,
	      struct catnap_vm **out, struct error *err)
{
	struct catnap_vm_config config = {.kvm_fd = -1, .pressure_fd = -1, .throttle_fd = -1};
	struct catnap_vm_config *cfg = &config;
	struct catnap_vm *vm;
	int ret;

	if (!given)
		return error_fail(err, -EINVAL, "create: expected a configuration, not NULL");
	/* Members that an older caller does not know are 0, or no descriptor, which changes
	 * nothing. */
	if (sized_in(cfg, sizeof(*cfg), given, CONFIG_SIZE_MIN) < 0)
		return error_fail(err, -EINVAL, "the configuration's size is not this library's");
	ret = config_check_members(cfg, !source || cfg->on_reset != CATNAP_ON_RESET_END, err);
	if (ret == 0)
		ret = config_check_host(cfg, err);
	if (ret == 0)
		ret = kick_check(cfg->kick_signal, err);
	if (ret < 0)
		return ret;
	if (cfg->sandbox && !(catnap_sandbox_available() & CATNAP_SANDBOX_HAS_SECCOMP))
		return error_fail(err, -ENOTSUP, "sandbox: this kernel has no seccomp filters");
	vm = calloc(1, sizeof(*vm));
	if (!vm)
		return -ENOMEM;
	vm->cfg = *cfg;
	if (cfg->name)
		snprintf(vm->name, sizeof(vm->name), "%s", cfg->name);
	vm->cfg.name = cfg->name ? vm->name : NULL;
	vm->source = source;
	vm->keeper = cfg->keeper;
	vm->take_apart = take_apart;
	vm->run_reset = vm_run_reset;
	vm->born = now_ns();
	vm->kvm.fd = vm->kvm.vm_fd = vm->pressure.stall_fd = -1;
	vm->end_fd = vm->stopping_fd = vm->paused_fd = vm->gone_fd = -1;
	vm->trace_fd = vm->kernel.fd = vm->initramfs.fd = -1;
	vm->memory.map.fd = vm->pagemap_fd = -1;
	atomic_init(&vm->memory.lost, MEMORY_ANYWHERE);
	uffd_init(&vm->uffd);
	kernel_poll_init(&vm->kernel_poll);
	events_init(vm);
	vm_log_init(vm);
	history_init(&vm->history);
	for (uint32_t i = 0; i < CATNAP_MAX_VCPUS; i++)
		vm->affinity[i] = cfg->vcpu_affinity && i < cfg->vcpus ? cfg->vcpu_affinity[i] : -1;
	ret = make(vm, err);
	if (ret < 0 && cfg->name && error_is_set(err))
		error_prefix(err, ret, "%s: ", cfg->name);
	if (ret < 0) {
		catnap_vm_destroy(&vm);
		return ret;
	}
	/* The caller's memory is the caller's again. */
	vm->cfg.kernel_path = vm->cfg.cmdline = vm->cfg.linux_cmdline = NULL;
	vm->cfg.initramfs_path = NULL;
	vm->cfg.kernel_data = vm->cfg.initramfs_data = NULL;
	vm->cfg.vcpu_affinity = cfg->vcpu_affinity ? vm->affinity : NULL;
	vm->cfg.cpuid_modifiers = vm->cpuid_modifiers;
	vm->cfg.msr_modifiers = vm->msr_modifiers;
	vm->cfg.kvm_dropped = vm->kvm_dropped;
	vm->cfg.kvm_required = NULL;
	vm->cfg.kvm_required_count = 0;
	vm->cfg.cgroup = NULL;
	vm->cfg.kvm_fd = -1;
	vm->source = NULL;
	*out = vm;
	return 0;
}

int catnap_vm_create(const struct catnap_vm_config *given, struct catnap_vm **out)
{
	struct error err = {.text = ""};
	int ret;

	if (!out)
		return vm_fail(NULL, -EINVAL, "create: expected a place for the VM, not NULL");
	*out = NULL;
	ret = vm_create(given, NULL, out, &err);
	if (ret == 0)
		return 0;
	return err.text[0] ? vm_fail(NULL, ret, "%s", err.text)
			   : vm_fail(NULL, ret, "making the VM: %s", strerror(-ret));
}

int catnap_vm_destroy(struct catnap_vm **vmp)
{
	struct catnap_vm *vm = *vmp;
	bool copy;
	int ret = 0;

	if (!vm)
		return 0;
	copy = vm_is_copy(vm);
	if (!copy && vm_from_inside(vm, "destroy"))
		return -EDEADLK;
	if (copy)
		vm_disown(vm);
	else if (vm->locks_made && vm->started)
		ret = catnap_vm_stop(vm);
	if (ret < 0)
		return ret;
	take_apart(vm);
	/* Not before: callbacks may have looked there for the VM. */
	*vmp = NULL;
	return 0;
}
