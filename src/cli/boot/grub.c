/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grub.cfg, a script in GRUB's language (GNU GRUB manual, "Writing full configuration files
 * directly"). It is run, as far as it says which entries there are: variables, `if`, `test`, menus and
 * what is in them. Loops, functions and files that it would read in turn are passed over, and no
 * command does anything. One pass over the text.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/boot/entries.h"

#define MAX_WORDS 512

enum stop { AT_END, AT_THEN, AT_ELIF, AT_ELSE, AT_FI, AT_DO, AT_DONE, AT_BRACE };

struct grub {
	struct boot_entries *e;
	const struct boot_entries *bls;
	const char *at, *end;
	bool broken; /* it is no such script from here on */
	bool status, grubenv;
	unsigned int depth;

	/* The words of the command that is read; each ends with a zero byte. */
	char text[BOOT_MAX_ARGS];
	size_t used, n, words[MAX_WORDS];
	bool plain; /* the last one has no quotes and no variables */
	bool cut;   /* they had no room */

	/* The menu that is read: of its menus before it, with '>' after each. */
	char index[BOOT_MAX_INDEX], titles[BOOT_MAX_VALUE], ids[BOOT_MAX_VALUE];
	unsigned int number; /* of the next entry */

	/* The entry that is read. */
	bool in_entry;
	char kernel[BOOT_MAX_VALUE], initrd[BOOT_MAX_ARGS], options[BOOT_MAX_ARGS];
	const char *unfit;
};

static enum stop read_list(struct grub *g, bool active);

/* -- words ------------------------------------------------------------------------------------ */

static void put(struct grub *g, char c)
{
	if (g->used < sizeof(g->text) - 1)
		g->text[g->used++] = (unsigned char)c < ' ' || c == 0x7f ? ' ' : c;
	else
		g->cut = true;
}

static void begin_word(struct grub *g)
{
	if (g->n < MAX_WORDS)
		g->words[g->n++] = g->used;
	else
		g->cut = true;
}

static void end_word(struct grub *g)
{
	if (g->used == sizeof(g->text) - 1)
		g->used--;
	g->text[g->used++] = '\0';
}

static const char *word(const struct grub *g, size_t i)
{
	return i < g->n ? g->text + g->words[i] : "";
}

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static bool of_name(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_';
}

/* Goes to the next word of the command. Returns what ends it: '\n', '{', '}', 0 for the end of the text,
 * or 'w' if there is a word. */
static char next(struct grub *g)
{
	for (; g->at < g->end; g->at++) {
		char c = *g->at;

		if (c == '\\' && g->end - g->at > 1 && g->at[1] == '\n')
			g->at++;
		else if (c == '\n' || c == ';')
			return '\n';
		else if (!blank(c))
			break;
	}
	if (g->at == g->end)
		return 0;
	if (*g->at == '#') {
		while (g->at < g->end && *g->at != '\n')
			g->at++;
		return next(g);
	}
	if ((*g->at == '{' || *g->at == '}') &&
	    (g->end - g->at == 1 || blank(g->at[1]) || strchr("\n;{}", g->at[1])))
		return *g->at;
	return 'w';
}

/* Reads a variable's name behind '$', and returns its value; NULL: it is none. */
static const char *variable(struct grub *g)
{
	char name[BOOT_MAX_VALUE];
	bool braces = g->at < g->end && *g->at == '{';
	size_t n = 0;

	g->at += braces;
	while (g->at < g->end && of_name(*g->at)) {
		if (n < sizeof(name) - 1)
			name[n++] = *g->at;
		g->at++;
	}
	name[n] = '\0';
	/* $?, $@ and so on. */
	if (!n && g->at < g->end && strchr("?@*#", *g->at))
		g->at++;
	else if (!n && !braces)
		return NULL;
	while (braces && g->at < g->end && *g->at != '}' && *g->at != '\n')
		g->at++;
	if (braces && g->at < g->end && *g->at == '}')
		g->at++;
	return boot_get(g->e, name);
}

