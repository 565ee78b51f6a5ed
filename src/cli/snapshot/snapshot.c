/* SPDX-License-Identifier: Apache-2.0 */
/* `catnap snapshot info|verify|merge DIR`: looks at a snapshot, holds it against its checksums, and
 * puts its diffs into one memory file. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "cli/cmd.h"
#include "cli/json_out.h"
#include "cli/opts.h"
#include "cli/printable.h"
#include "cli/snapshot_files.h"

struct snapshot_cfg {
	bool json;
};

static const struct opt_def options[] = {
	{.f = {.name = "json", .type = OPT_FLAG, .offset = offsetof(struct snapshot_cfg, json)},
	 .letter = 'j',
	 .help = "With info: as JSON."},
	{.f = {.name = NULL}},
};

/* For completion. */
static bool argument(char *const *args, size_t n, struct opt_def *value, char *buf, size_t size)
{
	(void)args;
	(void)buf;
	(void)size;
	value->form = n == 0 ? "info|verify|merge" : "DIR";
	return n < 2;
}

static const struct opt_command command = {
	.name = "snapshot",
	.synopsis = "[OPTIONS] info|verify|merge DIR",
	.summary = "Tells about a snapshot in a folder, reads all of it for its checksums, or puts "
		   "its "
		   "diffs into one memory file.",
	.options = options,
	.notes =
		"Exit status: 0 it is done; 1 there is no such snapshot, or it is damaged; 2 wrong "
		"command line.\n",
	.arg_name = "info|verify|merge DIR",
	.min_args = 2,
	.max_args = 2,
	.argument = argument,
};

static int wrong(const char *why)
{
	complain("catnap snapshot: %s\n", why);
	return CMD_ERROR;
}

/* ---- info ---- */

static const char *kind_of(uint32_t type)
{
	switch (type) {
	case 1:
		return "net";
	case 2:
		return "disk";
	case 3:
		return "console";
	case 4:
		return "entropy";
	case 5:
		return "balloon";
	case 19:
		return "vsock";
	case 27:
		return "pmem";
	default:
		return "other";
	}
}

static const char *const irqchips[] = {"user", "kernel"};
static const char *const hardware[] = {"acpi", "fdt", "mptable"};
static const char *const transports[] = {"pci", "mmio"};

static void id_text(char text[2 * CATNAP_SNAPSHOT_ID + 1], const uint8_t *id)
{
	for (size_t i = 0; i < CATNAP_SNAPSHOT_ID; i++)
		snprintf(text + 2 * i, 3, "%02x", id[i]);
}

static void when_text(char *text, size_t size, uint64_t ns)
{
	time_t t = (time_t)(ns / 1000000000u);
	struct tm tm;

	if (!gmtime_r(&t, &tm) || !strftime(text, size, "%Y-%m-%dT%H:%M:%SZ", &tm))
		snprintf(text, size, "?");
}

static void print_info(struct catnap_snapshot *s, const struct catnap_snapshot_info *info)
{
	struct catnap_snapshot_memory m = {.size = sizeof(m)};
	struct catnap_snapshot_device d = {.size = sizeof(d)};
	char text[64], shown[512];

	when_text(text, sizeof(text), info->taken_ns);
	printf("made         %s by catnap %s\n", text,
	       printable(info->version, false, shown, sizeof(shown)));
	if (info->name[0])
		printf("name         %s\n", printable(info->name, false, shown, sizeof(shown)));
	printf("vCPUs        %u\n", info->vcpus);
	printf("memory       %" PRIu64 " MiB\n", info->memory_size >> 20);
	printf("irqchip      %s\n", irqchips[info->irqchip]);
	printf("hw           %s\n", hardware[info->hw]);
	printf("transport    %s\n", transports[info->transport]);
	printf("TSC          %u kHz\n", info->tsc_khz);
	for (uint32_t i = 0; catnap_snapshot_get_memory(s, i, &m) == 0; i++) {
		id_text(text, m.id);
		printf("%-12s %s  %s\n", m.kind == CATNAP_SNAPSHOT_DIFF ? "diff" : "memory file",
		       printable(m.name, false, shown, sizeof(shown)), text);
	}
	for (uint32_t i = 0; catnap_snapshot_get_device(s, i, &d) == 0; i++)
		printf("device       %s%u %s%s\n", kind_of(d.type), d.number,
		       printable(d.place, false, shown, sizeof(shown)),
		       d.readonly ? " (read only)" : "");
}

static struct json_object *json_memories(struct catnap_snapshot *s)
{
	struct catnap_snapshot_memory m = {.size = sizeof(m)};
	struct json_object *list = json_object_new_array();
	char text[64];

	for (uint32_t i = 0; catnap_snapshot_get_memory(s, i, &m) == 0; i++) {
		struct json_object *o = json_object_new_object();

		id_text(text, m.id);
		json_object_object_add(o, "name", json_object_new_string(m.name));
		json_object_object_add(
			o, "kind",
			json_object_new_string(m.kind == CATNAP_SNAPSHOT_DIFF ? "diff" : "full"));
		json_object_object_add(o, "id", json_object_new_string(text));
		json_object_array_add(list, o);
	}
	return list;
}

