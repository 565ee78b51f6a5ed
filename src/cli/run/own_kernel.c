/* SPDX-License-Identifier: Apache-2.0 */
/* See own_kernel.h. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/boot/entries.h"
#include "cli/cmd.h"
#include "cli/now.h"
#include "cli/printable.h"
#include "cli/run/own_kernel.h"
#include "cli/run/run.h"

#define MAX_KERNEL ((size_t)256 << 20)
#define MAX_INITRD ((size_t)1 << 30)
#define READING_S  60

struct search {
	struct disk_reader reader;
	struct disk_volume volumes[DISK_VOLUMES];
	int n_volumes;
	struct boot_entries entries;
	const struct disk_volume *at; /* where the entries are */
	char where[BOOT_MAX_VALUE];   /* in which file */
	bool efi;		      /* there are kernels for EFI firmware */
	const char *disk;	      /* as it was given */
	bool of_run;		      /* the time is --timeout's */
};

static int fail(const struct search *s, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Says that the disk is not to be started from. */
static int fail(const struct search *s, const char *format, ...)
{
	char shown[160], text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	complain("catnap run: --disk: %s: %s\n", opt_printable(s->disk, shown, sizeof(shown)),
		 text);
	return CMD_ERROR;
}

/* Says why a call of the reader's failed, @what it was about. */
static int fail_reading(const struct search *s, const char *what, int ret)
{
	char shown[128];

	opt_printable(what, shown, sizeof(shown));
	switch (ret) {
	case -EIO:
		return fail(s, "%s: %s", shown, s->reader.error);
	case -EFBIG:
		return fail(s, "%s: is too large", shown);
	case -ETIMEDOUT:
		if (s->of_run) {
			complain("catnap run: --timeout: the time is over\n");
			return RUN_TIMEOUT;
		}
		return fail(s, "%s: cannot be read in time", shown);
	case -ENOTSUP:
		return fail(s, "what reads it cannot be closed in on this host, which lacks "
			       "Landlock or seccomp: expected --kernel PATH");
	default:
		return fail(s, "%s: %s", shown, strerror(-ret));
	}
}

/* Is it a failure of the host's, and not just of a file that is not there? */
static bool is_serious(int ret)
{
	return ret < 0 && ret != -EIO && ret != -EFBIG && ret != -ENAMETOOLONG;
}

/* -- volumes ---------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
	const struct disk_volume *x = a, *y = b;

	return boot_compare_versions(x->name, y->name);
}

static bool begins_with(const struct search *s, uint64_t offset, const char *magic, size_t n)
{
	char found[8];

	return pread(s->reader.image, found, n, (off_t)offset) == (ssize_t)n &&
	       memcmp(found, magic, n) == 0;
}

static bool is_encrypted(const struct search *s)
{
	for (int i = 0; i < s->n_volumes; i++)
		if (begins_with(s, s->volumes[i].start, "LUKS\xba\xbe", 6))
			return true;
	return false;
}

static int find_volumes(struct search *s, const struct catnap_disk *disk)
{
	bool any = false;
	int ret;

	if (disk->format != CATNAP_DISK_RAW && begins_with(s, 0, "QFI\xfb", 4))
		return fail(s, "is a qcow2 image, which is not looked into: expected a raw one, or "
			       "--kernel PATH");
	ret = disk_reader_volumes(&s->reader, s->volumes);
	if (ret < 0)
		return fail_reading(s, "its partitions", ret);
	s->n_volumes = ret;
	qsort(s->volumes, (size_t)s->n_volumes, sizeof(s->volumes[0]), by_name);
	for (int i = 0; i < s->n_volumes; i++)
		any |= s->volumes[i].readable;
	if (any)
		return CMD_OK;
	if (is_encrypted(s))
		return fail(s, "is encrypted (LUKS): expected --kernel PATH");
	return fail(s, "has no file system that grub-fstest can read: expected --kernel PATH");
}

/* -- entries ---------------------------------------------------------------------------------- */

/* Is @name among the names of a listing? Folders have a '/' behind them. */
static bool lists(const struct disk_bytes *list, const char *name)
{
	const char *at = list->data, *end = at ? at + list->size : at;
	size_t n = strlen(name);

	while (at && (at = memmem(at, (size_t)(end - at), name, n))) {
		bool begins = at == list->data || at[-1] == ' ' || at[-1] == '\n';
		bool ends = at + n == end || at[n] == ' ' || at[n] == '\n';

		if (begins && ends)
			return true;
		at += n;
	}
	return false;
}

/* Reads a file of a boot loader's. Returns whether it is there; *status is no CMD_OK after a failure
 * that ends all. */
static bool read_text(struct search *s, const struct disk_volume *v, const char *path,
		      struct disk_bytes *text, int *status)
{
	int ret = disk_reader_file(&s->reader, v->name, path, BOOT_MAX_FILE, text);

	/* It is there, and no boot loader would read it. */
	if (is_serious(ret) || ret == -EFBIG)
		*status = fail_reading(s, path, ret);
	return ret == 0;
}

static bool file_name(const char *text, size_t n)
{
	return n > 5 && n < 256 && memcmp(text + n - 5, ".conf", 5) == 0 && !memchr(text, '/', n);
}

/* Reads /loader/entries, or the same in /boot, into @e. */
static int read_bls(struct search *s, const struct disk_volume *v, const char *base,
		    struct boot_entries *e)
{
	struct disk_bytes list, text;
	char path[BOOT_MAX_VALUE];
	int status = CMD_OK, ret;

	snprintf(path, sizeof(path), "%s/loader/entries/", base);
	ret = disk_reader_folder(&s->reader, v->name, path, &list);
	if (is_serious(ret))
		return fail_reading(s, path, ret);
	for (const char *at = list.data, *end = at ? at + list.size : at;
	     at < end && status == CMD_OK && e->n < BOOT_MAX_ENTRIES;) {
		const char *blank = memchr(at, ' ', (size_t)(end - at));
		size_t n = blank ? (size_t)(blank - at) : (size_t)(end - at);

		while (n && at[n - 1] == '\n')
			n--;
		if (file_name(at, n)) {
			char name[256];

			memcpy(name, at, n);
			name[n] = '\0';
			snprintf(path, sizeof(path), "%s/loader/entries/%s", base, name);
			if (read_text(s, v, path, &text, &status))
				boot_read_bls(e, name, text.data ? text.data : "", text.size);
			disk_bytes_free(&text);
		}
		at = blank ? blank + 1 : end;
	}
	disk_bytes_free(&list);
	boot_sort_bls(e);
	return status;
}

/* Takes the entries of a grub.cfg, if there is one. */
static int try_grub(struct search *s, const struct disk_volume *v, const char *base,
		    const char *folder)
{
	struct disk_bytes text, env;
	struct boot_entries bls = {.n = 0};
	char path[BOOT_MAX_VALUE];
	int status = CMD_OK;

	snprintf(path, sizeof(path), "%s/%s/grub.cfg", base, folder);
	if (!read_text(s, v, path, &text, &status))
		return status;
	snprintf(s->where, sizeof(s->where), "%s", path);
	snprintf(path, sizeof(path), "%s/%s/grubenv", base, folder);
	if (read_text(s, v, path, &env, &status))
		boot_read_grubenv(&s->entries, env.data ? env.data : "", env.size);
	disk_bytes_free(&env);
	if (status == CMD_OK && text.size && memmem(text.data, text.size, "blscfg", 6))
		status = read_bls(s, v, base, &bls);
	if (status == CMD_OK)
		boot_read_grub(&s->entries, text.data ? text.data : "", text.size, &bls);
	disk_bytes_free(&text);
	boot_entries_free(&bls);
	return status;
}

static int try_loader(struct search *s, const struct disk_volume *v, const char *base)
{
	struct disk_bytes text;
	char path[BOOT_MAX_VALUE];
	int status = read_bls(s, v, base, &s->entries);

	if (status != CMD_OK)
		return status;
	snprintf(s->where, sizeof(s->where), "%s/loader/entries", base);
	snprintf(path, sizeof(path), "%s/loader/loader.conf", base);
	if (s->entries.n && read_text(s, v, path, &text, &status)) {
		boot_read_loader_conf(&s->entries, text.data ? text.data : "", text.size);
		disk_bytes_free(&text);
	}
	return status;
}

static int try_extlinux(struct search *s, const struct disk_volume *v, const char *base,
			const char *folder, const char *name)
{
	struct disk_bytes text;
	char path[BOOT_MAX_VALUE], own[BOOT_MAX_VALUE];
	int status = CMD_OK;

	snprintf(own, sizeof(own), "%s/%s", base, folder);
	snprintf(path, sizeof(path), "%s/%s/%s", base, folder, name);
	if (read_text(s, v, path, &text, &status)) {
		snprintf(s->where, sizeof(s->where), "%s", path);
		boot_read_extlinux(&s->entries, own, text.data ? text.data : "", text.size);
		disk_bytes_free(&text);
	}
	return status;
}

/* Looks for entries in one folder of one volume. */
static int try_folder(struct search *s, const struct disk_volume *v, const char *base)
{
	static const struct {
		const char *shown, *folder, *name;
	} places[] = {{"grub/", "grub", NULL},
		      {"grub2/", "grub2", NULL},
		      {"loader/", NULL, NULL},
		      {"extlinux/", "extlinux", "extlinux.conf"},
		      {"syslinux/", "syslinux", "syslinux.cfg"}};
	struct disk_bytes list;
	char path[64];
	int status = CMD_OK, ret;

	snprintf(path, sizeof(path), "%s/", base);
	ret = disk_reader_folder(&s->reader, v->name, path, &list);
	if (is_serious(ret))
		return fail_reading(s, path, ret);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		if (status != CMD_OK || s->entries.n || !lists(&list, places[i].shown))
			continue;
		boot_entries_free(&s->entries);
		if (places[i].name)
			status = try_extlinux(s, v, base, places[i].folder, places[i].name);
		else if (places[i].folder)
			status = try_grub(s, v, base, places[i].folder);
		else
			status = try_loader(s, v, base);
	}
	s->efi |= lists(&list, "EFI/") || lists(&list, "efi/");
	disk_bytes_free(&list);
	return status;
}