/* What is between double quotes, from behind the first to behind the last. */
static void read_quoted(struct grub *g)
{
	while (g->at < g->end && *g->at != '"') {
		char c = *g->at++;
		const char *value;

		if (c == '\\' && g->at < g->end && strchr("\"\\$\n", *g->at)) {
			if (*g->at != '\n')
				put(g, *g->at);
			g->at++;
		} else if (c == '$' && (value = variable(g))) {
			while (*value)
				put(g, *value++);
		} else {
			put(g, c);
		}
	}
	g->at += g->at < g->end;
}

/* Reads what stands up to the next blank. It is one word, none or several: of a variable that is in no
 * quotes, blanks part words. */
static void read_word(struct grub *g)
{
	bool open = false;

	g->plain = true;
	while (g->at < g->end && !blank(*g->at) && *g->at != '\n' && *g->at != ';') {
		char c = *g->at++;
		const char *value = NULL;

		if (c == '$' && (value = variable(g))) {
			g->plain = false;
			for (; *value; value++) {
				if (*value == ' ') {
					if (open)
						end_word(g);
					open = false;
					continue;
				}
				if (!open)
					begin_word(g);
				open = true;
				put(g, *value);
			}
			continue;
		}
		if (!open)
			begin_word(g);
		open = true;
		if (c == '\'') {
			g->plain = false;
			while (g->at < g->end && *g->at != '\'')
				put(g, *g->at++);
			g->at += g->at < g->end;
		} else if (c == '"') {
			g->plain = false;
			read_quoted(g);
		} else if (c == '\\' && g->at < g->end) {
			g->plain = false;
			if (*g->at != '\n')
				put(g, *g->at);
			g->at++;
		} else {
			put(g, c);
		}
	}
	if (open)
		end_word(g);
}

static void read_rest(struct grub *g)
{
	while (next(g) == 'w')
		read_word(g);
}

/* -- test ------------------------------------------------------------------------------------- */

static bool compare(const char *a, const char *op, const char *b, bool *result)
{
	static const char *const ops[] = {"-eq", "-ne", "-lt", "-le", "-gt", "-ge"};
	long x = strtol(a, NULL, 10), y = strtol(b, NULL, 10);
	const bool numbers[] = {x == y, x != y, x<y, x <= y, x> y, x >= y};

	if (strcmp(op, "=") == 0 || strcmp(op, "==") == 0)
		*result = strcmp(a, b) == 0;
	else if (strcmp(op, "!=") == 0)
		*result = strcmp(a, b) != 0;
	else {
		for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
			if (strcmp(op, ops[i]) == 0) {
				*result = numbers[i];
				return true;
			}
		return false;
	}
	return true;
}

/* Is there a file? The one that is known of is grubenv. */
static bool is_there(const struct grub *g, const char *path)
{
	size_t n = strlen(path);

	return g->grubenv && n >= 8 && strcmp(path + n - 8, "/grubenv") == 0;
}

/* Takes one condition from word *i on, before @end. */
static bool condition(const struct grub *g, size_t *i, size_t end)
{
	bool negated = false, result;
	const char *a;

	while (*i < end && strcmp(word(g, *i), "!") == 0) {
		negated = !negated;
		(*i)++;
	}
	a = word(g, *i);
	if (*i >= end) {
		result = false;
	} else if (end - *i >= 3 && compare(a, word(g, *i + 1), word(g, *i + 2), &result)) {
		*i += 3;
	} else if (end - *i >= 2 && a[0] == '-' && a[1] && !a[2] && strchr("nzsefd", a[1])) {
		const char *b = word(g, *i + 1);

		result = a[1] == 'n' ? *b : a[1] == 'z' ? !*b : is_there(g, b);
		*i += 2;
	} else {
		result = *a;
		(*i)++;
	}
	return result != negated;
}

static bool test(const struct grub *g)
{
	size_t end = g->n, i = 1;
	bool result;

	if (end > 1 && strcmp(word(g, end - 1), "]") == 0)
		end--;
	result = condition(g, &i, end);
	while (i < end) {
		bool both = strcmp(word(g, i), "-a") == 0, right;

		i++;
		right = condition(g, &i, end);
		result = both ? result && right : result || right;
	}
	return result;
}

/* -- commands --------------------------------------------------------------------------------- */

