/* SPDX-License-Identifier: Apache-2.0 */
/* The devices of `catnap run`: their options, and their way into the VM. */
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "cli/limit.h"
#include "cli/printable.h"
#include "cli/run/run.h"

static const struct opt_word on_off[] = {{"on", 1}, {"off", 0}, {NULL, 0}};
static const struct opt_word off_on[] = {{"on", 0}, {"off", 1}, {NULL, 0}};
static const struct opt_word formats[] = {{"raw", CATNAP_DISK_RAW}, {NULL, 0}};
static const struct opt_word block_sizes[] = {{"512", 512}, {"4096", 4096}, {NULL, 0}};

struct disk_option {
	struct catnap_disk disk;
	const char *back;
	bool leave;
	struct limit_keys limit;
};

#define DISK(member) .offset = offsetof(struct disk_option, disk.member)

/* Straight into the structure that the library is given, but for the limit. Another key is a row
 * here, a member there, and what the library makes of it. */
/* clang-format off */
const struct opt_field run_disk_keys[] = {
	{.name = "path", .type = OPT_STRING, DISK(path), .either = true, .form = "PATH"},
	{.name = "fd", .type = OPT_U32, DISK(fd), .min = STDERR_FILENO + 1, .max = INT32_MAX,
	 .either = true, .form = "N"},
	{.name = "format", .type = OPT_WORD, DISK(format), .words = formats, .form = "raw"},
	{.name = "readonly", .type = OPT_SWITCH, DISK(readonly), .words = on_off, .form = "on"},
	{.name = "direct", .type = OPT_SWITCH, DISK(direct), .words = on_off, .form = "on"},
	{.name = "lock", .type = OPT_SWITCH, DISK(no_lock), .words = off_on, .form = "off"},
	{.name = "id", .type = OPT_STRING, DISK(id), .max = CATNAP_MAX_DISK_ID, .form = "TEXT"},
	{.name = "queues", .type = OPT_U32, DISK(queues), .min = 1, .max = CATNAP_MAX_DISK_QUEUES,
	 .form = "N"},
	{.name = "block-size", .type = OPT_WORD, DISK(block_size), .words = block_sizes,
	 .form = "512|4096"},
	{.name = "vhost-user", .type = OPT_STRING, .offset = offsetof(struct disk_option, back),
	 .max = PORT_SOCKET_PATH, .either = true, .form = "SOCKET"},
	{.name = "reconnect", .type = OPT_SWITCH, .offset = offsetof(struct disk_option, leave),
	 .words = run_reconnect, .form = "off"},
	LIMIT_KEYS("", offsetof(struct disk_option, limit), "SIZE", "N"),
	{.name = NULL},
};
/* clang-format on */

/* Returns -EINVAL if one of the keys that were given is none of a device with a back end (@back),
 * or only of such a one. */
static int check_keys(struct opts *o, const struct opt_arg *arg, const struct opt_field *keys,
		      uint64_t given, const char *const *of_back, bool back)
{
	for (size_t i = 0; keys[i].name; i++) {
		const char *const *k = of_back;

		while (*k && strcmp(*k, keys[i].name) != 0)
			k++;
		if (!(given >> i & 1))
			continue;
		if (back && !*k)
			return opts_fail(o,
					 "--%s: %s: has no effect with vhost-user: expected the "
					 "back end's own options",
					 arg->option, keys[i].name);
		if (!back && strcmp(keys[i].name, "reconnect") == 0)
			return opts_fail(o, "--%s: reconnect: has no effect without vhost-user",
					 arg->option);
	}
	return 0;
}