static int find_entries(struct search *s)
{
	static const char *const folders[] = {"/boot", "", "/@/boot"};
	int status = CMD_OK;

	for (int i = 0; i < s->n_volumes; i++) {
		for (size_t k = 0; k < sizeof(folders) / sizeof(folders[0]); k++) {
			if (!s->volumes[i].readable || s->entries.n || status != CMD_OK)
				continue;
			s->at = &s->volumes[i];
			status = try_folder(s, s->at, folders[k]);
		}
	}
	if (status != CMD_OK)
		return status;
	if (s->entries.no_memory)
		return fail(s, "out of memory");
	if (s->entries.n)
		return CMD_OK;
	return fail(s, s->efi ? "has a boot loader for EFI firmware only, and no boot entries "
				"(grub.cfg, loader/entries, extlinux.conf): expected --kernel PATH"
			      : "has no boot entries (grub.cfg, loader/entries, extlinux.conf): "
				"expected --kernel PATH");
}

static void print_entries(const struct search *s)
{
	const struct boot_entry *def = boot_default(&s->entries);
	char shown[BOOT_MAX_ARGS];

	for (size_t i = 0; i < s->entries.n; i++) {
		const struct boot_entry *b = &s->entries.entries[i];

		printf("%s %-5s %s\n", b == def ? "*" : " ", b->index,
		       printable(b->title, false, shown, sizeof(shown)));
		if (b->unfit) {
			printf("        %s\n", b->unfit);
			continue;
		}
		printf("        kernel     %s\n",
		       printable(b->kernel, false, shown, sizeof(shown)));
		if (*b->initrd)
			printf("        initramfs  %s\n",
			       printable(b->initrd, false, shown, sizeof(shown)));
		if (*b->options)
			printf("        cmdline    %s\n",
			       printable(b->options, false, shown, sizeof(shown)));
	}
}

