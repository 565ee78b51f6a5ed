/* SPDX-License-Identifier: Apache-2.0 */
/* See config.h. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>

#include "sized.h"
#include "vcpu/thread.h"
#include "vmm/config.h"
#include "vmm/memory.h"
#include "vmm/numa.h"

#define MEMORY_MIN (UINT64_C(1) << 20)
#define MEMORY_MAX (UINT64_C(1) << 46)

/* -- by itself -------------------------------------------------------------------------------- */

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
	defaults.poll_after_guest = CATNAP_AFTER_GUEST_LEARNED;
	defaults.kvm_fd = defaults.pressure_fd = defaults.throttle_fd = -1;
	sized_init(cfg, size, &defaults, sizeof(defaults));
}

void(catnap_vm_config_init)(struct catnap_vm_config *cfg)
{
	catnap_vm_config_init_sized(cfg, sizeof(*cfg));
}

#define STRING(x)   #x
#define VALUE_OF(x) STRING(x)
#define MODIFIERS   "an array of at most " VALUE_OF(CATNAP_MAX_CPU_MODIFIERS) " elements"

int config_check_members(const struct catnap_vm_config *c, bool needs_image, struct error *err)
{
	const char *what = NULL;

	if (c->vcpus < 1 || c->vcpus > CATNAP_MAX_VCPUS)
		error_set(err, "vcpus: %u is out of range: 1 to %u", c->vcpus, CATNAP_MAX_VCPUS);
	else if (c->memory_size < MEMORY_MIN || c->memory_size > MEMORY_MAX)
		error_set(err, "memory_size: %llu bytes is out of range: 1 MiB to 64 TiB",
			  (unsigned long long)c->memory_size);
	else if (c->memory_size & 4095)
		error_set(err, "memory_size: %llu bytes: expected a multiple of 4096",
			  (unsigned long long)c->memory_size);
	else if (c->memory_pages > CATNAP_PAGES_1G)
		what = "memory_pages: not one that is known";
	else if (c->memory_size % memory_page_size(c->memory_pages))
		error_set(err, "memory_size: %llu bytes: expected a multiple of its pages, %s",
			  (unsigned long long)c->memory_size,
			  c->memory_pages == CATNAP_PAGES_1G ? "1 GiB" : "2 MiB");
	else if (c->irqchip > CATNAP_IRQCHIP_KERNEL)
		what = "irqchip: not one that is known";
	else if (c->image_kind > CATNAP_IMAGE_LINUX64)
		what = "image_kind: not one that is known";
	else if (c->kernel_path && c->kernel_data)
		what = "kernel: either a path or data, not both";
	else if (needs_image && !c->kernel_path && !c->kernel_data)
		what = "no kernel given";
	else if (c->initramfs_path && c->initramfs_data)
		what = "initramfs: either a path or data, not both";
	else if (c->hw > CATNAP_HW_MPTABLE)
		what = "hw: not one that is known";
	else if (c->transport > CATNAP_TRANSPORT_MMIO)
		what = "transport: not one that is known";
	else if (c->hotplug && c->transport != CATNAP_TRANSPORT_PCI)
		what = "hotplug: devices come and go on the PCI bus: expected transport pci";
	else if (c->hotplug && c->hw != CATNAP_HW_ACPI)
		what = "hotplug: ACPI tells the guest of it: expected hw acpi";
	else if (c->io > CATNAP_IO_THREAD)
		what = "io: not one that is known";
	else if (c->sandbox > CATNAP_SANDBOX_ON)
		what = "sandbox: not one that is known";
	else if (catnap_halt_poll_check(&c->halt_poll) < 0)
		what = "halt_poll: " HALT_POLL_WRONG;
	else if (c->poll_after_guest > CATNAP_AFTER_GUEST_LEARNED)
		what = "poll_after_guest: not one that is known";
	else if (c->poll_after_guest == CATNAP_AFTER_GUEST_BREAK_EVEN &&
		 c->irqchip != CATNAP_IRQCHIP_USER)
		what = "poll_after_guest: with irqchip kernel the halts are KVM's";
	else if (c->guest_hlt && c->irqchip != CATNAP_IRQCHIP_KERNEL)
		what = "guest_hlt: with irqchip user HLT leaves the guest: expected irqchip kernel";
	else if (c->debug_exit_port < -1 || c->debug_exit_port > 0xffff)
		what = "debug_exit_port: expected -1 to 65535";
	else if (c->cpuid_modifier_count > CATNAP_MAX_CPU_MODIFIERS ||
		 (c->cpuid_modifier_count && !c->cpuid_modifiers))
		what = "cpuid_modifiers: expected " MODIFIERS;
	else if (c->msr_modifier_count > CATNAP_MAX_CPU_MODIFIERS ||
		 (c->msr_modifier_count && !c->msr_modifiers))
		what = "msr_modifiers: expected " MODIFIERS;
	else if (c->kvm_required_count > CATNAP_MAX_CPU_MODIFIERS ||
		 (c->kvm_required_count && !c->kvm_required))
		what = "kvm_required: expected " MODIFIERS;
	else if (c->kvm_dropped_count > CATNAP_MAX_CPU_MODIFIERS ||
		 (c->kvm_dropped_count && !c->kvm_dropped))
		what = "kvm_dropped: expected " MODIFIERS;
	else if (c->on_reset > CATNAP_ON_RESET_RESTART)
		what = "on_reset: not one that is known";
	else if (c->kick_signal < SIGRTMIN || c->kick_signal > SIGRTMAX)
		what = "kick_signal: expected SIGRTMIN to SIGRTMAX";
	else
		return numa_check(c, err);
	if (what)
		error_set(err, "%s", what);
	return -EINVAL;
}