int run_set_disk(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	struct run_cfg *cfg = ptr;
	static const char *const of_back[] = {"vhost-user", "queues", "reconnect", NULL};
	struct disk_option d = {.limit = {.bw = {0}}};
	uint64_t given;

	catnap_disk_init(&d.disk);
	if (cfg->n_disks == RUN_MAX_DISKS)
		return opt_fail(o, arg, "is one too many: expected at most %d", RUN_MAX_DISKS);
	if (opt_keys_given(o, arg, run_disk_keys, &d, &given) ||
	    limit_make(o, arg, "", &d.limit, &d.disk.limit))
		return -EINVAL;
	if (check_keys(o, arg, run_disk_keys, given, of_back, d.back) ||
	    run_check_back(o, arg->option, d.back, d.leave))
		return -EINVAL;
	cfg->backs[cfg->n_disks].socket = d.back;
	cfg->backs[cfg->n_disks].leave = d.leave;
	if (!d.back && !d.disk.path == (d.disk.fd < 0))
		return opts_fail(o, "--disk: %s: expected one of path and fd",
				 d.disk.path ? "has both path and fd" : "has neither path nor fd");
	cfg->disks[cfg->n_disks++] = d.disk;
	return 0;
}

struct net_option {
	struct run_net net;
	struct limit_keys limit, rx, tx;
};

#define NET(member) .offset = offsetof(struct net_option, net.member)

/* Takes six bytes in hexadecimal, with colons. */
static int set_mac(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	struct net_option *n = ptr;
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
		n->net.mac[i] = (uint8_t)b[i];
	return 0;
}

/* Takes the descriptors of one interface's queues: 5, or 5:6:7 for several. */
static int set_tap_fds(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	struct run_net *net = &((struct net_option *)ptr)->net;
	const char *c = arg->text;

	net->n_fds = 0;
	do {
		char *end;
		unsigned long fd = strtoul(c, &end, 10);

		if (*c < '0' || *c > '9' || (*end && *end != ':') || fd <= STDERR_FILENO ||
		    fd > INT32_MAX)
			return opt_fail(o, arg,
					"is no descriptor: expected numbers from %d on, as in 5 or "
					"5:6",
					STDERR_FILENO + 1);
		if (net->n_fds == CATNAP_MAX_NET_QUEUES)
			return opt_fail(o, arg, "has too many: expected at most %d",
					CATNAP_MAX_NET_QUEUES);
		net->fds[net->n_fds++] = (int32_t)fd;
		c = *end ? end + 1 : end;
	} while (*c || c[-1] == ':');
	return 0;
}

static int set_forward(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	return run_set_forward(o, arg, &((struct net_option *)ptr)->net);
}

/* clang-format off */
const struct opt_field run_net_keys[] = {
	{.name = "tap", .type = OPT_STRING, NET(tap), .max = IFNAMSIZ - 1, .either = true},
	{.name = "fd", .type = OPT_CALL, .set = set_tap_fds, .either = true},
	{.name = "vhost-user", .type = OPT_STRING, NET(back), .max = PORT_SOCKET_PATH,
	 .either = true},
	{.name = "stream", .type = OPT_STRING, NET(stream), .max = PORT_SOCKET_PATH, .either = true},
	{.name = "forward", .type = OPT_CALL, .set = set_forward},
	{.name = "bridge", .type = OPT_STRING, NET(bridge), .max = IFNAMSIZ - 1},
	{.name = "reconnect", .type = OPT_SWITCH, NET(leave), .words = run_reconnect},
	{.name = "mac", .type = OPT_CALL, .set = set_mac},
	{.name = "queues", .type = OPT_U32, NET(queues), .min = 1, .max = CATNAP_MAX_NET_QUEUES},
	{.name = "mtu", .type = OPT_U32, NET(mtu), .min = CATNAP_MIN_MTU, .max = UINT16_MAX},
	LIMIT_KEYS("", offsetof(struct net_option, limit), NULL, NULL),
	LIMIT_KEYS("rx-", offsetof(struct net_option, rx), NULL, NULL),
	LIMIT_KEYS("tx-", offsetof(struct net_option, tx), NULL, NULL),
	{.name = NULL},
};
/* clang-format on */

/* Makes the limit of one direction: its own bucket, or that of both. */
static int make_direction(struct opts *o, const struct opt_arg *arg, const char *p,
			  const struct limit_keys *own, const struct catnap_rate_limit *both,
			  struct catnap_rate_limit *limit)
{
	int ret = limit_make(o, arg, p, own, limit);

