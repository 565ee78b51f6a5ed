/* SPDX-License-Identifier: Apache-2.0 */
/* The smallest program around libcatnap: minimal IMAGE [COMMAND-LINE] runs a guest until it
 * ends. */
#include <stdio.h>
#include <unistd.h>

#include <catnap/catnap.h>

static void print(void *ctx, const void *data, size_t len)
{
	fwrite(data, 1, len, stdout);
}

int main(int argc, char **argv)
{
	struct catnap_vm_config cfg;
	struct catnap_exit end = {.size = sizeof(end)};
	struct catnap_vcpu_stats stats = {.size = sizeof(stats)};
	struct catnap_vm *vm;

	if (argc < 2)
		return 2;
	catnap_vm_config_init(&cfg);
	cfg.kernel_path = argv[1];
	cfg.cmdline = argc > 2 ? argv[2] : NULL;
	cfg.memory_size = 64 << 20;
	cfg.debug_exit_port = 0xf4;
	cfg.serial_output = print;
	cfg.halt_poll.policy = CATNAP_POLICY_KERNEL;
	cfg.halt_poll.max_ns = 100000;

	if (catnap_vm_create(&cfg, &vm) < 0) {
		fprintf(stderr, "minimal: %s\n", catnap_vm_last_error(NULL));
		return 1;
	}
	if (catnap_vm_start(vm) < 0 || catnap_vm_wait(vm, CATNAP_NO_DEADLINE, &end) < 0) {
		fprintf(stderr, "minimal: %s\n", catnap_vm_last_error(vm));
		catnap_vm_destroy(&vm);
		return 1;
	}
	catnap_vm_get_stats(vm, 0, &stats);
	printf("ended for reason %u, code %d, after %llu halts\n%s", end.reason, end.code,
	       (unsigned long long)stats.halt.halt_exits, end.report);
	catnap_vm_destroy(&vm);
	return end.reason == CATNAP_EXIT_DEBUG ? 0 : 1;
}
