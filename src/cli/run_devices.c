/* SPDX-License-Identifier: Apache-2.0 */
/* The devices of `catnap run`: their options, and their way into the VM. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "cli/printable.h"
#include "cli/run.h"

#define ID_MAX 20

static int check_id(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	struct run_disk *disk = ptr;
	size_t len = strlen(arg->text);

	if (!len || len > ID_MAX)
		return opt_fail(o, arg, "is no id: expected 1 to %d characters", ID_MAX);
	disk->id = arg->text;
	return 0;
}

/* The keys of a rate limit, which is at @at. Beyond the largest a burst is no limit any more. */
#define LIMIT_KEYS(at)                                                                   \
	{.name = "bw",                                                                   \
	 .type = OPT_SIZE,                                                               \
	 .offset = (at) + offsetof(struct catnap_rate_limit, bw),                        \
	 .min = 1},                                                                      \
		{.name = "bw-burst",                                                     \
		 .type = OPT_SIZE,                                                       \
		 .offset = (at) + offsetof(struct catnap_rate_limit, bw_burst),          \
		 .min = 1},                                                              \
		{.name = "ops",                                                          \
		 .type = OPT_U64,                                                        \
		 .offset = (at) + offsetof(struct catnap_rate_limit, ops),               \
		 .min = 1},                                                              \
	{                                                                                \
		.name = "ops-burst", .type = OPT_U64,                                    \
		.offset = (at) + offsetof(struct catnap_rate_limit, ops_burst), .min = 1 \
	}

/* Half a limit is a mistake. */
static int check_limit(struct opts *o, const struct opt_arg *arg, const struct catnap_rate_limit *l)
{
	if (l->bw_burst && !l->bw)
		return opts_fail(o, "--%s: bw-burst without bw: expected both, or bw alone",
				 arg->option);
	if (l->ops_burst && !l->ops)
		return opts_fail(o, "--%s: ops-burst without ops: expected both, or ops alone",
				 arg->option);
	return 0;
}

int run_set_disk(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	static const struct opt_word formats[] = {{"raw", CATNAP_DISK_RAW}, {NULL, 0}};
	static const struct opt_field keys[] = {
		{.name = "path",
		 .type = OPT_STRING,
		 .offset = offsetof(struct run_disk, path),
		 .required = true},
		{.name = "readonly",
		 .type = OPT_SWITCH,
		 .offset = offsetof(struct run_disk, readonly)},
		{.name = "direct", .type = OPT_SWITCH, .offset = offsetof(struct run_disk, direct)},
		{.name = "lock", .type = OPT_SWITCH, .offset = offsetof(struct run_disk, lock)},
		{.name = "format",
		 .type = OPT_WORD,
		 .offset = offsetof(struct run_disk, format),
		 .words = formats},
		{.name = "id", .type = OPT_CALL, .set = check_id},
		{.name = "queues",
		 .type = OPT_U32,
		 .offset = offsetof(struct run_disk, queues),
		 .min = 1,
		 .max = CATNAP_MAX_DISK_QUEUES},
		LIMIT_KEYS(offsetof(struct run_disk, limit)),
		{.name = NULL},
	};
	struct run_cfg *cfg = ptr;
	struct run_disk disk = {.lock = true};

	if (cfg->n_disks == RUN_MAX_DISKS)
		return opt_fail(o, arg, "is one too many: expected at most %d", RUN_MAX_DISKS);
	if (opt_keys(o, arg, keys, &disk) || check_limit(o, arg, &disk.limit))
		return -EINVAL;
	cfg->disks[cfg->n_disks++] = disk;
	return 0;
}

