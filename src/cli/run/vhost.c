/* SPDX-License-Identifier: Apache-2.0 */
/* Devices whose back end is another process: --fs, --vhost, and what --disk and --net have of it. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "cli/printable.h"
#include "cli/run/run.h"

static const struct opt_word caches[] = {
	{"auto", CACHE_AUTO}, {"always", CACHE_ALWAYS}, {"none", CACHE_NONE}, {NULL, 0}};
const struct opt_word run_reconnect[] = {{"on", 0}, {"off", 1}, {NULL, 0}};

/* clang-format off */
#define AT(member) .offset = offsetof(struct run_vhost, member)
const struct opt_field run_fs_keys[] = {
	{.name = "tag", .type = OPT_STRING, AT(back.tag), .max = CATNAP_MAX_TAG, .required = true,
	 .form = "NAME"},
	{.name = "path", .type = OPT_STRING, AT(path), .either = true, .form = "DIR"},
	{.name = "socket", .type = OPT_STRING, AT(back.socket), .max = PORT_SOCKET_PATH,
	 .either = true, .form = "SOCKET"},
	{.name = "fd", .type = OPT_U32, AT(back.fd), .min = STDERR_FILENO + 1, .max = INT32_MAX,
	 .either = true, .form = "N"},
	{.name = "readonly", .type = OPT_SWITCH, AT(readonly), .form = "on"},
	{.name = "cache", .type = OPT_WORD, AT(cache), .words = caches, .form = "auto|always|none"},
	{.name = "queues", .type = OPT_U32, AT(back.queues), .min = 1,
	 .max = CATNAP_MAX_VHOST_QUEUES - 1, .form = "N"},
	{.name = "reconnect", .type = OPT_SWITCH, AT(back.no_reconnect), .words = run_reconnect,
	 .form = "off"},
	{.name = NULL},
};

const struct opt_field run_vhost_keys[] = {
	{.name = "type", .type = OPT_U32, AT(back.type), .min = 1, .max = UINT16_MAX - 0x1040,
	 .required = true, .form = "N"},
	{.name = "socket", .type = OPT_STRING, AT(back.socket), .max = PORT_SOCKET_PATH,
	 .either = true, .form = "SOCKET"},
	{.name = "fd", .type = OPT_U32, AT(back.fd), .min = STDERR_FILENO + 1, .max = INT32_MAX,
	 .either = true, .form = "N"},
	{.name = "queues", .type = OPT_U32, AT(back.queues), .min = 1,
	 .max = CATNAP_MAX_VHOST_QUEUES, .form = "N"},
	{.name = "config", .type = OPT_U32, AT(back.config_size), .max = 256, .form = "BYTES"},
	{.name = "reconnect", .type = OPT_SWITCH, AT(back.no_reconnect), .words = run_reconnect,
	 .form = "off"},
	{.name = NULL},
};
#undef AT
/* clang-format on */

/* Checks that the back end is at one place, of those that @places names, and that it is not to be
 * taken back by a connection, which cannot be made again. */
static int check_place(struct opts *o, const struct opt_arg *arg, const struct run_vhost *v,
		       const char *places)
{
	const int n = (v->path != NULL) + (v->back.socket != NULL) + (v->back.fd >= 0);

	if (n != 1)
		return opts_fail(o, "--%s: has %s: expected one of %s", arg->option,
				 n ? "several back ends" : "no back end", places);
	if (v->back.fd >= 0 && v->back.no_reconnect)
		return opts_fail(o,
				 "--%s: reconnect: has no effect with a descriptor: a back end "
				 "that has gone is not taken back",
				 arg->option);
	return 0;
}

static int set(struct opts *o, const struct opt_arg *arg, const struct opt_field *keys,
	       uint32_t type, struct run_cfg *cfg, uint64_t *given)
{
	struct run_vhost v = {.path = NULL};

	catnap_vhost_init(&v.back);
	v.back.type = type;
	if (cfg->n_vhosts == RUN_MAX_VHOSTS)
		return opt_fail(o, arg, "is one too many: expected at most %d", RUN_MAX_VHOSTS);
	if (opt_keys_given(o, arg, keys, &v, given))
		return -EINVAL;
	cfg->vhosts[cfg->n_vhosts++] = v;
	return 0;
}

