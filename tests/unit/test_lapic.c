/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The local APIC's registers, priorities, EOI, states and errors, rule by rule of the Intel SDM
 * volume 3, chapter "Advanced Programmable Interrupt Controller (APIC)".
 */
#include "lapic_fixture.h"

/* Power-up, modes */

static bool in_service(const struct lapic *l)
{
	uint32_t any = 0;

	for (int i = 0; i < 8; i++)
		any |= l->isr[i];
	return any != 0;
}

static void test_power_up_state_is_that_of_the_sdm(void **state)
{
	struct vm vm;
	struct lapic *l = power_up(&vm);

	assert_int_equal(l->base, 0xfee00900);
	assert_int_equal(mmio_read(l, ID), 0);
	assert_int_equal(mmio_read(l, SVR), 0xff);
	assert_int_equal(mmio_read(l, DFR), 0xffffffff);
	assert_int_equal(mmio_read(l, LDR), 0);
	assert_int_equal(mmio_read(l, TPR), 0);
	assert_int_equal(mmio_read(l, PPR), 0);
	assert_int_equal(mmio_read(l, ESR), 0);
	assert_int_equal(mmio_read(l, ICR), 0);
	assert_int_equal(mmio_read(l, ICR2), 0);
	assert_int_equal(mmio_read(l, TIMER_INITIAL), 0);
	assert_int_equal(mmio_read(l, TIMER_CURRENT), 0);
	assert_int_equal(mmio_read(l, TIMER_DIVIDE), 0);
	for (uint32_t reg = LVT_TIMER; reg <= LVT_ERROR; reg++)
		assert_int_equal(mmio_read(l, reg), MASKED);
	for (uint32_t reg = ISR; reg < ESR; reg++)
		assert_int_equal(mmio_read(l, reg), 0);
	assert_int_equal(lapic_deadline(l), NEVER);
	assert_int_equal(lapic_pending_vector(l), -1);
	assert_int_equal(l->illegal, 0);
}

static void test_version_is_integrated_with_six_lvt_entries(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	assert_int_equal(mmio_read(l, VERSION) & 0xff, 0x14);
	assert_int_equal(mmio_read(l, VERSION) >> 16 & 0xff, 5);
	assert_int_equal(mmio_read(l, VERSION) >> 24 & 1, 0);
}

static void test_xapic_id_is_in_the_top_byte_x2apic_id_is_32_bits(void **state)
{
	struct vm vm;
	struct lapic *l = power_up(&vm);

	lapic_init(l, &vm.bus, 37, false, &vm.clock);
	assert_int_equal(l->base & LAPIC_BASE_BSP, 0);
	assert_int_equal(mmio_read(l, ID), 37u << 24);
	mmio_write(l, ID, 0x11000000);
	assert_int_equal(mmio_read(l, ID), 37u << 24);
	lapic_set_base(l, X2APIC_BASE);
	assert_int_equal(msr_read(l, ID), 37);
}

static void test_x2apic_ldr_is_cluster_and_bit_of_the_id(void **state)
{
	struct vm vm;
	struct lapic *l = power_up(&vm);

	lapic_init(l, &vm.bus, 37, false, &vm.clock);
	lapic_set_base(l, X2APIC_BASE);
	assert_int_equal(msr_read(l, LDR), 2u << 16 | 1u << 5);
}

static void test_going_to_x2apic_keeps_the_registers(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	mmio_write(l, TPR, 0x25);
	mmio_write(l, LVT_ERROR, 0x33);
	mmio_write(l, ICR2, 0x05000000);
	send(&vm, 0x55, false);
	lapic_set_base(l, X2APIC_BASE);
	assert_int_equal(msr_read(l, TPR), 0x25);
	assert_int_equal(msr_read(l, LVT_ERROR), 0x33);
	assert_int_equal(msr_read(l, SVR), 0x1ff);
	assert_int_equal(msr_read(l, ICR), 0);
	take(l, 0x55);
}