/* Six bytes in hexadecimal, with colons. */
static int set_mac(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	struct run_net *net = ptr;
	unsigned int b[6];
	int end = 0;

	if (strlen(arg->text) != 17 || strspn(arg->text, "0123456789abcdefABCDEF:") != 17 ||
	    sscanf(arg->text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5],
		   &end) != 6 ||
	    arg->text[end])
		return opt_fail(o, arg, "is no address: expected one such as 02:00:00:00:00:01");
	if (b[0] & 1)
		return opt_fail(o, arg, "is a multicast address: expected an even first byte");
	if (!(b[0] | b[1] | b[2] | b[3] | b[4] | b[5]))
		return opt_fail(o, arg, "is nobody's: expected one such as 02:00:00:00:00:01");
	for (int i = 0; i < 6; i++)
		net->mac[i] = (uint8_t)b[i];
	return 0;
}

int run_set_net(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	static const struct opt_field keys[] = {
		{.name = "tap",
		 .type = OPT_STRING,
		 .offset = offsetof(struct run_net, tap),
		 .required = true},
		{.name = "mac", .type = OPT_CALL, .set = set_mac},
		{.name = "queues",
		 .type = OPT_U32,
		 .offset = offsetof(struct run_net, queues),
		 .min = 1,
		 .max = CATNAP_MAX_NET_QUEUES},
		{.name = "mtu",
		 .type = OPT_U32,
		 .offset = offsetof(struct run_net, mtu),
		 .min = 68,
		 .max = UINT16_MAX},
		LIMIT_KEYS(offsetof(struct run_net, limit)),
		{.name = NULL},
	};
	struct run_cfg *cfg = ptr;
	struct run_net net = {.tap = NULL};

	if (cfg->n_nets == RUN_MAX_NETS)
		return opt_fail(o, arg, "is one too many: expected at most %d", RUN_MAX_NETS);
	if (opt_keys(o, arg, keys, &net) || check_limit(o, arg, &net.limit))
		return -EINVAL;
	cfg->nets[cfg->n_nets++] = net;
	return 0;
}

int run_set_vsock(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	static const struct opt_field keys[] = {
		{.name = "cid",
		 .type = OPT_U32,
		 .offset = offsetof(struct run_cfg, vsock.cid),
		 .min = 3,
		 .max = UINT32_MAX - 1,
		 .required = true},
		{.name = "socket",
		 .type = OPT_STRING,
		 .offset = offsetof(struct run_cfg, vsock.socket),
		 .required = true},
		{.name = NULL},
	};

	return opt_keys(o, arg, keys, ptr);
}

int run_set_balloon(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	static const struct opt_field keys[] = {
		{.name = "size",
		 .type = OPT_SIZE,
		 .offset = offsetof(struct run_cfg, balloon.size),
		 .required = true},
		{.name = "deflate-on-oom",
		 .type = OPT_SWITCH,
		 .offset = offsetof(struct run_cfg, balloon.deflate_on_oom)},
		{.name = "socket",
		 .type = OPT_STRING,
		 .offset = offsetof(struct run_cfg, balloon.socket)},
		{.name = NULL},
	};
	struct run_cfg *cfg = ptr;

	cfg->balloon.deflate_on_oom = true;
	if (opt_keys(o, arg, keys, cfg))
		return -EINVAL;
	if (cfg->balloon.size & 4095)
		return opt_fail(o, arg, "is not a multiple of 4K");
	cfg->balloon.on = true;
	return 0;
}

/* Where a serial port or a console leads. @none: the word for nowhere. */
static int set_port(struct opts *o, const struct opt_arg *arg, const char *none,
		    enum port_kind *kind, const char **path)
{
	*path = NULL;
	if (strcmp(arg->text, "stdio") == 0) {
		*kind = PORT_STDIO;
	} else if (strcmp(arg->text, none) == 0) {
		*kind = PORT_NULL;
	} else if (strcmp(arg->text, "pty") == 0) {
		*kind = PORT_PTY;
	} else if (strncmp(arg->text, "file=", 5) == 0 && arg->text[5]) {
		*kind = PORT_FILE;
		*path = arg->text + 5;
	} else if (strncmp(arg->text, "socket=", 7) == 0 && arg->text[7]) {
		*kind = PORT_SOCKET;
		*path = arg->text + 7;
		if (strlen(*path) > PORT_SOCKET_PATH)
			return opt_fail(o, arg,
					"is too long for a socket: expected a path of at most %zu "
					"bytes",
					PORT_SOCKET_PATH);
	} else {
		return opt_fail(o, arg,
				"is not known: expected stdio, %s, pty, file=PATH or "
				"socket=PATH",
				none);
	}
	return 0;
}