/* Checks which keys of --fs are of a program of our own, and which of one that listens. */
static int check_fs(struct opts *o, const struct run_vhost *v, uint64_t given)
{
	const bool own = v->path;

	for (size_t i = 0; run_fs_keys[i].name; i++) {
		const char *name = run_fs_keys[i].name;
		bool of_own = strcmp(name, "readonly") == 0 || strcmp(name, "cache") == 0;
		bool of_other = strcmp(name, "queues") == 0 || strcmp(name, "reconnect") == 0;

		if ((given >> i & 1) && (own ? of_other : of_own))
			return opts_fail(o, "--fs: %s: has no effect with %s", name,
					 own		  ? "path"
					 : v->back.fd < 0 ? "socket: expected virtiofsd's own "
							    "options"
							  : "fd: expected virtiofsd's own options");
	}
	/* virtiofsd takes a list. */
	if (own && (strchr(v->path, ',') || strchr(v->path, '\\')))
		return opts_fail(o,
				 "--fs: path: has a comma or a backslash, which virtiofsd does not "
				 "take: expected one without");
	return 0;
}

/* Checks that no folder before it has its tag: a guest mounts one of them, and knows not which. */
static int check_tag(struct opts *o, const struct run_cfg *cfg, const char *tag)
{
	char shown[CATNAP_MAX_TAG * 4 + 1];

	for (uint32_t i = 0; i + 1 < cfg->n_vhosts; i++)
		if (cfg->vhosts[i].back.tag && strcmp(cfg->vhosts[i].back.tag, tag) == 0)
			return opts_fail(o,
					 "--fs: tag: \"%s\" is another folder's: expected one "
					 "of its own",
					 opt_printable(tag, shown, sizeof(shown)));
	return 0;
}

int run_set_fs(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	struct run_cfg *cfg = ptr;
	uint64_t given = 0;
	const struct run_vhost *v;

	if (set(o, arg, run_fs_keys, VIRTIO_ID_FS, cfg, &given))
		return -EINVAL;
	v = &cfg->vhosts[cfg->n_vhosts - 1];
	if (check_place(o, arg, v, "path, socket and fd") || check_fs(o, v, given))
		return -EINVAL;
	return check_tag(o, cfg, v->back.tag);
}

int run_set_vhost(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	struct run_cfg *cfg = ptr;
	uint64_t given = 0;
	uint32_t type;

	if (set(o, arg, run_vhost_keys, 0, cfg, &given))
		return -EINVAL;
	if (check_place(o, arg, &cfg->vhosts[cfg->n_vhosts - 1], "socket and fd"))
		return -EINVAL;
	type = cfg->vhosts[cfg->n_vhosts - 1].back.type;
	if (type == VIRTIO_ID_NET || type == VIRTIO_ID_BLOCK || type == VIRTIO_ID_FS)
		return opts_fail(o, "--vhost: type: \"%u\" has an option of its own: expected --%s",
				 type,
				 type == VIRTIO_ID_NET	   ? "net vhost-user=SOCKET"
				 : type == VIRTIO_ID_BLOCK ? "disk vhost-user=SOCKET"
							   : "fs");
	return 0;
}

bool run_has_backs(const struct run_cfg *cfg)
{
	bool any = cfg->n_vhosts;

	for (uint32_t i = 0; i < cfg->n_disks; i++)
		any |= cfg->backs[i].socket != NULL;
	for (uint32_t i = 0; i < cfg->n_nets; i++)
		any |= cfg->nets[i].back != NULL;
	return any;
}

int run_check_backs(struct opts *o, const struct run_cfg *cfg)
{
	if (run_has_backs(cfg) && cfg->memory_shared == SHARED_OFF)
		return opts_fail(o, "--memory: shared: a vhost-user back end needs the guest's "
				    "memory: expected on");
	return 0;
}

int run_check_back(struct opts *o, const char *option, const char *back, bool leave)
{
	bool bad;

	if (!back)
		return 0;
	if (run_given_fd(back, &bad) >= 0 && leave)
		return opts_fail(
			o,
			"--%s: reconnect: has no effect with a descriptor: a back end that "
			"has gone is not taken back",
			option);
	return bad ? opts_fail(o, "--%s: vhost-user: is no descriptor: expected fd=N, N from %d on",
			       option, STDERR_FILENO + 1)
		   : 0;
}

/* Sets where the back end is: at a socket, or at a connection that was given. */
static void place_back(struct catnap_vhost *v, const char *back)
{
	v->fd = run_back_fd(back);
	v->socket = v->fd >= 0 ? NULL : back;
}

int run_add_back_disk(struct catnap_vm *vm, const struct run_cfg *cfg, uint32_t i)
{
	struct catnap_vhost v;

	catnap_vhost_init(&v);
	v.type = VIRTIO_ID_BLOCK;
	place_back(&v, cfg->backs[i].socket);
	v.no_reconnect = cfg->backs[i].leave;
	v.queues = cfg->disks[i].queues;
	return catnap_vm_add_vhost(vm, &v);
}

