/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reset in place: whatever a guest was doing, it begins anew and then does all of its work, in the
 * same VM. The guests are those of tests/guest: each ends well only if processors, interrupts and
 * devices are what it expects of a machine that was switched on.
 */
#include "states.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define WELL 0x21 /* PASSED in tests/guest/lib/guest.h */

static const char *images; /* the folder of guests */

/*
 * Says how often it has been here since memory was empty, and asks for a reset: mov al, [0x9000];
 * add al, 'A'; mov dx, 0x3f8; out dx, al; inc byte [0x9000]; mov al, 0xfe; out 0x64, al;
 * again: hlt; jmp again
 */
static const uint8_t starts_over[] = {0xa0, 0x00, 0x90, 0x04, 'A',  0xba, 0xf8, 0x03, 0xee, 0xfe,
				      0x06, 0x00, 0x90, 0xb0, 0xfe, 0xe6, 0x64, 0xf4, 0xeb, 0xfd};

struct output {
	_Atomic unsigned int count;
	_Atomic bool odd;
};

static void count_output(void *ctx, const void *data, size_t len)
{
	struct output *o = ctx;

	for (size_t i = 0; i < len; i++)
		if (((const char *)data)[i] != 'A')
			atomic_store(&o->odd, true);
	atomic_fetch_add(&o->count, (unsigned int)len);
}

static bool readable_within(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, ms) == 1;
}

static struct catnap_event next(struct catnap_vm *vm)
{
	struct catnap_event e = {.size = sizeof(e)};

	assert_true(readable_within(catnap_vm_get_event_fd(vm), 60000));
	assert_int_equal(catnap_vm_next_event(vm, &e), 0);
	return e;
}

static void make_starting_over(struct catnap_vm_config *cfg, struct output *o, uint32_t n)
{
	tiny_config(cfg);
	cfg->kernel_data = starts_over;
	cfg->kernel_size = sizeof(starts_over);
	cfg->serial_output = count_output;
	cfg->serial_ctx = o;
	cfg->irqchip = n & 1;
	cfg->io = n >> 1 & 1;
	cfg->vcpus = 1 + (n & 2);
	cfg->on_reset = CATNAP_ON_RESET_RESTART;
	/* Memory of each kind is empty again. */
	cfg->memory_shared = n & 1;
	cfg->memory_prefault = n == 2;
	cfg->memory_lock = n == 3;
}

static void a_guest_may_reset_itself(void **state)
{
	for (uint32_t n = 0; n < 4; n++) {
		struct output o = {.count = 0};
		struct catnap_vm_config cfg;
		struct catnap_vm *vm;

		make_starting_over(&cfg, &o, n);
		vm = tiny_vm(&cfg, RUNNING);
		assert_int_equal(next(vm).type, CATNAP_EVENT_STARTED);
		for (int i = 0; i < 5; i++) {
			struct catnap_event e = next(vm);

			assert_int_equal(e.type, CATNAP_EVENT_RESET);
			assert_int_equal(e.vcpu, 0);
			assert_int_equal(next(vm).type, CATNAP_EVENT_RESTARTED);
		}
		assert_int_equal(catnap_vm_get_state(vm), CATNAP_VM_RUNNING);
		assert_int_equal(catnap_vm_stop(vm), 0);
		assert_true(atomic_load(&o.count) >= 5);
		assert_false(atomic_load(&o.odd));
		assert_int_equal(catnap_vm_destroy(&vm), 0);
	}
}

/* Once for each pause, and the first instruction is still to come. */
static void a_paused_one_stays_paused(void **state)
{
	for (uint32_t irqchip = 0; irqchip < 2; irqchip++) {
		struct output o = {.count = 0};
		struct catnap_vm_config cfg;
		struct catnap_vm *vm;
		unsigned int before;

		make_starting_over(&cfg, &o, irqchip);
		vm = tiny_vm(&cfg, RUNNING);
		for (int i = 0; i < 5; i++) {
			assert_int_equal(catnap_vm_pause(vm), 0);
			before = atomic_load(&o.count);
			assert_int_equal(catnap_vm_reset(vm), 0);
			assert_int_equal(catnap_vm_get_state(vm), CATNAP_VM_PAUSED);
			assert_true(readable_within(catnap_vm_get_paused_fd(vm), 0));
			usleep(2000);
			assert_int_equal(atomic_load(&o.count), before);
			assert_int_equal(catnap_vm_resume(vm), 0);
			for (uint64_t begin = now_ns(); atomic_load(&o.count) == before;
			     usleep(100))
				assert_true(now_ns() - begin < LIMIT);
		}
		assert_false(atomic_load(&o.odd));
		assert_int_equal(catnap_vm_destroy(&vm), 0);
	}
}

struct play {
	const char *image, *cmdline;
	uint32_t vcpus, irqchip, io, transport, sandbox;
	bool disk;
};

