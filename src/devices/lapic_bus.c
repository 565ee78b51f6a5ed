/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupt messages between local APICs: destinations, the meaning of the ICR, and MSIs.
 * Intel SDM volume 3, "Issuing Interprocessor Interrupts" (ICR, destination modes, lowest
 * priority), "Extended XAPIC (x2APIC)" (logical ids) and "Message Signalled Interrupts".
 *
 * Everything here runs on the sender's thread. Of a receiver it reads the address words and writes
 * the inbox, nothing else; of the sender (@from) it may read what it owns.
 */
#include <stddef.h>

#include "devices/lapic.h"
#include "relaxed.h"

#define ICR_VECTOR(icr)	   ((uint8_t)(icr))
#define ICR_DELIVERY(icr)  ((uint8_t)((icr) >> 8 & 7))
#define ICR_LOGICAL	   (1u << 11)
#define ICR_ASSERT	   (1u << 14)
#define ICR_LEVEL	   (1u << 15)
#define ICR_SHORTHAND(icr) ((uint8_t)((icr) >> 18 & 3))

#define MSI_ADDRESS_TOP	  UINT64_C(0xfee) /* address bits 63 to 20 */
#define MSI_REDIRECT_HINT (1u << 3)
#define MSI_LOGICAL	  (1u << 2)
#define MSI_DATA_ASSERT	  (1u << 14)
#define MSI_DATA_LEVEL	  (1u << 15)

#define FIRST_LEGAL_VECTOR 16

/* Returns whether a logical destination matches; "Logical Destination Mode in xAPIC Mode" and "...
 * in x2APIC Mode". */
static bool match_logical(const struct lapic *l, uint32_t id, uint32_t mode, uint32_t dest)
{
	uint32_t ldr, dfr;

	if (mode == LAPIC_X2APIC)
		return dest >> 16 == id >> 4 && (dest & 1u << (id & 15));
	if (dest > 0xff)
		return false;
	ldr = relaxed_load(&l->address.ldr) >> 24;
	dfr = relaxed_load(&l->address.dfr) >> 28;
	if (dfr == 0xf) /* flat: a bit mask */
		return ldr & dest;
	if (dfr == 0x0) /* cluster: number in the high half, a bit mask in the low half */
		return ldr >> 4 == dest >> 4 && (ldr & dest & 0xf);
	return false;
}

/* The APICs that a message may concern, before each is asked. */
struct targets {
	uint32_t first, end; /* ids */
	uint32_t except;     /* an id, or UINT32_MAX */
	bool everyone;	     /* shorthand or broadcast: no look at the destination */
};

static bool targets_of(const struct lapic_bus *bus, const struct lapic_msg *msg,
		       const struct lapic *from, struct targets *t)
{
	t->first = 0;
	t->end = bus->count;
	t->except = UINT32_MAX;
	t->everyone = true;

	if (msg->shorthand != LAPIC_TO_DEST) {
		if (!from)
			return false;
		if (msg->shorthand == LAPIC_TO_SELF) {
			t->first = from->id;
			t->end = from->id + 1;
		} else if (msg->shorthand == LAPIC_TO_OTHERS) {
			t->except = from->id;
		}
		return true;
	}
	if (msg->dest == (msg->xapic_dest ? 0xffu : UINT32_MAX))
		return true;
	if (!msg->logical) {
		if (msg->dest >= bus->count)
			return false;
		t->first = msg->dest;
		t->end = msg->dest + 1;
		return true;
	}
	t->everyone = false;
	/* Only APICs in x2APIC mode have clusters above 0: 16 of them, not all, need be asked. */
	if (msg->dest >> 16) {
		t->first = (msg->dest >> 16) * 16;
		if (t->first >= bus->count)
			return false;
		if (t->end > t->first + 16)
			t->end = t->first + 16;
	}
	return true;
}

static struct lapic *match(const struct lapic_bus *bus, const struct lapic_msg *msg,
			   const struct targets *t, uint32_t id)
{
	struct lapic *l = bus->lapics[id];
	uint32_t mode;

	if (!l || id == t->except)
		return NULL;
	/* Globally disabled: as if it were not there, for INIT, NMI and SIPI too. */
	mode = relaxed_load(&l->address.mode);
	if (mode == LAPIC_DISABLED)
		return NULL;
	if (!t->everyone && !match_logical(l, id, mode, msg->dest))
		return NULL;
	return l;
}

