/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts the requests to the control socket, by resource and method, since the process began: for
 * GET /metrics/openmetrics and for Firecracker's metrics. Counters never go back. One thread's.
 */
#ifndef CLI_API_METRICS_H
#define CLI_API_METRICS_H

#include <stdint.h>

enum api_method { API_GET, API_PUT, API_PATCH, API_OTHER_METHOD, API_METHODS };

/* By the first part of the path; the last takes the rest. */
enum api_resource {
	API_ROOT,
	API_ACTIONS,
	API_BALLOON,
	API_BOOT_SOURCE,
	API_CATNAP,
	API_CPU_CONFIG,
	API_DRIVES,
	API_ENTROPY,
	API_HOTPLUG,
	API_LOGGER,
	API_MACHINE_CONFIG,
	API_METRICS,
	API_MMDS,
	API_NETWORK_INTERFACES,
	API_PMEM,
	API_SERIAL,
	API_SNAPSHOT,
	API_VERSION,
	API_VM,
	API_VSOCK,
	API_OTHER_RESOURCE,
	API_RESOURCES,
};

struct api_metrics {
	/* All requests that were answered, and those of them whose status was 400 and more. */
	uint64_t count[API_METHODS][API_RESOURCES], fails[API_METHODS][API_RESOURCES];
	uint64_t deprecated; /* requests that used what clients are to leave alone */
};

/* Counts a request that has been answered with @status. */
void api_count(struct api_metrics *m, const char *method, const char *path, unsigned int status);
/* Returns "GET", "PUT", "PATCH" or "other". */
const char *api_method_name(enum api_method method);
/* Returns the part of the path, as "machine-config"; "" for API_ROOT; or "other". */
const char *api_resource_name(enum api_resource resource);

#endif
