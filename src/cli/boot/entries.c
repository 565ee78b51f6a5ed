/* SPDX-License-Identifier: Apache-2.0 */
/* See entries.h. */
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/boot/entries.h"

static void free_entry(struct boot_entry *b)
{
	free(b->title);
	free(b->id);
	free(b->titles);
	free(b->ids);
	free(b->kernel);
	free(b->initrd);
	free(b->options);
}

void boot_entries_free(struct boot_entries *e)
{
	for (size_t i = 0; i < e->n; i++)
		free_entry(&e->entries[i]);
	for (size_t i = 0; i < e->n_vars; i++) {
		free(e->vars[i].name);
		free(e->vars[i].value);
	}
	free(e->entries);
	free(e->chosen);
	*e = (struct boot_entries){.n = 0};
}

static char *copy(const char *text)
{
	return strdup(text ? text : "");
}

bool boot_add(struct boot_entries *e, const struct boot_given *g)
{
	struct boot_entry *more, *b;

	if (e->n == BOOT_MAX_ENTRIES) {
		e->too_many = true;
		return false;
	}
	more = realloc(e->entries, (e->n + 1) * sizeof(*more));
	if (!more) {
		e->no_memory = true;
		return false;
	}
	e->entries = more;
	b = &e->entries[e->n];
	*b = (struct boot_entry){.title = copy(g->title),
				 .id = copy(g->id),
				 .titles = copy(g->titles ? g->titles : g->title),
				 .ids = copy(g->ids ? g->ids : g->id),
				 .kernel = copy(g->kernel),
				 .initrd = copy(g->initrd),
				 .options = copy(g->options),
				 .unfit = g->unfit};
	snprintf(b->index, sizeof(b->index), "%s", g->index ? g->index : "");
	if (!b->title || !b->id || !b->titles || !b->ids || !b->kernel || !b->initrd ||
	    !b->options) {
		free_entry(b);
		e->no_memory = true;
		return false;
	}
	e->n++;
	return true;
}

/* -- variables -------------------------------------------------------------------------------- */

/* Returns the number of the variable @name, or e->n_vars: there is none. */
static size_t find_var(const struct boot_entries *e, const char *name)
{
	size_t i = 0;

	while (i < e->n_vars && strcmp(e->vars[i].name, name) != 0)
		i++;
	return i;
}

void boot_set(struct boot_entries *e, const char *name, const char *value)
{
	const size_t i = find_var(e, name);

	if (i == BOOT_MAX_VARS)
		return;
	if (i == e->n_vars) {
		e->vars[i] = (struct boot_var){.name = strdup(name)};
		if (!e->vars[i].name) {
			e->no_memory = true;
			return;
		}
		e->n_vars++;
	}
	free(e->vars[i].value);
	e->vars[i].value = strndup(value, BOOT_MAX_VALUE);
	if (!e->vars[i].value)
		e->no_memory = true;
}

const char *boot_get(const struct boot_entries *e, const char *name)
{
	const size_t i = find_var(e, name);

	return i < e->n_vars && e->vars[i].value ? e->vars[i].value : "";
}

void boot_choose(struct boot_entries *e, const char *value)
{
	char *text = strndup(value, BOOT_MAX_VALUE);

	if (!text) {
		e->no_memory = true;
		return;
	}
	free(e->chosen);
	e->chosen = text;
}

/* -- lines ------------------------------------------------------------------------------------ */

bool boot_line(const char **text, size_t *len, char *line, size_t size)
{
	const char *end;
	size_t n;

	if (!*len)
		return false;
	end = memchr(*text, '\n', *len);
	n = end ? (size_t)(end - *text) : *len;
	for (size_t i = 0; i < n && i < size - 1; i++) {
		unsigned char c = (unsigned char)(*text)[i];

		line[i] = c < ' ' || c == 0x7f ? ' ' : (char)c;
	}
	line[n < size - 1 ? n : size - 1] = '\0';
	n += end != NULL;
	*text += n;
	*len -= n;
	return true;
}

char *boot_key(char *line, char **rest)
{
	char *key = line + strspn(line, " "), *end;
	size_t n;

	if (!*key)
		return NULL;
	n = strcspn(key, " ");
	*rest = key + n + strspn(key + n, " ");
	key[n] = '\0';
	end = *rest + strlen(*rest);
	while (end > *rest && end[-1] == ' ')
		*--end = '\0';
	return key;
}

/* -- finding ---------------------------------------------------------------------------------- */

static bool is_number(const char *text)
{
	return *text && text[strspn(text, "0123456789")] == '\0';
}

