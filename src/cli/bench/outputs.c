/* SPDX-License-Identifier: Apache-2.0 */
/* --json and --html of `catnap bench`: opened before anything is measured, written at the end. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench/bench.h"
#include "cli/cmd.h"

/* Returns whether it is standard output by one of its names, where the table would go, and which
 * stdio writes. */
static bool is_stdout(const char *path)
{
	return path && (strcmp(path, "-") == 0 || files_descriptor(path) == 1);
}

static void add(struct bench_outputs *o, const char *option, const char *path)
{
	files_add(&o->all.files, option, is_stdout(path) ? "/dev/stdout" : path, FILE_WRITE);
}

static int open_one(struct bench_outputs *o, struct output *out, const char *option,
		    const char *path)
{
	return output_open_document(&o->all, out, option, is_stdout(path) ? NULL : path, 0666);
}

int bench_outputs_open(struct bench_outputs *o, const struct bench_cfg *cfg)
{
	int status;

	*o = (struct bench_outputs){.json = OUTPUT_NONE, .html = OUTPUT_NONE};
	outputs_init(&o->all, "bench", UINT64_MAX);
	add(o, "json", cfg->json);
	add(o, "html", cfg->html);
	o->table = !is_stdout(cfg->json) && !is_stdout(cfg->html);
	status = files_check(&o->all.files);
	if (status == CMD_OK)
		status = open_one(o, &o->json, "json", cfg->json);
	if (status == CMD_OK)
		status = open_one(o, &o->html, "html", cfg->html);
	return status;
}

/* Writes a document as one text, which then replaces the file. */
static int write_document(struct output *out, const struct bench_results *r,
			  int (*report)(FILE *, const struct bench_results *))
{
	struct way_out w = {.signals = -1, .deadline = UINT64_MAX, .patience_ns = UINT64_MAX};
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	int ret;

	if (!f)
		return -errno;
	ret = report(f, r) < 0 ? -ENOMEM : 0;
	if (fclose(f) != 0)
		ret = -ENOMEM;
	if (ret == 0)
		ret = output_write(out, text, len, &w);
	free(text);
	return ret;
}

static int write_one(const struct bench_outputs *o, struct output *out, const char *option,
		     const char *path, const struct bench_results *r,
		     int (*report)(FILE *, const struct bench_results *))
{
	int ret;

	if (!path)
		return CMD_OK;
	if (is_stdout(path)) {
		if (report(stdout, r) == 0)
			return CMD_OK;
		fprintf(stderr, "catnap bench: --%s: %s: %s\n", option, path,
			cmd_stdout_error(errno));
		return CMD_ERROR;
	}
	ret = write_document(out, r, report);
	return ret < 0 ? output_failed(&o->all, option, path, ret) : CMD_OK;
}

/* Returns whether all has failed, of which standard error has the reasons. */
static bool all_failed(const struct bench_results *r)
{
	size_t failed = 0;

	while (failed < r->n && r->cells[failed].failed)
		failed++;
	return failed == r->n;
}

int bench_outputs_write(struct bench_outputs *o, const struct bench_results *r)
{
	int status = CMD_OK;

	if (o->table && !all_failed(r))
		bench_report_table(stdout, r);
	status = write_one(o, &o->json, "json", r->cfg->json, r, bench_report_json);
	if (write_one(o, &o->html, "html", r->cfg->html, r, bench_report_html) != CMD_OK)
		status = CMD_ERROR;
	return status;
}

void bench_outputs_close(struct bench_outputs *o)
{
	output_close(&o->json);
	output_close(&o->html);
	outputs_free(&o->all);
}
