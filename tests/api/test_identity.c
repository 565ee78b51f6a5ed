/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests who a VM is, and what its threads do first: names, numbers, state and configuration, the
 * hook on each thread, and what is given by descriptors instead of being opened.
 */
#include "states.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#define VCPUS 2

struct seen {
	pthread_mutex_t lock;
	uint32_t vcpus, io;
	int tids[VCPUS];
	char names[VCPUS][32], io_name[32];
	int fails; /* what vCPU 1's returns */
	char message[512];
};

static void name_of(char *to, size_t size)
{
	pthread_getname_np(pthread_self(), to, size);
}

static int look(void *ctx, uint32_t vcpu)
{
	struct seen *s = ctx;
	int ret = 0;

	pthread_mutex_lock(&s->lock);
	if (vcpu == CATNAP_IO_THREAD_VCPU) {
		s->io++;
		name_of(s->io_name, sizeof(s->io_name));
	} else {
		s->vcpus++;
		s->tids[vcpu] = (int)syscall(SYS_gettid);
		name_of(s->names[vcpu], sizeof(s->names[vcpu]));
		ret = vcpu == 1 ? s->fails : 0;
	}
	pthread_mutex_unlock(&s->lock);
	return ret;
}

static void keep(void *ctx, enum catnap_log_level level, const char *message)
{
	struct seen *s = ctx;

	snprintf(s->message, sizeof(s->message), "%s", message);
}

static void config(struct catnap_vm_config *cfg, struct seen *s, const char *name)
{
	*s = (struct seen){.lock = PTHREAD_MUTEX_INITIALIZER};
	tiny_config(cfg);
	cfg->vcpus = VCPUS;
	cfg->io = CATNAP_IO_THREAD;
	cfg->name = name;
	cfg->thread_start = look;
	cfg->thread_ctx = cfg->log_ctx = s;
	cfg->log = keep;
}

static void threads_have_the_vms_name(void **state)
{
	static const struct {
		const char *name, *vcpu, *io;
	} cases[] = {
		{NULL, "catnap-vcpu1", "catnap-io"},
		{"web-1", "web-1-vcpu1", "web-1-io"},
		{"a_very.long-name-for-a-VM", "a_very.lo-vcpu1", "a_very.long--io"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct catnap_vm_config cfg;
		struct catnap_vm *vm;
		struct seen s;

		config(&cfg, &s, cases[i].name);
		vm = tiny_vm(&cfg, RUNNING);
		assert_string_equal(s.names[1], cases[i].vcpu);
		assert_string_equal(s.io_name, cases[i].io);
		assert_string_equal(catnap_vm_get_name(vm), cases[i].name ? cases[i].name : "");
		assert_int_equal(catnap_vm_destroy(&vm), 0);
	}
}

static void each_thread_is_told_of_once(void **state)
{
	struct catnap_vm_config cfg;
	struct catnap_vm *vm;
	struct seen s;

	config(&cfg, &s, NULL);
	vm = tiny_vm(&cfg, RUNNING);
	assert_int_equal(s.vcpus, VCPUS);
	assert_int_equal(s.io, 1);
	for (uint32_t i = 0; i < VCPUS; i++)
		assert_int_equal(catnap_vm_get_vcpu_tid(vm, i), s.tids[i]);
	assert_true(catnap_vm_get_io_tid(vm) > 0);
	assert_int_equal(catnap_vm_destroy(&vm), 0);
}

/* Tests values that are neither 0 nor a negative errno value. */
static void a_hook_that_returns_something_else_ends_the_start(void **state)
{
	static const int odd[] = {7, -4096, INT_MIN, INT_MAX};

	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		struct catnap_vm_config cfg;
		struct catnap_vm *vm;
		char says[128];
		struct seen s;

		config(&cfg, &s, NULL);
		s.fails = odd[i];
		vm = tiny_vm(&cfg, MADE);
		snprintf(says, sizeof(says),
			 "start: thread_start of vCPU 1: expected 0 or a negative errno value, it "
			 "returned %d",
			 odd[i]);
		assert_int_equal(catnap_vm_start(vm), -EINVAL);
		assert_string_equal(catnap_vm_last_error(vm), says);
		assert_int_equal(catnap_vm_get_state(vm), CATNAP_VM_MADE);
		assert_int_equal(catnap_vm_destroy(&vm), 0);
	}
}