	if (!limit_given(&own->bw))
		limit->bw = both->bw;
	if (!limit_given(&own->ops))
		limit->ops = both->ops;
	return ret;
}

int run_set_net(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	struct run_cfg *cfg = ptr;
	static const char *const of_back[] = {"vhost-user", "queues", "reconnect",
					      "mac",	    "mtu",    NULL};
	struct net_option n = {.net = {.passt = false}};
	unsigned int others;
	struct catnap_rate_limit both;
	uint64_t given;

	if (cfg->n_nets == RUN_MAX_NETS)
		return opt_fail(o, arg, "is one too many: expected at most %d", RUN_MAX_NETS);
	if (opt_keys_given(o, arg, run_net_keys, &n, &given) ||
	    limit_make(o, arg, "", &n.limit, &both) ||
	    make_direction(o, arg, "rx-", &n.rx, &both, &n.net.rx_limit) ||
	    make_direction(o, arg, "tx-", &n.tx, &both, &n.net.tx_limit))
		return -EINVAL;
	if (check_keys(o, arg, run_net_keys, given, of_back, n.net.back) ||
	    run_check_back(o, arg->option, n.net.back, n.net.leave))
		return -EINVAL;
	/* No interface is called so. */
	n.net.made = n.net.tap && strcmp(n.net.tap, "auto") == 0;
	if (n.net.bridge && !n.net.made)
		return opts_fail(o, "--net: bridge: has no effect without tap=auto");
	n.net.passt = n.net.tap && strcmp(n.net.tap, "passt") == 0;
	others = !!n.net.tap + !!n.net.n_fds + !!n.net.stream;
	if (!n.net.back && others != 1)
		return opts_fail(o,
				 "--net: %s: expected one of tap, fd, passt, stream and vhost-user",
				 others ? "has several other ends" : "has no other end");
	if (!n.net.passt && (n.net.tcp[0] || n.net.udp[0]))
		return opts_fail(o, "--net: forward: has no effect without passt");
	if ((n.net.passt || n.net.stream) && n.net.queues > 1)
		return opts_fail(o, "--net: queues: \"%u\" has no effect with a stream: expected 1",
				 n.net.queues);
	if (n.net.n_fds && n.net.queues && n.net.queues != n.net.n_fds)
		return opts_fail(o,
				 "--net: queues: \"%u\" is not the number of descriptors: expected "
				 "%u",
				 n.net.queues, n.net.n_fds);
	if (n.net.n_fds)
		n.net.queues = n.net.n_fds;
	cfg->nets[cfg->n_nets++] = n.net;
	return 0;
}

/* What catnap_vm_set_vsock() leaves of a socket's path: the guest's ports follow it. */
#define VSOCK_PATH 96

const struct opt_field run_vsock_keys[] = {
	{.name = "cid",
	 .type = OPT_U32,
	 .offset = offsetof(struct run_cfg, vsock.cid),
	 .min = 3,
	 .max = UINT32_MAX - 1,
	 .required = true},
	{.name = "socket",
	 .type = OPT_STRING,
	 .offset = offsetof(struct run_cfg, vsock.socket),
	 .max = VSOCK_PATH,
	 .either = true},
	{.name = "fd",
	 .type = OPT_U32,
	 .offset = offsetof(struct run_cfg, vsock.fd),
	 .either = true,
	 .min = STDERR_FILENO + 1,
	 .max = INT32_MAX},
	{.name = NULL},
};

int run_set_vsock(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	const struct run_cfg *cfg = ptr;

	if (opt_keys(o, arg, run_vsock_keys, ptr))
		return -EINVAL;
	if (!cfg->vsock.socket && cfg->vsock.fd < 0)
		return opts_fail(o, "--vsock: has neither socket nor fd: expected one of them");
	return 0;
}

const struct opt_field run_balloon_keys[] = {
	{.name = "size",
	 .type = OPT_SIZE,
	 .offset = offsetof(struct run_cfg, balloon.size),
	 .required = true},
	{.name = "deflate-on-oom",
	 .type = OPT_SWITCH,
	 .offset = offsetof(struct run_cfg, balloon.deflate_on_oom)},
	{.name = NULL},
};