static void test_global_disable_resets_and_ignores_everything(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);
	uint64_t value;

	send(&vm, 0x55, false);
	mmio_write(l, TPR, 0x10);
	mmio_write(l, LVT_TIMER, 0x40);
	mmio_write(l, TIMER_INITIAL, 1000);
	lapic_set_base(l, LAPIC_MMIO_BASE);
	assert_int_equal(lapic_pending_vector(l), -1);
	assert_int_equal(lapic_deadline(l), NEVER);
	assert_int_equal(mmio_read(l, TPR), 0xffffffff);
	mmio_write(l, TPR, 0x10);
	assert_int_equal(lapic_msr_read(l, TPR, &value, 0), -EPERM);
	send(&vm, 0x56, false);
	assert_false(lapic_has_irr(l));
	lapic_set_base(l, LAPIC_MMIO_BASE | LAPIC_BASE_ENABLE);
	assert_int_equal(mmio_read(l, TPR), 0);
	assert_int_equal(mmio_read(l, SVR), 0xff);
}

static void test_a_base_that_keeps_the_mode_keeps_the_registers(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	mmio_write(l, LDR, 0x04000000);
	mmio_write(l, ICR2, 0x05000000);
	lapic_set_base(l, l->base);
	lapic_set_base(l, UINT64_C(0xfed00000) | LAPIC_BASE_ENABLE);
	assert_int_equal(mmio_read(l, LDR), 0x04000000);
	assert_int_equal(mmio_read(l, ICR2), 0x05000000);
	assert_int_equal(mmio_read(l, SVR), 0x1ff);
}

static void test_msrs_give_gp_in_xapic_mode(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	for (uint32_t msr = LAPIC_MSR_FIRST; msr <= LAPIC_MSR_LAST; msr++) {
		assert_read_gp(l, msr);
		assert_write_gp(l, msr, 0);
	}
}

static void test_mmio_is_dead_in_x2apic_mode(void **state)
{
	struct vm vm;
	struct lapic *l = x2apic(&vm);

	assert_int_equal(mmio_read(l, VERSION), 0xffffffff);
	mmio_write(l, TPR, 0x50);
	assert_int_equal(msr_read(l, TPR), 0);
	assert_int_equal(l->illegal, 2);
}

static void test_reset_keeps_id_base_and_inbox(void **state)
{
	struct vm vm;
	struct lapic *l = x2apic(&vm);
	const struct lapic_msg init = {.delivery = LAPIC_INIT, .xapic_dest = true};

	msr_write(l, TPR, 0x80);
	msr_write(l, LVT_TIMER, 0x40);
	msr_write(l, TIMER_INITIAL, 1000);
	send(&vm, 0x91, false);
	take(l, 0x91);
	send(&vm, 0x92, false);
	lapic_bus_send(&vm.bus, &init, NULL);
	lapic_reset(l);
	assert_int_equal(l->base, X2APIC_BASE | LAPIC_BASE_BSP);
	assert_int_equal(msr_read(l, LDR), 1);
	assert_int_equal(msr_read(l, TPR), 0);
	assert_int_equal(msr_read(l, PPR), 0);
	assert_int_equal(msr_read(l, SVR), 0xff);
	assert_int_equal(msr_read(l, LVT_TIMER), MASKED);
	assert_false(lapic_has_irr(l));
	assert_false(in_service(l));
	assert_int_equal(lapic_deadline(l), NEVER);
	assert_int_equal(lapic_collect(l), LAPIC_EVENT_INIT);
}

static void test_vectors_on_their_way_to_a_reset_apic_are_lost(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);
	const struct lapic_msg msg = {.vector = 0x61, .xapic_dest = true};

	assert_int_equal(lapic_bus_send(&vm.bus, &msg, NULL), 1);
	lapic_reset(l);
	assert_int_equal(lapic_collect(l), 0);
	assert_false(lapic_has_irr(l));
}

/* Priorities */

static void test_highest_vector_is_delivered_first(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	send(&vm, 0x31, false);
	send(&vm, 0xf1, false);
	send(&vm, 0x80, false);
	assert_int_equal(lapic_pending_vector(l), 0xf1);
	assert_int_equal(mmio_read(l, IRR + 7), 1u << 17);
}

static void test_accept_moves_irr_to_isr(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	send(&vm, 0x51, false);
	take(l, 0x51);
	assert_int_equal(mmio_read(l, IRR + 2), 0);
	assert_int_equal(mmio_read(l, ISR + 2), 1u << 17);
	assert_true(in_service(l));
	assert_false(lapic_has_irr(l));
	assert_int_equal(mmio_read(l, PPR), 0x50);
}

