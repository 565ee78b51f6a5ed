/* SPDX-License-Identifier: Apache-2.0 */
/* See metrics.h. */
#include <stddef.h>
#include <string.h>

#include "cli/api/metrics.h"

static const char *const methods[API_METHODS] = {"GET", "PUT", "PATCH", "other"};

static const char *const resources[API_RESOURCES] = {
	[API_ROOT] = "",
	[API_ACTIONS] = "actions",
	[API_BALLOON] = "balloon",
	[API_BOOT_SOURCE] = "boot-source",
	[API_CATNAP] = "catnap",
	[API_CPU_CONFIG] = "cpu-config",
	[API_DRIVES] = "drives",
	[API_ENTROPY] = "entropy",
	[API_HOTPLUG] = "hotplug",
	[API_LOGGER] = "logger",
	[API_MACHINE_CONFIG] = "machine-config",
	[API_METRICS] = "metrics",
	[API_MMDS] = "mmds",
	[API_NETWORK_INTERFACES] = "network-interfaces",
	[API_PMEM] = "pmem",
	[API_SERIAL] = "serial",
	[API_SNAPSHOT] = "snapshot",
	[API_VERSION] = "version",
	[API_VM] = "vm",
	[API_VSOCK] = "vsock",
	[API_OTHER_RESOURCE] = "other",
};

void api_count(struct api_metrics *m, const char *method, const char *path, unsigned int status)
{
	unsigned int i = 0, j = 0;
	const char *first = path + strspn(path, "/");
	size_t len = strcspn(first, "/");

	while (i < API_OTHER_METHOD && strcmp(methods[i], method) != 0)
		i++;
	while (j < API_OTHER_RESOURCE &&
	       (strlen(resources[j]) != len || memcmp(resources[j], first, len) != 0))
		j++;
	m->count[i][j]++;
	if (status >= 400)
		m->fails[i][j]++;
}

const char *api_method_name(enum api_method method)
{
	return methods[method];
}

const char *api_resource_name(enum api_resource resource)
{
	return resources[resource];
}
