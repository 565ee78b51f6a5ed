/* SPDX-License-Identifier: Apache-2.0 */
/* `catnap run`: what concerns Linux guests: their own halt polling, and the descriptions of
 * hardware. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "cli/printable.h"
#include "cli/run.h"

/* -- --guest-halt-poll ------------------------------------------------------------------------ */

void guest_halt_poll_init(struct guest_halt_poll *g)
{
	g->mode = GUEST_POLL_FORCE;
	g->ns = g->grow = g->grow_start = g->shrink = GUEST_POLL_UNSET;
	g->allow_shrink = -1;
	g->host = 0;
}

int guest_halt_poll_set(struct opts *o, const struct opt_arg *arg, struct guest_halt_poll *g)
{
	static const struct opt_word modes[] = {{"off", GUEST_POLL_OFF},
						{"force", GUEST_POLL_FORCE},
						{"realtime", GUEST_POLL_REALTIME},
						{NULL, 0}};
	static const struct opt_word hosts[] = {{"off", CATNAP_AFTER_GUEST_NEVER},
						{"break-even", CATNAP_AFTER_GUEST_BREAK_EVEN},
						{"learned", CATNAP_AFTER_GUEST_LEARNED},
						{NULL, 0}};
	static const struct opt_word switches[] = {{"on", 1}, {"off", 0}, {NULL, 0}};
#define KEY(member) .offset = offsetof(struct guest_halt_poll, member)
#define MAX	    .max = GUEST_POLL_UNSET - 1
	static const struct opt_field keys[] = {
		{.name = "mode", .type = OPT_WORD, KEY(mode), .words = modes},
		{.name = "ns", .type = OPT_TIME32, KEY(ns), MAX},
		{.name = "grow", .type = OPT_U32, KEY(grow), MAX},
		{.name = "grow-start", .type = OPT_TIME32, KEY(grow_start), MAX},
		{.name = "shrink", .type = OPT_U32, KEY(shrink), MAX},
		{.name = "allow-shrink", .type = OPT_WORD, KEY(allow_shrink), .words = switches},
		{.name = "host", .type = OPT_WORD, KEY(host), .words = hosts},
		{.name = NULL},
	};
#undef KEY
#undef MAX

	guest_halt_poll_init(g);
	if (opt_keys(o, arg, keys, g))
		return -EINVAL;
	if (g->mode == GUEST_POLL_OFF && strchr(arg->text, ','))
		return opt_fail(o, arg, "has parameters for what is off: expected off alone");
	return 0;
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

char *guest_halt_poll_cmdline(const struct guest_halt_poll *g)
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
		add(f, "grow_start", g->grow_start);
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

static int write_document(struct outputs *outputs, const char *option, const char *path,
			  const void *data, size_t len)
{
	struct way_out w = {
		.signals = -1, .deadline = outputs->deadline, .patience_ns = UINT64_MAX};
	struct output o = OUTPUT_NONE;
	int status = output_open_document(outputs, &o, option, path, 0666), ret;

	if (status == CMD_OK) {
		ret = output_write(&o, data, len, &w);
		if (ret < 0)
			status = output_failed(outputs, option, path, ret);
	}
	output_close(&o);
	files_closed(&outputs->files, option, path);
	return status;
}

/* DSDT becomes dsdt.dat, as acpixtract writes them and iasl -d wants them. */
static void file_name(char out[16], const char *table)
{
	size_t n = 0;

	for (; table[n] && n < 8; n++)
		out[n] = (char)(table[n] >= 'A' && table[n] <= 'Z' ? table[n] | 0x20 : table[n]);
	memcpy(out + n, ".dat", 5);
}

static int dump_acpi(struct catnap_vm *vm, const char *path, struct outputs *outputs)
{
	const char *table;
	const void *data;
	int status = CMD_OK;
	char name[16], *file;
	struct stat st;
	size_t len;

	if (mkdir(path, 0777) < 0 && errno != EEXIST)
		return output_failed(outputs, "dump-acpi", path, -errno);
	if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode))
		return output_failed(outputs, "dump-acpi", path, -ENOTDIR);
	for (uint32_t i = 0;
	     status == CMD_OK && catnap_vm_get_acpi_table(vm, i, &table, &data, &len) == 0; i++) {
		file_name(name, table);
		if (asprintf(&file, "%s/%s", path, name) < 0)
			return output_failed(outputs, "dump-acpi", path, -ENOMEM);
		status = write_document(outputs, "dump-acpi", file, data, len);
		free(file);
	}
	return status;
}

int run_dump(struct catnap_vm *vm, const struct run_cfg *cfg, struct outputs *outputs)
{
	int status = CMD_OK;
	const void *data;
	size_t len;

	if (cfg->dump_acpi)
		status = dump_acpi(vm, cfg->dump_acpi, outputs);
	if (status == CMD_OK && cfg->dump_dtb) {
		catnap_vm_get_device_tree(vm, &data, &len);
		status = write_document(outputs, "dump-dtb", cfg->dump_dtb, data, len);
	}
	return status;
}
