/* SPDX-License-Identifier: Apache-2.0 */
/* Handles the exits for which KVM_RUN returns: ports, MMIO, MSRs, HLT, and the ends. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "devices/serial.h"
#include "vcpu/vcpu.h"

static void unclaimed(struct vcpu *v)
{
	stat_add(&v->counters.unclaimed, 1);
}

/* Does port I/O. String instructions come as count items: the data advances, the port does not. */
static void port_io(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	unsigned int size = run->io.size;

	stat_add(&v->counters.io, 1);
	if (run->io.port == SERIAL_COM1_PORT && run->io.direction == KVM_EXIT_IO_OUT && size == 1 &&
	    run->io.count > 1 && serial_write_many(v->host->com1, data, run->io.count))
		return;
	for (uint32_t i = 0; i < run->io.count; i++, data += size) {
		bool taken = run->io.direction == KVM_EXIT_IO_OUT
				     ? bus_write(v->host->pio, run->io.port, data, size)
				     : bus_read(v->host->pio, run->io.port, data, size);

		if (!taken)
			unclaimed(v);
	}
}

static bool is_lapic(const struct vcpu *v, uint64_t addr)
{
	uint64_t base = v->lapic.base & UINT64_C(0xffffff000);

	return v->host->irqchip_user && addr >= base && addr - base < LAPIC_MMIO_SIZE &&
	       (v->lapic.base & (LAPIC_BASE_ENABLE | LAPIC_BASE_X2APIC)) == LAPIC_BASE_ENABLE;
}

static enum vcpu_next mmio(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	uint64_t addr = run->mmio.phys_addr;
	bool taken = true;

	stat_add(&v->counters.mmio, 1);
	if (is_lapic(v, addr)) {
		uint32_t offset = (uint32_t)(addr & (LAPIC_MMIO_SIZE - 1));
		uint64_t now = vcpu_run_timer(v);

		if (run->mmio.is_write)
			lapic_mmio_write(&v->lapic, offset, run->mmio.data, run->mmio.len, now);
		else
			lapic_mmio_read(&v->lapic, offset, run->mmio.data, run->mmio.len, now);
	} else if (run->mmio.is_write) {
		taken = bus_write(v->host->mmio, addr, run->mmio.data, run->mmio.len);
	} else {
		taken = bus_read(v->host->mmio, addr, run->mmio.data, run->mmio.len);
	}
	if (taken)
		return VCPU_CONTINUE;
	/* What KVM emulates, and finds no page for, comes here as well. */
	if (v->host->lost(v->host->ctx, v, addr, run->mmio.is_write))
		return VCPU_END;
	unclaimed(v);
	return VCPU_CONTINUE;
}

static void hlt(struct vcpu *v)
{
	stat_add(&v->counters.hlt, 1);
	if (!v->host->irqchip_user)
		return; /* KVM halts by itself; it does not come here */
	/* KVM exits for HLT also when it holds an NMI that could not be delivered yet. */
	if (v->sync_events &&
	    (v->run->s.regs.events.nmi.pending || v->run->s.regs.events.nmi.injected))
		return;
	v->halted = true;
	if (v->armed_off)
		v->goes_on = false;
}

static enum vcpu_next ended(struct vcpu *v, uint32_t reason, int32_t code, const char *what)
{
	vcpu_end(v, reason, code, what);
	return VCPU_END;
}

/* Returns whether the end comes of memory that is not there; then it is told. KVM gives up where it
 * finds no code to emulate, and the guest where its page tables cannot be read. */
static bool is_lost(struct vcpu *v)
{
	return v->host->lost(v->host->ctx, v, VCPU_IF_CUT_OFF, false);
}

static enum vcpu_next internal_error(struct vcpu *v)
{
	char what[128];
	uint32_t suberror = v->run->internal.suberror;

	if (is_lost(v))
		return VCPU_END;
	if (suberror == KVM_INTERNAL_ERROR_EMULATION)
		snprintf(what, sizeof(what),
			 "KVM internal error 1: KVM could not emulate the instruction below");
	else
		snprintf(what, sizeof(what), "KVM internal error %u", suberror);
	return ended(v, CATNAP_EXIT_KVM_ERROR, (int32_t)suberror, what);
}

enum vcpu_next vcpu_handle_exit(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	char what[96];

	switch (run->exit_reason) {
	case KVM_EXIT_HLT:
		hlt(v);
		return VCPU_CONTINUE;
	case KVM_EXIT_IO:
		port_io(v);
		return VCPU_CONTINUE;
	case KVM_EXIT_MMIO:
		return mmio(v);
	case KVM_EXIT_X86_RDMSR:
		stat_add(&v->counters.msr, 1);
		vcpu_rdmsr(v);
		return VCPU_CONTINUE;
	case KVM_EXIT_X86_WRMSR:
		stat_add(&v->counters.msr, 1);
		vcpu_wrmsr(v);
		return VCPU_CONTINUE;
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		stat_add(&v->counters.window, 1);
		if (v->armed_off)
			v->goes_on = true;
		return VCPU_CONTINUE;
	case KVM_EXIT_SET_TPR: /* cr8 was read after the exit */
	case KVM_EXIT_INTR:
		return VCPU_CONTINUE;
	case KVM_EXIT_SHUTDOWN:
		return is_lost(v) ? VCPU_END
				  : ended(v, CATNAP_EXIT_TRIPLE_FAULT, 0, "triple fault");
	case KVM_EXIT_SYSTEM_EVENT:
		if (run->system_event.type == KVM_SYSTEM_EVENT_SHUTDOWN)
			return ended(v, CATNAP_EXIT_POWEROFF, 0, NULL);
		if (run->system_event.type == KVM_SYSTEM_EVENT_RESET) {
			v->leaving = !v->host->reset(v->host->ctx, v);
			return v->leaving ? VCPU_END : VCPU_CONTINUE;
		}
		return ended(v, CATNAP_EXIT_KVM_ERROR, (int32_t)run->system_event.type,
			     "KVM reported a system event");
	case KVM_EXIT_FAIL_ENTRY:
		snprintf(what, sizeof(what),
			 "the processor refused to enter the guest: reason 0x%llx",
			 run->fail_entry.hardware_entry_failure_reason);
		return ended(v, CATNAP_EXIT_KVM_ERROR, -EIO, what);
	case KVM_EXIT_INTERNAL_ERROR:
		return internal_error(v);
	default:
		snprintf(what, sizeof(what),
			 "KVM_RUN returned for reason %u, which is not known here",
			 run->exit_reason);
		return ended(v, CATNAP_EXIT_KVM_ERROR, (int32_t)run->exit_reason, what);
	}
}