int run_set_balloon(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	struct run_cfg *cfg = ptr;

	cfg->balloon.deflate_on_oom = true;
	if (opt_keys(o, arg, run_balloon_keys, cfg))
		return -EINVAL;
	if (cfg->balloon.size & 4095)
		return opt_fail(o, arg, "is not a multiple of 4K");
	cfg->balloon.on = true;
	return 0;
}

struct rng_option {
	bool on;
	struct limit_keys limit;
};

const struct opt_field run_rng_keys[] = {
	{.name = "mode", .type = OPT_SWITCH, .offset = offsetof(struct rng_option, on)},
	LIMIT_KEYS("", offsetof(struct rng_option, limit), NULL, NULL),
	{.name = NULL},
};

int run_set_rng(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	struct run_cfg *cfg = ptr;
	struct rng_option r = {.on = true};

	if (opt_keys(o, arg, run_rng_keys, &r) || limit_make(o, arg, "", &r.limit, &cfg->rng.limit))
		return -EINVAL;
	cfg->rng.on = r.on;
	cfg->rng.limited = limit_given(&r.limit.bw) || limit_given(&r.limit.ops);
	if (cfg->rng.limited && !r.on)
		return opts_fail(o, "--rng: has a limit for what is off: expected off alone");
	return 0;
}

int run_set_hotplug(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	struct run_cfg *cfg = ptr;
	const bool on = strcmp(arg->text, "on") == 0, off = strcmp(arg->text, "off") == 0;

	if (!*arg->text)
		return opt_fail(o, arg, "is empty: expected on, off or a folder");
	cfg->pci_hotplug = !off;
	cfg->hotplug_dir = on || off ? NULL : arg->text;
	return 0;
}

/* Takes where a serial port or a console leads. @none: the word for nowhere. */
static int set_port(struct opts *o, const struct opt_arg *arg, const char *none,
		    enum run_port_kind *kind, const char **path, int *fd)
{
	bool bad;

	*path = NULL;
	*fd = run_given_fd(arg->text, &bad);
	if (bad)
		return opt_fail(o, arg, "is no descriptor: expected fd=N, N from %d on",
				STDERR_FILENO + 1);
	if (*fd >= 0) {
		*kind = PORT_FD;
	} else if (strcmp(arg->text, "stdio") == 0) {
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
				"is not known: expected stdio, %s, pty, file=PATH, "
				"socket=PATH or fd=N",
				none);
	}
	return 0;
}

int run_set_serial(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	struct run_cfg *cfg = ptr;

	return set_port(o, arg, "null", &cfg->serial, &cfg->serial_path, &cfg->serial_fd);
}

int run_set_console(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	struct run_cfg *cfg = ptr;

	return set_port(o, arg, "off", &cfg->console, &cfg->console_path, &cfg->console_fd);
}

int run_set_api_socket(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	struct run_cfg *cfg = ptr;
	bool bad;

	cfg->api_socket = NULL;
	cfg->api_fd = run_given_fd(arg->text, &bad);
	if (bad)
		return opt_fail(o, arg, "is no descriptor: expected fd=N, N from %d on",
				STDERR_FILENO + 1);
	if (cfg->api_fd >= 0)
		return 0;
	if (!*arg->text)
		return opt_fail(o, arg, "is empty: expected a path or fd=N");
	if (strlen(arg->text) > PORT_SOCKET_PATH)
		return opt_fail(o, arg,
				"is too long for a socket: expected a path of at most %zu bytes",
				PORT_SOCKET_PATH);
	cfg->api_socket = arg->text;
	return 0;
}

/* Returns the status of an addition, after the library's sentence, which begins with the option's
 * name. */
static int added(struct catnap_vm *vm, int ret)
{
	if (ret < 0)
		complain("catnap run: --%s\n", catnap_vm_last_error(vm));
	return ret < 0 ? CMD_ERROR : CMD_OK;
}