static void test_same_class_waits_higher_class_preempts(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	send(&vm, 0x51, false);
	take(l, 0x51);
	send(&vm, 0x5f, false);
	assert_int_equal(lapic_pending_vector(l), -1);
	assert_true(lapic_has_irr(l));
	send(&vm, 0x60, false);
	take(l, 0x60);
	assert_int_equal(mmio_read(l, PPR), 0x60);
	lapic_eoi(l);
	assert_int_equal(mmio_read(l, PPR), 0x50);
	assert_int_equal(lapic_pending_vector(l), -1);
	lapic_eoi(l);
	take(l, 0x5f);
}

static void test_tpr_holds_back_its_class_and_below(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	send(&vm, 0x5f, false);
	mmio_write(l, TPR, 0x50);
	assert_int_equal(lapic_pending_vector(l), -1);
	mmio_write(l, TPR, 0x4f);
	assert_int_equal(lapic_pending_vector(l), 0x5f);
	mmio_write(l, TPR, 0xff);
	send(&vm, 0xff, false);
	assert_int_equal(lapic_pending_vector(l), -1);
}

static void test_ppr_is_the_higher_of_tpr_and_isr(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	mmio_write(l, TPR, 0x23);
	assert_int_equal(mmio_read(l, PPR), 0x23);
	send(&vm, 0x45, false);
	take(l, 0x45);
	assert_int_equal(mmio_read(l, PPR), 0x40);
	mmio_write(l, TPR, 0x67);
	assert_int_equal(mmio_read(l, PPR), 0x67);
	assert_int_equal(atomic_load(&l->address.ppr), 0x67);
}

static void test_cr8_is_the_high_half_of_tpr(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	lapic_set_cr8(l, 0xa);
	assert_int_equal(mmio_read(l, TPR), 0xa0);
	assert_int_equal(mmio_read(l, PPR), 0xa0);
	mmio_write(l, TPR, 0x57);
	assert_int_equal(lapic_cr8(l), 5);
	/* KVM reports the value after each exit; the same one is not a write of CR8. */
	lapic_set_cr8(l, 5);
	assert_int_equal(mmio_read(l, TPR), 0x57);
	lapic_set_cr8(l, 4);
	assert_int_equal(mmio_read(l, TPR), 0x40);
}

static void test_a_vector_is_held_once_in_irr_and_once_in_isr(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	send(&vm, 0x51, false);
	send(&vm, 0x51, false);
	take(l, 0x51);
	assert_false(lapic_has_irr(l));
	send(&vm, 0x51, false);
	assert_int_equal(lapic_pending_vector(l), -1);
	lapic_eoi(l);
	take(l, 0x51);
	lapic_eoi(l);
	assert_false(in_service(l));
}

static void test_accept_of_a_vector_not_in_irr_does_nothing(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	lapic_accept(l, 0x51);
	assert_false(in_service(l));
}

static void test_every_legal_vector_goes_through(void **state)
{
	struct vm vm;
	struct lapic *l = x2apic(&vm);

	for (int vector = 16; vector < 256; vector++) {
		send(&vm, (uint8_t)vector, vector & 1);
		assert_int_equal(msr_read(l, IRR + (uint32_t)vector / 32), 1u << vector % 32);
		take(l, vector);
		assert_int_equal(msr_read(l, ISR + (uint32_t)vector / 32), 1u << vector % 32);
		msr_write(l, EOI, 0);
		assert_int_equal(vm.eois, (vector - 15) / 2);
	}
}

/* EOI */

static void test_eoi_of_an_edge_is_not_broadcast(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	send(&vm, 0x51, false);
	take(l, 0x51);
	mmio_write(l, EOI, 0);
	assert_false(in_service(l));
	assert_int_equal(vm.eois, 0);
}

static void test_eoi_of_a_level_is_broadcast(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	send(&vm, 0x51, true);
	assert_int_equal(mmio_read(l, TMR + 2), 1u << 17);
	take(l, 0x51);
	mmio_write(l, EOI, 0x1234); /* any value */
	assert_int_equal(vm.eois, 1);
	assert_int_equal(vm.eoi_vector, 0x51);
}

