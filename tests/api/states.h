/* SPDX-License-Identifier: Apache-2.0 */
/* The parts that the tests by table share: VMs of a few bytes, brought into each state of their
 * lives. */
#ifndef TESTS_API_STATES_H
#define TESTS_API_STATES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <catnap/snapshot.h>
#include "guest.h"

#define SECONDS UINT64_C(1000000000)
#define LIMIT	(60 * SECONDS) /* of a wait that is to end at once */

/* cli; again: hlt; jmp again */
static const uint8_t halting[] = {0xfa, 0xf4, 0xeb, 0xfd};

static inline void tiny_config(struct catnap_vm_config *cfg)
{
	catnap_vm_config_init(cfg);
	cfg->memory_size = UINT64_C(2) << 20;
	cfg->image_kind = CATNAP_IMAGE_FLAT;
	cfg->kernel_data = halting;
	cfg->kernel_size = sizeof(halting);
}

enum vm_state { MADE, RUNNING, PAUSED, ENDED, STATES };

static inline struct catnap_vm *tiny_vm(const struct catnap_vm_config *cfg, enum vm_state state)
{
	struct catnap_vm *vm = NULL;

	if (catnap_vm_create(cfg, &vm) < 0)
		fail_msg("%s", catnap_vm_last_error(NULL));
	if (state != MADE && catnap_vm_start(vm) < 0)
		fail_msg("%s", catnap_vm_last_error(vm));
	if (state == PAUSED)
		assert_int_equal(catnap_vm_pause(vm), 0);
	if (state == ENDED)
		assert_int_equal(catnap_vm_stop(vm), 0);
	return vm;
}

#endif
