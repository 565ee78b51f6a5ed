/* SPDX-License-Identifier: Apache-2.0 */
/* `catnap run`: what concerns Linux guests: their own halt polling, and the descriptions of
 * hardware. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "cli/printable.h"
#include "cli/run/run.h"

/* -- --guest-halt-poll ------------------------------------------------------------------------ */

void run_guest_halt_poll_init(struct run_guest_halt_poll *g)
{
	struct catnap_vm_config defaults;

	catnap_vm_config_init(&defaults);
	g->mode = GUEST_POLL_FORCE;
	g->by_price = true;
	g->ns = g->grow = g->grow_start_ns = g->shrink = GUEST_POLL_UNSET;
	g->allow_shrink = -1;
	g->host = (int)defaults.poll_after_guest;
}

/* Takes ns=TIME or ns=kernel: either way it is not made of the price. */
static int set_ns(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	static const struct opt_field time = {.type = OPT_TIME32, .max = GUEST_POLL_MAX};
	struct run_guest_halt_poll *g = ptr;

	g->by_price = false;
	return strcmp(arg->text, "kernel") == 0 ? 0 : opt_value(o, arg, &time, &g->ns);
}

static const struct opt_word modes[] = {{"off", GUEST_POLL_OFF},
					{"force", GUEST_POLL_FORCE},
					{"realtime", GUEST_POLL_REALTIME},
					{NULL, 0}};
enum { HOST = 6 };
#define KEY(member) .offset = offsetof(struct run_guest_halt_poll, member)
const struct opt_field run_guest_halt_poll_keys[] = {
	{.name = "mode", .type = OPT_WORD, KEY(mode), .words = modes},
	{.name = "ns", .type = OPT_CALL, .set = set_ns},
	OPT_GUEST_POLL_KEYS(struct run_guest_halt_poll, GUEST_POLL_MAX),
	[HOST] = OPT_GUEST_POLL_HOST(struct run_guest_halt_poll),
	{.name = NULL},
};
#undef KEY

int run_guest_halt_poll_set(struct opts *o, const struct opt_arg *arg,
			    struct run_guest_halt_poll *g)
{
	uint64_t given;

	run_guest_halt_poll_init(g);
	if (opt_keys_given(o, arg, run_guest_halt_poll_keys, g, &given))
		return -EINVAL;
	g->host_given = given >> HOST & 1;
	if (g->mode == GUEST_POLL_OFF && strchr(arg->text, ','))
		return opt_fail(o, arg, "has parameters for what is off: expected off alone");
	return 0;
}

static void unless_given(uint32_t *value, uint32_t settled)
{
	if (*value == GUEST_POLL_UNSET)
		*value = settled;
}

void run_guest_halt_poll_settle(struct run_guest_halt_poll *g, struct host_price price,
				uint32_t policy)
{
	bool host_polls = g->host != CATNAP_AFTER_GUEST_NEVER && policy != CATNAP_POLICY_OFF &&
			  policy != CATNAP_POLICY_KERNEL;
	const struct guest_window w = guest_window(price, host_polls);

	if (!g->by_price || g->mode == GUEST_POLL_OFF)
		return;
	g->ns = w.ns;
	unless_given(&g->grow_start_ns, w.grow_start_ns);
	if (w.grow != LINUX_GUEST_GROW)
		unless_given(&g->grow, w.grow);
	if (w.shrink != LINUX_GUEST_SHRINK)
		unless_given(&g->shrink, w.shrink);
}

static const char *between(FILE *f)
{
	return ftell(f) > 0 ? " " : "";
}

static void add(FILE *f, const char *name, uint32_t value)
{
	if (value != GUEST_POLL_UNSET)
		fprintf(f, "%shaltpoll.guest_halt_poll_%s=%u", between(f), name, value);
}