static void an_error_of_the_hook_ends_the_start(void **state)
{
	struct catnap_vm_config cfg;
	struct catnap_vm *vm;
	struct seen s;

	config(&cfg, &s, "web-1");
	s.fails = -EACCES;
	vm = tiny_vm(&cfg, MADE);
	assert_int_equal(catnap_vm_start(vm), -EACCES);
	assert_string_equal(catnap_vm_last_error(vm),
			    "web-1: start: thread_start of vCPU 1: Permission denied");
	assert_int_equal(catnap_vm_get_state(vm), CATNAP_VM_MADE);
	assert_int_equal(catnap_vm_get_vcpu_tid(vm, 0), -ESRCH);
	s.fails = 0;
	assert_int_equal(catnap_vm_start(vm), 0);
	assert_int_equal(s.vcpus, 2 * VCPUS);
	assert_int_equal(catnap_vm_destroy(&vm), 0);
}

static void a_name_is_checked_and_kept(void **state)
{
	static const char *const bad[] = {"", "a b", "a/b", "a\n", "\xc3\xa4"};
	char longest[CATNAP_MAX_NAME + 2];
	struct catnap_vm_config cfg;
	struct catnap_vm *vm;

	tiny_config(&cfg);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cfg.name = bad[i];
		assert_int_equal(catnap_vm_create(&cfg, &vm), -EINVAL);
		assert_non_null(strstr(catnap_vm_last_error(NULL), "name: expected"));
	}
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	cfg.name = longest;
	assert_int_equal(catnap_vm_create(&cfg, &vm), -EINVAL);
	longest[CATNAP_MAX_NAME] = '\0';
	vm = tiny_vm(&cfg, MADE);
	longest[0] = 'y'; /* it has a copy */
	assert_int_equal(catnap_vm_get_name(vm)[0], 'x');
	assert_int_equal(catnap_vm_update_disk(vm, 3, NULL), -ENOENT);
	assert_memory_equal(catnap_vm_last_error(vm) + CATNAP_MAX_NAME, ": disk", 6);
	assert_int_equal(catnap_vm_destroy(&vm), 0);
}

/* mov dx, 0x505; mov al, 2; out dx, al; again: hlt; jmp again: it says that it panicked */
static const uint8_t crashing[] = {0xba, 0x05, 0x05, 0xb0, 2, 0xee, 0xf4, 0xeb, 0xfd};

static void messages_have_the_name(void **state)
{
	struct catnap_vm_config cfg;
	struct catnap_vm *vm;
	struct seen s;

	config(&cfg, &s, "web-1");
	cfg.kernel_data = crashing;
	cfg.kernel_size = sizeof(crashing);
	vm = tiny_vm(&cfg, RUNNING);
	for (uint64_t begin = now_ns(); now_ns() - begin < LIMIT; usleep(1000)) {
		if (catnap_vm_pause(vm) < 0)
			break;
		if (s.message[0])
			break;
		catnap_vm_resume(vm);
	}
	assert_int_equal(catnap_vm_destroy(&vm), 0);
	assert_memory_equal(s.message, "web-1: ", 7);
}

