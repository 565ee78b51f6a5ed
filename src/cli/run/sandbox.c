/* SPDX-License-Identifier: Apache-2.0 */
/* --sandbox, --user and --chroot: what they mean on this host, and doing it. See
 * docs/sandbox.md. */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "cli/printable.h"
#include "cli/run/run.h"

#define PORTS 2 /* ports that may be a socket of ours, or a pty */

/* Parses a number up to @stop. Returns false if it is none, or no valid one: -1 stands for "leave
 * it" in the kernel. */
static bool parse_id(const char *text, char stop, uint32_t *id, const char **rest)
{
	unsigned long long n;
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno || (*end && *end != stop) || n >= UINT32_MAX)
		return false;
	*id = (uint32_t)n;
	*rest = end;
	return true;
}

int run_set_user(struct opts *o, const struct opt_arg *arg, struct run_cfg *cfg)
{
	const struct passwd *pw;
	const char *rest;

	if (*arg->text >= '0' && *arg->text <= '9') {
		if (!parse_id(arg->text, ':', &cfg->uid, &rest))
			goto bad;
		if (*rest && (!parse_id(rest + 1, '\0', &cfg->gid, &rest) || *rest))
			goto bad;
		if (!strchr(arg->text, ':')) {
			pw = getpwuid(cfg->uid);
			if (!pw)
				return opt_fail(o, arg,
						"is not known here, nor is its group: expected "
						"UID:GID");
			cfg->gid = pw->pw_gid;
		}
	} else {
		if (!*arg->text || strchr(arg->text, ':'))
			goto bad;
		pw = getpwnam(arg->text);
		if (!pw)
			return opt_fail(o, arg, "is not a user here");
		cfg->uid = pw->pw_uid;
		cfg->gid = pw->pw_gid;
	}
	cfg->change_user = true;
	return 0;
bad:
	return opt_fail(o, arg, "is not a user: expected UID[:GID] or a name");
}

int run_sandbox_filters(const struct run_cfg *cfg, const struct catnap_vm_config *vc,
			uint32_t *filters)
{
	*filters = (uint32_t)cfg->sandbox;
	if (cfg->sandbox == CATNAP_SANDBOX_OFF ||
	    catnap_sandbox_available() & CATNAP_SANDBOX_HAS_SECCOMP)
		return CMD_OK;
	if (cfg->sandbox_given) {
		complain("catnap run: --sandbox: this kernel has no seccomp filters\n");
		return CMD_ERROR;
	}
	vc->log(vc->log_ctx, CATNAP_LOG_WARN,
		"this kernel has no seccomp filters: system calls are not limited");
	*filters = CATNAP_SANDBOX_OFF;
	return CMD_OK;
}

static void all_ports(const struct run_io *io, const struct run_port *ports[PORTS])
{
	ports[0] = &io->port;
	ports[1] = &io->console;
}

uint32_t run_sandbox_allow(const struct run_io *io)
{
	const struct run_port *ports[PORTS];

	if (io->api)
		return CATNAP_SANDBOX_ALLOW_SOCKETS | CATNAP_SANDBOX_ALLOW_CONTROL |
		       (io->snapshots ? CATNAP_SANDBOX_ALLOW_SNAPSHOTS : 0) |
		       (io->images ? CATNAP_SANDBOX_ALLOW_IMAGES : 0);
	all_ports(io, ports);
	for (int i = 0; i < PORTS; i++)
		if (ports[i]->kind == PORT_SOCKET)
			return CATNAP_SANDBOX_ALLOW_SOCKETS;
	return 0;
}

int run_check_folders(const struct run_cfg *cfg)
{
	const struct {
		const char *option, *path;
	} folders[] = {{"snapshots", cfg->snapshots}, {"hotplug", cfg->hotplug_dir}};

	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		int fd;

		if (!folders[i].path)
			continue;
		fd = open(folders[i].path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0) {
			complain("catnap run: --%s: %s: %s\n", folders[i].option, folders[i].path,
				 strerror(errno));
			return CMD_ERROR;
		}
		close(fd);
	}
	return CMD_OK;
}

int run_sandbox_enter(const struct run_cfg *cfg, const struct catnap_vm_config *vc,
		      const struct run_io *io)
{
	const struct run_port *ports[PORTS];
	struct catnap_sandbox_config sc;
	const char *names[PORTS], *dirs[2];
	int ret;

	all_ports(io, ports);
	catnap_sandbox_config_init(&sc);
	sc.mode = (uint32_t)cfg->sandbox;
	sc.chroot_dir = cfg->chroot_dir;
	sc.change_user = cfg->change_user;
	sc.uid = cfg->uid;
	sc.gid = cfg->gid;
	if (sc.mode == CATNAP_SANDBOX_OFF && !sc.chroot_dir && !sc.change_user)
		return CMD_OK;
	sc.read_files = names;
	for (size_t i = 0; i < PORTS; i++)
		if (ports[i]->kind == PORT_PTY)
			names[sc.n_read_files++] = ports[i]->name;
	sc.write_dirs = dirs;
	if (cfg->snapshots)
		dirs[sc.n_write_dirs++] = cfg->snapshots;
	if (cfg->hotplug_dir)
		dirs[sc.n_write_dirs++] = cfg->hotplug_dir;
	ret = catnap_sandbox_enter(&sc);
	if (ret == 0) {
		if (sc.mode == CATNAP_SANDBOX_ON)
			run_limit(cfg);
		/* The filters refuse to open anything, too: no reason for a warning. */
		if (sc.missing & CATNAP_SANDBOX_HAS_LANDLOCK)
			vc->log(vc->log_ctx, CATNAP_LOG_INFO,
				"this kernel has no Landlock, or it is not switched on (lsm=)");
		return CMD_OK;
	}
	if (sc.failed && strcmp(sc.failed, "chroot") == 0)
		complain("catnap run: --chroot: %s: %s\n", cfg->chroot_dir, strerror(-ret));
	else if (sc.failed && strcmp(sc.failed, "user") == 0)
		complain("catnap run: --user: cannot become %u:%u: %s\n", cfg->uid, cfg->gid,
			 strerror(-ret));
	else
		complain("catnap run: --sandbox: %s: %s\n", sc.failed ? sc.failed : "failed",
			 strerror(-ret));
	return CMD_ERROR;
}