static void wake(struct lapic_bus *bus, uint32_t id, const struct lapic *from)
{
	if (bus->wake)
		bus->wake(bus->ctx, id, from && from->id != id);
}

static bool post_vector(struct lapic_bus *bus, struct lapic *l, uint32_t id,
			const struct lapic_msg *msg, const struct lapic *from)
{
	uint32_t word = msg->vector / 32, bit = 1u << (msg->vector % 32);
	uint32_t event;

	/* "Local APIC State After It Has Been Software Disabled": takes no fixed interrupt. */
	if (!relaxed_load(&l->address.sw_enabled))
		return false;
	/* Release in both: a vector may be taken through another sender's event bit. */
	if (msg->vector < FIRST_LEGAL_VECTOR) {
		event = LAPIC_EVENT_BAD_VECTOR;
	} else if (msg->level) {
		atomic_fetch_or_explicit(&l->inbox.pir_level[word], bit, memory_order_release);
		event = LAPIC_EVENT_PIR_LEVEL(word);
	} else {
		atomic_fetch_or_explicit(&l->inbox.pir[word], bit, memory_order_release);
		event = LAPIC_EVENT_PIR(word);
	}
	atomic_fetch_or_explicit(&l->inbox.events, event, memory_order_release);
	wake(bus, id, from);
	return msg->vector >= FIRST_LEGAL_VECTOR;
}

static void post_event(struct lapic_bus *bus, struct lapic *l, uint32_t id,
		       const struct lapic_msg *msg, const struct lapic *from)
{
	uint32_t old = relaxed_load(&l->inbox.events), new;

	do {
		new = old;
		if (msg->delivery == LAPIC_NMI) {
			new |= LAPIC_EVENT_NMI;
		} else if (msg->delivery == LAPIC_SMI) {
			new |= LAPIC_EVENT_SMI;
		} else if (msg->delivery == LAPIC_INIT) {
			/* The processor waits for a SIPI that comes after this, not before it. */
			new &= ~(LAPIC_EVENT_SIPI | 0xff00u);
			new |= LAPIC_EVENT_INIT;
		} else if (!(old & LAPIC_EVENT_SIPI)) {
			/* The first one starts the processor; it ignores the second. */
			new |= LAPIC_EVENT_SIPI | (uint32_t)msg->vector << 8;
		}
	} while (!atomic_compare_exchange_weak_explicit(
		&l->inbox.events, &old, new, memory_order_release, memory_order_relaxed));
	wake(bus, id, from);
}

/* Sends by lowest priority: the one with the lowest processor priority takes it; in turn among
 * equals. */
static unsigned int send_lowest(struct lapic_bus *bus, const struct lapic_msg *msg,
				const struct targets *t, const struct lapic *from)
{
	uint32_t n = t->end - t->first, best_ppr = UINT32_MAX, best = 0, turn = 0;
	struct lapic *l, *chosen = NULL;

	if (n > 1)
		turn = atomic_fetch_add_explicit(&bus->lowest_next, 1, memory_order_relaxed);
	for (uint32_t k = 0; k < n; k++) {
		uint32_t id = t->first + (turn % n + k) % n;
		uint32_t ppr;

		l = match(bus, msg, t, id);
		if (!l || !relaxed_load(&l->address.sw_enabled))
			continue;
		ppr = relaxed_load(&l->address.ppr) & 0xf0;
		if (ppr < best_ppr) {
			best_ppr = ppr;
			best = id;
			chosen = l;
		}
	}
	return chosen && post_vector(bus, chosen, best, msg, from);
}