static void state_and_configuration_are_told(void **state)
{
	struct catnap_vm_config cfg, got = {.size = sizeof(got)};
	const int32_t any[VCPUS] = {-1, -1};
	struct catnap_vm *vm;
	struct seen s;

	config(&cfg, &s, "web-1");
	cfg.vcpu_affinity = any;
	vm = tiny_vm(&cfg, MADE);
	assert_int_equal(catnap_vm_get_state(vm), CATNAP_VM_MADE);
	assert_int_equal(catnap_vm_get_vcpu_count(vm), VCPUS);
	assert_int_equal(catnap_vm_get_config(vm, &got), 0);
	assert_int_equal(got.size, sizeof(got));
	assert_int_equal(got.vcpus, VCPUS);
	assert_int_equal(got.memory_size, cfg.memory_size);
	assert_string_equal(got.name, "web-1");
	assert_ptr_not_equal(got.vcpu_affinity, any);
	assert_int_equal(got.vcpu_affinity[1], -1);
	assert_null(got.kernel_data);
	assert_ptr_equal(got.thread_ctx, &s);
	assert_int_equal(catnap_vm_start(vm), 0);
	assert_int_equal(catnap_vm_get_state(vm), CATNAP_VM_RUNNING);
	assert_int_equal(catnap_vm_pause(vm), 0);
	assert_int_equal(catnap_vm_get_state(vm), CATNAP_VM_PAUSED);
	assert_int_equal(catnap_vm_resume(vm), 0);
	assert_int_equal(catnap_vm_get_state(vm), CATNAP_VM_RUNNING);
	assert_int_equal(catnap_vm_stop(vm), 0);
	assert_int_equal(catnap_vm_get_state(vm), CATNAP_VM_ENDED);
	assert_int_equal(catnap_vm_destroy(&vm), 0);
}

/* -- descriptors ------------------------------------------------------------------------------ */

static void kvm_is_taken_from_a_descriptor(void **state)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), null = open("/dev/null", O_RDWR);
	struct catnap_vm_config cfg;
	struct catnap_vm *vm;

	assert_true(kvm >= 0 && null >= 0);
	tiny_config(&cfg);
	cfg.kvm_fd = kvm;
	vm = tiny_vm(&cfg, MADE);
	close(kvm); /* it was needed for create only */
	assert_int_equal(catnap_vm_start(vm), 0);
	assert_int_equal(catnap_vm_destroy(&vm), 0);
	cfg.kvm_fd = 12345;
	assert_int_equal(catnap_vm_create(&cfg, &vm), -EBADF);
	assert_non_null(strstr(catnap_vm_last_error(NULL), "kvm_fd: descriptor 12345"));
	cfg.kvm_fd = null;
	assert_true(catnap_vm_create(&cfg, &vm) < 0);
	assert_true(fcntl(null, F_GETFD) >= 0);
	close(null);
}

static int file_with(const char *folder, const char *name, const char *text)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	unlink(path);
	return fd;
}

static void refused(struct catnap_vm_config *cfg, const char *says)
{
	struct catnap_vm *vm;

	assert_true(catnap_vm_create(cfg, &vm) < 0);
	if (!strstr(catnap_vm_last_error(NULL), says))
		fail_msg("said \"%s\"", catnap_vm_last_error(NULL));
}

