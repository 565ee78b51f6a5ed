/* SPDX-License-Identifier: Apache-2.0 */
/* What a loader has handed over, for tests of where it came from: the command line, and the module's
 * length and sum. */
#include "lib/guest.h"

extern uint32_t entry_ebx;

struct start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist, cmdline;
};

struct module {
	uint64_t addr, size;
};

void test(void)
{
	const struct start_info *info = (const void *)(uintptr_t)entry_ebx;
	const struct module *m = (const void *)(uintptr_t)info->modlist;

	check(info->nr_modules <= 1);
	put_str("cmdline ");
	put_str((const char *)(uintptr_t)info->cmdline);
	put_str("\n");
	for (uint32_t i = 0; i < info->nr_modules; i++) {
		const uint8_t *byte = (const void *)(uintptr_t)m->addr;
		uint32_t sum = 0;

		for (uint64_t k = 0; k < m->size; k++)
			sum = sum * 31 + byte[k];
		put_str("module ");
		put_dec((uint32_t)m->size);
		put_str(" ");
		put_dec(sum);
		put_str("\n");
	}
}