static void test_eoi_ends_the_highest_in_service(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	send(&vm, 0x31, true);
	take(l, 0x31);
	send(&vm, 0x91, false);
	take(l, 0x91);
	lapic_eoi(l);
	assert_int_equal(vm.eois, 0);
	assert_int_equal(mmio_read(l, ISR + 1), 1u << 17);
	lapic_eoi(l);
	assert_int_equal(vm.eoi_vector, 0x31);
}

static void test_eoi_with_nothing_in_service_is_counted(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	mmio_write(l, EOI, 0);
	assert_int_equal(l->spurious, 1);
	assert_int_equal(vm.eois, 0);
}

static void test_tmr_follows_the_last_trigger_mode(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	send(&vm, 0x51, true);
	assert_int_equal(mmio_read(l, TMR + 2), 1u << 17);
	send(&vm, 0x51, false);
	assert_int_equal(mmio_read(l, TMR + 2), 0);
}

static void test_svr_bit_12_is_reserved_without_eoi_suppression(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	mmio_write(l, SVR, 0x11ff);
	assert_int_equal(mmio_read(l, SVR), 0x1ff);
	lapic_set_base(l, X2APIC_BASE);
	assert_write_gp(l, SVR, 0x11ff);
}

/* Software disable */

static void test_software_disable_masks_the_lvt_and_keeps_it_masked(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	for (uint32_t reg = LVT_TIMER; reg <= LVT_ERROR; reg++) {
		mmio_write(l, reg, 0x40);
		assert_int_equal(mmio_read(l, reg), 0x40);
	}
	mmio_write(l, SVR, 0xff);
	for (uint32_t reg = LVT_TIMER; reg <= LVT_ERROR; reg++) {
		assert_int_equal(mmio_read(l, reg), MASKED | 0x40);
		mmio_write(l, reg, 0x41);
		assert_int_equal(mmio_read(l, reg), MASKED | 0x41);
	}
	mmio_write(l, SVR, 0x1ff);
	for (uint32_t reg = LVT_TIMER; reg <= LVT_ERROR; reg++) {
		assert_int_equal(mmio_read(l, reg), MASKED | 0x41);
		mmio_write(l, reg, 0x41);
		assert_int_equal(mmio_read(l, reg), 0x41);
	}
}

static void test_software_disabled_takes_nmi_init_sipi_but_not_fixed(void **state)
{
	struct vm vm;
	struct lapic *l = power_up(&vm);
	struct lapic_msg msg = {.vector = 0x51, .xapic_dest = true};

	assert_int_equal(lapic_bus_send(&vm.bus, &msg, NULL), 0);
	assert_int_equal(lapic_collect(l), 0);
	assert_false(lapic_has_irr(l));
	msg.delivery = LAPIC_NMI;
	assert_int_equal(lapic_bus_send(&vm.bus, &msg, NULL), 1);
	msg.delivery = LAPIC_INIT;
	assert_int_equal(lapic_bus_send(&vm.bus, &msg, NULL), 1);
	msg.delivery = LAPIC_SIPI;
	assert_int_equal(lapic_bus_send(&vm.bus, &msg, l), 1);
	assert_int_equal(lapic_collect(l),
			 LAPIC_EVENT_NMI | LAPIC_EVENT_INIT | LAPIC_EVENT_SIPI | 0x51u << 8);
}

static void test_software_disable_holds_what_was_received_before(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);
	const struct lapic_msg msg = {.vector = 0x61, .xapic_dest = true};

	send(&vm, 0x51, false);
	assert_int_equal(lapic_bus_send(&vm.bus, &msg, NULL), 1); /* not collected yet */
	mmio_write(l, SVR, 0xff);
	lapic_collect(l);
	assert_int_equal(mmio_read(l, IRR + 2), 1u << 17);
	assert_int_equal(mmio_read(l, IRR + 3), 1u << 1);
}

static void test_software_disable_keeps_posted_events(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);
	const struct lapic_msg nmi = {.delivery = LAPIC_NMI, .xapic_dest = true};

	lapic_bus_send(&vm.bus, &nmi, NULL);
	mmio_write(l, SVR, 0xff);
	assert_int_equal(lapic_collect(l), LAPIC_EVENT_NMI);
}

