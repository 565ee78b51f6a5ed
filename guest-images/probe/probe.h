/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interface between the probe guest and the host: the command line's keys, the shared page, and
 * the lines of text on the serial port. One header for both sides; no includes beyond <stdint.h>.
 *
 * Command line (space separated key=value; numbers are decimal):
 *   workload=event|timer|ipi|idle|start|memory|cpus|blk|echo|compute|prices|
 *            restore
 *   samples=N      how many samples to record after warmup=N unrecorded ones (at most
 *                  PROBE_SAMPLES_MAX)
 *   wait=0|1       1: the workload begins when the host has set go in the shared page (default 0)
 *   gap_ns=N       timer: how far ahead the timer is armed; ipi: pause between round trips (halted,
 *                  on the APIC timer; 0: none)
 *   random=0|1     gaps are uniformly random in [gap_ns/2, 3*gap_ns/2] (xorshift from seed=N)
 *   tsc_khz=N      frequency of the TSC; the APIC timer is calibrated against it unless apic_hz=N
 *                  is given
 *   tick_hz=N      idle: rate of a periodic APIC timer tick; 0: no timer at all
 *   cpus=N         cpus: how many vCPUs to bring up (default 1); ipi always uses two
 *   print=0|1      0: no s lines; the samples are read at PROBE_SAMPLES_GPA instead (default 1)
 *   apic=x2apic|xapic   (default x2apic where CPUID has it)
 *   pv_eoi=0|1     with x2APIC: end interrupts by KVM's paravirtual EOI (default 0)
 *   exit=N         the I/O port to write the exit value to at the end (isa-debug-exit convention);
 *                  without it the guest stops by a triple fault
 *   ecam=N         blk, echo, compute: the address of PCI's configuration space; 0: by ports
 *   window=N       the same: where to place BARs that nobody has placed (default 0xc0000000)
 *   haltpoll=1     event, timer, ipi, idle, memory, blk, echo: the guest polls before it halts; see
 *                  below
 * Unknown keys are ignored, so that a VMM may append its own.
 *
 * Workload blk reads 4 KiB from random places of the first virtio disk on PCI, one at a time. A
 * sample is the time from the doorbell to the interrupt's handler. With blk_id=1 it asks for the
 * disk's id instead, which takes no I/O: the guest's own share and the device's exits are left. With
 * blk_write=1 it writes, and never flushes.
 *
 * Workload echo sends each packet from the first virtio network device back as it came, until stop
 * is found set after one. A sample is the guest's share: from the receive interrupt's handler to
 * the transmit doorbell. With drain=1 it sends back, at each interrupt, all that are there, for
 * packets that come faster than they are sent back; there are no samples then.
 *
 * Workload compute: each of cpus=N processors computes in user mode (ring 3), and counts at
 * PROBE_PROGRESS_GPA. The boot processor's event handler stores its TSC (below) before it stores
 * handled = n. With disk=1 each event begins a read of 4 KiB, unless one is in flight. It ends when
 * an event finds stop set.
 *
 * Workload idle has cpus=N processors, without pv_eoi. The ticks that are counted are the first
 * one's.
 *
 * Workload event with ivshmem=1: the event is the first vector of an ivshmem device on PCI, so that
 * a host outside the VMM has an eventfd for it.
 *
 * Workload prices tells what single things cost, with x2APIC. It takes samples=N of op=N (enum
 * probe_price), each in ticks of the TSC, after as many of nothing at all, both at
 * PROBE_SAMPLES_GPA. op=9 arms the timer for gap_ns, halts, and then does op extra=N per_halt=N
 * times: a sample is how late the handler was, and what those took.
 *
 * Workload restore is for snapshots. It writes to span=N pages from PROBE_SPAN_GPA on, prints its
 * line, and waits for input on COM1. For each byte it writes an r; then, after 1,000 instructions in
 * user mode, an i; then, after it has read pages=N of those pages, far from each other and in user
 * mode, a t, or an x if one has not what was written to it. It has no end.
 *
 * With haltpoll=1 the guest polls as Linux does with the haltpoll driver and governor, and writes 0
 * to MSR_KVM_POLL_CONTROL on each processor unless poll_control=0. The governor's parameters have
 * Linux's names and its defaults: guest_halt_poll_ns=N (200000), guest_halt_poll_grow=N (2),
 * guest_halt_poll_grow_start=N (50000), guest_halt_poll_shrink=N (2),
 * guest_halt_poll_allow_shrink=0|1 (1). It needs tsc_khz. A sample that a write to memory ends
 * counts until the guest has seen it.
 *
 * Text on COM1 (0x3f8, no interrupts). Each line ends with \n. The guest's first instructions write
 * the very first letter.
 *   probe: start workload=W abi=1
 *   s VALUE           one line a sample, in nanoseconds, printed after all were taken
 *   probe: idle cpu=N polls=N found=N halts=N saved=N sent=N window_ns=N
 *                     with haltpoll=1, for each processor that polls (struct probe_idle)
 *   probe: ready      restore: it waits for input
 *   probe: end samples=N
 *   probe: error TEXT
 */
