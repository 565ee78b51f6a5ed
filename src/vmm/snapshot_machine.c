/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole machine's state: vCPUs, clocks, KVM's interrupt controllers, devices. The order matters
 * when it is loaded:
 *
 *	vCPUs, whose TSCs the deadlines of timers are given in;
 *	KVM's interrupt controllers;
 *	devices, which drive the pins of the I/O APIC, ours or KVM's, as they do;
 *	kvmclock, last: it goes on from there.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vmm/snapshot.h"
#include "vmm/snapshot_devices.h"
#include "vmm/vm.h"

#define CLOCK_VERSION	1
#define CHIPS_VERSION	1
#define LEARNED_VERSION POLICY_STATE_VERSION

#define VCPU_VERSION 1

/* Guests keep to a TSC that is off by no more (KVM: tsc_tolerance_ppm). */
#define TSC_TOLERANCE_PPM 250

/* -- saving ----------------------------------------------------------------------------------- */

static int save_clock(struct catnap_vm *vm, struct state_writer *w, uint64_t realtime_ns,
		      uint64_t host_tsc, struct error *err)
{
	struct kvm_clock_data clock = {0};

	if (ioctl(vm->kvm.vm_fd, KVM_GET_CLOCK, &clock) < 0)
		return error_errno(err, -errno, "KVM_GET_CLOCK");
	state_begin(w, STATE_CLOCK, 0, CLOCK_VERSION);
	state_put_u64(w, clock.clock);
	state_put_u64(w, realtime_ns);
	state_put_u64(w, vcpu_guest_tsc(vm->vcpus[0], host_tsc));
	return state_end(w);
}

static int save_chips(struct catnap_vm *vm, struct state_writer *w, struct error *err)
{
	if (vm->host.irqchip_user)
		return 0;
	state_begin(w, STATE_CHIPS, 0, CHIPS_VERSION);
	for (uint32_t i = 0; i < VM_KVM_CHIPS; i++) {
		struct kvm_irqchip chip = {.chip_id = i};

		if (ioctl(vm->kvm.vm_fd, KVM_GET_IRQCHIP, &chip) < 0)
			return error_errno(err, -errno, "KVM_GET_IRQCHIP");
		state_put_bytes(w, &chip.chip, sizeof(chip.chip));
	}
	return state_end(w);
}

static int save_halter(const struct catnap_halter *h, uint32_t instance, struct state_writer *w)
{
	state_begin(w, STATE_LEARNED, instance, LEARNED_VERSION);
	price_save(&h->price, w);
	policy_save(&h->policy, w);
	return state_end(w);
}

/* Saves what policies have learned; with KVM's local APIC the halts are KVM's. */
static int save_learned(struct catnap_vm *vm, struct state_writer *w)
{
	int ret = 0;

	for (uint32_t i = 0; vm->host.irqchip_user && i < vm->vcpu_count && ret == 0; i++)
		ret = save_halter(&vm->vcpus[i]->halter, i, w);
	if (vm->io && ret == 0)
		ret = save_halter(&vm->io->halter, CATNAP_IO_THREAD_VCPU, w);
	return ret;
}

int machine_save(struct catnap_vm *vm, struct state_writer *w, uint64_t realtime_ns,
		 uint64_t host_tsc, struct error *err)
{
	int ret = save_clock(vm, w, realtime_ns, host_tsc, err);

	for (uint32_t i = 0; i < vm->vcpu_count && ret == 0; i++)
		ret = vcpu_save(vm->vcpus[i], w, host_tsc, err);
	if (ret == 0)
		ret = save_chips(vm, w, err);
	if (ret == 0)
		ret = save_learned(vm, w);
	return ret < 0 ? ret : vm_save_devices(vm, w, err);
}

/* -- loading ---------------------------------------------------------------------------------- */

/* The guest's clocks at the moment of the snapshot, and by how much they are to be ahead of it. */
struct clocks {
	uint64_t kvmclock, guest_tsc;
	uint64_t ahead_ns, ahead_ticks;
};

