/* SPDX-License-Identifier: Apache-2.0 */
/* All files that a command line of `catnap run` names. */
#include <string.h>

#include "cli/run/run.h"

static const char *port_file(enum run_port_kind kind, const char *path)
{
	return kind == PORT_FILE || kind == PORT_SOCKET ? path : NULL;
}

int run_compare_files(const struct run_cfg *cfg, struct outputs *outputs)
{
	struct files *f = &outputs->files;
	bool to_stdout = cfg->stats && strcmp(cfg->stats, "-") == 0;

	if (cfg->config && strcmp(cfg->config, "-") != 0)
		files_add(f, "config", cfg->config, FILE_READ);
	files_add(f, "kernel", cfg->kernel, FILE_READ);
	files_add(f, "initramfs", cfg->initramfs, FILE_READ);
	for (uint32_t i = 0; i < cfg->n_disks; i++)
		if (!cfg->backs[i].socket)
			files_add(f, "disk", cfg->disks[i].path,
				  cfg->disks[i].readonly ? FILE_READ : FILE_DISK);
	for (uint32_t i = 0; i < cfg->n_pmems; i++)
		files_add(f, "pmem", cfg->pmems[i].path,
			  cfg->pmems[i].readonly ? FILE_READ : FILE_DISK);
	if (cfg->restore.dir) {
		char path[PATH_MAX];

		snprintf(path, sizeof(path), "%s/" SNAPSHOT_STATE, cfg->restore.dir);
		files_add(f, "restore", path, FILE_READ);
	}
	files_add(f, "log-file", cfg->log_file, FILE_APPEND);
	files_add(f, "dump-dtb", cfg->dump_dtb, FILE_WRITE);
	files_add(f, "halt-trace", cfg->halt_trace, FILE_WRITE);
	files_add(f, "stats", to_stdout ? "/dev/stdout" : cfg->stats, FILE_WRITE);
	files_add(f, "serial", port_file(cfg->serial, cfg->serial_path), FILE_WRITE);
	files_add(f, "console", port_file(cfg->console, cfg->console_path), FILE_WRITE);
	files_add(f, "api-socket", cfg->api_socket, FILE_WRITE);
	if (cfg->vsock.cid)
		files_add(f, "vsock", cfg->vsock.socket, FILE_WRITE);
	/* The last is named first, with its whole path. */
	if (run_compare_tables(cfg, f) < 0)
		f->no_memory = true; /* files_check() says so */
	return files_check(f);
}