/* Does @whole begin with the menus of @prefix? */
static bool is_below(const char *whole, const char *prefix)
{
	size_t n = strlen(prefix);

	return n && strncmp(whole, prefix, n) == 0 && whole[n] == '>';
}

const struct boot_entry *boot_find(const struct boot_entries *e, const char *what)
{
	for (size_t i = 0; i < e->n; i++)
		if (strcmp(e->entries[i].index, what) == 0)
			return &e->entries[i];
	for (size_t i = 0; i < e->n && *what; i++) {
		const struct boot_entry *b = &e->entries[i];

		if (strcmp(b->titles, what) == 0 || strcmp(b->ids, what) == 0)
			return b;
	}
	for (size_t i = 0; i < e->n && *what; i++) {
		const struct boot_entry *b = &e->entries[i];

		if (strcmp(b->title, what) == 0 || strcmp(b->id, what) == 0)
			return b;
	}
	return NULL;
}

/* The first of a menu that @what is. */
static const struct boot_entry *find_below(const struct boot_entries *e, const char *what)
{
	for (size_t i = 0; i < e->n; i++) {
		const struct boot_entry *b = &e->entries[i];

		if (is_below(b->index, what) || is_below(b->titles, what) || is_below(b->ids, what))
			return b;
	}
	return NULL;
}

/* The first whose id a pattern of loader.conf's fits. */
static const struct boot_entry *find_pattern(const struct boot_entries *e, const char *what)
{
	for (size_t i = 0; i < e->n && strpbrk(what, "*?["); i++) {
		char name[BOOT_MAX_VALUE + 8];

		snprintf(name, sizeof(name), "%s.conf", e->entries[i].id);
		if (fnmatch(what, name, 0) == 0 || fnmatch(what, e->entries[i].id, 0) == 0)
			return &e->entries[i];
	}
	return NULL;
}

const struct boot_entry *boot_default(const struct boot_entries *e)
{
	const char *what = e->chosen ? e->chosen : "";
	const struct boot_entry *b = boot_find(e, what);

	if (!b)
		b = find_below(e, what);
	if (!b)
		b = find_pattern(e, what);
	if (b)
		return b;
	/* As GRUB: the first of the menu. But what says nothing of a kernel (a memory test, the
	 * firmware's setup) is passed over if nobody has chosen it. */
	for (size_t i = 0; i < e->n && !is_number(what); i++)
		if (!e->entries[i].unfit)
			return &e->entries[i];
	return e->n ? &e->entries[0] : NULL;
}

/* -- the command line ------------------------------------------------------------------------- */

/* Does the guest's output go where catnap shows it? */
static bool names_console(const char *options)
{
	static const char *const known[] = {"console=ttyS", "console=hvc"};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		for (const char *at = options; (at = strstr(at, known[i])); at++)
			if (at == options || at[-1] == ' ')
				return true;
	return false;
}

char *boot_cmdline(const char *options)
{
	const char *init = strncmp(options, "-- ", 3) == 0 ? options : strstr(options, " -- ");
	int before = init ? (int)(init - options) : (int)strlen(options);
	char *text;

	if (names_console(options))
		return strdup(options);
	if (asprintf(&text, "%.*s%sconsole=ttyS0%s%s", before, options, before ? " " : "",
		     init && init == options ? " " : "", init ? init : "") < 0)
		return NULL;
	return text;
}

/* -- versions --------------------------------------------------------------------------------- */

static bool digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static size_t span(const char *text, bool (*kind)(char))
{
	size_t n = 0;

	while (kind(text[n]))
		n++;
	return n;
}

int boot_compare_versions(const char *a, const char *b)
{
	while (*a || *b) {
		size_t n, m;
		int ret;

		while (*a && *a != '~' && !digit(*a) && !letter(*a))
			a++;
		while (*b && *b != '~' && !digit(*b) && !letter(*b))
			b++;
		/* A tilde is before everything, the end of the text too. */
		if (*a == '~' || *b == '~') {
			if (*a != *b)
				return *a == '~' ? -1 : 1;
			a++;
			b++;
			continue;
		}
		if (!*a || !*b)
			return *a ? 1 : *b ? -1 : 0;
		if (digit(*a) != digit(*b))
			return digit(*a) ? 1 : -1;
		if (digit(*a)) {
			a += strspn(a, "0");
			b += strspn(b, "0");
			n = span(a, digit);
			m = span(b, digit);
			if (n != m)
				return n > m ? 1 : -1;
		} else {
			n = span(a, letter);
			m = span(b, letter);
		}
		ret = strncmp(a, b, n < m ? n : m);
		if (ret || n != m)
			return ret ? ret : n > m ? 1 : -1;
		a += n;
		b += m;
	}
	return 0;
}
