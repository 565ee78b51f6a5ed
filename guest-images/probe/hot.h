/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The code and data that hot.S, user.S, start.S and traps.S offer to C. The handlers are not
 * functions: they are for idt_set() only, each while its loop runs.
 */
#ifndef PROBE_HOT_H
#define PROBE_HOT_H

#include <stdint.h>

void event_loop_x2apic(void);
void event_loop_xapic(void);
void idle_loop_x2apic(void);
void idle_loop_xapic(void);
uint64_t shot_x2apic(uint32_t msr, uint32_t low, uint32_t high, uint64_t *before);
uint64_t shot_xapic(uint32_t address, uint32_t low, uint32_t high, uint64_t *before);
uint64_t price_spin(uint32_t msr, uint32_t low, uint32_t high, uint64_t *before);
uint64_t io_shot(uint64_t doorbell, uint32_t value, uint64_t *before);
void ap_loop_x2apic(void);
void ap_loop_xapic(void);

/* The values that the handlers of compute have in registers; for hot.S. */
struct compute_regs {
	uint64_t *reads;   /* two numbers for each */
	uint64_t *end;	   /* so far */
	uint64_t doorbell; /* of the disk */
	uint64_t mask;	   /* of its sectors */
};

_Static_assert(sizeof(struct compute_regs) == 32, "hot.S has it");

void compute_enter(void *rsp0, volatile uint64_t *progress, const struct compute_regs *regs);

/* user.S, see there and idle.h. */
struct idle;
struct user_op;

void user_enter(void *rsp0, uint64_t stack, void (*f)(void *), void *arg);
void user_call(const struct user_op *op, uint64_t *before);
void idle_wait(struct idle *cpu, const struct user_op *op, uint64_t window);

extern const char user_trap[], kernel_wrmsr[], kernel_write32[], kernel_write16[], kernel_out[];
extern const char user_event[], user_wake[], user_tick[], user_stamp[], user_stamp_kept[];
extern const char user_ipi[];

extern const char compute_event[], compute_read[];
extern const char event_handler_x2apic[], event_handler_xapic[];
extern const char idle_tick_x2apic[], idle_tick_xapic[];
extern const char idle_event_x2apic[], idle_event_xapic[];
extern const char price_handler[];
extern const char shot_handler_x2apic[], shot_handler_xapic[];
extern const char ap_handler_x2apic[], ap_handler_xapic[];

extern const char spurious[];
_Noreturn void triple_fault(void);

extern const char ap_trampoline[], ap_trampoline_end[];
extern uint32_t ap_stack_top;

/* one gate of the interrupt descriptor table; only the offset's low half ever changes */
struct idt_gate {
	uint16_t offset_low;
	uint16_t selector;
	uint16_t type;
	uint16_t offset_mid;
	uint64_t offset_high;
};

_Static_assert(sizeof(struct idt_gate) == 16, "fixed by the processor");

extern struct idt_gate idt[];

#endif
