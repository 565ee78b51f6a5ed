/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One VM by the library, with every device that needs nothing of the host, ended in the middle of
 * its work; prints how many microseconds that took. For ends.py.
 *
 *	ends_api GUEST DISK SOCKET VCPUS user|kernel vcpu|thread stop|request|callback|destroy MS
 *
 * Its output is not taken from the first byte on, until the VM is to end.
 */
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <catnap/catnap.h>

struct state {
	struct catnap_vm *vm;
	_Atomic bool in_callback; /* the callback is to end it */
	_Atomic uint64_t asked;
};

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void output(void *ctx, const void *data, size_t len)
{
	struct state *s = ctx;
	struct pollfd p = {.fd = catnap_vm_get_stopping_fd(s->vm), .events = POLLIN};

	while (poll(&p, 1, 1) == 0)
		if (atomic_exchange(&s->in_callback, false)) {
			atomic_store(&s->asked, now_us());
			catnap_vm_request_stop(s->vm);
		}
}

static void drop_log(void *ctx, enum catnap_log_level level, const char *message)
{
}

static int failed(const char *what, struct catnap_vm *vm)
{
	fprintf(stderr, "%s: %s\n", what, catnap_vm_last_error(vm));
	return 1;
}

static int add_devices(struct state *s, char **argv)
{
	struct catnap_disk disk;
	struct catnap_vsock vsock;
	struct catnap_console console;
	struct catnap_balloon balloon;

	catnap_disk_init(&disk);
	disk.path = argv[2];
	catnap_vsock_init(&vsock);
	vsock.cid = 3;
	vsock.path = argv[3];
	catnap_console_init(&console);
	console.output = output;
	console.ctx = s;
	catnap_balloon_init(&balloon);
	if (catnap_vm_add_disk(s->vm, &disk) < 0 || catnap_vm_set_vsock(s->vm, &vsock) < 0 ||
	    catnap_vm_set_console(s->vm, &console) < 0 ||
	    catnap_vm_set_balloon(s->vm, &balloon) < 0)
		return -1;
	return 0;
}

static void end(struct state *s, const char *how)
{
	atomic_store(&s->asked, now_us());
	if (strcmp(how, "callback") == 0)
		atomic_store(&s->in_callback, true);
	else if (strcmp(how, "request") == 0)
		catnap_vm_request_stop(s->vm);
	else if (strcmp(how, "stop") == 0)
		catnap_vm_stop(s->vm);
}

int main(int argc, char **argv)
{
	struct catnap_vm_config cfg;
	struct state s = {.vm = NULL};
	struct catnap_exit e = {.size = sizeof(e)};
	char cmdline[64];

	if (argc != 9)
		return 2;
	catnap_vm_config_init(&cfg);
	cfg.kernel_path = argv[1];
	cfg.memory_size = UINT64_C(32) << 20;
	cfg.vcpus = (uint32_t)atoi(argv[4]);
	snprintf(cmdline, sizeof(cmdline), "cpus=%u print=1", cfg.vcpus);
	cfg.cmdline = cmdline;
	cfg.irqchip = strcmp(argv[5], "kernel") == 0;
	cfg.io = strcmp(argv[6], "thread") == 0;
	cfg.transport = CATNAP_TRANSPORT_MMIO;
	cfg.rng = 1;
	cfg.serial_output = output;
	cfg.serial_ctx = &s;
	cfg.log = drop_log;
	if (catnap_vm_create(&cfg, &s.vm) < 0)
		return failed("create", NULL);
	if (add_devices(&s, argv) < 0 || catnap_vm_start(s.vm) < 0)
		return failed("start", s.vm);
	usleep((useconds_t)(atoi(argv[8]) * 1000));
	end(&s, argv[7]);
	if (strcmp(argv[7], "destroy") != 0 && catnap_vm_wait(s.vm, UINT64_C(60000000000), &e) < 0)
		return failed("wait", s.vm);
	catnap_vm_destroy(&s.vm);
	printf("%llu\n", (unsigned long long)(now_us() - atomic_load(&s.asked)));
	return e.reason == CATNAP_EXIT_STOPPED || strcmp(argv[7], "destroy") == 0 ? 0 : 1;
}
