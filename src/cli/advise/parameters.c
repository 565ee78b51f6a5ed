/* SPDX-License-Identifier: Apache-2.0 */
/* The parameters of module kvm, Documentation/virt/kvm/halt-polling.rst. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cli/advise/advise.h"

static int read_one(const char *folder, const char *name, uint32_t *value, char error[ADVISE_ERROR])
{
	char path[512];
	unsigned int n;
	FILE *f;
	int got;

	snprintf(path, sizeof(path), "%.400s/%s", folder, name);
	f = fopen(path, "re");
	if (!f) {
		snprintf(error, ADVISE_ERROR, "%.200s: %s", path, strerror(errno));
		return -errno;
	}
	got = fscanf(f, "%10u", &n);
	fclose(f);
	if (got != 1) {
		snprintf(error, ADVISE_ERROR, "%.200s: expected a number", path);
		return -EINVAL;
	}
	*value = n;
	return 0;
}

int advise_rule_read(struct advise_rule *rule, const char *folder, char error[ADVISE_ERROR])
{
	int ret = read_one(folder, "halt_poll_ns", &rule->max_ns, error);

	if (ret == 0)
		ret = read_one(folder, "halt_poll_ns_grow", &rule->grow, error);
	if (ret == 0)
		ret = read_one(folder, "halt_poll_ns_grow_start", &rule->grow_start_ns, error);
	if (ret == 0)
		ret = read_one(folder, "halt_poll_ns_shrink", &rule->shrink, error);
	return ret;
}

int advise_limit_write(const char *folder, uint32_t max_ns, char error[ADVISE_ERROR])
{
	char path[512], text[16];
	int fd, ret = 0, len = snprintf(text, sizeof(text), "%u\n", max_ns);

	snprintf(path, sizeof(path), "%.400s/halt_poll_ns", folder);
	fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (fd < 0 || write(fd, text, (size_t)len) != len)
		ret = -errno;
	if (fd >= 0)
		close(fd);
	if (ret < 0)
		snprintf(error, ADVISE_ERROR, "%.200s: %s", path, strerror(-ret));
	return ret;
}