static void test_software_disabled_can_still_send_ipis(void **state)
{
	struct vm vm;
	struct lapic *l = power_up(&vm);

	mmio_write(l, ICR, 0x400); /* NMI to id 0 */
	assert_int_equal(lapic_collect(l), LAPIC_EVENT_NMI);
}

/* Errors */

static void test_esr_write_latches_what_was_detected_since(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	mmio_write(l, ICR, 0x4000f); /* self, vector 15 */
	assert_int_equal(mmio_read(l, ESR), 0);
	mmio_write(l, ESR, 0xffffffff);
	assert_int_equal(mmio_read(l, ESR), LAPIC_ESR_SEND_ILLEGAL | LAPIC_ESR_RECEIVE_ILLEGAL);
	assert_int_equal(mmio_read(l, ESR), LAPIC_ESR_SEND_ILLEGAL | LAPIC_ESR_RECEIVE_ILLEGAL);
	mmio_write(l, ESR, 0);
	assert_int_equal(mmio_read(l, ESR), 0);
}

static void test_esr_send_illegal_vector_and_nothing_is_sent(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	mmio_write(l, ICR, 0x0f); /* to id 0 */
	assert_int_equal(vm.wakes, 0);
	mmio_write(l, ESR, 0);
	assert_int_equal(mmio_read(l, ESR), LAPIC_ESR_SEND_ILLEGAL);
}

static void test_esr_receive_illegal_vector_and_irr_stays_clear(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	for (uint8_t vector = 0; vector < 16; vector++) {
		send(&vm, vector, vector & 1);
		mmio_write(l, ESR, 0);
		assert_int_equal(mmio_read(l, ESR), LAPIC_ESR_RECEIVE_ILLEGAL);
		assert_false(lapic_has_irr(l));
	}
}

static void test_esr_receive_illegal_vector_from_the_lvt(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	mmio_write(l, LVT_TIMER, 0x0f);
	mmio_write(l, TIMER_INITIAL, 100);
	assert_true(lapic_timer_run(l, 1000));
	assert_false(lapic_has_irr(l));
	mmio_write(l, ESR, 0);
	assert_int_equal(mmio_read(l, ESR), LAPIC_ESR_RECEIVE_ILLEGAL);
}

static void test_esr_illegal_register_in_xapic_mode(void **state)
{
	static const uint32_t reserved[] = {0x000, 0x010, 0x040, 0x070, 0x290, 0x2e0,
					    0x2f0, 0x3a0, 0x3d0, 0x3f0, 0x400, 0xff0};
	struct vm vm;
	struct lapic *l = xapic(&vm);
	uint32_t value;

	for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {
		value = 1;
		lapic_mmio_read(l, reserved[i], &value, 4, 0);
		assert_int_equal(value, 0);
		mmio_write(l, ESR, 0);
		assert_int_equal(mmio_read(l, ESR), LAPIC_ESR_ILLEGAL_REGISTER);
		lapic_mmio_write(l, reserved[i], &value, 4, 0);
		mmio_write(l, ESR, 0);
		assert_int_equal(mmio_read(l, ESR), LAPIC_ESR_ILLEGAL_REGISTER);
	}
	mmio_write(l, VERSION, 0); /* read-only is not reserved */
	mmio_read(l, APR);
	mmio_read(l, RRD);
	mmio_write(l, ESR, 0);
	assert_int_equal(mmio_read(l, ESR), 0);
}

static void test_esr_no_error_for_reserved_msrs_but_gp(void **state)
{
	struct vm vm;
	struct lapic *l = x2apic(&vm);

	assert_read_gp(l, 0x800);
	msr_write(l, ESR, 0);
	assert_int_equal(msr_read(l, ESR), 0);
}

static void test_esr_redirectable_ipi_for_lowest_priority_in_x2apic(void **state)
{
	struct vm vm;
	struct lapic *l = x2apic(&vm);

	msr_write(l, ICR, 0x100 | 0x05); /* with an illegal vector: this error alone */
	msr_write(l, ESR, 0);
	assert_int_equal(msr_read(l, ESR), LAPIC_ESR_REDIRECTABLE);
	assert_int_equal(vm.wakes, 0);
}

