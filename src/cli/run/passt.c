/* SPDX-License-Identifier: Apache-2.0 */
/* --net passt: a network without root, by the program passt(1), which is started for it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "cli/printable.h"
#include "cli/run/run.h"

/* Adds "8080" or "8080:80", up to @end, to @list with a comma before it. Returns false if it is
 * neither, or there is no room. */
static bool add_ports(const char *text, const char *end, char list[RUN_FORWARDS])
{
	size_t used = strlen(list);
	const char *c = text;
	int n;

	for (int i = 0; i < 2; i++) {
		char *after;
		unsigned long port;

		if (*c < '0' || *c > '9')
			return false;
		port = strtoul(c, &after, 10);
		if (port < 1 || port > 65535)
			return false;
		c = after;
		if (c == end)
			break;
		if (*c++ != ':' || i == 1)
			return false;
	}
	n = snprintf(list + used, RUN_FORWARDS - used, "%s%.*s", used ? "," : "", (int)(end - text),
		     text);
	return n > 0 && (size_t)n < RUN_FORWARDS - used;
}

int run_set_forward(struct opts *o, const struct opt_arg *arg, struct run_net *net)
{
	const char *c = arg->text;

	net->tcp[0] = net->udp[0] = '\0';
	for (;;) {
		const char *end = c + strcspn(c, "+");
		bool tcp = strncmp(c, "tcp:", 4) == 0;

		if ((!tcp && strncmp(c, "udp:", 4) != 0) ||
		    !add_ports(c + 4, end, tcp ? net->tcp : net->udp))
			return opt_fail(o, arg,
					"is no list of ports: expected one such as tcp:8080:80 or "
					"tcp:8080:80+udp:53");
		if (!*end)
			return 0;
		c = end + 1;
	}
}

/* Starts it. Stores a connection with it. A status, after a message. */
int run_start_passt(const struct run_net *net, struct run_io *io, int *connection)
{
	static const char *const places[] = {"/usr/bin/passt", NULL};
	char program[256], number[16];
	const char *argv[12] = {program, "--foreground", "--quiet", "--fd", number};
	struct helper_program p = {.argv = argv};
	const char *what = "a socket";
	int pair[2], n = 5, ret = 0;

	if (!helper_find("passt", places, program, sizeof(program))) {
		complain("catnap run: --net: passt: there is no passt: expected the package "
			 "passt\n");
		return CMD_ERROR;
	}
	if (net->tcp[0]) {
		argv[n++] = "--tcp-ports";
		argv[n++] = net->tcp;
	}
	if (net->udp[0]) {
		argv[n++] = "--udp-ports";
		argv[n++] = net->udp;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		ret = -errno;
	if (ret == 0) {
		snprintf(number, sizeof(number), "%d", pair[1]);
		p.fd = pair[1];
		ret = helper_start(&io->helpers, &p, &what);
		close(pair[1]);
		if (ret < 0)
			close(pair[0]);
	}
	if (ret < 0) {
		complain("catnap run: --net: passt: %s: %s: %s\n", program, what, strerror(-ret));
		return CMD_ERROR;
	}
	/* It looks for a network, and takes the ports, before it closes itself in. */
	if (!helper_closed_in(&io->helpers)) {
		complain("catnap run: --net: passt: it has ended before it served the network\n");
		close(pair[0]);
		return CMD_ERROR;
	}
	*connection = pair[0];
	return CMD_OK;
}