int run_set_serial(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	struct run_cfg *cfg = ptr;

	return set_port(o, arg, "null", &cfg->serial, &cfg->serial_path);
}

int run_set_console(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	struct run_cfg *cfg = ptr;

	return set_port(o, arg, "off", &cfg->console, &cfg->console_path);
}

/* The library's sentence begins with the option's name. */
static int added(struct catnap_vm *vm, int ret)
{
	if (ret < 0)
		complain("catnap run: --%s\n", catnap_vm_last_error(vm));
	return ret < 0 ? CMD_ERROR : CMD_OK;
}

static int add_net(struct catnap_vm *vm, const struct run_net *n)
{
	struct catnap_net net;

	catnap_net_init(&net);
	net.tap = n->tap;
	net.queues = n->queues;
	net.mtu = (uint16_t)n->mtu;
	memcpy(net.mac, n->mac, sizeof(net.mac));
	net.limit = n->limit;
	return added(vm, catnap_vm_add_net(vm, &net));
}

static int add_vsock(struct catnap_vm *vm, const struct run_cfg *cfg)
{
	struct catnap_vsock vsock;

	catnap_vsock_init(&vsock);
	vsock.cid = cfg->vsock.cid;
	vsock.path = cfg->vsock.socket;
	return added(vm, catnap_vm_set_vsock(vm, &vsock));
}

static int add_balloon(struct catnap_vm *vm, const struct run_cfg *cfg)
{
	struct catnap_balloon balloon;

	catnap_balloon_init(&balloon);
	balloon.target = cfg->balloon.size;
	balloon.deflate_on_oom = cfg->balloon.deflate_on_oom;
	return added(vm, catnap_vm_set_balloon(vm, &balloon));
}

static int add_console(struct catnap_vm *vm, struct port *port)
{
	struct catnap_console console;
	struct winsize size;

	catnap_console_init(&console);
	console.output = port_output;
	console.ctx = port;
	if (port->kind == PORT_STDIO && ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0) {
		console.cols = size.ws_col;
		console.rows = size.ws_row;
	}
	return added(vm, catnap_vm_set_console(vm, &console));
}

int run_add_devices(struct catnap_vm *vm, const struct run_cfg *cfg, struct run_io *io)
{
	int status = CMD_OK;

	for (uint32_t i = 0; i < cfg->n_disks && status == CMD_OK; i++) {
		const struct run_disk *d = &cfg->disks[i];
		struct catnap_disk disk;

		catnap_disk_init(&disk);
		disk.path = d->path;
		disk.id = d->id;
		disk.readonly = d->readonly;
		disk.direct = d->direct;
		disk.no_lock = !d->lock;
		disk.format = (uint32_t)d->format;
		disk.queues = d->queues;
		disk.limit = d->limit;
		status = added(vm, catnap_vm_add_disk(vm, &disk));
	}
	for (uint32_t i = 0; i < cfg->n_nets && status == CMD_OK; i++)
		status = add_net(vm, &cfg->nets[i]);
	if (cfg->vsock.cid && status == CMD_OK)
		status = add_vsock(vm, cfg);
	if (cfg->console != PORT_NULL && status == CMD_OK)
		status = add_console(vm, &io->console);
	if (cfg->balloon.on && status == CMD_OK)
		status = add_balloon(vm, cfg);
	return status;
}