static struct catnap_vm *make(const struct play *p, char *path)
{
	struct catnap_vm_config cfg;
	struct catnap_disk disk;
	struct catnap_vm *vm;
	char image[512];
	int fd;

	snprintf(image, sizeof(image), "%s/%s", images, p->image);
	catnap_vm_config_init(&cfg);
	cfg.kernel_path = image;
	cfg.cmdline = p->cmdline;
	cfg.memory_size = UINT64_C(16) << 20;
	cfg.vcpus = p->vcpus;
	cfg.irqchip = p->irqchip;
	cfg.io = p->io;
	cfg.transport = p->transport;
	cfg.sandbox = p->sandbox;
	cfg.rng = !p->disk;
	cfg.debug_exit_port = 0xf4;
	cfg.on_reset = CATNAP_ON_RESET_RESTART;
	if (catnap_vm_create(&cfg, &vm) < 0)
		fail_msg("%s", catnap_vm_last_error(NULL));
	if (p->disk) {
		strcpy(path, "/tmp/catnap-reset-XXXXXX");
		fd = mkstemp(path);
		assert_true(fd >= 0);
		assert_int_equal(ftruncate(fd, 1 << 20), 0);
		close(fd);
		catnap_disk_init(&disk);
		disk.path = path;
		disk.id = "a-disk";
		assert_int_equal(catnap_vm_add_disk(vm, &disk), 0);
		unlink(path);
	}
	return vm;
}

/* Resets it in the midst of things; then it does its work. */
static void play(const struct play *p, unsigned int *seed)
{
	struct catnap_exit e = {.size = sizeof(e)};
	struct catnap_event event = {.size = sizeof(event)};
	unsigned int restarted = 0;
	char path[64] = "";
	struct catnap_vm *vm = make(p, path);

	assert_int_equal(catnap_vm_start(vm), 0);
	for (unsigned int i = 0; i < 6; i++) {
		bool pause = rand_r(seed) % 3 == 0;
		int ret;

		usleep((useconds_t)(rand_r(seed) % 30000));
		if (pause && catnap_vm_pause(vm) < 0)
			break;
		ret = catnap_vm_reset(vm);
		if (ret < 0 && ret != -EINVAL)
			fail_msg("%s", catnap_vm_last_error(vm));
		if (ret < 0) /* it was done already */
			break;
		restarted++;
		if (pause && catnap_vm_resume(vm) < 0)
			break;
	}
	if (catnap_vm_wait(vm, 5 * LIMIT, &e) < 0)
		fail_msg("%s %s: irqchip %u, io %u: %s", p->image, p->cmdline, p->irqchip, p->io,
			 catnap_vm_last_error(vm));
	if (e.reason != CATNAP_EXIT_DEBUG || e.code != WELL)
		fail_msg("%s %s: irqchip %u, io %u, after %u resets: ended with %u, %d: %s",
			 p->image, p->cmdline, p->irqchip, p->io, restarted, e.reason, e.code,
			 e.report);
	while (catnap_vm_next_event(vm, &event) == 0)
		restarted -= event.type == CATNAP_EVENT_RESTARTED;
	assert_int_equal(restarted, 0);
	assert_int_equal(catnap_vm_destroy(&vm), 0);
}

static void every_machine_is_as_at_power_on(void **state)
{
	static const struct play plays[] = {
		{"foreign.elf", "how=mmio irqchip=user", 1, 0, 0, CATNAP_TRANSPORT_MMIO, 0, false},
		{"foreign.elf", "how=mmio irqchip=kernel", 1, 1, 1, CATNAP_TRANSPORT_MMIO, 0,
		 false},
		{"foreign.elf", "how=pci irqchip=user", 1, 0, 1, CATNAP_TRANSPORT_PCI, 0, false},
		{"foreign.elf", "how=pci irqchip=kernel", 1, 1, 0, CATNAP_TRANSPORT_PCI, 0, false},
		{"foreign.elf", "how=window irqchip=user", 1, 0, 0, CATNAP_TRANSPORT_PCI, 0, false},
		{"foreign.elf", "how=window irqchip=kernel", 1, 1, 1, CATNAP_TRANSPORT_PCI, 0,
		 false},
		{"blk.elf", "cpus=2 how=hlt only_transfer=1", 2, 0, 0, CATNAP_TRANSPORT_MMIO, 0,
		 true},
		{"blk.elf", "cpus=2 how=spin only_transfer=1", 2, 0, 1, CATNAP_TRANSPORT_MMIO, 0,
		 true},
		{"blk.elf", "cpus=2 how=hlt only_transfer=1", 2, 1, 0, CATNAP_TRANSPORT_MMIO, 0,
		 true},
		{"blk.elf", "cpus=2 how=hlt only_transfer=1", 2, 1, 1, CATNAP_TRANSPORT_MMIO, 0,
		 true},
		{"smp.elf", "cpus=3", 3, 0, 0, CATNAP_TRANSPORT_PCI, 0, false},
		{"smp.elf", "cpus=3", 3, 1, 0, CATNAP_TRANSPORT_PCI, 0, false},
		{"timer.elf", "apic=x2apic", 1, 0, 0, CATNAP_TRANSPORT_PCI, 0, false},
		{"timer.elf", "apic=x2apic", 1, 1, 0, CATNAP_TRANSPORT_PCI, 0, false},
		{"hostile_pci.elf", "cpus=2 seed=2 rounds=40", 2, 0, 0, CATNAP_TRANSPORT_PCI, 0,
		 false},
		{"hostile_pci.elf", "cpus=2 seed=3 rounds=40", 2, 1, 1, CATNAP_TRANSPORT_PCI, 0,
		 false},
		{"hostile.elf", "cpus=1 seed=4 rounds=9", 1, 0, 0, CATNAP_TRANSPORT_MMIO, 0, false},
	};
	unsigned int seed = 1;

	for (size_t i = 0; i < sizeof(plays) / sizeof(plays[0]); i++)
		play(&plays[i], &seed);
}

