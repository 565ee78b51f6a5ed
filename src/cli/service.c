/* SPDX-License-Identifier: Apache-2.0 */
/* See service.h. sd_notify(3), and systemd's "Native Journal Protocol". */
#include <endian.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/service.h"

#define JOURNAL "/run/systemd/journal/socket"

/* Connects to @name: a path, or an abstract name behind a '@'. */
static int connect_to(const char *name)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	size_t len = strlen(name);
	int fd;

	if ((*name != '/' && *name != '@') || len < 2 || len >= sizeof(addr.sun_path))
		return -1;
	memcpy(addr.sun_path, name, len);
	if (*name == '@')
		addr.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&addr,
			       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

int service_open(void)
{
	const char *name = getenv("NOTIFY_SOCKET");
	int fd = name ? connect_to(name) : -1;

	unsetenv("NOTIFY_SOCKET");
	return fd;
}

void service_tell(int fd, const char *lines)
{
	/* A manager that does not listen is not waited for. */
	if (fd >= 0 && write(fd, lines, strlen(lines)) < 0)
		errno = 0;
}

int service_open_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	if (!stream || sscanf(stream, "%llu:%llu", &dev, &ino) != 2 ||
	    fstat(STDERR_FILENO, &st) < 0 || st.st_dev != dev || st.st_ino != ino)
		return -1;
	return connect_to(JOURNAL);
}

size_t service_entry(char *to, size_t size, int priority, const char *text)
{
	int head = snprintf(to, size, "SYSLOG_IDENTIFIER=catnap\nPRIORITY=%d\nMESSAGE\n", priority);
	size_t used = (size_t)head, len;
	uint64_t le;

	len = strnlen(text, size - used - sizeof(le) - 1);
	while (len && text[len - 1] == '\n')
		len--;
	/* In this form the text may have any byte, newlines too. */
	le = htole64(len);
	memcpy(to + used, &le, sizeof(le));
	memcpy(to + used + sizeof(le), text, len);
	used += sizeof(le) + len;
	to[used++] = '\n';
	return used;
}