static void pressure_is_read_where_it_is_said(void **state)
{
	char folder[] = "/tmp/catnap-identity-XXXXXX";
	struct catnap_vm_config cfg;
	struct catnap_vm *vm;
	int stall, stat;

	assert_non_null(mkdtemp(folder));
	tiny_config(&cfg);
	cfg.cgroup = "/nonexistent/group";
	refused(&cfg, "cgroup: /nonexistent/group");
	cfg.cgroup = folder;
	refused(&cfg, "expected a folder with cpu.pressure");
	stall = file_with(folder, "cpu.pressure", "some avg10=0.00 avg60=0.00 total=1\n");
	stat = file_with(folder, "cpu.stat", "nr_periods 1\nnr_throttled 0\n");
	cfg.pressure_fd = stall;
	refused(&cfg, "not both");
	cfg.cgroup = NULL;
	cfg.pressure_fd = stat;
	refused(&cfg, "pressure_fd: descriptor");
	cfg.pressure_fd = stall;
	cfg.throttle_fd = stat;
	vm = tiny_vm(&cfg, RUNNING);
	assert_int_equal(catnap_vm_destroy(&vm), 0);
	/* They are still the caller's. */
	assert_int_equal(close(stall), 0);
	assert_int_equal(close(stat), 0);
	rmdir(folder);
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* A file that has no name any more: only a descriptor leads to it. */
static int image(int flags)
{
	char path[] = "/tmp/catnap-identity-XXXXXX";
	int made = mkstemp(path), fd;

	assert_true(made >= 0);
	assert_int_equal(ftruncate(made, 1 << 20), 0);
	fd = open(path, flags | O_CLOEXEC);
	assert_true(fd >= 0);
	close(made);
	unlink(path);
	return fd;
}

static int add_disk(struct catnap_vm *vm, int fd, bool readonly, const char *path)
{
	struct catnap_disk disk;

	catnap_disk_init(&disk);
	disk.fd = fd;
	disk.readonly = readonly;
	disk.path = path;
	return catnap_vm_add_disk(vm, &disk);
}

static void a_disk_is_taken_when_it_is_added(void **state)
{
	int fd = image(O_RDWR), reads = image(O_RDONLY), appends = image(O_RDWR | O_APPEND);
	struct catnap_device_stats stats = {.size = sizeof(stats)};
	struct catnap_vm_config cfg;
	struct catnap_vm *vm;
	uint64_t bytes = 0;

	tiny_config(&cfg);
	vm = tiny_vm(&cfg, MADE);
	assert_int_equal(add_disk(vm, fd, false, "/tmp/both"), -EINVAL);
	assert_non_null(strstr(catnap_vm_last_error(vm), "not both"));
	assert_int_equal(add_disk(vm, reads, false, NULL), -EINVAL);
	assert_non_null(strstr(catnap_vm_last_error(vm), "open to read and write"));
	assert_int_equal(add_disk(vm, appends, false, NULL), -EINVAL);
	assert_int_equal(add_disk(vm, 12345, false, NULL), -EBADF);
	assert_true(is_open(fd) && is_open(reads) && is_open(appends));
	assert_int_equal(add_disk(vm, fd, false, NULL), 0);
	assert_false(is_open(fd));
	assert_int_equal(add_disk(vm, reads, true, NULL), 0);
	assert_false(is_open(reads));
	assert_int_equal(catnap_vm_update_disk(vm, 0, &bytes), 0);
	assert_int_equal(bytes, 1 << 20);
	assert_int_equal(catnap_vm_get_device_stats(vm, 0, &stats), 0);
	assert_memory_equal(stats.name, "disk descriptor ", 16);
	close(appends);
	assert_int_equal(catnap_vm_destroy(&vm), 0);
}

static int listener(const char *path, int type)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 1), 0);
	return fd;
}

static void a_listening_socket_is_taken_and_not_removed(void **state)
{
	char folder[] = "/tmp/catnap-identity-XXXXXX", path[64], other[64];
	struct catnap_vm_config cfg;
	struct catnap_vsock vsock;
	struct catnap_vm *vm;
	int fd, wrong;

	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/s", folder);
	snprintf(other, sizeof(other), "%s/d", folder);
	wrong = listener(other, SOCK_DGRAM);
	fd = listener(path, SOCK_STREAM);
	tiny_config(&cfg);
	vm = tiny_vm(&cfg, MADE);
	catnap_vsock_init(&vsock);
	vsock.cid = 3;
	vsock.fd = wrong;
	assert_int_equal(catnap_vm_set_vsock(vm, &vsock), -EINVAL);
	assert_non_null(strstr(catnap_vm_last_error(vm), "that listens"));
	vsock.fd = 12345;
	assert_int_equal(catnap_vm_set_vsock(vm, &vsock), -EBADF);
	vsock.fd = fd;
	assert_int_equal(catnap_vm_set_vsock(vm, &vsock), 0);
	assert_true(is_open(wrong) && !is_open(fd));
	assert_int_equal(catnap_vm_start(vm), 0);
	assert_int_equal(catnap_vm_destroy(&vm), 0);
	assert_int_equal(access(path, F_OK), 0);
	close(wrong);
	unlink(path);
	unlink(other);
	rmdir(folder);
}