/* Joins words from @i on, with blanks; one that has blanks is put in quotes, as Linux reads them. */
static void join(struct grub *g, size_t i, char *out, size_t size)
{
	size_t used = 0;

	out[0] = '\0';
	for (; i < g->n; i++) {
		const char *w = word(g, i);
		const char *quote = strchr(w, ' ') && !strchr(w, '"') ? "\"" : "";
		size_t room = size - used;
		int n = snprintf(out + used, room, "%s%s%s%s", used ? " " : "", quote, w, quote);

		if (n < 0 || (size_t)n >= room) {
			g->cut = true;
			return;
		}
		used += (size_t)n;
	}
}

/* Puts variables into a value of an entry's file, which knows no quotes. */
static void expand(struct grub *g, const char *text, char *out, size_t size)
{
	const char *at = g->at, *end = g->end;
	size_t used = 0;

	g->at = text;
	g->end = text + strlen(text);
	while (g->at < g->end) {
		char one[2] = {*g->at++, '\0'};
		const char *value = one[0] == '$' ? variable(g) : NULL;

		for (value = value ? value : one; *value; value++)
			if (used < size - 1)
				out[used++] = *value;
	}
	while (used && out[used - 1] == ' ')
		used--;
	out[used] = '\0';
	g->at = at;
	g->end = end;
}

static void add_bls(struct grub *g)
{
	const struct boot_entries *bls = g->bls;

	for (size_t i = 0; bls && i < bls->n && !g->e->too_many; i++) {
		const struct boot_entry *b = &bls->entries[i];
		char index[BOOT_MAX_INDEX + 16];
		struct boot_given given = {.title = b->title,
					   .id = b->id,
					   .kernel = b->kernel,
					   .initrd = g->initrd,
					   .options = g->options,
					   .index = index,
					   .unfit = b->unfit};

		snprintf(index, sizeof(index), "%s%u", g->index, g->number++);
		expand(g, b->initrd, g->initrd, sizeof(g->initrd));
		expand(g, b->options, g->options, sizeof(g->options));
		boot_add(g->e, &given);
	}
}

static void take_kernel(struct grub *g)
{
	snprintf(g->kernel, sizeof(g->kernel), "%.*s", BOOT_MAX_VALUE - 1, word(g, 1));
	join(g, 2, g->options, sizeof(g->options));
	g->unfit = g->cut ? "has a command line that is too long" : NULL;
}

/* Takes name=value. Returns false if it is something else. */
static bool assign(struct grub *g, const char *text)
{
	char name[BOOT_MAX_VALUE];
	size_t n = 0;

	while (of_name(text[n]))
		n++;
	if (!n || text[n] != '=' || n >= sizeof(name))
		return false;
	memcpy(name, text, n);
	name[n] = '\0';
	/* What an entry sets holds once it was started. */
	if (!g->in_entry || (strcmp(name, "default") != 0))
		boot_set(g->e, name, text + n + 1);
	return true;
}

static bool is_one_of(const char *name, const char *const *list)
{
	while (*list && strcmp(*list, name) != 0)
		list++;
	return *list;
}

/* Does what matters of a command. Its status is what an `if` sees: of what is not known, that it
 * failed. */
static void command(struct grub *g)
{
	static const char *const kernels[] = {"linux", "linux16", "linuxefi", NULL};
	static const char *const initrds[] = {"initrd", "initrd16", "initrdefi", NULL};
	static const char *const others[] = {"chainloader", "multiboot",
					     "multiboot2",  "xen_hypervisor",
					     "fwsetup",	    "kfreebsd",
					     NULL};
	static const char *const good[] = {"true", "load_env", "search", "insmod", NULL};
	const char *name = word(g, 0);

	g->status = false;
	if (assign(g, name)) {
		g->status = true;
	} else if (strcmp(name, "set") == 0) {
		g->status = assign(g, word(g, 1));
	} else if (strcmp(name, "unset") == 0) {
		boot_set(g->e, word(g, 1), "");
	} else if (strcmp(name, "[") == 0 || strcmp(name, "test") == 0) {
		g->status = test(g);
	} else if (strcmp(name, "blscfg") == 0 && !g->in_entry) {
		add_bls(g);
	} else if (is_one_of(name, good)) {
		g->status = true;
	} else if (g->in_entry && is_one_of(name, kernels)) {
		take_kernel(g);
	} else if (g->in_entry && is_one_of(name, initrds)) {
		join(g, 1, g->initrd, sizeof(g->initrd));
	} else if (g->in_entry && is_one_of(name, others)) {
		g->unfit = "starts something else than Linux";
	}
}