#ifndef PROBE_H
#define PROBE_H

#include <stdint.h>

#define PROBE_ABI	  1u
#define PROBE_MAGIC	  0x70726f62u /* "prob" */
#define PROBE_SHARED_GPA  0x9000u     /* one page of guest memory below 1 MiB */
#define PROBE_SAMPLES_MAX 100000u
#define PROBE_SAMPLES_GPA 0x200000u /* timer, ipi: once done, a uint64_t of TSC ticks each */
/*
 * compute: at PROBE_SAMPLES_GPA a uint64_t for each event, the TSC at its handler's first
 * instruction; at PROBE_READS_GPA two for each read, the TSC before the doorbell and that at the
 * interrupt handler's first instruction. Of events there may be PROBE_EVENTS_MAX; reads beyond
 * PROBE_READS_MAX are not kept.
 */
#define PROBE_EVENTS_MAX   32768u
#define PROBE_READS_GPA	   0x240000u
#define PROBE_READS_MAX	   32768u
#define PROBE_PROGRESS_GPA 0x9800u /* a uint64_t for each processor */
#define PROBE_SPAN_GPA	   0x1000000u
#define PROBE_EXIT_OK	   0x20u /* written to the exit port: status 65 by (v << 1 | 1) */
#define PROBE_EXIT_ERROR   0x21u

/* Vectors the guest installs handlers for. The host signals EVENT by MSI: address
 * 0xfee00000 | apic_id << 12, data PROBE_VECTOR_EVENT. */
#define PROBE_VECTOR_EVENT 0x41u
#define PROBE_VECTOR_TIMER 0x42u
#define PROBE_VECTOR_IPI   0x43u
#define PROBE_VECTOR_REPLY 0x44u
#define PROBE_VECTOR_IO	   0x45u

/* prices: op= and extra=. Each begins and ends with a look at the TSC. */
enum probe_price {
	PROBE_PRICE_NOTHING,
	PROBE_PRICE_CPUID,
	PROBE_PRICE_PORT, /* a write to a port that nobody has */
	PROBE_PRICE_MSR,  /* a read of one that KVM has: the APIC's base */
	PROBE_PRICE_APIC, /* a read of the APIC's version */
	PROBE_PRICE_EOI,  /* with no interrupt in service */
	PROBE_PRICE_ARM,  /* the timer, which has not fired when it is armed again */
	PROBE_PRICE_IRQ,  /* an interrupt to itself, until it is ended */
	PROBE_PRICE_HALT, /* the same with interrupts off, and a HLT that it ends at once */
	PROBE_PRICE_CYCLE,
	PROBE_PRICE_IPI, /* what it takes to send one to another processor, which halts */
	PROBE_PRICES
};

#define PROBE_PRICES_SAMPLES 20000u

#define PROBE_POLLERS 2 /* processors that poll, at most */

/* haltpoll=1: what one of them has done so far; each has a line of its own. */
struct probe_idle {
	uint64_t polls;	       /* it polled before it would have halted */
	uint64_t found;	       /* of those: something came, and it did not halt */
	uint64_t polled_ticks; /* time that all of them took, in ticks of the TSC */
	uint64_t halts;	       /* HLT executed */
	uint64_t ipis_saved;   /* wake-ups that it brought to others by a write to memory */
	uint64_t ipis_sent;    /* the same by an interrupt */
	uint64_t window_ns;    /* the governor's window */
	uint64_t pad;
};

/*
 * The shared page. The guest writes all but stop and go; the host polls. Each word that changes while
 * measuring lies on a cache line of its own. workload=event, for event number n (from 1):
 *   guest: halting = n; sti; hlt          host: sees halting == n, waits the gap, stamps, signals
 *   guest: the handler's first instruction is handled = n (a store of a register prepared before
 *          halting); then EOI             host: sees handled == n, stamps
 * until stop is not 0.
 */
struct probe_shared {
	uint32_t magic; /* PROBE_MAGIC once the guest runs */
	uint32_t abi;
	uint32_t cpus;	    /* vCPUs that have come up */
	uint32_t done;	    /* the workload is over (results follow on the serial port) */
	uint64_t first_tsc; /* guest TSC at its first instructions */
	uint8_t pad0[40];
	uint32_t halting;
	uint8_t pad1[60];
	uint32_t handled;
	uint8_t pad2[60];
	uint32_t stop; /* the host asks for the end */
	uint32_t go;   /* wait=1: the host asks for the beginning */
	uint8_t pad3[56];
	uint32_t ticks; /* idle: ticks handled */
	uint8_t pad4[60];
	/* Zero in a probe that knows nothing of haltpoll. */
	struct probe_idle idle[PROBE_POLLERS];
};

_Static_assert(sizeof(struct probe_shared) == 448, "the shared page's layout is an ABI");

#endif
