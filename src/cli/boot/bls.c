/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entries as the Boot Loader Specification has them (uapi-group.org, "type 1"): a file each, lines of
 * a key and its value. And extlinux.conf (the SYSLINUX project), which says the same in one file.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli/boot/entries.h"

/* Adds @more to a list with blanks between; what has no room is left out. */
static void append(char *list, size_t size, const char *more)
{
	size_t n = strlen(list);

	if (*more && n + strlen(more) + 2 <= size)
		snprintf(list + n, size - n, "%s%s", n ? " " : "", more);
}

/* -- /loader/entries -------------------------------------------------------------------------- */

void boot_read_bls(struct boot_entries *e, const char *name, const char *text, size_t len)
{
	char title[BOOT_MAX_VALUE] = "", version[BOOT_MAX_VALUE] = "", kernel[BOOT_MAX_VALUE] = "",
	     initrd[BOOT_MAX_ARGS] = "", id[BOOT_MAX_VALUE] = "";
	char *options = calloc(1, BOOT_MAX_ARGS), *line = malloc(BOOT_MAX_ARGS), *key, *rest;
	struct boot_given g = {
		.title = title, .id = id, .kernel = kernel, .initrd = initrd, .options = options};
	size_t n = strlen(name);

	if (n > 5 && strcmp(name + n - 5, ".conf") == 0)
		n -= 5;
	snprintf(id, sizeof(id), "%.*s", (int)(n < sizeof(id) ? n : sizeof(id) - 1), name);
	g.unfit = "has no kernel";
	e->no_memory |= !options || !line;
	while (options && line && boot_line(&text, &len, line, BOOT_MAX_ARGS)) {
		key = boot_key(line, &rest);
		if (!key || *key == '#')
			continue;
		if (strcmp(key, "title") == 0)
			snprintf(title, sizeof(title), "%.*s", (int)sizeof(title) - 1, rest);
		else if (strcmp(key, "version") == 0)
			snprintf(version, sizeof(version), "%.*s", (int)sizeof(version) - 1, rest);
		else if (strcmp(key, "linux") == 0)
			snprintf(kernel, sizeof(kernel), "%.*s", (int)sizeof(kernel) - 1, rest);
		else if (strcmp(key, "initrd") == 0)
			append(initrd, sizeof(initrd), rest);
		else if (strcmp(key, "options") == 0)
			append(options, BOOT_MAX_ARGS, rest);
		else if (strcmp(key, "efi") == 0 || strcmp(key, "uki") == 0)
			g.unfit = "is a program for EFI firmware, which catnap does not have";
	}
	if (*kernel)
		g.unfit = NULL;
	if (!*title)
		memcpy(title, *version ? version : id, sizeof(title));
	if (options && line)
		boot_add(e, &g);
	free(options);
	free(line);
}

static int newest_first(const void *a, const void *b)
{
	const struct boot_entry *x = a, *y = b;
	int ret = boot_compare_versions(y->id, x->id);

	return ret ? ret : strcmp(x->id, y->id);
}

void boot_sort_bls(struct boot_entries *e)
{
	if (e->n)
		qsort(e->entries, e->n, sizeof(e->entries[0]), newest_first);
	for (size_t i = 0; i < e->n; i++)
		snprintf(e->entries[i].index, sizeof(e->entries[i].index), "%zu", i);
}

void boot_read_loader_conf(struct boot_entries *e, const char *text, size_t len)
{
	char line[BOOT_MAX_VALUE], *key, *rest;

	while (boot_line(&text, &len, line, sizeof(line))) {
		size_t n;

		key = boot_key(line, &rest);
		if (!key || strcmp(key, "default") != 0)
			continue;
		n = strlen(rest);
		if (n > 5 && strcmp(rest + n - 5, ".conf") == 0)
			rest[n - 5] = '\0';
		boot_choose(e, rest);
	}
}

/* -- extlinux.conf ---------------------------------------------------------------------------- */

struct extlinux {
	struct boot_entries *e;
	const char *folder;
	bool open; /* a label was read */
	char label[BOOT_MAX_VALUE], title[BOOT_MAX_VALUE], kernel[BOOT_MAX_VALUE];
	char initrd[BOOT_MAX_ARGS], options[BOOT_MAX_ARGS];
};