int run_open_net(const struct run_net *n, struct run_io *io, int32_t *made, struct catnap_net *net)
{
	int status = CMD_OK;

	catnap_net_init(net);
	if (n->made)
		status = run_make_tap(n, made);
	if (status == CMD_OK && n->passt)
		status = run_start_passt(n, io, &net->stream_fd);
	if (status != CMD_OK)
		return status;
	net->tap = n->passt || n->made ? NULL : n->tap;
	net->stream = n->stream;
	net->tap_fds = n->made ? made : n->n_fds ? n->fds : NULL;
	memcpy(net->mac, n->mac, sizeof(net->mac));
	return CMD_OK;
}

static int add_net(struct catnap_vm *vm, const struct run_net *n, struct run_io *io)
{
	int32_t made[CATNAP_MAX_NET_QUEUES] = {0};
	struct catnap_net net;
	int status = run_open_net(n, io, made, &net);

	if (status != CMD_OK)
		return status;
	net.queues = n->queues;
	net.mtu = (uint16_t)n->mtu;
	net.rx_limit = n->rx_limit;
	net.tx_limit = n->tx_limit;
	status = added(vm, catnap_vm_add_net(vm, &net));
	if (status != CMD_OK && net.stream_fd >= 0)
		close(net.stream_fd);
	for (uint32_t i = 0; status != CMD_OK && n->made && i < (n->queues ? n->queues : 1); i++)
		close(made[i]);
	return status;
}

static int add_vsock(struct catnap_vm *vm, const struct run_cfg *cfg)
{
	struct catnap_vsock vsock;

	catnap_vsock_init(&vsock);
	vsock.cid = cfg->vsock.cid;
	vsock.path = cfg->vsock.socket;
	vsock.fd = cfg->vsock.fd;
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

static int add_hotplug(struct catnap_vm *vm, const struct run_cfg *cfg)
{
	if (catnap_vm_set_hotplug(vm, &cfg->hotplug) == 0)
		return CMD_OK;
	complain("catnap run: --memory: max: %s\n", catnap_vm_last_error(vm));
	return CMD_ERROR;
}

void run_console(struct catnap_console *console, struct run_port *port)
{
	struct winsize size;

	catnap_console_init(console);
	console->output = run_port_output;
	console->ctx = port;
	if (port->kind == PORT_STDIO && ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0) {
		console->cols = size.ws_col;
		console->rows = size.ws_row;
	}
}

static int add_console(struct catnap_vm *vm, struct run_port *port)
{
	struct catnap_console console;

	run_console(&console, port);
	return added(vm, catnap_vm_set_console(vm, &console));
}

int run_add_devices(struct catnap_vm *vm, const struct run_cfg *cfg, struct run_io *io)
{
	int status = CMD_OK;

	for (uint32_t i = 0; i < cfg->n_disks && status == CMD_OK; i++)
		status = added(vm, cfg->backs[i].socket ? run_add_back_disk(vm, cfg, i)
							: catnap_vm_add_disk(vm, &cfg->disks[i]));
	if (status == CMD_OK)
		status = run_add_pmems(vm, cfg);
	for (uint32_t i = 0; i < cfg->n_nets && status == CMD_OK; i++)
		status = cfg->nets[i].back ? added(vm, run_add_back_net(vm, &cfg->nets[i]))
					   : add_net(vm, &cfg->nets[i], io);
	for (uint32_t i = 0; i < cfg->n_vhosts && status == CMD_OK; i++)
		status = run_add_vhost(vm, &cfg->vhosts[i], io);
	if (cfg->vsock.cid && status == CMD_OK)
		status = add_vsock(vm, cfg);
	if (cfg->console != PORT_NULL && status == CMD_OK)
		status = add_console(vm, &io->console);
	if (cfg->balloon.on && status == CMD_OK)
		status = add_balloon(vm, cfg);
	if (cfg->hotplug.max && status == CMD_OK)
		status = add_hotplug(vm, cfg);
	if (cfg->rng.limited && status == CMD_OK)
		status = added(vm, catnap_vm_set_rng_limit(vm, &cfg->rng.limit));
	return status;
}