static void a_tap_has_to_be_one(void **state)
{
	int32_t fds[] = {open("/dev/null", O_RDWR | O_CLOEXEC)};
	struct catnap_vm_config cfg;
	struct catnap_net net;
	struct catnap_vm *vm;

	tiny_config(&cfg);
	vm = tiny_vm(&cfg, MADE);
	catnap_net_init(&net);
	net.tap_fds = fds;
	assert_int_equal(catnap_vm_add_net(vm, &net), -EINVAL);
	assert_non_null(strstr(catnap_vm_last_error(vm), "not a queue of a TAP interface"));
	assert_true(is_open(fds[0]));
	close(fds[0]);
	assert_int_equal(catnap_vm_add_net(vm, &net), -EBADF);
	net.tap = "tap0";
	assert_int_equal(catnap_vm_add_net(vm, &net), -EINVAL);
	assert_int_equal(catnap_vm_destroy(&vm), 0);
}

/* In a child of its own, as there is no way back. */
static int run_a_second_one_inside(void)
{
	struct catnap_sandbox_config sandbox;
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), disk = image(O_RDWR);
	struct catnap_vm *first, *second;
	struct catnap_vm_config cfg;

	tiny_config(&cfg);
	cfg.sandbox = CATNAP_SANDBOX_ON;
	cfg.kvm_fd = kvm;
	if (catnap_vm_create(&cfg, &first) < 0)
		return 1;
	catnap_sandbox_config_init(&sandbox);
	if (catnap_sandbox_enter(&sandbox) < 0)
		return 2;
	if (catnap_vm_start(first) < 0)
		return 3;
	if (catnap_sandbox_available() & CATNAP_SANDBOX_HAS_LANDLOCK) {
		cfg.kvm_fd = -1;
		if (catnap_vm_create(&cfg, &second) >= 0) /* nothing is opened in there */
			return 4;
		cfg.kvm_fd = kvm;
	}
	if (catnap_vm_create(&cfg, &second) < 0 || add_disk(second, disk, false, NULL) < 0 ||
	    catnap_vm_start(second) < 0 || catnap_vm_pause(second) < 0 ||
	    catnap_vm_resume(second) < 0) {
		fprintf(stderr, "%s\n", catnap_vm_last_error(NULL));
		return 5;
	}
	if (catnap_vm_destroy(&second) < 0 || catnap_vm_destroy(&first) < 0)
		return 6;
	return 42;
}

static void a_second_one_runs_in_the_sandbox(void **state)
{
	int status = 0;
	pid_t pid;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	skip(); /* they make system calls of their own */
#endif
	if (!(catnap_sandbox_available() & CATNAP_SANDBOX_HAS_SECCOMP))
		skip();
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(run_a_second_one_inside());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 42 << 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads_have_the_vms_name),
		cmocka_unit_test(each_thread_is_told_of_once),
		cmocka_unit_test(an_error_of_the_hook_ends_the_start),
		cmocka_unit_test(a_hook_that_returns_something_else_ends_the_start),
		cmocka_unit_test(a_name_is_checked_and_kept),
		cmocka_unit_test(messages_have_the_name),
		cmocka_unit_test(state_and_configuration_are_told),
		cmocka_unit_test(kvm_is_taken_from_a_descriptor),
		cmocka_unit_test(pressure_is_read_where_it_is_said),
		cmocka_unit_test(a_disk_is_taken_when_it_is_added),
		cmocka_unit_test(a_listening_socket_is_taken_and_not_removed),
		cmocka_unit_test(a_tap_has_to_be_one),
		cmocka_unit_test(a_second_one_runs_in_the_sandbox),
	};

	if (access("/dev/kvm", R_OK | W_OK) < 0)
		return SKIP;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