static void test_error_interrupt_once_until_esr_is_written(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	mmio_write(l, LVT_ERROR, 0xe0);
	mmio_write(l, ICR, 0x0f);
	take(l, 0xe0);
	lapic_eoi(l);
	mmio_write(l, ICR, 0x0f);
	assert_int_equal(lapic_pending_vector(l), -1);
	mmio_write(l, ESR, 0);
	mmio_write(l, ICR, 0x0f);
	take(l, 0xe0);
}

static void test_error_entry_with_an_illegal_vector_ends(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	mmio_write(l, LVT_ERROR, 0x03);
	mmio_write(l, ICR, 0x0f);
	mmio_write(l, ESR, 0);
	assert_int_equal(mmio_read(l, ESR), LAPIC_ESR_SEND_ILLEGAL | LAPIC_ESR_RECEIVE_ILLEGAL);
}

/* Reserved bits, read-only, write-only */

static void test_x2apic_reserved_bits_give_gp(void **state)
{
	static const struct {
		uint32_t msr;
		uint32_t allowed;
	} regs[] = {
		{TPR, 0xff},
		{SVR, 0x3ff},
		{LVT_TIMER, 0x310ff},
		{LVT_THERMAL, 0x117ff},
		{LVT_PERF, 0x117ff},
		{LVT_LINT0, 0x1f7ff},
		{LVT_LINT1, 0x1f7ff},
		{LVT_ERROR, 0x110ff},
		{TIMER_INITIAL, 0xffffffff},
		{TIMER_DIVIDE, 0xb},
		{SELF_IPI, 0xff},
		{ESR, 0},
		{EOI, 0},
	};
	struct vm vm;
	struct lapic *l = x2apic(&vm);

	for (size_t i = 0; i < sizeof(regs) / sizeof(regs[0]); i++) {
		for (unsigned int bit = 0; bit < 64; bit++) {
			uint64_t value = UINT64_C(1) << bit;

			if (bit < 32 && regs[i].allowed >> bit & 1) {
				/* mode 2 of the timer is tested elsewhere */
				if (value != 1u << 18)
					msr_write(l, regs[i].msr, value);
			} else {
				assert_write_gp(l, regs[i].msr, value);
			}
		}
	}
}

static void test_x2apic_icr_reserved_bits_give_gp(void **state)
{
	struct vm vm;
	struct lapic *l = x2apic(&vm);

	for (unsigned int bit = 0; bit < 32; bit++) {
		uint64_t value = UINT64_C(1) << bit | 0xff;

		if (0xfff33000u >> bit & 1)
			assert_write_gp(l, ICR, value);
		else
			msr_write(l, ICR, value);
	}
}

static void test_x2apic_reserved_registers_give_gp(void **state)
{
	struct vm vm;
	struct lapic *l = x2apic(&vm);

	for (uint32_t msr = LAPIC_MSR_FIRST; msr <= LAPIC_MSR_LAST; msr++) {
		bool readable = msr == ID || msr == VERSION || msr == TPR || msr == PPR ||
				msr == LDR || msr == SVR || (msr >= ISR && msr <= ESR) ||
				msr == ICR || (msr >= LVT_TIMER && msr <= TIMER_CURRENT) ||
				msr == TIMER_DIVIDE;
		bool writable = msr == TPR || msr == EOI || msr == SVR || msr == ESR ||
				msr == ICR || (msr >= LVT_TIMER && msr <= TIMER_INITIAL) ||
				msr == TIMER_DIVIDE || msr == SELF_IPI;

		if (readable)
			msr_read(l, msr);
		else
			assert_read_gp(l, msr);
		if (writable)
			msr_write(l, msr, 0);
		else
			assert_write_gp(l, msr, 0);
	}
}

static void test_x2apic_failed_write_changes_nothing(void **state)
{
	struct vm vm;
	struct lapic *l = x2apic(&vm);

	send(&vm, 0x51, false);
	take(l, 0x51);
	assert_write_gp(l, EOI, 1);
	assert_true(in_service(l));
	assert_write_gp(l, TPR, 0x120);
	assert_int_equal(msr_read(l, TPR), 0);
	assert_write_gp(l, SVR, UINT64_C(1) << 32);
	assert_int_equal(msr_read(l, SVR), 0x1ff);
}

