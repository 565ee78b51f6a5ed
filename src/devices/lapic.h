/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The local APIC as a state machine (Intel SDM volume 3, chapter "Advanced Programmable Interrupt
 * Controller"): xAPIC by MMIO, x2APIC by MSRs, the timer, and the interrupt messages between them.
 * It has no KVM, no thread and no clock of its own: the caller passes the time.
 *
 * Owner: the vCPU's thread owns a struct lapic. Other threads reach it only through
 * lapic_bus_send(), which sets the atomic words of struct lapic_inbox and then calls the bus's
 * wake(). Pairing: the sender's release operation on the inbox comes before wake(); the owner's
 * lapic_collect() comes after it has taken its work bits.
 */
#ifndef DEVICES_LAPIC_H
#define DEVICES_LAPIC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "errors.h"
#include "poll/clock.h"
#include "relaxed.h"
#include "state.h"

#define LAPIC_MMIO_BASE	       UINT64_C(0xfee00000)
#define LAPIC_MMIO_SIZE	       UINT64_C(0x1000)
#define LAPIC_MSR_FIRST	       0x800u /* x2APIC register space */
#define LAPIC_MSR_LAST	       0x8ffu
#define LAPIC_MSR_TSC_DEADLINE 0x6e0u
#define LAPIC_BASE_BSP	       (UINT64_C(1) << 8)
#define LAPIC_BASE_X2APIC      (UINT64_C(1) << 10)
#define LAPIC_BASE_ENABLE      (UINT64_C(1) << 11)
/* The timer's input clock: 1 GHz, the same as KVM's in-kernel APIC, so one tick is 1 ns at
 * divide 1. */
#define LAPIC_TIMER_HZ UINT64_C(1000000000)
#define LAPIC_MAX      255 /* APIC ids 0 to 254 */

enum lapic_mode { LAPIC_DISABLED, LAPIC_XAPIC, LAPIC_X2APIC };

/* Delivery modes, as encoded in the ICR, in LVT entries, in MSI data and in IOAPIC entries. */
enum lapic_delivery {
	LAPIC_FIXED = 0,
	LAPIC_LOWEST = 1,
	LAPIC_SMI = 2,
	LAPIC_NMI = 4,
	LAPIC_INIT = 5,
	LAPIC_SIPI = 6,
	LAPIC_EXTINT = 7,
};

enum lapic_shorthand { LAPIC_TO_DEST, LAPIC_TO_SELF, LAPIC_TO_ALL, LAPIC_TO_OTHERS };

/* Bits of the error status register. */
#define LAPIC_ESR_REDIRECTABLE	   (1u << 4)
#define LAPIC_ESR_SEND_ILLEGAL	   (1u << 5)
#define LAPIC_ESR_RECEIVE_ILLEGAL  (1u << 6)
#define LAPIC_ESR_ILLEGAL_REGISTER (1u << 7)

/* An interrupt message: from an ICR, an MSI or an IOAPIC entry. */
struct lapic_msg {
	uint32_t dest; /* x2APIC-wide destination; 0xffffffff is broadcast */
	uint8_t vector;
	uint8_t delivery;  /* enum lapic_delivery */
	uint8_t shorthand; /* enum lapic_shorthand */
	bool logical;
	bool level;	 /* trigger mode */
	bool deassert;	 /* INIT level de-assert: ignored */
	bool xapic_dest; /* dest came from an 8-bit field: 0xff is broadcast */
};

/* Events that are not vectors, in lapic_inbox.events. */
#define LAPIC_EVENT_NMI	 (1u << 0)
#define LAPIC_EVENT_INIT (1u << 1)
#define LAPIC_EVENT_SIPI (1u << 2) /* start vector in bits 8 to 15 */
#define LAPIC_EVENT_SMI	 (1u << 3) /* no SMM here: counted and dropped by whoever collects it */
/* Inside the inbox only, consumed by lapic_collect(): a message with vector 0 to 15 came. */
#define LAPIC_EVENT_BAD_VECTOR (1u << 4)
/* Inside the inbox only: which words of pir[] and pir_level[] to look at. */
#define LAPIC_EVENT_PIR(word)	    (1u << (16 + (word)))
#define LAPIC_EVENT_PIR_LEVEL(word) (1u << (24 + (word)))
#define LAPIC_EVENT_OWNER	    0xff0fu /* the bits that lapic_collect() returns */

/*
 * The words that other threads write. They have a cache line of their own (level-triggered vectors
 * above 223 use a second). A vector is posted in pir[] or, if level-triggered, in pir_level[],
 * never in both, so two senders of one vector cannot undo each other. Then its word's bit is set in
 * events, with release; lapic_collect() takes events with acquire, and an empty inbox costs it one
 * load.
 */
struct lapic_inbox {
	_Alignas(64) _Atomic uint32_t events;
	_Atomic uint32_t pir[8];       /* posted vectors, edge-triggered */
	_Atomic uint32_t pir_level[8]; /* posted vectors, level-triggered */
};

/* The words that other threads read to match destinations. The owner writes them; relaxed. */
struct lapic_address {
	_Atomic uint32_t mode;	     /* enum lapic_mode */
	_Atomic uint32_t ldr, dfr;   /* as the guest sees them */
	_Atomic uint32_t sw_enabled; /* SVR bit 8 */
	_Atomic uint32_t ppr;	     /* for lowest-priority arbitration: a hint */
};

struct lapic;
struct lapic_bus;

struct lapic {
	struct lapic_inbox inbox;
	struct lapic_address address;

	/* From here on: the owner only. */
	struct lapic_bus *bus;
	const struct clock *clock;
	uint32_t id; /* APIC id = index on the bus */
	bool bsp;
	bool tsc_deadline_offered; /* timer mode 2 and MSR 0x6e0 exist */
	uint64_t tsc_offset;	   /* guest TSC - host TSC (modulo 2^64), for TSC deadlines */
	uint64_t base;		   /* IA32_APIC_BASE as last told to lapic_set_base() */
	uint32_t irr[8], isr[8], tmr[8];
	uint32_t tpr, svr, esr, esr_pending;
	uint64_t icr;
	uint32_t icr2; /* xAPIC's high half */
	uint32_t lvt_timer, lvt_thermal, lvt_perf, lvt_lint0, lvt_lint1, lvt_error;
	uint32_t timer_divide;	 /* the register */
	uint32_t timer_initial;	 /* initial count */
	uint64_t timer_start;	 /* ticks at which the present period began */
	uint64_t timer_deadline; /* ticks at which it expires; UINT64_MAX: not armed */
	uint64_t tsc_deadline;	 /* MSR 0x6e0 as the guest wrote it; 0: not armed */
	/* Counts of what a guest did wrong, for statistics: EOI with nothing in service, ... */
	uint64_t spurious;
	uint64_t illegal; /* ... and everything else */
};

/* All local APICs of a VM, and where what they say goes. Filled before the vCPUs start, then
 * constant. */
struct lapic_bus {
	struct lapic **lapics; /* indexed by APIC id */
	uint32_t count;
	/* Any thread: lapics[id] has something in its inbox; @ipi: another vCPU sent it. */
	void (*wake)(void *ctx, uint32_t id, bool ipi);
	/* Owner of the lapic: level-triggered @vector was acknowledged; tell the IOAPIC. */
	void (*eoi)(void *ctx, uint8_t vector);
	void *ctx;
	_Atomic uint32_t lowest_next; /* round robin among equals */
};

/* Puts it into its power-up state (SDM "Local APIC State After Power-Up or Reset"); @bsp sets the
 * BSP bit of the base. */
void lapic_init(struct lapic *l, struct lapic_bus *bus, uint32_t id, bool bsp,
		const struct clock *clock);
/* Puts it into its state after INIT: registers reset, id and base kept, IRR/ISR/TMR empty, timer
 * stopped. Inbox kept. */
void lapic_reset(struct lapic *l);
/* Takes @base as IA32_APIC_BASE (KVM keeps that register and reports it in kvm_run). Cheap if
 * unchanged. */
void lapic_set_base(struct lapic *l, uint64_t base);

/*
 * Reads or writes x2APIC registers, and LAPIC_MSR_TSC_DEADLINE where offered. Returns 0, or -EPERM:
 * the access raises #GP in the guest (not in x2APIC mode, reserved register or bits, read of a
 * write-only one, ...). @now is the time in ticks.
 */
int lapic_msr_read(struct lapic *l, uint32_t msr, uint64_t *value, uint64_t now);
int lapic_msr_write(struct lapic *l, uint32_t msr, uint64_t value, uint64_t now);
/*
 * Reads or writes xAPIC registers. Accesses that are not 4 bytes at a multiple of 16 are undefined
 * by the SDM: reads give what lies there, writes are ignored and counted. Ignored as well unless in
 * xAPIC mode (reads ~0).
 */
void lapic_mmio_read(struct lapic *l, uint32_t offset, void *data, unsigned int len, uint64_t now);
void lapic_mmio_write(struct lapic *l, uint32_t offset, const void *data, unsigned int len,
		      uint64_t now);

/* Delivers @msg to whom it concerns. @from is the sending APIC, NULL for MSI and IOAPIC. Returns
 * how many local APICs took it. Any thread. */
unsigned int lapic_bus_send(struct lapic_bus *bus, const struct lapic_msg *msg,
			    const struct lapic *from);
/* Decodes an MSI write (SDM "Message Signalled Interrupts"; with the 15-bit destination extension,
 * address bits 11 to 5 as destination bits 14 to 8). Returns false if it means nothing, because the
 * address lies outside 0xfeexxxxx, or because a level is taken back. */
bool lapic_msi_decode(uint64_t address, uint32_t data, struct lapic_msg *msg);
/* Delivers one. Returns how many local APICs took it. Any thread. */
unsigned int lapic_bus_msi(struct lapic_bus *bus, uint64_t address, uint32_t data);

/*
 * Decodes the message that a write of @icr (xAPIC: the two halves put together) sends. Returns
 * false if it sends none, because of *@esr (bits of the error status register to log), or because
 * the SDM has no such message. Pure.
 */
bool lapic_icr_decode(uint64_t icr, bool x2apic, struct lapic_msg *msg, uint32_t *esr);

/* Returns whether there is something for lapic_collect(). A hint: one relaxed load. Any thread. */
static inline bool lapic_inbox_pending(const struct lapic *l)
{
	return relaxed_load(&l->inbox.events) != 0;
}

/* Moves posted vectors into IRR/TMR, and returns and clears the events. Owner. */
uint32_t lapic_collect(struct lapic *l);
/* Returns the vector to inject now, or -1: the highest in IRR above the processor priority.
 * Owner. */
int lapic_pending_vector(const struct lapic *l);
/* Returns whether there is any vector in IRR at all, deliverable or not. Owner. */
bool lapic_has_irr(const struct lapic *l);
/* Returns whether exactly one vector is in service, and its EOI concerns nobody else
 * (edge-triggered). Owner. */
static inline bool lapic_eoi_is_simple(const struct lapic *l)
{
	uint32_t in_service = 0, level = 0;
	int count = 0;

	for (int i = 0; i < 8; i++) {
		in_service = l->isr[i];
		count += __builtin_popcount(in_service);
		level |= in_service & l->tmr[i];
	}
	return count == 1 && !level;
}
/* Tells that the vector was handed to the processor (interrupt acknowledge): IRR -> ISR. Owner. */
void lapic_accept(struct lapic *l, uint8_t vector);
/* Does an EOI, as a write to the EOI register (used for paravirtual EOI too). Owner. */
void lapic_eoi(struct lapic *l);
/* Takes CR8, which is TPR bits 7 to 4. Owner. */
void lapic_set_cr8(struct lapic *l, uint64_t cr8);
static inline uint64_t lapic_cr8(const struct lapic *l)
{
	return l->tpr >> 4;
}

/* Returns when the timer expires, in ticks; UINT64_MAX: not armed. Owner. */
static inline uint64_t lapic_deadline(const struct lapic *l)
{
	return l->timer_deadline;
}
/*
 * Delivers, if the deadline has passed at @now, the timer's LVT entry (to this APIC's own IRR;
 * masked: nothing) and starts the next period (periodic; periods that were missed altogether are
 * counted as one interrupt) or stops (one-shot, TSC deadline). Returns whether it expired. Owner.
 */
bool lapic_timer_run(struct lapic *l, uint64_t now);

/* lapic_state.c */
#define LAPIC_STATE_VERSION 1
/*
 * Writes the state at @now, in an open section: registers, the timer by what is left of it, and what
 * lies in the inbox. The owner stands; other threads may send meanwhile.
 */
void lapic_save(const struct lapic *l, struct state_writer *w, uint64_t now);
/*
 * Reads that section whole, checks it, and takes it over at @now, before the owner has started: the
 * guest's TSC (tsc_offset) is as it will be. Below 0, @now lies before the host was started. The owner
 * is woken for what lies in the inbox. Errors, with a sentence:
 *   -EINVAL   no local APIC can be so
 *   -ENOTSUP  the timer is in TSC deadline mode, which is not offered here
 */
int lapic_load(struct lapic *l, struct state_in *in, int64_t now, struct error *err);

#endif