/* -- menus ------------------------------------------------------------------------------------ */

struct heading {
	char title[BOOT_MAX_VALUE], id[BOOT_MAX_VALUE];
};

/* Takes title and id of a menu or an entry: 'Title' --class debian --id 'name'. */
static void take_heading(const struct grub *g, struct heading *h)
{
	static const char *const with_value[] = {"--class", "--users", "--hotkey", "--source",
						 NULL};
	bool titled = false;

	h->title[0] = h->id[0] = '\0';
	for (size_t i = 1; i < g->n; i++) {
		const char *w = word(g, i);

		if (strcmp(w, "--id") == 0)
			snprintf(h->id, sizeof(h->id), "%.*s", BOOT_MAX_VALUE - 1, word(g, ++i));
		else if (strncmp(w, "--id=", 5) == 0)
			snprintf(h->id, sizeof(h->id), "%.*s", BOOT_MAX_VALUE - 1, w + 5);
		else if (is_one_of(w, with_value))
			i++;
		else if (strncmp(w, "--", 2) != 0 && !titled) {
			titled = true;
			snprintf(h->title, sizeof(h->title), "%.*s", BOOT_MAX_VALUE - 1, w);
		}
	}
}

/* What is in the braces of an entry, once they are open. */
static void read_entry(struct grub *g, bool active)
{
	char index[BOOT_MAX_INDEX + 16];
	char titles[2 * BOOT_MAX_VALUE], ids[2 * BOOT_MAX_VALUE];
	struct heading h;
	struct boot_given given = {.title = h.title,
				   .id = h.id,
				   .titles = titles,
				   .ids = ids,
				   .index = index,
				   .kernel = g->kernel,
				   .initrd = g->initrd,
				   .options = g->options};

	take_heading(g, &h);
	active = active && !g->in_entry;
	if (!active) {
		g->broken |= read_list(g, false) != AT_BRACE;
		return;
	}
	g->in_entry = true;
	g->kernel[0] = g->initrd[0] = g->options[0] = '\0';
	g->unfit = "starts something else than Linux";
	g->broken |= read_list(g, true) != AT_BRACE;
	g->in_entry = false;
	snprintf(index, sizeof(index), "%s%u", g->index, g->number++);
	snprintf(titles, sizeof(titles), "%s%s", g->titles, h.title);
	snprintf(ids, sizeof(ids), "%s%s", g->ids, *h.id ? h.id : h.title);
	given.unfit = g->unfit;
	boot_add(g->e, &given);
}

static void push(char *menus, size_t size, const char *name)
{
	size_t n = strlen(menus);

	snprintf(menus + n, size - n, "%s>", name);
}

static void read_menu(struct grub *g, bool active)
{
	const size_t index = strlen(g->index), titles = strlen(g->titles), ids = strlen(g->ids);
	unsigned int number = g->number;
	struct heading h;
	char own[16];

	take_heading(g, &h);
	active = active && !g->in_entry;
	if (active) {
		snprintf(own, sizeof(own), "%u", number);
		push(g->index, sizeof(g->index), own);
		push(g->titles, sizeof(g->titles), h.title);
		push(g->ids, sizeof(g->ids), *h.id ? h.id : h.title);
		g->number = 0;
	}
	g->broken |= read_list(g, active) != AT_BRACE;
	if (!active)
		return;
	g->index[index] = g->titles[titles] = g->ids[ids] = '\0';
	g->number = number + 1;
}

/* -- the script ------------------------------------------------------------------------------- */

static void read_if(struct grub *g, bool active)
{
	bool done = false;

	for (;;) {
		enum stop stop = read_list(g, active && !done);
		bool take = active && !done && g->status;

		if (stop != AT_THEN)
			break;
		stop = read_list(g, take);
		done |= take;
		if (stop == AT_ELIF)
			continue;
		if (stop == AT_ELSE)
			stop = read_list(g, active && !done);
		if (stop == AT_FI)
			return;
		break;
	}
	g->broken = true;
}

/* Passes over a loop: `for` has words before its `do`, `while` and `until` a list. */
static void skip_loop(struct grub *g)
{
	read_rest(g);
	if (read_list(g, false) != AT_DO || read_list(g, false) != AT_DONE)
		g->broken = true;
}

