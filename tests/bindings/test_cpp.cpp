/* SPDX-License-Identifier: Apache-2.0 */
/* catnap.hpp: what goes out of scope is gone, what fails throws, what calls back is called. */
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <type_traits>

#include <dirent.h>
#include <fcntl.h>

#include <catnap/catnap.hpp>

using namespace std::chrono_literals;

#define CHECK(what)                                                                     \
	do {                                                                            \
		if (!(what)) {                                                          \
			std::fprintf(stderr, "not ok: line %d: %s\n", __LINE__, #what); \
			std::exit(1);                                                   \
		}                                                                       \
	} while (0)

static_assert(!std::is_copy_constructible_v<catnap::vm> &&
	      std::is_nothrow_move_constructible_v<catnap::vm> &&
	      std::is_nothrow_move_assignable_v<catnap::vm> &&
	      !std::is_copy_constructible_v<catnap::halter>);

/* again: mov dx,0x3fd; in al,dx; test al,1; jz again; mov dx,0x3f8; in al,dx; cmp al,'x'; je end;
 * out dx,al; jmp again; end: mov dx,0xf4; mov al,7; out dx,al; hlt */
static const uint8_t echo[] = {0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf8, 0xba,
			       0xf8, 0x03, 0xec, 0x3c, 0x78, 0x74, 0x03, 0xee, 0xeb,
			       0xed, 0xba, 0xf4, 0x00, 0xb0, 0x07, 0xee, 0xf4};

static unsigned int count(const char *folder)
{
	DIR *dir = opendir(folder);
	unsigned int n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

static unsigned int open_things()
{
	return count("/proc/self/fd") * 1000 + count("/proc/self/task");
}

template <class F> static void until(F what)
{
	for (int i = 0; i < 3000; i++) {
		if (what())
			return;
		std::this_thread::sleep_for(10ms);
	}
	CHECK(!"in time");
}

static catnap::config flat(const uint8_t *image = echo, size_t size = sizeof(echo))
{
	catnap::config cfg;

	cfg.kernel_data = image;
	cfg.kernel_size = size;
	cfg.image_kind = CATNAP_IMAGE_FLAT;
	cfg.memory_size = 2 << 20;
	cfg.debug_exit_port = 0xf4;
	return cfg;
}

static void errors()
{
	catnap::config cfg;

	cfg.kernel_path = "/nonexistent/kernel";
	try {
		catnap::vm vm(std::move(cfg));
		CHECK(!"it was made");
	} catch (const std::system_error &e) {
		CHECK(e.code() == std::errc::no_such_file_or_directory);
		CHECK(std::strstr(e.what(), "/nonexistent/kernel"));
	}
}

static void engine()
{
	catnap::policy p{catnap::halt_poll(CATNAP_POLICY_FIXED)};
	catnap::halter h;

	CHECK(p.begin() == CATNAP_KERNEL_MAX_NS && p.window() == CATNAP_KERNEL_MAX_NS);
	p.end({1000, false, true, true, false});
	std::thread waker([&] { h.wake(4); });
	CHECK(h.halt() == CATNAP_CAUSE_OTHER && h.take() == 4);
	waker.join();
	CHECK(h.stats().halt_exits <= 1);
	catnap::halter other = std::move(h);
	CHECK(other.get() && !h.get());
}

static void life()
{
	std::string said;
	std::mutex lock;
	std::atomic<int> threads{0};
	catnap::config cfg = flat();

	cfg.name = "cpp";
	cfg.on_serial = [&](std::string_view text) {
		const std::lock_guard<std::mutex> hold(lock);
		said += text;
	};
	cfg.on_thread_start = [&](uint32_t) {
		threads++;
		return 0;
	};
	cfg.on_log = [](enum catnap_log_level, std::string_view) {};
	catnap::vm vm(std::move(cfg));
	CHECK(vm.state() == CATNAP_VM_MADE && vm.name() == "cpp" && vm.vcpu_count() == 1);
	vm.set_console([](std::string_view) {}, 80, 25);
	try {
		vm.set_console({});
		CHECK(!"a second console");
	} catch (const catnap::error &e) {
		CHECK(e.code().value() == EEXIST);
	}
	CHECK(!vm.wait_for(0ns));
	vm.start();
	CHECK(threads == 1);
	until([&] { return vm.serial_input("a") == 1; });
	until([&] {
		const std::lock_guard<std::mutex> hold(lock);
		return said == "a";
	});
	vm.pause();
	CHECK(vm.state() == CATNAP_VM_PAUSED);
	vm.set_halt_poll(catnap::halt_poll(CATNAP_POLICY_OFF));
	CHECK(vm.get_halt_poll().policy == CATNAP_POLICY_OFF);
	vm.resume();
	/* It is the same one elsewhere. */
	catnap::vm moved = std::move(vm);
	CHECK(!vm.get());
	until([&] { return moved.serial_input("x") == 1; });
	const struct catnap_exit e = moved.wait();
	CHECK(e.reason == CATNAP_EXIT_DEBUG && e.code == 7);
	CHECK(moved.next_event()->type == CATNAP_EVENT_STARTED);
	CHECK(moved.stats().exits > 0);
	CHECK(moved.device_stats().size() == 1);
	CHECK(*static_cast<uint8_t *>(moved.guest_memory(0x7c00, 1)) == echo[0]);
}

static void by_its_own_callback()
{
	std::optional<catnap::vm> vm;
	std::atomic<bool> gone{false};
	const unsigned int before = count("/proc/self/task");
	catnap::config cfg = flat();
	std::mutex lock;

	cfg.on_serial = [&](std::string_view) {
		const std::lock_guard<std::mutex> hold(lock);
		vm.reset();
		gone = true;
	};
	vm.emplace(std::move(cfg));
	vm->start();
	until([&] {
		const std::lock_guard<std::mutex> hold(lock);
		if (vm)
			vm->serial_input("a");
		return gone.load();
	});
	until([&] { return count("/proc/self/task") == before; });
}

int main()
{
	unsigned int before;

	errors();
	engine();
	if (access("/dev/kvm", R_OK | W_OK) < 0) {
		std::puts("no /dev/kvm");
		return 77;
	}
	before = open_things();
	life();
	CHECK(open_things() == before);
	by_its_own_callback();
	{
		catnap::vm a(flat()), b(flat());
		a.start();
		b.start();
		a = std::move(b);
	}
	CHECK(open_things() == before);
	std::puts("ok");
	return 0;
}
