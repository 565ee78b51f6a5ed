/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The input is a file of a boot loader's, as a guest's disk may have it. The first byte says which.
 * Reading ends, what is found is whole and within its limits, and what names an entry finds it.
 */
#include <stdlib.h>
#include <string.h>

#include "cli/boot/entries.h"
#include "fuzz.h"

static void check_text(const char *text, size_t max)
{
	check(text && strlen(text) <= max);
	for (; *text; text++)
		check((unsigned char)*text >= ' ' && *text != 0x7f);
}

static void check_entries(const struct boot_entries *e)
{
	const struct boot_entry *def = boot_default(e);
	char *line;

	check(e->n <= BOOT_MAX_ENTRIES && !e->no_memory);
	check(!e->n == !def);
	for (size_t i = 0; i < e->n; i++) {
		const struct boot_entry *b = &e->entries[i];

		check_text(b->title, BOOT_MAX_VALUE);
		check_text(b->id, BOOT_MAX_VALUE);
		check_text(b->titles, 2 * BOOT_MAX_VALUE);
		check_text(b->ids, 2 * BOOT_MAX_VALUE);
		check_text(b->kernel, BOOT_MAX_VALUE);
		check_text(b->initrd, BOOT_MAX_ARGS);
		check_text(b->options, BOOT_MAX_ARGS);
		check(boot_find(e, b->index));
		line = boot_cmdline(b->options);
		check(line && strstr(line, "console="));
		free(line);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct boot_entries e = {.n = 0}, files = {.n = 0};
	unsigned int kind = (unsigned int)fuzz_take(&data, &size, 1);
	/* The rest is two files, with a zero byte between them. */
	const char *text = (const char *)data, *other = memchr(text, 0, size);
	size_t len = other ? (size_t)(other - text) : size;
	size_t other_len = other ? size - len - 1 : 0;

	other = other ? other + 1 : "";
	switch (kind % 4) {
	case 0:
		boot_read_grub(&e, text, size, NULL);
		break;
	case 1:
		boot_read_grubenv(&e, other, other_len);
		boot_read_bls(&files, "a-1.conf", other, other_len);
		boot_read_bls(&files, "b-2", text, len);
		boot_sort_bls(&files);
		check(files.n == 2);
		check_entries(&files);
		boot_read_grub(&e, text, len, &files);
		break;
	case 2:
		boot_read_bls(&e, "x.conf", text, len);
		boot_sort_bls(&e);
		boot_read_loader_conf(&e, other, other_len);
		break;
	default:
		boot_read_extlinux(&e, "/boot", text, size);
		break;
	}
	check_entries(&e);
	boot_entries_free(&e);
	boot_entries_free(&files);
	return 0;
}
