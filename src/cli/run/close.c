/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does what `catnap run` adds around the sandbox of the library: the keeper (catnap/sandbox.h) for
 * its sockets and its terminal, descriptors that it was started with by accident, and limits. See
 * docs/sandbox.md.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "cli/run/run.h"

#define NO_PROC_MAX 1024 /* descriptors that are looked at where there is no /proc */
#define VCPU_FDS    4	 /* that a vCPU's thread may still make: its ring and what wakes it */
#define SPARE_FDS   64	 /* clients of the ports, and what a library may want */
#define VSOCK_FDS   (1024 + 64)
#define API_FDS	    (HTTP_MAX_CLIENTS + 8)

/* -- the keeper ------------------------------------------------------------------------------- */

static bool wants_keeper(const struct run_cfg *cfg, const struct run_io *io)
{
	return io->rescue || cfg->vsock.cid || run_has_backs(cfg) || cfg->serial == PORT_SOCKET ||
	       cfg->console == PORT_SOCKET || cfg->api_socket;
}

int run_keeper_start(const struct run_cfg *cfg, struct run_io *io)
{
	uint32_t mode = (uint32_t)cfg->sandbox;
	int ret;

	if (!run_starts(cfg))
		return CMD_OK;
	if (cfg->serial == PORT_STDIO || cfg->console == PORT_STDIO)
		io->rescue = run_rescue_new(STDIN_FILENO);
	if (!wants_keeper(cfg, io))
		return CMD_OK;
	if (!(catnap_sandbox_available() & CATNAP_SANDBOX_HAS_SECCOMP))
		mode = CATNAP_SANDBOX_OFF; /* a warning, or an error, is to come */
	ret = catnap_keeper_start(&io->keeper, mode, io->rescue ? STDIN_FILENO : -1,
				  io->rescue ? run_rescue_terminal : NULL, io->rescue);
	if (ret == 0)
		return CMD_OK;
	fprintf(stderr, "catnap run: the process that tidies up cannot be started: %s\n",
		strerror(-ret));
	return CMD_ERROR;
}

void run_keeper_stop(struct run_io *io)
{
	catnap_keeper_stop(&io->keeper);
	run_rescue_free(&io->rescue);
}

/* -- descriptors ------------------------------------------------------------------------------ */

/* Calls @fn for each that is open, beyond standard error. */
static void each_open(void (*fn)(void *ctx, int fd), void *ctx)
{
	DIR *d = opendir("/proc/self/fd");
	const struct dirent *e;

	if (!d) {
		for (int fd = STDERR_FILENO + 1; fd < NO_PROC_MAX; fd++)
			if (fcntl(fd, F_GETFD) >= 0)
				fn(ctx, fd);
		return;
	}
	while ((e = readdir(d))) {
		int fd = e->d_name[0] == '.' ? -1 : atoi(e->d_name);

		if (fd > STDERR_FILENO && fd != dirfd(d))
			fn(ctx, fd);
	}
	closedir(d);
}

static void note(void *ctx, int fd)
{
	struct run_inherited *inherited = ctx;
	int *more = realloc(inherited->fds, (inherited->n + 1) * sizeof(*more));

	if (!more)
		return; /* then it stays open */
	inherited->fds = more;
	more[inherited->n++] = fd;
}

void run_inherited_note(struct run_inherited *inherited)
{
	each_open(note, inherited);
}

void run_inherited_keep(struct run_inherited *inherited, const struct run_cfg *cfg)
{
	const char *option;
	int fd;

	for (unsigned int i = 0; (fd = run_given(cfg, i, &option)) >= 0; i++)
		for (size_t j = 0; j < inherited->n; j++)
			if (inherited->fds[j] == fd)
				inherited->fds[j] = inherited->fds[--inherited->n];
}

void run_inherited_close(struct run_inherited *inherited)
{
	for (size_t i = 0; i < inherited->n; i++)
		close(inherited->fds[i]);
	free(inherited->fds);
	*inherited = (struct run_inherited){.n = 0};
}

/* -- limits ----------------------------------------------------------------------------------- */

static void highest(void *ctx, int fd)
{
	rlim_t *most = ctx;

	if ((rlim_t)fd > *most)
		*most = (rlim_t)fd;
}

void run_limit(const struct run_cfg *cfg)
{
	struct rlimit files, none = {0, 0};
	rlim_t need = STDERR_FILENO;

	(void)setrlimit(RLIMIT_CORE, &none);
	each_open(highest, &need);
	need += 1 + VCPU_FDS * (rlim_t)cfg->cpus + SPARE_FDS + (cfg->vsock.cid ? VSOCK_FDS : 0) +
		(cfg->api_socket || cfg->api_fd >= 0 ? API_FDS : 0);
	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return;
	if (files.rlim_max > need)
		files.rlim_max = need;
	files.rlim_cur = files.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &files); /* it only gets less: this cannot fail */
}
