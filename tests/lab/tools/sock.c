/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One end of a connection, for cases about sockets between guest and host; busybox knows neither
 * kind. Standard input goes to the other side, what comes from there to standard output.
 *
 *	sock vsock-connect CID PORT	sock vsock-listen PORT		in a guest
 *	sock unix-connect PATH PORT	sock unix-listen PATH		on the host
 *	sock tcp-connect ADDRESS PORT	sock tcp-listen PORT		on either
 *	sock tcp-echo PORT		sends back what comes
 *	sock tcp-take PORT		takes what comes, and sends nothing
 *	sock tap NAME			makes a TAP interface with several queues
 *	sock http PATH METHOD RESOURCE [BODY]	asks a control socket, and prints the answer's body;
 *					status 0 if it is no error
 *
 * unix-connect asks for the guest's port first, as catnap run --vsock wants it. A listener takes
 * one connection. Ends when both sides have ended.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <linux/if_tun.h>
#include <linux/vm_sockets.h>

static int die(const char *what)
{
	fprintf(stderr, "sock: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno != EINTR)
			die("write");
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
	}
}

static int made(int family, const void *at, socklen_t len, int listening)
{
	int fd = socket(family, SOCK_STREAM, 0), peer, on = 1;

	if (fd < 0)
		die("socket");
	if (!listening) {
		if (connect(fd, at, len) < 0)
			die("connect");
		return fd;
	}
	/* A TCP port that was just used, too; the other families have no such wait. */
	if (family == AF_INET)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, at, len) < 0 || listen(fd, 1) < 0)
		die("listen");
	fprintf(stderr, "sock: listening\n");
	peer = accept(fd, NULL, NULL);
	if (peer < 0)
		die("accept");
	close(fd);
	return peer;
}

static int vsock(unsigned int cid, unsigned int port, int listening)
{
	struct sockaddr_vm at = {.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};

	return made(AF_VSOCK, &at, sizeof(at), listening);
}

static int local(const char *path, int listening)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};

	snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	return made(AF_UNIX, &at, sizeof(at), listening);
}

static int tcp(const char *address, unsigned int port, int listening)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};

	if (address)
		inet_pton(AF_INET, address, &at.sin_addr);
	return made(AF_INET, &at, sizeof(at), listening);
}

static int make_tap(const char *name)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE | IFF_VNET_HDR};
	int fd = open("/dev/net/tun", O_RDWR);

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &ifr) < 0 || ioctl(fd, TUNSETPERSIST, 1) < 0)
		die(name);
	return 0;
}

static void ask(int fd, const char *port)
{
	char line[64];
	size_t n = (size_t)snprintf(line, sizeof(line), "CONNECT %s\n", port);

	all(fd, line, n);
	for (n = 0; n < sizeof(line) - 1 && read(fd, line + n, 1) == 1 && line[n] != '\n'; n++)
		;
	if (strncmp(line, "OK ", 3) != 0) {
		fprintf(stderr, "sock: refused\n");
		exit(1);
	}
}

static int echo(int fd)
{
	static char buffer[65536];
	int on = 1;
	ssize_t n;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	while ((n = read(fd, buffer, sizeof(buffer))) > 0)
		all(fd, buffer, (size_t)n);
	return n < 0;
}

static void copy(int from, int fd)
{
	struct pollfd p[2] = {{.fd = from, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
	static char buffer[65536];

	while (p[0].fd >= 0 || p[1].fd >= 0) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			die("poll");
		for (int i = 0; i < 2; i++) {
			ssize_t n;

			if (p[i].fd < 0 || !p[i].revents)
				continue;
			n = read(p[i].fd, buffer, sizeof(buffer));
			if (n > 0) {
				all(i ? 1 : fd, buffer, (size_t)n);
				continue;
			}
			if (n < 0)
				die("read");
			if (!i)
				shutdown(fd, SHUT_WR);
			p[i].fd = -1;
		}
	}
}

/* HTTP/1.1 (RFC 9112), of which the server closes the connection. */
static int http(int fd, const char *method, const char *resource, const char *body)
{
	static char answer[1 << 20];
	size_t len = 0;
	char *end;
	ssize_t n;

	n = snprintf(
		answer, sizeof(answer),
		"%s %s HTTP/1.1\r\nHost: lab\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
		method, resource, strlen(body), body);
	all(fd, answer, (size_t)n);
	while (len < sizeof(answer) - 1 &&
	       (n = read(fd, answer + len, sizeof(answer) - 1 - len)) > 0)
		len += (size_t)n;
	answer[len] = '\0';
	end = strstr(answer, "\r\n\r\n");
	if (!end)
		die("no answer");
	all(1, end + 4, strlen(end + 4));
	return strncmp(answer, "HTTP/1.1 2", 10) != 0;
}

int main(int argc, char **argv)
{
	int fd;

	if (argc == 4 && !strcmp(argv[1], "vsock-connect")) {
		fd = vsock((unsigned int)strtoul(argv[2], NULL, 0),
			   (unsigned int)strtoul(argv[3], NULL, 0), 0);
	} else if (argc == 3 && !strcmp(argv[1], "vsock-listen")) {
		fd = vsock(VMADDR_CID_ANY, (unsigned int)strtoul(argv[2], NULL, 0), 1);
	} else if (argc == 4 && !strcmp(argv[1], "unix-connect")) {
		fd = local(argv[2], 0);
		ask(fd, argv[3]);
	} else if (argc == 3 && !strcmp(argv[1], "unix-listen")) {
		fd = local(argv[2], 1);
	} else if (argc == 4 && !strcmp(argv[1], "tcp-connect")) {
		fd = tcp(argv[2], (unsigned int)strtoul(argv[3], NULL, 0), 0);
	} else if (argc == 3 && !strcmp(argv[1], "tcp-listen")) {
		fd = tcp(NULL, (unsigned int)strtoul(argv[2], NULL, 0), 1);
	} else if (argc == 3 && !strcmp(argv[1], "tcp-echo")) {
		return echo(tcp(NULL, (unsigned int)strtoul(argv[2], NULL, 0), 1));
	} else if (argc == 3 && !strcmp(argv[1], "tcp-take")) {
		/* Its half stays open meanwhile: where the guest's is closed, Debian 12's passt sends a segment
		 * over and over. */
		copy(-1, tcp(NULL, (unsigned int)strtoul(argv[2], NULL, 0), 1));
		return 0;
	} else if (argc == 3 && !strcmp(argv[1], "tap")) {
		return make_tap(argv[2]);
	} else if ((argc == 5 || argc == 6) && !strcmp(argv[1], "http")) {
		return http(local(argv[2], 0), argv[3], argv[4], argc == 6 ? argv[5] : "");
	} else {
		fprintf(stderr, "sock: wrong arguments\n");
		return 2;
	}
	copy(0, fd);
	return 0;
}
