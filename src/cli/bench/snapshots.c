/* SPDX-License-Identifier: Apache-2.0 */
/* See snapshots.h. */
#include <errno.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/bench/snapshots.h"
#include "cli/snapshot_files.h"

#define READY	    "probe: ready"
#define PATIENCE_NS UINT64_C(60000000000)

/* The main thread's; "": there is none so far. */
static char folder[128];

static int make_folder(struct bench_run *run)
{
	const char *temp = getenv("TMPDIR");

	if (folder[0])
		return 0;
	if (snprintf(folder, sizeof(folder), "%s/catnap-bench-XXXXXX",
		     temp && *temp ? temp : "/var/tmp") >= (int)sizeof(folder))
		errno = ENAMETOOLONG;
	else if (mkdtemp(folder))
		return 0;
	folder[0] = '\0';
	return bench_fail_all(run, "a folder for snapshots: %s", strerror(errno));
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
	remove(path);
	return 0;
}

void bench_snapshots_remove(void)
{
	if (folder[0])
		nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	folder[0] = '\0';
}

int bench_snapshot_input(struct bench_run *run, char path[BENCH_SNAPSHOT_PATH])
{
	bool good;
	FILE *f;

	if (make_folder(run) < 0)
		return -1;
	snprintf(path, BENCH_SNAPSHOT_PATH, "%s/input", folder);
	if (access(path, R_OK) == 0)
		return 0;
	f = fopen(path, "we");
	good = f && fputc('.', f) != EOF;
	if (f && fclose(f) == EOF)
		good = false;
	return good ? 0 : bench_fail_all(run, "%s: %s", path, strerror(errno));
}

/* What the guest has written so far. */
struct said {
	char text[128];
	size_t used;
	int ready; /* by __atomic */
};

static void take_output(void *ctx, const void *data, size_t len)
{
	struct said *s = ctx;

	if (len > sizeof(s->text) - 1 - s->used)
		len = sizeof(s->text) - 1 - s->used;
	memcpy(s->text + s->used, data, len);
	s->used += len;
	if (strstr(s->text, READY "\n"))
		__atomic_store_n(&s->ready, 1, __ATOMIC_RELEASE);
}

static int wait_until_ready(struct bench_run *run, struct said *s)
{
	uint64_t begin = now_ns();

	while (!__atomic_load_n(&s->ready, __ATOMIC_ACQUIRE)) {
		if (bench_stopped(run))
			return bench_nothing(run);
		if (now_ns() - begin > PATIENCE_NS)
			return bench_fail(run, "the guest is not ready for a snapshot");
		bench_sleep(run, 1000000);
	}
	return 0;
}

/* Makes the snapshot of a guest that waits for input. */
static int make(struct bench_run *run, uint32_t mib, const char *path)
{
	struct said said = {.used = 0};
	struct catnap_vm_config cfg;
	struct catnap_vm *vm;
	char cmdline[64], why[SNAPSHOT_WHY];
	int ret;

	snprintf(cmdline, sizeof(cmdline), "workload=restore span=%d pages=%d", BENCH_SPAN,
		 BENCH_PAGES);
	bench_probe_config(run, &cfg, cmdline);
	cfg.memory_size = (uint64_t)mib << 20;
	cfg.serial_output = take_output;
	cfg.serial_ctx = &said;
	cfg.no_rings = 1;
	if (catnap_vm_create(&cfg, &vm) < 0)
		return bench_fail(run, "%s", catnap_vm_last_error(NULL));
	ret = catnap_vm_start(vm) < 0 ? bench_fail(run, "%s", catnap_vm_last_error(vm))
				      : wait_until_ready(run, &said);
	if (ret == 0 && catnap_vm_pause(vm) < 0)
		ret = bench_fail(run, "%s", catnap_vm_last_error(vm));
	if (ret == 0 && snapshot_make(vm, path, false, why) < 0)
		ret = bench_fail(run, "%.200s", why);
	catnap_vm_destroy(&vm);
	return ret;
}

int bench_snapshot_of(struct bench_run *run, struct catnap_vm *vm, char path[BENCH_SNAPSHOT_PATH])
{
	char why[SNAPSHOT_WHY];

	if (make_folder(run) < 0)
		return -1;
	snprintf(path, BENCH_SNAPSHOT_PATH, "%s/running", folder);
	if (catnap_vm_pause(vm) < 0)
		return bench_fail(run, "%s", catnap_vm_last_error(vm));
	if (snapshot_make(vm, path, false, why) < 0)
		return bench_fail(run, "%.200s", why);
	return catnap_vm_resume(vm) < 0 ? bench_fail(run, "%s", catnap_vm_last_error(vm)) : 0;
}

int bench_snapshot(struct bench_run *run, uint32_t mib, char path[BENCH_SNAPSHOT_PATH])
{
	char state[BENCH_SNAPSHOT_PATH + 8];

	if (make_folder(run) < 0)
		return -1;
	snprintf(path, BENCH_SNAPSHOT_PATH, "%s/%s-%u", folder,
		 run->cell->mode->irqchip == CATNAP_IRQCHIP_USER ? "user" : "kernel", mib);
	snprintf(state, sizeof(state), "%s/" SNAPSHOT_STATE, path);
	return access(state, R_OK) == 0 ? 0 : make(run, mib, path);
}
