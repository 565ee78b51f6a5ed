/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a disk can start, as the files of its boot loader say: each entry with its kernel, initramfs
 * and command line, and which of them is the default. The text is the disk's, so it may be anything:
 * reading it ends, within these limits, and what is found is text without newlines.
 *
 * One thread's.
 */
#ifndef CLI_BOOT_ENTRIES_H
#define CLI_BOOT_ENTRIES_H

#include <stdbool.h>
#include <stddef.h>

#define BOOT_MAX_FILE	 (4u << 20) /* bytes of one file of a boot loader's */
#define BOOT_MAX_ENTRIES 512
#define BOOT_MAX_DEPTH	 16 /* menus in menus, blocks in blocks */
#define BOOT_MAX_VARS	 256
#define BOOT_MAX_VALUE	 1024 /* bytes of a variable, a title, a path */
#define BOOT_MAX_ARGS	 8192 /* bytes of a command line */
#define BOOT_MAX_INDEX	 64

struct boot_entry {
	/* Its number in the menu, that of its menu before it: "1>0", as GRUB counts. */
	char index[BOOT_MAX_INDEX];
	char *title, *id; /* id "": it has none */
	/* Titles and ids with those of their menus before them: "Advanced options>Linux 6.1". */
	char *titles, *ids;
	char *kernel;	   /* a path on the disk */
	char *initrd;	   /* paths with blanks between them; "": none */
	char *options;	   /* the command line */
	const char *unfit; /* why it cannot be started; NULL: it can */
};

struct boot_var {
	char *name, *value;
};

struct boot_entries {
	struct boot_entry *entries;
	size_t n;
	char *chosen; /* the default: an index, a title, an id, or a pattern of ids; NULL: the first */
	bool no_memory, too_many;
	/* GRUB's variables, which its entries name. */
	struct boot_var vars[BOOT_MAX_VARS];
	size_t n_vars;
};

void boot_entries_free(struct boot_entries *e);

/* Takes the variables of a grubenv file. */
void boot_read_grubenv(struct boot_entries *e, const char *text, size_t len);

/* Takes the entries of a grub.cfg. Where that has the command blscfg, those of @bls come in its
 * place, which stay the caller's. NULL: there are none. */
void boot_read_grub(struct boot_entries *e, const char *text, size_t len,
		    const struct boot_entries *bls);

/* Takes the entry that is one file of /loader/entries, called @name. Then puts all of them in order,
 * the newest first, and numbers them. */
void boot_read_bls(struct boot_entries *e, const char *name, const char *text, size_t len);
void boot_sort_bls(struct boot_entries *e);
/* Takes systemd-boot's loader.conf. */
void boot_read_loader_conf(struct boot_entries *e, const char *text, size_t len);

/* Takes the entries of an extlinux.conf that lies in @folder. */
void boot_read_extlinux(struct boot_entries *e, const char *folder, const char *text, size_t len);

/* Returns the entry that @what names, an index, a title or an id, with those of its menus or without;
 * NULL: none. */
const struct boot_entry *boot_find(const struct boot_entries *e, const char *what);
/* Returns the default; NULL: there is no entry. */
const struct boot_entry *boot_default(const struct boot_entries *e);

/* Returns the command line of an entry, for the caller to free: its own, and console=ttyS0 unless that
 * names a serial or a virtio console. NULL: no memory. */
char *boot_cmdline(const char *options);

/* Compares versions as RPM does: less than 0, 0, more. */
int boot_compare_versions(const char *a, const char *b);

/* -- for those who read the files ------------------------------------------------------------- */

/* What an entry is made of; copied. Members that are NULL are empty. */
struct boot_given {
	const char *title, *id, *titles, *ids, *kernel, *initrd, *options, *index, *unfit;
};

/* Adds an entry. Returns false if there is no room, which is noted. */
bool boot_add(struct boot_entries *e, const struct boot_given *g);
void boot_set(struct boot_entries *e, const char *name, const char *value);
/* Returns "" for one that is not set. */
const char *boot_get(const struct boot_entries *e, const char *name);
/* Makes @value the default. */
void boot_choose(struct boot_entries *e, const char *value);

/* The next line of a text, without its newline; false: there is none. Cut to @size - 1 bytes; what is
 * no text in it becomes a blank. */
bool boot_line(const char **text, size_t *len, char *line, size_t size);
/* Cuts a line into its first word and the rest, which begins with no blank. NULL: it has no word. */
char *boot_key(char *line, char **rest);

#endif