/* -- kernel and initramfs --------------------------------------------------------------------- */

/* Returns a path as the volume has it, without "(hd0,gpt1)" before it. */
static const char *on_volume(const char *path)
{
	const char *end = *path == '(' ? strchr(path, ')') : NULL;

	return end ? end + 1 : path;
}

/* Reads the kernel, from the volume that has the entries or the first that has it. That volume is
 * s->at from then on. */
static int read_kernel(struct search *s, const struct boot_entry *b, struct own_kernel *own)
{
	const char *path = on_volume(b->kernel);
	int ret = disk_reader_file(&s->reader, s->at->name, path, MAX_KERNEL, &own->kernel);
	char said[sizeof(s->reader.error)];

	memcpy(said, s->reader.error, sizeof(said));
	for (int i = 0; i < s->n_volumes && ret == -EIO; i++) {
		const struct disk_volume *v = &s->volumes[i];

		if (!v->readable || v == s->at)
			continue;
		ret = disk_reader_file(&s->reader, v->name, path, MAX_KERNEL, &own->kernel);
		if (ret == 0)
			s->at = v;
	}
	if (ret == -EIO)
		memcpy(s->reader.error, said, sizeof(said));
	if (ret < 0)
		return fail_reading(s, b->kernel, ret);
	if (!own->kernel.size) {
		char shown[128];

		return fail(s, "%s: is empty", opt_printable(b->kernel, shown, sizeof(shown)));
	}
	return CMD_OK;
}

/* Puts @more behind what there is, at a multiple of 4 bytes, as Linux has it. */
static int append_initrd(struct own_kernel *own, const struct disk_bytes *more)
{
	const size_t at = (own->initrd_size + 3) & ~(size_t)3, size = at + more->size;
	void *all;

	if (!more->size)
		return 0;
	all = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (all == MAP_FAILED)
		return -ENOMEM;
	madvise(all, size, MADV_DONTFORK);
	madvise(all, size, MADV_DONTDUMP);
	if (own->initrd) {
		memcpy(all, own->initrd, own->initrd_size);
		munmap(own->initrd, own->initrd_size);
	}
	memcpy((char *)all + at, more->data, more->size);
	own->initrd = all;
	own->initrd_size = size;
	return 0;
}