/* Goes behind an opening brace, past the ends of lines. */
static bool open_brace(struct grub *g)
{
	char c;

	while ((c = next(g)) == '\n')
		g->at++;
	g->at += c == '{';
	return c == '{';
}

static enum stop reserved(const struct grub *g, const char *w)
{
	static const char *const names[] = {
		[AT_THEN] = "then", [AT_ELIF] = "elif", [AT_ELSE] = "else",
		[AT_FI] = "fi",	    [AT_DO] = "do",	[AT_DONE] = "done"};

	for (int i = AT_THEN; i <= AT_DONE && g->plain; i++)
		if (strcmp(names[i], w) == 0)
			return (enum stop)i;
	return AT_END;
}

/* Reads a command or a block that begins with the word that was read. */
static void read_command(struct grub *g, bool active)
{
	const char *w = word(g, 0);
	bool plain = g->plain && g->n == 1;

	if (plain && strcmp(w, "if") == 0) {
		read_if(g, active);
	} else if (plain &&
		   (strcmp(w, "while") == 0 || strcmp(w, "until") == 0 || strcmp(w, "for") == 0)) {
		skip_loop(g);
	} else if (plain && strcmp(w, "function") == 0) {
		read_rest(g);
		if (!open_brace(g) || read_list(g, false) != AT_BRACE)
			g->broken = true;
	} else if (plain && (strcmp(w, "menuentry") == 0 || strcmp(w, "submenu") == 0)) {
		bool menu = *w == 's';

		read_rest(g);
		if (!open_brace(g))
			g->broken = true;
		else if (menu)
			read_menu(g, active);
		else
			read_entry(g, active);
	} else {
		read_rest(g);
		/* A brace that opens nothing known. */
		if (next(g) == '{')
			g->at++;
		if (active && g->n)
			command(g);
	}
}

/* Reads commands up to the word that ends them. */
static enum stop read_list(struct grub *g, bool active)
{
	enum stop stop = AT_END;

	if (++g->depth > 2 * BOOT_MAX_DEPTH)
		g->broken = true;
	while (!g->broken && !g->e->no_memory && !g->e->too_many) {
		char c = next(g);

		if (c == 0)
			break;
		if (c != 'w') {
			g->at++;
			stop = c == '}' ? AT_BRACE : AT_END;
			if (stop)
				break;
			continue;
		}
		g->used = g->n = 0;
		g->cut = false;
		read_word(g);
		stop = reserved(g, word(g, 0));
		if (stop)
			break;
		read_command(g, active);
	}
	g->depth--;
	return stop;
}

/* What GRUB itself sets, as configurations ask for it. */
static void set_own(struct boot_entries *e)
{
	static const char *const own[][2] = {
		{"feature_menuentry_id", "y"},
		{"feature_menuentry_options", "y"},
		{"feature_default_font_path", "y"},
		{"feature_timeout_style", "y"},
		{"feature_platform_search_hint", "y"},
		{"grub_platform", "pc"},
		{"grub_cpu", "x86_64"},
	};

	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		boot_set(e, own[i][0], own[i][1]);
}

void boot_read_grub(struct boot_entries *e, const char *text, size_t len,
		    const struct boot_entries *bls)
{
	struct grub *g = calloc(1, sizeof(*g));

	if (!g) {
		e->no_memory = true;
		return;
	}
	g->e = e;
	g->bls = bls;
	g->at = text;
	g->end = text + len;
	g->grubenv = e->n_vars > 0;
	set_own(e);
	/* A word that ends nothing is passed over. */
	while (!g->broken && read_list(g, true) != AT_END)
		;
	if (*boot_get(e, "default"))
		boot_choose(e, boot_get(e, "default"));
	free(g);
}

void boot_read_grubenv(struct boot_entries *e, const char *text, size_t len)
{
	char line[BOOT_MAX_VALUE];

	while (boot_line(&text, &len, line, sizeof(line))) {
		char *value = strchr(line, '=');

		if (line[0] == '#' || !value)
			continue;
		*value++ = '\0';
		/* A choice for one start only, which GRUB would take out of the file. */
		if (strcmp(line, "next_entry") != 0)
			boot_set(e, line, value);
	}
}