/* Where it may run, and what it may call, has been settled before. */
static int play_in_sandbox(uint32_t irqchip)
{
	const struct play p = {"blk.elf",
			       "cpus=2 how=hlt only_transfer=1",
			       2,
			       irqchip,
			       0,
			       CATNAP_TRANSPORT_MMIO,
			       CATNAP_SANDBOX_ON,
			       true};
	unsigned int seed = 7;

	play(&p, &seed);
	return 42;
}

static void a_sandbox_does_not_mind(void **state)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	skip(); /* they make system calls of their own */
#endif
	if (!(catnap_sandbox_available() & CATNAP_SANDBOX_HAS_SECCOMP))
		skip();
	for (uint32_t irqchip = 0; irqchip < 2; irqchip++) {
		pid_t pid = fork();
		int status;

		assert_true(pid >= 0);
		if (pid == 0) {
			prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
			_exit(play_in_sandbox(irqchip));
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 42 << 8);
	}
}

/* Callers from several threads, while it is paused and resumed: each is served. */
static void *reset_often(void *arg)
{
	struct catnap_vm *vm = arg;

	for (int i = 0; i < 20; i++)
		if (catnap_vm_reset(vm) < 0)
			return "failed";
	return NULL;
}

static void many_may_ask(void **state)
{
	struct output o = {.count = 0};
	struct catnap_vm_config cfg;
	struct catnap_vm *vm;
	pthread_t threads[3];
	void *failed;

	make_starting_over(&cfg, &o, 2);
	vm = tiny_vm(&cfg, RUNNING);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, reset_often, vm), 0);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(catnap_vm_pause(vm), 0);
		assert_int_equal(catnap_vm_resume(vm), 0);
	}
	for (int i = 0; i < 3; i++) {
		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
	assert_int_equal(catnap_vm_stop(vm), 0);
	assert_false(atomic_load(&o.odd));
	assert_int_equal(catnap_vm_destroy(&vm), 0);
}

/* The file is not what it was: the VM ends, and says so. */
static void an_image_that_is_gone_ends_it(void **state)
{
	char path[] = "/tmp/catnap-reset-XXXXXX";
	struct catnap_exit e = {.size = sizeof(e)};
	struct catnap_vm_config cfg;
	struct catnap_vm *vm;
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, halting, sizeof(halting)), sizeof(halting));
	tiny_config(&cfg);
	cfg.kernel_data = NULL;
	cfg.kernel_path = path;
	cfg.on_reset = CATNAP_ON_RESET_RESTART;
	vm = tiny_vm(&cfg, RUNNING);
	unlink(path);
	assert_int_equal(catnap_vm_reset(vm), 0); /* it is still open */
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(catnap_vm_reset(vm), -EINVAL);
	assert_int_equal(catnap_vm_wait(vm, LIMIT, &e), 0);
	assert_int_equal(e.reason, CATNAP_EXIT_HOST_ERROR);
	assert_non_null(strstr(e.report, "the reset: kernel"));
	assert_int_equal(catnap_vm_destroy(&vm), 0);
	close(fd);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_guest_may_reset_itself),
		cmocka_unit_test(a_paused_one_stays_paused),
		cmocka_unit_test(every_machine_is_as_at_power_on),
		cmocka_unit_test(a_sandbox_does_not_mind),
		cmocka_unit_test(many_may_ask),
		cmocka_unit_test(an_image_that_is_gone_ends_it),
	};

	if (argc != 2)
		return 2;
	images = argv[1];
	if (access("/dev/kvm", R_OK | W_OK) < 0)
		return SKIP;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