static int read_clocks(struct catnap_snapshot *s, bool clock_realtime, struct clocks *c,
		       struct error *err)
{
	uint64_t then, now = clock_read_ns(CLOCK_REALTIME);
	struct state_in in;
	int ret = state_find(&s->reader, STATE_CLOCK, 0, CLOCK_VERSION, &in, err);

	if (ret < 0)
		return ret;
	*c = (struct clocks){.kvmclock = state_get_u64(&in)};
	then = state_get_u64(&in);
	c->guest_tsc = state_get_u64(&in);
	/* A clock of the host's that was put back changes nothing. */
	c->ahead_ns = clock_realtime && now > then ? now - then : 0;
	state_check(&in, c->kvmclock <= INT64_MAX / 2 && c->ahead_ns <= INT64_MAX / 4,
		    "the time of a clock");
	return state_finish(&in, err);
}

static uint64_t scale(uint64_t value, uint64_t by, uint64_t div)
{
	return div ? (uint64_t)((unsigned __int128)value * by / div) : 0;
}

/*
 * Follows the host's TSC: where a guest's cannot be set it is the host's, and so it has gone on.
 * The guest's other clocks go on with it, as with clock_realtime. It must not go back.
 */
static int follow_tsc(struct catnap_vm *vm, struct clocks *c, struct error *err)
{
	uint64_t now, khz = vm->kvm.tsc_khz;

	vm->host.tsc_fixed = !vcpu_can_set_tsc(vm->vcpus[0]);
	if (!vm->host.tsc_fixed) {
		c->ahead_ticks = scale(c->ahead_ns, khz, 1000000);
		return 0;
	}
	now = vcpu_guest_tsc(vm->vcpus[0], __builtin_ia32_rdtsc());
	if (now < c->guest_tsc)
		return error_fail(
			err, -ENOTSUP,
			"this KVM cannot set a guest's TSC, and the host's is behind what "
			"the guest has seen: was it restarted?");
	c->ahead_ticks = now - c->guest_tsc;
	c->ahead_ns = scale(c->ahead_ticks, 1000000, khz);
	return 0;
}

static int check_tsc(struct catnap_vm *vm, const struct snapshot_config *c, struct error *err)
{
	uint64_t there = c->tsc_khz, here = vm->kvm.tsc_khz;
	uint64_t off = there > here ? there - here : here - there;

	if (!there || !here || off * 1000000 <= here * TSC_TOLERANCE_PPM)
		return 0;
	/* A local APIC of ours counts in the host's ticks. */
	if (!vm->host.irqchip_user && vm->kvm.tsc_control) {
		for (uint32_t i = 0; i < vm->vcpu_count; i++)
			if (ioctl(vm->vcpus[i]->fd, KVM_SET_TSC_KHZ, there) < 0)
				return error_errno(err, -errno, "KVM_SET_TSC_KHZ");
		return 0;
	}
	return error_fail(
		err, -ENOTSUP,
		"the guest's TSC runs at %llu kHz and this host's at %llu kHz, which is not "
		"scaled %s",
		(unsigned long long)there, (unsigned long long)here,
		vm->host.irqchip_user ? "with irqchip user" : "by this host");
}

static int load_chips(struct catnap_vm *vm, struct catnap_snapshot *s, struct error *err)
{
	struct kvm_irqchip chips[VM_KVM_CHIPS];
	struct state_in in;
	int ret;

	if (vm->host.irqchip_user)
		return 0;
	ret = state_find(&s->reader, STATE_CHIPS, 0, CHIPS_VERSION, &in, err);
	if (ret < 0)
		return ret;
	memset(chips, 0, sizeof(chips));
	for (uint32_t i = 0; i < VM_KVM_CHIPS; i++) {
		chips[i].chip_id = i;
		state_get_bytes(&in, &chips[i].chip, sizeof(chips[i].chip));
	}
	ret = state_finish(&in, err);
	for (uint32_t i = 0; i < VM_KVM_CHIPS && ret == 0; i++)
		if (ioctl(vm->kvm.vm_fd, KVM_SET_IRQCHIP, &chips[i]) < 0)
			ret = error_errno(err, -errno, "KVM_SET_IRQCHIP");
	return ret;
}