char *run_guest_halt_poll_cmdline(const struct run_guest_halt_poll *g)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return NULL;
	/* Each with a blank before it, but the first. With the hint the driver loads by itself. */
	if (g->mode == GUEST_POLL_FORCE)
		fputs("cpuidle_haltpoll.force=Y", f);
	if (g->mode != GUEST_POLL_OFF) {
		add(f, "ns", g->ns);
		add(f, "grow", g->grow);
		add(f, "grow_start", g->grow_start_ns);
		add(f, "shrink", g->shrink);
		if (g->allow_shrink >= 0)
			fprintf(f, "%shaltpoll.guest_halt_poll_allow_shrink=%c", between(f),
				g->allow_shrink ? 'Y' : 'N');
	}
	if (fclose(f) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

/* -- --dump-acpi, --dump-dtb ------------------------------------------------------------------ */

struct document {
	struct output out;
	const char *option;
	char path[PATH_MAX];
	const void *data;
	size_t len;
};

#define DOCUMENTS 16 /* more than there are tables, and the device tree */

/* All that is dumped: none is replaced before all of them are open. */
struct dump {
	struct document docs[DOCUMENTS];
	size_t n;
};

/* Returns 0 or -errno. */
static int dump_add(struct dump *d, const char *option, const char *path, const void *data,
		    size_t len)
{
	struct document *doc = &d->docs[d->n];

	if (d->n == DOCUMENTS)
		return -ENOSPC;
	if (strlen(path) >= sizeof(doc->path))
		return -ENAMETOOLONG;
	*doc = (struct document){.out = OUTPUT_NONE, .option = option, .data = data, .len = len};
	memcpy(doc->path, path, strlen(path) + 1);
	d->n++;
	return 0;
}

static int open_document(struct outputs *outputs, struct document *doc)
{
	return output_open_document(outputs, &doc->out, doc->option, doc->path, 0666);
}

/* Opens the documents, but a FIFO in its turn: its reader perhaps comes when it has read those
 * before. */
static int open_documents(struct outputs *outputs, struct dump *d)
{
	int status = CMD_OK;
	struct stat st;

	for (size_t i = 0; status == CMD_OK && i < d->n; i++)
		if (stat(d->docs[i].path, &st) < 0 || !S_ISFIFO(st.st_mode))
			status = open_document(outputs, &d->docs[i]);
	return status;
}

static int write_document(struct outputs *outputs, struct document *doc)
{
	struct way_out w = {
		.signals = -1, .deadline = outputs->deadline, .patience_ns = UINT64_MAX};
	int status = doc->out.fd < 0 ? open_document(outputs, doc) : CMD_OK, ret;

	if (status != CMD_OK)
		return status;
	ret = output_write(&doc->out, doc->data, doc->len, &w);
	return ret < 0 ? output_failed(outputs, doc->option, doc->path, ret) : CMD_OK;
}

/* Closes the documents. Files that were not written are removed. */
static void dump_end(struct outputs *outputs, struct dump *d)
{
	for (size_t i = 0; i < d->n; i++) {
		leftovers_undo(&outputs->left, d->docs[i].out.fd);
		output_close(&d->docs[i].out);
		files_closed(&outputs->files, d->docs[i].option, d->docs[i].path);
	}
}

/* Makes a table's file name: DSDT becomes dsdt.dat, as acpixtract writes them and iasl -d wants
 * them. */
static void file_name(char out[16], const char *table)
{
	size_t n = 0;

	for (; table[n] && n < 8; n++)
		out[n] = (char)(table[n] >= 'A' && table[n] <= 'Z' ? table[n] | 0x20 : table[n]);
	memcpy(out + n, ".dat", 5);
}

/* Returns NULL if there is no memory. */
static char *table_path(const char *folder, const char *table)
{
	char name[16], *path;

	file_name(name, table);
	return asprintf(&path, "%s/%s", folder, name) < 0 ? NULL : path;
}

int run_compare_tables(const struct run_cfg *cfg, struct files *f)
{
	static const char *const tables[] = {"RSDP", "DSDT", "FACP", "APIC", "XSDT", "MCFG"};
	size_t n = sizeof(tables) / sizeof(tables[0]);

	/* MCFG, the last, is of a PCI bus. */
	for (size_t i = 0; cfg->dump_acpi && i < n - (cfg->transport == CATNAP_TRANSPORT_MMIO);
	     i++) {
		char *path = table_path(cfg->dump_acpi, tables[i]);

		if (!path)
			return -ENOMEM;
		files_add(f, "dump-acpi", path, FILE_WRITE);
		free(path);
	}
	return 0;
}

/* Adds the tables, and the folder: @made, it was not there. Returns a status. */
static int add_tables(struct catnap_vm *vm, const char *folder, struct outputs *outputs,
		      struct dump *d, bool *made)
{
	const char *table;
	const void *data;
	int ret = mkdir(folder, 0777) < 0 ? -errno : 0;
	struct stat st;
	size_t len;

	*made = ret == 0;
	if (ret == -EEXIST)
		ret = stat(folder, &st) == 0 && !S_ISDIR(st.st_mode) ? -ENOTDIR : 0;
	for (uint32_t i = 0; ret == 0 && catnap_vm_get_acpi_table(vm, i, &table, &data, &len) == 0;
	     i++) {
		char *path = table_path(folder, table);

		ret = path ? dump_add(d, "dump-acpi", path, data, len) : -ENOMEM;
		free(path);
	}
	return ret < 0 ? output_failed(outputs, "dump-acpi", folder, ret) : CMD_OK;
}

static int add_device_tree(struct catnap_vm *vm, const char *path, struct outputs *outputs,
			   struct dump *d)
{
	const void *data;
	size_t len;
	int ret;

	catnap_vm_get_device_tree(vm, &data, &len);
	ret = dump_add(d, "dump-dtb", path, data, len);
	return ret < 0 ? output_failed(outputs, "dump-dtb", path, ret) : CMD_OK;
}

int run_dump(struct catnap_vm *vm, const struct run_cfg *cfg, struct outputs *outputs)
{
	struct dump d = {.n = 0};
	bool made = false;
	int status = CMD_OK;

	if (cfg->dump_acpi)
		status = add_tables(vm, cfg->dump_acpi, outputs, &d, &made);
	if (status == CMD_OK && cfg->dump_dtb)
		status = add_device_tree(vm, cfg->dump_dtb, outputs, &d);
	if (status == CMD_OK)
		status = open_documents(outputs, &d);
	for (size_t i = 0; status == CMD_OK && i < d.n; i++)
		status = write_document(outputs, &d.docs[i]);
	dump_end(outputs, &d);
	/* Unless something is in it. */
	if (status != CMD_OK && made)
		rmdir(cfg->dump_acpi);
	return status;
}