static int read_initrd(struct search *s, const struct boot_entry *b, struct own_kernel *own)
{
	const char *at = b->initrd;
	int status = CMD_OK;

	while (*at && status == CMD_OK) {
		struct disk_bytes bytes;
		char path[BOOT_MAX_VALUE];
		size_t n = strcspn(at, " ");
		int ret;

		snprintf(path, sizeof(path), "%.*s", (int)(n < sizeof(path) ? n : sizeof(path) - 1),
			 at);
		at += n;
		at += strspn(at, " ");
		ret = disk_reader_file(&s->reader, s->at->name, on_volume(path),
				       MAX_INITRD - own->initrd_size, &bytes);
		if (ret == 0)
			ret = append_initrd(own, &bytes);
		if (ret < 0)
			status = fail_reading(s, path, ret);
		disk_bytes_free(&bytes);
	}
	return status;
}

/* -- all of it -------------------------------------------------------------------------------- */

static const struct boot_entry *choose(const struct search *s, const struct run_cfg *cfg,
				       int *status)
{
	const struct boot_entry *b =
		cfg->own.entry ? boot_find(&s->entries, cfg->own.entry) : boot_default(&s->entries);
	char shown[128];

	if (!b) {
		complain("catnap run: --boot-entry: \"%s\" is no entry of %s: expected one that "
			 "--list-boot-entries shows\n",
			 opt_printable(cfg->own.entry, shown, sizeof(shown)), s->where);
		*status = CMD_ERROR;
	} else if (b->unfit) {
		*status = fail(s, "the boot entry \"%s\" %s: expected another by --boot-entry",
			       opt_printable(b->title, shown, sizeof(shown)), b->unfit);
	}
	return *status == CMD_OK ? b : NULL;
}

static int take(struct search *s, struct run_cfg *cfg, struct own_kernel *own)
{
	char title[128], kernel[128], volume[DISK_VOLUME_NAME + 2];
	const struct boot_entry *b;
	int status = CMD_OK;

	if (cfg->own.list) {
		print_entries(s);
		return CMD_OK;
	}
	b = choose(s, cfg, &status);
	if (!b)
		return status;
	status = read_kernel(s, b, own);
	if (status == CMD_OK && !cfg->initramfs)
		status = read_initrd(s, b, own);
	if (status != CMD_OK)
		return status;
	own->cmdline = boot_cmdline(b->options);
	if (!own->cmdline)
		return fail(s, "out of memory");
	if (!cfg->own.cmdline_given)
		cfg->cmdline = own->cmdline;
	snprintf(volume, sizeof(volume), "%s", s->at->name);
	snprintf(own->said, sizeof(own->said), "boot entry \"%s\": (%s)%s",
		 opt_printable(b->title, title, sizeof(title)), volume,
		 opt_printable(on_volume(b->kernel), kernel, sizeof(kernel)));
	return CMD_OK;
}

int own_kernel_open(struct run_cfg *cfg, struct own_kernel *own)
{
	const struct catnap_disk *disk = &cfg->disks[0];
	const uint64_t limit = now_ns() + READING_S * UINT64_C(1000000000);
	uint64_t deadline = run_deadline(cfg);
	char number[24];
	const char *wrong;
	struct search *s;
	int status;

	*own = (struct own_kernel){.initrd = NULL};
	if (!cfg->own.on)
		return CMD_OK;
	s = calloc(1, sizeof(*s));
	if (!s) {
		complain("catnap run: out of memory\n");
		return CMD_ERROR;
	}
	snprintf(number, sizeof(number), "fd=%d", disk->fd);
	s->disk = disk->path ? disk->path : number;
	s->of_run = deadline < limit;
	wrong = disk_reader_open(&s->reader, disk->path, disk->fd, s->of_run ? deadline : limit);
	status = wrong ? fail(s, "%s", wrong) : find_volumes(s, disk);
	if (status == CMD_OK)
		status = find_entries(s);
	if (status == CMD_OK)
		status = take(s, cfg, own);
	disk_reader_close(&s->reader);
	boot_entries_free(&s->entries);
	free(s);
	return status;
}

void own_kernel_loaded(struct own_kernel *own)
{
	disk_bytes_free(&own->kernel);
	if (own->initrd)
		munmap(own->initrd, own->initrd_size);
	own->initrd = NULL;
	own->initrd_size = 0;
}

void own_kernel_close(struct own_kernel *own)
{
	own_kernel_loaded(own);
	free(own->cmdline);
	own->cmdline = NULL;
}
