/* SPDX-License-Identifier: Apache-2.0 */
/* The other monitors that `catnap bench` knows. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/bench/workload.h"

static const struct {
	const char *name, *program;
	uint32_t option; /* enum bench_option: of the workloads that it can be measured in */
} peers[BENCH_PEERS] = {
	[BENCH_PEER_QEMU] = {"qemu", "qemu-system-x86_64", BENCH_OPT_PEER},
	/* It enters a kernel in real mode, which the probe has not. */
	[BENCH_PEER_KVMTOOL] = {"kvmtool", "lkvm", BENCH_OPT_LINUX},
};

const char *bench_peer_name(enum bench_peer peer)
{
	return peer < BENCH_PEERS ? peers[peer].name : NULL;
}

const char *bench_peer_program(enum bench_peer peer)
{
	return peers[peer].program;
}

bool bench_peer_exists(enum bench_peer peer)
{
	const char *path = getenv("PATH");
	char file[4096];

	while (path && *path) {
		size_t n = strcspn(path, ":");

		snprintf(file, sizeof(file), "%.*s/%s", (int)n, path, peers[peer].program);
		if (access(file, X_OK) == 0)
			return true;
		path += n + (path[n] == ':');
	}
	return false;
}

uint32_t bench_peer_option(enum bench_peer peer)
{
	return peers[peer].option;
}