/* Paths are relative to the file's own folder. */
static void make_path(const struct extlinux *x, const char *path, char *out, size_t size)
{
	int n = *path == '/' || !*path ? snprintf(out, size, "%s", path)
				       : snprintf(out, size, "%s/%s", x->folder, path);

	if (n < 0 || (size_t)n >= size)
		out[0] = '\0';
}

static void end_label(struct extlinux *x)
{
	char index[BOOT_MAX_INDEX];
	const struct boot_given g = {.title = *x->title ? x->title : x->label,
				     .id = x->label,
				     .kernel = x->kernel,
				     .initrd = x->initrd,
				     .options = x->options,
				     .index = index,
				     .unfit = *x->kernel ? NULL : "has no kernel"};

	snprintf(index, sizeof(index), "%zu", x->e->n);
	if (x->open)
		boot_add(x->e, &g);
	x->open = false;
	x->title[0] = x->kernel[0] = x->initrd[0] = x->options[0] = '\0';
}

/* Takes an initrd= out of an APPEND line. */
static void take_options(struct extlinux *x, char *rest)
{
	char *word, *next, path[BOOT_MAX_VALUE];

	for (word = rest; *word; word = next) {
		size_t n = strcspn(word, " ");

		next = word + n + strspn(word + n, " ");
		word[n] = '\0';
		if (strncmp(word, "initrd=", 7) == 0) {
			for (char *p = word + 7; *p; p++)
				*p = *p == ',' ? ' ' : *p;
			for (char *p = word + 7, *q; *p; p = q) {
				size_t m = strcspn(p, " ");

				q = p + m + strspn(p + m, " ");
				p[m] = '\0';
				make_path(x, p, path, sizeof(path));
				append(x->initrd, sizeof(x->initrd), path);
			}
		} else {
			append(x->options, sizeof(x->options), word);
		}
	}
}

static void take_line(struct extlinux *x, const char *key, char *rest)
{
	char path[BOOT_MAX_VALUE];

	if (strcasecmp(key, "default") == 0) {
		boot_choose(x->e, rest);
	} else if (strcasecmp(key, "label") == 0) {
		end_label(x);
		x->open = true;
		snprintf(x->label, sizeof(x->label), "%.*s", (int)sizeof(x->label) - 1, rest);
	} else if (!x->open) {
		return;
	} else if (strcasecmp(key, "linux") == 0 || strcasecmp(key, "kernel") == 0) {
		make_path(x, rest, x->kernel, sizeof(x->kernel));
	} else if (strcasecmp(key, "initrd") == 0) {
		make_path(x, rest, path, sizeof(path));
		append(x->initrd, sizeof(x->initrd), path);
	} else if (strcasecmp(key, "append") == 0) {
		take_options(x, rest);
	} else if (strcasecmp(key, "menu") == 0 && strcasecmp(rest, "default") == 0) {
		boot_choose(x->e, x->label);
	} else if (strcasecmp(key, "menu") == 0 && strncasecmp(rest, "label ", 6) == 0) {
		rest += 6;
		for (char *from = rest, *to = x->title;; from++) {
			if (*from == '^') /* the key for it */
				continue;
			*to++ = *from;
			if (!*from || to == x->title + sizeof(x->title) - 1)
				break;
		}
		x->title[sizeof(x->title) - 1] = '\0';
	}
}

void boot_read_extlinux(struct boot_entries *e, const char *folder, const char *text, size_t len)
{
	struct extlinux *x = calloc(1, sizeof(*x));
	char *line = malloc(BOOT_MAX_ARGS), *key, *rest;

	e->no_memory |= !x || !line;
	if (x && line) {
		x->e = e;
		x->folder = folder;
		while (!e->too_many && boot_line(&text, &len, line, BOOT_MAX_ARGS)) {
			key = boot_key(line, &rest);
			if (key && *key != '#')
				take_line(x, key, rest);
		}
		end_label(x);
	}
	free(x);
	free(line);
}