static int load_vcpus(struct catnap_vm *vm, struct catnap_snapshot *s, uint64_t host_tsc,
		      struct error *err)
{
	struct state_in in;
	int ret = 0;

	for (uint32_t i = 0; i < vm->vcpu_count && ret == 0; i++) {
		ret = state_find(&s->reader, STATE_VCPU, i, VCPU_VERSION, &in, err);
		if (ret == 0)
			ret = vcpu_load(vm->vcpus[i], &in, host_tsc, err);
	}
	return ret;
}

static int load_halter(struct catnap_halter *h, uint32_t instance, struct catnap_snapshot *s,
		       bool take, struct error *err)
{
	struct state_in in;
	int ret;

	if (!state_has(&s->reader, STATE_LEARNED, instance))
		return 0;
	ret = state_find(&s->reader, STATE_LEARNED, instance, LEARNED_VERSION, &in, err);
	if (ret < 0 || !take)
		return ret;
	price_load(&h->price, &in);
	policy_load(&h->policy, &in);
	return state_finish(&in, err);
}

/* Loads what policies have learned. An I/O thread that there was, or is now, alone has nothing to
 * give or to take. */
static int load_learned(struct catnap_vm *vm, struct catnap_snapshot *s, bool take,
			struct error *err)
{
	struct state_in in;
	int ret = 0;

	for (uint32_t i = 0; vm->host.irqchip_user && i < vm->vcpu_count && ret == 0; i++)
		ret = load_halter(&vm->vcpus[i]->halter, i, s, take, err);
	if (ret == 0 && vm->io)
		ret = load_halter(&vm->io->halter, CATNAP_IO_THREAD_VCPU, s, take, err);
	else if (ret == 0 && state_has(&s->reader, STATE_LEARNED, CATNAP_IO_THREAD_VCPU))
		ret = state_find(&s->reader, STATE_LEARNED, CATNAP_IO_THREAD_VCPU, LEARNED_VERSION,
				 &in, err);
	return ret;
}

int machine_load(struct catnap_vm *vm, struct catnap_snapshot *s, const struct catnap_restore *how,
		 struct error *err)
{
	struct kvm_clock_data clock = {0};
	struct clocks clocks;
	uint64_t host_tsc;
	int ret = read_clocks(s, how->clock_realtime, &clocks, err);

	if (ret == 0)
		ret = check_tsc(vm, &s->config, err);
	if (ret == 0)
		ret = follow_tsc(vm, &clocks, err);
	if (ret < 0)
		return ret;
	/* The moment that stands for that of the snapshot lies before now by what clocks are ahead. */
	host_tsc = __builtin_ia32_rdtsc() - clocks.ahead_ticks;
	vm->instant =
		(int64_t)(vm->clock.tsc ? host_tsc
					: clock_now(&vm->clock) -
						  clock_ns_to_ticks(&vm->clock, clocks.ahead_ns));
	ret = load_vcpus(vm, s, host_tsc, err);
	if (ret == 0)
		ret = load_chips(vm, s, err);
	if (ret == 0)
		ret = vm_load_devices(vm, &s->reader, err);
	if (ret == 0)
		ret = load_learned(vm, s, !how->forget, err);
	if (ret == 0)
		ret = state_all_found(&s->reader, err);
	if (ret < 0)
		return ret;
	clock.clock = clocks.kvmclock + clocks.ahead_ns;
	if (ioctl(vm->kvm.vm_fd, KVM_SET_CLOCK, &clock) < 0)
		return error_errno(err, -errno, "KVM_SET_CLOCK");
	for (uint32_t i = 0; i < vm->vcpu_count; i++)
		vcpu_tell_stopped(vm->vcpus[i]);
	return 0;
}