static void test_msrs_outside_the_range_give_gp(void **state)
{
	struct vm vm;
	struct lapic *l = x2apic(&vm);

	assert_read_gp(l, 0x7ff);
	assert_read_gp(l, 0x900);
	assert_write_gp(l, 0x900, 0);
	assert_write_gp(l, 0x10, 0);
}

static void test_xapic_reserved_bits_are_masked(void **state)
{
	static const struct {
		uint32_t reg;
		uint32_t kept;
	} regs[] = {
		{TPR, 0xff},	      {LDR, 0xff000000},
		{LVT_TIMER, 0x300ff}, {LVT_THERMAL, 0x107ff},
		{LVT_PERF, 0x107ff},  {LVT_LINT0, 0x1a7ff},
		{LVT_LINT1, 0x1a7ff}, {LVT_ERROR, 0x100ff},
		{ICR2, 0xff000000},   {TIMER_DIVIDE, 0xb},
		{TIMER_INITIAL, ~0u}, {SVR, 0x3ff},
	};
	struct vm vm;
	struct lapic *l = xapic(&vm);

	for (size_t i = 0; i < sizeof(regs) / sizeof(regs[0]); i++) {
		mmio_write(l, regs[i].reg, 0xffffffff);
		assert_int_equal(mmio_read(l, regs[i].reg), regs[i].kept);
	}
	mmio_write(l, DFR, 0);
	assert_int_equal(mmio_read(l, DFR), 0x0fffffff);
	mmio_write(l, ICR, 0xfff33fff & ~0x700u); /* logical, vector 0xff, no shorthand */
	assert_int_equal(mmio_read(l, ICR), 0x008ff);
	assert_int_equal(l->illegal, 0);
}

static void test_xapic_read_only_registers_ignore_writes(void **state)
{
	static const uint32_t regs[] = {ID, VERSION, PPR, ISR, TMR + 3, IRR + 7, TIMER_CURRENT};
	struct vm vm;
	struct lapic *l = xapic(&vm);

	for (size_t i = 0; i < sizeof(regs) / sizeof(regs[0]); i++) {
		uint32_t before = mmio_read(l, regs[i]);

		mmio_write(l, regs[i], ~before);
		assert_int_equal(mmio_read(l, regs[i]), before);
	}
	assert_int_equal(l->illegal, sizeof(regs) / sizeof(regs[0]));
}

static void test_xapic_eoi_reads_zero(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	assert_int_equal(mmio_read(l, EOI), 0);
	assert_int_equal(l->illegal, 0);
}

static void test_xapic_odd_reads_give_what_lies_there(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);
	uint8_t data[8];
	uint16_t half;

	lapic_mmio_read(l, 0x31, data, 1, 0);
	assert_int_equal(data[0], 0x00);
	lapic_mmio_read(l, 0x32, &half, 2, 0);
	assert_int_equal(half, 0x0005);
	lapic_mmio_read(l, 0x30, data, 8, 0);
	assert_memory_equal(data, "\x14\x00\x05\x00\x00\x00\x00\x00", 8);
	lapic_mmio_read(l, 0x2e, data, 4, 0); /* the end of a gap, then the version */
	assert_memory_equal(data, "\x00\x00\x14\x00", 4);
	lapic_mmio_read(l, 0xffffffff, data, 8, 0);
	assert_memory_equal(data, "\xff\xff\xff\xff\xff\xff\xff\xff", 8);
	assert_int_equal(l->illegal, 5);
}