/* -- what is the host's ----------------------------------------------------------------------- */

static int bad_processor(struct error *err, uint32_t vcpu, int32_t cpu, const char *expected)
{
	return error_fail(err, -EINVAL, "vcpu_affinity: vCPU %u: processor %d: %s", vcpu, cpu,
			  expected);
}

static int check_affinity(const struct catnap_vm_config *cfg, struct error *err)
{
	const int32_t *cpus = cfg->vcpu_affinity;
	cpu_set_t wanted, refused;
	int ret;

	if (!cpus)
		return 0;
	CPU_ZERO(&wanted);
	for (uint32_t i = 0; i < cfg->vcpus; i++) {
		if (cpus[i] < -1 || cpus[i] >= CPU_SETSIZE)
			return bad_processor(err, i, cpus[i],
					     "expected a processor's number, or -1");
		if (cpus[i] >= 0)
			CPU_SET((size_t)cpus[i], &wanted);
	}
	if (CPU_COUNT(&wanted) == 0)
		return 0;
	ret = thread_refused(&wanted, &refused);
	if (ret < 0)
		return error_errno(err, ret, "vcpu_affinity: a thread that tries it");
	for (uint32_t i = 0; i < cfg->vcpus; i++)
		if (cpus[i] >= 0 && CPU_ISSET((size_t)cpus[i], &refused))
			return bad_processor(err, i, cpus[i],
					     "expected one that this process may use");
	return 0;
}

static int check_trace(const struct catnap_vm_config *cfg, struct error *err)
{
	int flags = cfg->halt_trace_fd < 0 ? O_WRONLY : fcntl(cfg->halt_trace_fd, F_GETFL);

	if (flags >= 0 && !(flags & O_PATH) && (flags & O_ACCMODE) != O_RDONLY)
		return 0;
	return error_fail(err, -EBADF, "halt_trace_fd: descriptor %d is not open%s",
			  cfg->halt_trace_fd, flags < 0 ? "" : " for writing");
}

static int check_name(const char *name, struct error *err)
{
	static const char known[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
	size_t len = name ? strspn(name, known) : 0;

	if (!name || (len && !name[len] && len <= CATNAP_MAX_NAME))
		return 0;
	return error_fail(err, -EINVAL, "name: expected 1 to %d letters, digits, '.', '_' and '-'",
			  CATNAP_MAX_NAME);
}

static int check_descriptors(const struct catnap_vm_config *cfg, struct error *err)
{
	const struct {
		const char *name;
		int32_t fd;
	} fds[] = {{"kvm_fd", cfg->kvm_fd},
		   {"pressure_fd", cfg->pressure_fd},
		   {"throttle_fd", cfg->throttle_fd}};

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i].fd >= 0 && fcntl(fds[i].fd, F_GETFD) < 0)
			return error_fail(err, -EBADF, "%s: descriptor %d is not open", fds[i].name,
					  fds[i].fd);
	if (cfg->cgroup && (cfg->pressure_fd >= 0 || cfg->throttle_fd >= 0))
		return error_fail(err, -EINVAL,
				  "cgroup: either a folder or its files' descriptors, not both");
	return 0;
}

int config_check_host(const struct catnap_vm_config *cfg, struct error *err)
{
	int ret = check_trace(cfg, err);

	if (ret == 0)
		ret = check_name(cfg->name, err);
	if (ret == 0)
		ret = check_descriptors(cfg, err);
	return ret < 0 ? ret : check_affinity(cfg, err);
}