unsigned int lapic_bus_send(struct lapic_bus *bus, const struct lapic_msg *msg,
			    const struct lapic *from)
{
	unsigned int took = 0;
	struct targets t;

	switch (msg->delivery) {
	case LAPIC_FIXED:
	case LAPIC_LOWEST:
	case LAPIC_SMI:
	case LAPIC_NMI:
		break;
	case LAPIC_INIT:
		if (msg->deassert) /* only processors before the Pentium 4 used it */
			return 0;
		break;
	case LAPIC_SIPI:
		if (!from) /* reserved in MSIs and redirection entries */
			return 0;
		break;
	default: /* reserved; and ExtINT, for which there is no 8259 */
		return 0;
	}

	if (!targets_of(bus, msg, from, &t))
		return 0;
	if (msg->delivery == LAPIC_LOWEST)
		return send_lowest(bus, msg, &t, from);
	for (uint32_t id = t.first; id < t.end; id++) {
		struct lapic *l = match(bus, msg, &t, id);

		if (!l)
			continue;
		if (msg->delivery == LAPIC_FIXED) {
			took += post_vector(bus, l, id, msg, from);
		} else {
			post_event(bus, l, id, msg, from);
			took++;
		}
	}
	return took;
}

bool lapic_icr_decode(uint64_t icr, bool x2apic, struct lapic_msg *msg, uint32_t *esr)
{
	*msg = (struct lapic_msg){
		.dest = (uint32_t)(x2apic ? icr >> 32 : icr >> 56),
		.vector = ICR_VECTOR(icr),
		.delivery = ICR_DELIVERY(icr),
		.shorthand = ICR_SHORTHAND(icr),
		.logical = icr & ICR_LOGICAL,
		/* "Trigger Mode": only INIT de-assert looks at it, all else goes out as an edge. */
		.level = false,
		.deassert = (icr & ICR_LEVEL) && !(icr & ICR_ASSERT),
		.xapic_dest = !x2apic,
	};
	*esr = 0;

	/* "Valid Combinations for the ... Interrupt Command Register": these two send fixed
	 * only. */
	if ((msg->shorthand == LAPIC_TO_SELF || msg->shorthand == LAPIC_TO_ALL) &&
	    msg->delivery != LAPIC_FIXED)
		return false;

	switch (msg->delivery) {
	case LAPIC_LOWEST:
		/*
		 * The xAPIC sends these. In the x2APIC's ICR the encoding is reserved, and the
		 * error for that comes alone, whatever the vector.
		 */
		if (x2apic) {
			*esr = LAPIC_ESR_REDIRECTABLE;
			return false;
		}
		/* fall through */
	case LAPIC_FIXED:
		if (msg->vector < FIRST_LEGAL_VECTOR) {
			*esr = LAPIC_ESR_SEND_ILLEGAL;
			if (msg->shorthand == LAPIC_TO_SELF)
				*esr |= LAPIC_ESR_RECEIVE_ILLEGAL;
			return false;
		}
		return true;
	case LAPIC_INIT:
	case LAPIC_SMI:
	case LAPIC_NMI:
	case LAPIC_SIPI:
		return true;
	default: /* ExtINT and reserved */
		return false;
	}
}

bool lapic_msi_decode(uint64_t address, uint32_t data, struct lapic_msg *msg)
{
	*msg = (struct lapic_msg){
		.dest = (uint32_t)((address >> 12 & 0xff) | (address >> 5 & 0x7f) << 8),
		.vector = (uint8_t)data,
		.delivery = data >> 8 & 7,
		.shorthand = LAPIC_TO_DEST,
		/*
		 * The SDM lets hardware ignore this without the redirection hint; processors do
		 * not, and guests in flat mode depend on it.
		 */
		.logical = address & MSI_LOGICAL,
		.level = data & MSI_DATA_LEVEL,
		.deassert = (data & MSI_DATA_LEVEL) && !(data & MSI_DATA_ASSERT),
		.xapic_dest = true,
	};

	if (address >> 20 != MSI_ADDRESS_TOP || msg->deassert)
		return false;
	/* "... only the processor with the matching APIC ID is considered" when it is physical. */
	if ((address & MSI_REDIRECT_HINT) && msg->logical && msg->delivery == LAPIC_FIXED)
		msg->delivery = LAPIC_LOWEST;
	return true;
}

unsigned int lapic_bus_msi(struct lapic_bus *bus, uint64_t address, uint32_t data)
{
	struct lapic_msg msg;

	return lapic_msi_decode(address, data, &msg) ? lapic_bus_send(bus, &msg, NULL) : 0;
}
