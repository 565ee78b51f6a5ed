/* SPDX-License-Identifier: Apache-2.0 */
/* See fc.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/api/fc.h"

const char *fc_os_error(int err, char *buf, size_t size)
{
	snprintf(buf, size, "%s (os error %d)", strerror(err), err);
	return buf;
}

bool fc_same_id(struct reply *r, const struct api_request *rq, const char *id)
{
	if (!rq->id || strcmp(rq->id, id) == 0)
		return true;
	reply_fault(r, 400, "The id from the path does not match the id from the body!");
	return false;
}

bool fc_copy(struct reply *r, char **into, const char *text)
{
	*into = text ? strdup(text) : NULL;
	if (text && !*into)
		reply_fault(r, 500, "out of memory");
	return !text || *into;
}

int fc_try_open(const char *path, bool readonly)
{
	/* Not blocking: a FIFO has no other end yet. */
	int fd = open(path, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

bool fc_hotplug_on(const struct api *api, struct reply *r)
{
	struct catnap_vm_config cfg;

	catnap_vm_config_init(&cfg);
	if (catnap_vm_get_config(api->vm, &cfg) == 0 && cfg.hotplug)
		return true;
	reply_fault(r, 400, "The requested operation is not supported after starting the microVM.");
	return false;
}

void fc_asked(struct api *api, struct reply *r, uint32_t device)
{
	if (device < OWN_DEVICES)
		api->own.kept[device] = false;
	reply_empty(r);
}
