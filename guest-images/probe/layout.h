/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers that assembly and C share: where things lie in guest memory, selectors, and the parts of
 * probe.h that assembly needs (main.c asserts that the two agree). No types, for the assembler's
 * sake.
 *
 *	0x008000  AP trampoline (copied there before the first SIPI)
 *	0x009000  the page shared with the host, PROBE_SHARED_GPA
 *	0x009400  paravirtual EOI words, 4 bytes a processor, the boot processor's first
 *	0x009800  compute: how far each processor has come, 8 bytes each, PROBE_PROGRESS_GPA
 *	0x100000  the image, its page tables and the boot processor's stack (below 64 KiB in all)
 *	0x200000  samples, 8 bytes each, PROBE_SAMPLES_GPA; never cleared
 *	0x300000  AP stacks, 1 KiB each; never cleared
 *	0x340000  virtqueues, a page each
 *	0x348000  what disk requests and packets are read to and from
 *	0x350000  stacks for user mode, of those processors that poll
 *
 * So 4 MiB of memory are enough.
 */
#ifndef PROBE_LAYOUT_H
#define PROBE_LAYOUT_H

#define AP_TRAMPOLINE 0x8000
#define SHARED	      0x9000
#define PV_EOI_WORDS  0x9400
#define PROGRESS      0x9800
#define IMAGE_BASE    0x100000
#define SAMPLES	      0x200000
#define AP_STACKS     0x300000
#define AP_STACK_SIZE 1024
#define CPUS_MAX      255
#define VIRTIO_QUEUES 0x340000
#define VIRTIO_DATA   0x348000
#define BLK_SECTOR    0x348008 /* where the disk is read next */
#define BLK_AVAIL_IDX 0x340102 /* of the disk's queue */

#define USER_STACKS	0x350000
#define USER_STACK_SIZE 4096
#define USER_CPUS	2

#define SHARED_MAGIC	 0
#define SHARED_ABI	 4
#define SHARED_CPUS	 8
#define SHARED_FIRST_TSC 16
#define SHARED_HALTING	 64
#define SHARED_HANDLED	 128
#define SHARED_STOP	 192
#define SHARED_TICKS	 256
#define SHARED_SIZE	 448

#define MAGIC	     0x70726f62
#define ABI	     1
#define VECTOR_REPLY 0x44

#define COM1 0x3f8

#define IDT_ENTRIES	80
#define VECTOR_SPURIOUS 0x4f
#define VECTOR_KERNEL	0x06 /* user.S */

#define SEL_CODE64    0x08
#define SEL_DATA      0x10
#define SEL_CODE32    0x18
#define SEL_TSS	      0x20
#define SEL_USER_DATA 0x33 /* in the table of a processor that has user mode */
#define SEL_USER_CODE 0x3b

#define APIC_BASE      0xfee00000
#define APIC_EOI       0xb0
#define APIC_ICR_LOW   0x300
#define APIC_ICR_HIGH  0x310
#define MSR_PV_EOI     0x4b564d04
#define X2APIC_ID      0x802
#define X2APIC_EOI     0x80b
#define X2APIC_ICR     0x830
#define X2APIC_TIMER   0x838
#define X2APIC_VERSION 0x803
#define ICR_ASSERT     0x4000

#define MSR_POLL_CONTROL 0x4b564d05

/* struct idle (idle.h) */
#define IDLE_SIZE    128
#define IDLE_STAMP   8
#define IDLE_BEFORE  16
#define IDLE_BEGAN   24
#define IDLE_POLLED  32
#define IDLE_HALTED  40
#define IDLE_WOKEN   48
#define IDLE_WORK    1 /* its flags */
#define IDLE_POLLING 2
#define IDLE_LOOKS   201

#endif