static void test_xapic_odd_writes_are_ignored_and_counted(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);
	static const uint8_t data[8] = {0x20, 0x20, 0x20, 0x20, 0x20, 0x20, 0x20, 0x20};

	for (unsigned int len = 1; len <= 8; len++) {
		if (len != 4)
			lapic_mmio_write(l, 0x80, data, len, 0);
	}
	lapic_mmio_write(l, 0x81, data, 4, 0);
	lapic_mmio_write(l, 0x1080, data, 4, 0);
	assert_int_equal(mmio_read(l, TPR), 0);
	assert_int_equal(l->illegal, 9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_power_up_state_is_that_of_the_sdm),
		cmocka_unit_test(test_version_is_integrated_with_six_lvt_entries),
		cmocka_unit_test(test_xapic_id_is_in_the_top_byte_x2apic_id_is_32_bits),
		cmocka_unit_test(test_x2apic_ldr_is_cluster_and_bit_of_the_id),
		cmocka_unit_test(test_going_to_x2apic_keeps_the_registers),
		cmocka_unit_test(test_global_disable_resets_and_ignores_everything),
		cmocka_unit_test(test_a_base_that_keeps_the_mode_keeps_the_registers),
		cmocka_unit_test(test_msrs_give_gp_in_xapic_mode),
		cmocka_unit_test(test_mmio_is_dead_in_x2apic_mode),
		cmocka_unit_test(test_reset_keeps_id_base_and_inbox),
		cmocka_unit_test(test_vectors_on_their_way_to_a_reset_apic_are_lost),
		cmocka_unit_test(test_highest_vector_is_delivered_first),
		cmocka_unit_test(test_accept_moves_irr_to_isr),
		cmocka_unit_test(test_same_class_waits_higher_class_preempts),
		cmocka_unit_test(test_tpr_holds_back_its_class_and_below),
		cmocka_unit_test(test_ppr_is_the_higher_of_tpr_and_isr),
		cmocka_unit_test(test_cr8_is_the_high_half_of_tpr),
		cmocka_unit_test(test_a_vector_is_held_once_in_irr_and_once_in_isr),
		cmocka_unit_test(test_accept_of_a_vector_not_in_irr_does_nothing),
		cmocka_unit_test(test_every_legal_vector_goes_through),
		cmocka_unit_test(test_eoi_of_an_edge_is_not_broadcast),
		cmocka_unit_test(test_eoi_of_a_level_is_broadcast),
		cmocka_unit_test(test_eoi_ends_the_highest_in_service),
		cmocka_unit_test(test_eoi_with_nothing_in_service_is_counted),
		cmocka_unit_test(test_tmr_follows_the_last_trigger_mode),
		cmocka_unit_test(test_svr_bit_12_is_reserved_without_eoi_suppression),
		cmocka_unit_test(test_software_disable_masks_the_lvt_and_keeps_it_masked),
		cmocka_unit_test(test_software_disabled_takes_nmi_init_sipi_but_not_fixed),
		cmocka_unit_test(test_software_disable_holds_what_was_received_before),
		cmocka_unit_test(test_software_disable_keeps_posted_events),
		cmocka_unit_test(test_software_disabled_can_still_send_ipis),
		cmocka_unit_test(test_esr_write_latches_what_was_detected_since),
		cmocka_unit_test(test_esr_send_illegal_vector_and_nothing_is_sent),
		cmocka_unit_test(test_esr_receive_illegal_vector_and_irr_stays_clear),
		cmocka_unit_test(test_esr_receive_illegal_vector_from_the_lvt),
		cmocka_unit_test(test_esr_illegal_register_in_xapic_mode),
		cmocka_unit_test(test_esr_no_error_for_reserved_msrs_but_gp),
		cmocka_unit_test(test_esr_redirectable_ipi_for_lowest_priority_in_x2apic),
		cmocka_unit_test(test_error_interrupt_once_until_esr_is_written),
		cmocka_unit_test(test_error_entry_with_an_illegal_vector_ends),
		cmocka_unit_test(test_x2apic_reserved_bits_give_gp),
		cmocka_unit_test(test_x2apic_icr_reserved_bits_give_gp),
		cmocka_unit_test(test_x2apic_reserved_registers_give_gp),
		cmocka_unit_test(test_x2apic_failed_write_changes_nothing),
		cmocka_unit_test(test_msrs_outside_the_range_give_gp),
		cmocka_unit_test(test_xapic_reserved_bits_are_masked),
		cmocka_unit_test(test_xapic_read_only_registers_ignore_writes),
		cmocka_unit_test(test_xapic_eoi_reads_zero),
		cmocka_unit_test(test_xapic_odd_reads_give_what_lies_there),
		cmocka_unit_test(test_xapic_odd_writes_are_ignored_and_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
