/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors that `catnap run` was started with, for what options name as fd=N. Each is the
 * option's alone, whose owner closes it; all others that were open at the start are closed
 * (close.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/api/http.h"
#include "cli/run/run.h"

int run_given_fd(const char *text, bool *bad)
{
	unsigned long fd;
	char *end;

	*bad = false;
	if (strncmp(text, "fd=", 3) != 0)
		return -1;
	fd = strtoul(text + 3, &end, 10);
	*bad = text[3] < '0' || text[3] > '9' || *end || fd <= STDERR_FILENO || fd > INT32_MAX;
	return *bad ? -1 : (int)fd;
}

int run_back_fd(const char *back)
{
	bool bad;

	return back ? run_given_fd(back, &bad) : -1;
}

/* Counts @i down to the one that is asked for. */
static bool is_it(unsigned int *i, int fd)
{
	return fd >= 0 && (*i)-- == 0;
}

int run_given(const struct run_cfg *cfg, unsigned int i, const char **option)
{
	const struct {
		const char *option;
		int fd;
	} single[] = {{"vsock", cfg->vsock.cid ? cfg->vsock.fd : -1},
		      {"serial", cfg->serial == PORT_FD ? cfg->serial_fd : -1},
		      {"console", cfg->console == PORT_FD ? cfg->console_fd : -1},
		      {"api-socket", cfg->api_fd}};

	*option = "disk";
	for (uint32_t n = 0; n < cfg->n_disks; n++)
		if (is_it(&i, cfg->disks[n].fd))
			return cfg->disks[n].fd;
	for (uint32_t n = 0; n < cfg->n_disks; n++)
		if (is_it(&i, run_back_fd(cfg->backs[n].socket)))
			return run_back_fd(cfg->backs[n].socket);
	*option = "pmem";
	for (uint32_t n = 0; n < cfg->n_pmems; n++)
		if (is_it(&i, cfg->pmems[n].fd))
			return cfg->pmems[n].fd;
	*option = "net";
	for (uint32_t n = 0; n < cfg->n_nets; n++)
		for (uint32_t q = 0; q < cfg->nets[n].n_fds; q++)
			if (is_it(&i, cfg->nets[n].fds[q]))
				return cfg->nets[n].fds[q];
	for (uint32_t n = 0; n < cfg->n_nets; n++)
		if (is_it(&i, run_back_fd(cfg->nets[n].back)))
			return run_back_fd(cfg->nets[n].back);
	for (uint32_t n = 0; n < cfg->n_vhosts; n++) {
		*option = cfg->vhosts[n].back.tag ? "fs" : "vhost";
		if (is_it(&i, cfg->vhosts[n].back.fd))
			return cfg->vhosts[n].back.fd;
	}
	for (size_t n = 0; n < sizeof(single) / sizeof(single[0]); n++) {
		*option = single[n].option;
		if (is_it(&i, single[n].fd))
			return single[n].fd;
	}
	return -1;
}

/* Checks a descriptor that is to be written to. */
static int check_writable(struct opts *o, const char *option, int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags >= 0 && (flags & O_ACCMODE) == O_RDONLY)
		return opts_fail(o, "--%s: fd: \"%d\" is open to read only: expected one to write",
				 option, fd);
	return 0;
}

int run_check_given(struct opts *o, const struct run_cfg *cfg)
{
	const char *option, *other;
	int fd;

	for (unsigned int i = 0; (fd = run_given(cfg, i, &option)) >= 0; i++) {
		if (fcntl(fd, F_GETFD) < 0)
			return opts_fail(o,
					 "--%s: fd: \"%d\" is not open: expected a descriptor that "
					 "this process was started with",
					 option, fd);
		for (unsigned int j = 0; j < i; j++)
			if (run_given(cfg, j, &other) == fd)
				return opts_fail(o,
						 "--%s: fd: \"%d\" is --%s's already: expected "
						 "another",
						 option, fd, other);
	}
	if (cfg->serial == PORT_FD && check_writable(o, "serial", cfg->serial_fd))
		return -EINVAL;
	if (cfg->console == PORT_FD && check_writable(o, "console", cfg->console_fd))
		return -EINVAL;
	if (cfg->api_fd >= 0 && http_socket_wrong(cfg->api_fd))
		return opts_fail(o,
				 "--api-socket: fd: \"%d\" %s: expected a Unix stream socket that "
				 "listens",
				 cfg->api_fd, http_socket_wrong(cfg->api_fd));
	return 0;
}