static struct json_object *json_devices(struct catnap_snapshot *s)
{
	struct catnap_snapshot_device d = {.size = sizeof(d)};
	struct json_object *list = json_object_new_array();

	for (uint32_t i = 0; catnap_snapshot_get_device(s, i, &d) == 0; i++) {
		struct json_object *o = json_object_new_object();

		json_object_object_add(o, "kind", json_object_new_string(kind_of(d.type)));
		json_object_object_add(o, "number", json_object_new_int64(d.number));
		json_object_object_add(o, "place", json_object_new_string(d.place));
		json_object_object_add(o, "readonly", json_object_new_boolean(d.readonly != 0));
		json_object_array_add(list, o);
	}
	return list;
}

static int write_json(struct catnap_snapshot *s, const struct catnap_snapshot_info *info)
{
	struct json_object *o = json_object_new_object();
	int ret;

	json_object_object_add(o, "version", json_object_new_string(info->version));
	json_object_object_add(o, "name", json_object_new_string(info->name));
	json_object_object_add(o, "taken_ns", json_object_new_int64((int64_t)info->taken_ns));
	json_object_object_add(o, "vcpus", json_object_new_int64(info->vcpus));
	json_object_object_add(o, "memory_bytes",
			       json_object_new_int64((int64_t)info->memory_size));
	json_object_object_add(o, "irqchip", json_object_new_string(irqchips[info->irqchip]));
	json_object_object_add(o, "hw", json_object_new_string(hardware[info->hw]));
	json_object_object_add(o, "transport", json_object_new_string(transports[info->transport]));
	json_object_object_add(o, "tsc_khz", json_object_new_int64(info->tsc_khz));
	json_object_object_add(o, "memories", json_memories(s));
	json_object_object_add(o, "devices", json_devices(s));
	ret = json_write(o, stdout);
	/* Who looks at stdout in the end says what is wrong with it. */
	return ret < 0 && !ferror(stdout) ? wrong(strerror(errno)) : CMD_OK;
}

static int info(const char *dir, bool json)
{
	struct catnap_snapshot_info i = {.size = sizeof(i)};
	struct snapshot_files files;
	char why[SNAPSHOT_WHY];
	int status = CMD_OK;

	if (snapshot_open_state(&files, dir, why) < 0) {
		status = wrong(why);
	} else {
		catnap_snapshot_get_info(files.snapshot, &i);
		if (json)
			status = write_json(files.snapshot, &i);
		else
			print_info(files.snapshot, &i);
	}
	snapshot_close(&files);
	return status;
}

/* ---- verify, merge ---- */

/* A run would pass over one of another snapshot; here it is a file that does not belong. */
static int verify_working_set(struct snapshot_files *files, const char *dir)
{
	char why[SNAPSHOT_WHY];
	bool stale = false;

	if (snapshot_open_working_set(files, dir, &stale, why) < 0)
		return wrong(why);
	if (!stale)
		return CMD_OK;
	complain("catnap snapshot: %s: " SNAPSHOT_WORKING_SET ": is of another snapshot\n", dir);
	return CMD_ERROR;
}

static int verify_all(struct snapshot_files *files, const char *dir)
{
	for (uint32_t i = 0; i < files->count; i++)
		if (catnap_snapshot_verify_memory(files->snapshot, i, files->memory[i]) < 0) {
			complain("catnap snapshot: %s: %s\n", dir, catnap_vm_last_error(NULL));
			return CMD_ERROR;
		}
	return verify_working_set(files, dir);
}

static int verify(const char *dir)
{
	struct snapshot_files files;
	char why[SNAPSHOT_WHY];
	int status;

	status = snapshot_open(&files, dir, why) < 0 ? wrong(why) : verify_all(&files, dir);
	snapshot_close(&files);
	return status;
}

static int merge(const char *dir)
{
	char why[SNAPSHOT_WHY];

	return snapshot_merge(dir, why) < 0 ? wrong(why) : CMD_OK;
}

/* ---- the command ---- */

static int run(struct opts *o, const struct snapshot_cfg *cfg)
{
	const char *what = o->args[0], *dir = o->args[1];
	char shown[96];

	if (cfg->json && strcmp(what, "info") != 0) {
		fprintf(stderr, "catnap snapshot: --json: has no effect but with info\n");
		return CMD_USAGE;
	}
	if (strcmp(what, "info") == 0)
		return info(dir, cfg->json);
	if (strcmp(what, "verify") == 0)
		return verify(dir);
	if (strcmp(what, "merge") == 0)
		return merge(dir);
	fprintf(stderr, "catnap snapshot: unknown word \"%s\": expected info, verify or merge\n",
		opt_printable(what, shown, sizeof(shown)));
	return CMD_USAGE;
}

int cmd_snapshot(int argc, char **argv)
{
	struct snapshot_cfg cfg = {.json = false};
	struct opts o;
	int status = opts_command(&o, &command, argc, argv, &cfg);

	if (status < 0)
		status = run(&o, &cfg);
	opts_free(&o);
	return status;
}
