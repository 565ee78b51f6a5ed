/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_unload LIBRARY: a program that loads the library, runs a guest, and gives the library back
 * survives a kick signal that comes after that; and it can load and use the library again.
 */
#include <dlfcn.h>
#include <signal.h>

#include "guest.h"

struct calls {
	__typeof__(&catnap_host_tsc_khz) tsc_khz;
	void (*config_init)(struct catnap_vm_config *cfg, size_t size);
	__typeof__(&catnap_vm_create) create;
	__typeof__(&catnap_vm_start) start;
	__typeof__(&catnap_vm_wait) wait;
	__typeof__(&catnap_vm_destroy) destroy;
	__typeof__(&catnap_vm_last_error) last_error;
};

#define CALL(member, name)                           \
	{                                            \
		name, offsetof(struct calls, member) \
	}

static const struct {
	const char *name;
	size_t at;
} names[] = {
	CALL(tsc_khz, "catnap_host_tsc_khz"),
	CALL(config_init, "catnap_vm_config_init_sized"),
	CALL(create, "catnap_vm_create"),
	CALL(start, "catnap_vm_start"),
	CALL(wait, "catnap_vm_wait"),
	CALL(destroy, "catnap_vm_destroy"),
	CALL(last_error, "catnap_vm_last_error"),
};

static int load(void *lib, struct calls *c)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		void *p = dlsym(lib, names[i].name);

		if (!p) {
			fprintf(stderr, "%s: %s\n", names[i].name, dlerror());
			return -1;
		}
		memcpy((char *)c + names[i].at, &p, sizeof(p));
	}
	return 0;
}

static int run_guest(const struct calls *c)
{
	struct catnap_exit e = {.size = sizeof(e)};
	struct catnap_vm_config cfg;
	struct catnap_vm *vm;
	char cmdline[128];
	int ret;

	snprintf(cmdline, sizeof(cmdline), "tsc_khz=%u exit=%d workload=start", c->tsc_khz(),
		 EXIT_PORT);
	c->config_init(&cfg, sizeof(cfg));
	cfg.memory_size = UINT64_C(8) << 20;
	cfg.kernel_data = probe_image;
	cfg.kernel_size = probe_image_size;
	cfg.cmdline = cmdline;
	cfg.debug_exit_port = EXIT_PORT;
	if (c->create(&cfg, &vm) < 0) {
		fprintf(stderr, "create: %s\n", c->last_error(NULL));
		return -1;
	}
	ret = c->start(vm);
	if (ret == 0)
		ret = c->wait(vm, UINT64_C(60000000000), &e);
	if (ret < 0 || e.code != PROBE_EXIT_OK)
		fprintf(stderr, "the guest did not end well: %s\n", c->last_error(vm));
	c->destroy(&vm);
	return ret < 0 || e.code != PROBE_EXIT_OK ? -1 : 0;
}

static int load_use_and_unload(const char *path)
{
	void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	struct calls calls;
	int ret;

	if (!lib) {
		fprintf(stderr, "%s\n", dlerror());
		return -1;
	}
	ret = load(lib, &calls) < 0 ? -1 : run_guest(&calls);
	if (dlclose(lib) != 0)
		ret = -1;
	return ret;
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	if (access("/dev/kvm", R_OK | W_OK) < 0) {
		fprintf(stderr, "/dev/kvm: %s: skipped\n", strerror(errno));
		return SKIP;
	}
	for (int i = 0; i < 3; i++) {
		if (load_use_and_unload(argv[1]) < 0)
			return 1;
		if (raise(SIGRTMIN) != 0)
			return 1;
	}
	return 0;
}
