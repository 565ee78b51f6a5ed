/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The GDT that a guest starts with, and the segments that a vCPU starts with, are the same: as the
 * processor reads the one (Intel SDM volume 3, "Segment Descriptors"), so is the other.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "vcpu/gdt.h"

static void flat_segments_reach_all(void **state)
{
	const struct kvm_segment code32 = gdt_segment(GDT_CODE, false);
	const struct kvm_segment code64 = gdt_segment(GDT_CODE, true);
	const struct kvm_segment data = gdt_segment(GDT_DATA, false);

	assert_true(code32.base == 0 && code32.limit == UINT32_MAX && code32.type == 11);
	assert_true(code32.db && !code32.l && code32.present && code32.s && code32.g);
	assert_true(code64.base == 0 && code64.limit == UINT32_MAX && code64.type == 11);
	assert_true(!code64.db && code64.l && code64.present && code64.s && code64.g);
	assert_true(data.base == 0 && data.limit == UINT32_MAX && data.type == 3);
	assert_true(data.db && !data.l && data.present && data.s && data.selector == GDT_DATA);
}

static void task_state_is_of_the_system(void **state)
{
	const struct kvm_segment tss = gdt_segment(GDT_TSS, true);

	assert_true(tss.base == 0 && tss.limit == 0x67 && tss.type == 11);
	assert_true(tss.present && !tss.s && !tss.g && tss.selector == GDT_TSS);
}

static void table_has_each_at_its_selector(void **state)
{
	uint64_t table[GDT_SIZE / 8];

	gdt_write(table, false);
	assert_true(table[0] == 0 && table[1] == 0);
	assert_true(table[GDT_CODE / 8] == 0x00cf9b000000ffff);
	assert_true(table[GDT_DATA / 8] == 0x00cf93000000ffff);
	assert_true(table[GDT_TSS / 8] == 0x00008b0000000067);
	gdt_write(table, true);
	assert_true(table[GDT_CODE / 8] == 0x00af9b000000ffff);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flat_segments_reach_all),
		cmocka_unit_test(task_state_is_of_the_system),
		cmocka_unit_test(table_has_each_at_its_selector),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