int run_add_back_net(struct catnap_vm *vm, const struct run_net *net)
{
	struct catnap_vhost v;

	catnap_vhost_init(&v);
	v.type = VIRTIO_ID_NET;
	place_back(&v, net->back);
	v.no_reconnect = net->leave;
	v.mtu = (uint16_t)net->mtu;
	v.queues = net->queues;
	memcpy(v.mac, net->mac, sizeof(v.mac));
	return catnap_vm_add_vhost(vm, &v);
}

/* -- virtiofsd -------------------------------------------------------------------------------- */

static int no_folder(const struct run_vhost *v, int ret, const char *what, char *why, size_t size)
{
	char shown[128];

	snprintf(why, size, "%s: %s", opt_printable(v->path, shown, sizeof(shown)), what);
	return ret;
}

int run_no_folder(const struct run_vhost *v, int error, char *why, size_t size)
{
	return no_folder(v, error,
			 error == -ENOTDIR ? "is no folder: expected one" : strerror(-error), why,
			 size);
}

/* Starts it with what it finds at @path: what is there, or, if @folder is not -1, that. It serves
 * *@connection. 0, or -errno with a sentence. */
static int start_virtiofsd(const struct run_vhost *v, const char *path, int folder,
			   struct helpers *h, int *connection, char *why, size_t size)
{
	static const char *const places[] = {"/usr/libexec/virtiofsd", "/usr/lib/virtiofsd",
					     "/usr/lib/qemu/virtiofsd", NULL};
	char program[256], source[PATH_MAX + 16], cache[32], number[32];
	const char *argv[] = {program, number,		 "-o", source, "-o", cache,
			      "-o",    "log_level=warn", NULL};
	struct helper_program p = {.argv = argv,
				   .place = folder >= 0 ? path : NULL,
				   .folder = folder,
				   .readonly = v->readonly};
	const char *what = "a socket";
	int ret;

	if (!helper_find("virtiofsd", places, program, sizeof(program))) {
		snprintf(why, size,
			 "there is no virtiofsd: expected the package virtiofsd, or in Debian 12 "
			 "qemu-system-common");
		return -ENOENT;
	}
	ret = helper_socket(&p.fd, connection);
	if (ret == 0) {
		snprintf(source, sizeof(source), "source=%s", path);
		snprintf(cache, sizeof(cache), "cache=%s", caches[v->cache].name);
		snprintf(number, sizeof(number), "--fd=%d", p.fd);
		ret = helper_start(h, &p, &what);
		close(p.fd);
		if (ret < 0)
			close(*connection);
	}
	if (ret < 0)
		snprintf(why, size, "%s: %s: %s", program, what, strerror(-ret));
	return ret;
}

int run_start_folder(const struct run_vhost *v, struct helpers *h, int *connection, char *why,
		     size_t size)
{
	char *path = realpath(v->path, NULL);
	int fd = path ? open(path, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1, ret;

	if (fd < 0)
		ret = run_no_folder(v, -errno, why, size);
	else if (strpbrk(path, ",\\"))
		ret = no_folder(v, -EINVAL,
				"leads to a name with a comma or a backslash, which virtiofsd does "
				"not take",
				why, size);
	else
		ret = start_virtiofsd(v, path, v->readonly ? fd : -1, h, connection, why, size);
	if (fd >= 0)
		close(fd);
	free(path);
	return ret;
}

int run_place_folder(const struct run_vhost *v, int folder, const char *place, struct helpers *h,
		     int *connection, char *why, size_t size)
{
	return start_virtiofsd(v, place, folder, h, connection, why, size);
}

int run_add_vhost(struct catnap_vm *vm, const struct run_vhost *v, struct run_io *io)
{
	struct catnap_vhost back = v->back;
	char why[512];
	int ret;

	if (v->path && run_start_folder(v, &io->helpers, &back.fd, why, sizeof(why)) < 0) {
		complain("catnap run: --fs: path: %s\n", why);
		return CMD_ERROR;
	}
	ret = catnap_vm_add_vhost(vm, &back);
	if (ret == 0)
		return CMD_OK;
	if (ret == -EPIPE && v->path)
		complain("catnap run: --fs: path: virtiofsd has ended before it served the "
			 "folder%s\n",
			 geteuid() == 0 ? ""
					: ": Debian 12's has to be started by root, newer "
					  "ones do not");
	else
		complain("catnap run: --%s\n", catnap_vm_last_error(vm));
	if (back.fd >= 0)
		close(back.fd);
	return CMD_ERROR;
}
