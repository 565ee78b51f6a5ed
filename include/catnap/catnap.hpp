/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catnap/catnap.hpp - the library for C++17: what is made is destroyed with its scope, a call that
 * fails throws, and callbacks are functions of any kind. There is nothing behind it but catnap.h,
 * whose comments say what each call does; get() gives what that takes. Nothing in here is in the
 * library, so nothing of it is part of the ABI.
 *
 *	catnap::config cfg;
 *	cfg.kernel_path = "vmlinuz";
 *	cfg.on_serial = [](std::string_view text) { std::cout << text; };
 *	catnap::vm vm(std::move(cfg));
 *	vm.start();
 *	return vm.wait().reason == CATNAP_EXIT_POWEROFF ? 0 : 1;
 *
 * Errors: catnap::error, a std::system_error, whose what() is the library's sentence. Callbacks come
 * on the VM's threads, and what they throw ends the program (std::terminate): C cannot pass it on.
 * Threads: as in catnap.h. A moved-from object may be destroyed or assigned to, and nothing else.
 * Since version 0.2.
 */
#ifndef CATNAP_CATNAP_HPP
#define CATNAP_CATNAP_HPP

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <sys/eventfd.h>
#include <unistd.h>

#include <catnap/catnap.h>

namespace catnap
{

/** A call that failed: code() has the errno value, what() the sentence. */
class error : public std::system_error
{
      public:
	/** @ret: the negative errno value that a call on @vm (nullptr: on none) has just returned. */
	explicit error(int ret, const struct catnap_vm *vm = nullptr)
		: std::system_error(-ret, std::generic_category()),
		  sentence_(catnap_vm_last_error(vm))
	{
		if (sentence_.empty())
			sentence_ = code().message();
	}
	const char *what() const noexcept override
	{
		return sentence_.c_str();
	}

      private:
	std::string sentence_;
};

/** The value of a call; throws if that is a negative errno value. */
inline int check(int ret, const struct catnap_vm *vm = nullptr)
{
	if (ret < 0)
		throw error(ret, vm);
	return ret;
}

/* Structures that callers fill, with their defaults. */

struct halt_poll : ::catnap_halt_poll {
	halt_poll()
	{
		catnap_halt_poll_init(static_cast<::catnap_halt_poll *>(this));
	}
	/** With the max_ns that suits the policy. */
	explicit halt_poll(enum catnap_policy_kind kind) : halt_poll()
	{
		policy = kind;
		if (kind != CATNAP_POLICY_ADAPTIVE)
			max_ns = CATNAP_KERNEL_MAX_NS;
	}
};

struct disk : ::catnap_disk {
	disk()
	{
		catnap_disk_init(static_cast<::catnap_disk *>(this));
	}
};

struct net : ::catnap_net {
	net()
	{
		catnap_net_init(static_cast<::catnap_net *>(this));
	}
};

struct vsock : ::catnap_vsock {
	vsock()
	{
		catnap_vsock_init(static_cast<::catnap_vsock *>(this));
	}
};

struct pmem : ::catnap_pmem {
	pmem()
	{
		catnap_pmem_init(static_cast<::catnap_pmem *>(this));
	}
};

struct hotplug : ::catnap_hotplug {
	hotplug()
	{
		catnap_hotplug_init(static_cast<::catnap_hotplug *>(this));
	}
};

struct balloon : ::catnap_balloon {
	balloon()
	{
		catnap_balloon_init(static_cast<::catnap_balloon *>(this));
	}
};

struct doorbell : ::catnap_doorbell {
	doorbell()
	{
		catnap_doorbell_init(static_cast<::catnap_doorbell *>(this));
	}
};

/** Of a VM. The callbacks below take the place of those in the C structure. */
struct config : ::catnap_vm_config {
	config()
	{
		catnap_vm_config_init(static_cast<::catnap_vm_config *>(this));
	}
	/** What the guest writes to its serial port. */
	std::function<void(std::string_view)> on_serial;
	std::function<void(enum catnap_log_level, std::string_view)> on_log;
	/** A new thread of the VM, by its vCPU's number; a negative errno value fails the start. */
	std::function<int(uint32_t)> on_thread_start;
};

namespace detail
{

struct hooks {
	std::function<void(std::string_view)> serial, console;
	std::function<void(enum catnap_log_level, std::string_view)> log;
	std::function<int(uint32_t)> thread_start;

	static void serial_output(void *ctx, const void *data, size_t len) noexcept
	{
		static_cast<hooks *>(ctx)->serial({static_cast<const char *>(data), len});
	}
	static void console_output(void *ctx, const void *data, size_t len) noexcept
	{
		static_cast<hooks *>(ctx)->console({static_cast<const char *>(data), len});
	}
	static void log_message(void *ctx, enum catnap_log_level level, const char *text) noexcept
	{
		static_cast<hooks *>(ctx)->log(level, text);
	}
	static int thread_begin(void *ctx, uint32_t vcpu) noexcept
	{
		return static_cast<hooks *>(ctx)->thread_start(vcpu);
	}
};

/* VMs that could not be freed at once, as when their own callback destroys them: what that needs
 * stays until the library has said, by an eventfd, that no callback will come any more. */
class leaving
{
      public:
	static void add(struct catnap_vm *vm, std::unique_ptr<hooks> kept)
	{
		const std::lock_guard<std::mutex> hold(all().lock);
		const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

		if (catnap_vm_request_destroy(vm, fd) < 0 || fd < 0) {
			/* Nobody would tell when: they stay for good. */
			(void)kept.release();
			if (fd >= 0)
				close(fd);
			return;
		}
		all().waiting.emplace_back(fd, std::move(kept));
	}
	/** Forgets those that have gone. */
	static void look()
	{
		const std::lock_guard<std::mutex> hold(all().lock);

		all().waiting.remove_if([](const auto &left) {
			eventfd_t n;

			return eventfd_read(left.first, &n) == 0 && close(left.first) == 0;
		});
	}

      private:
	struct list {
		std::mutex lock;
		std::list<std::pair<int, std::unique_ptr<hooks>>> waiting;
	};
	static list &all()
	{
		/* Never destroyed: VMs may outlive static objects. */
		static list *const one = new list;

		return *one;
	}
};

} // namespace detail

/** A virtual machine. Movable; destroyed with its scope, where that is, also by its own callback. */
class vm
{
      public:
	explicit vm(config cfg) : hooks_(new detail::hooks)
	{
		hooks_->serial = std::move(cfg.on_serial);
		hooks_->log = std::move(cfg.on_log);
		hooks_->thread_start = std::move(cfg.on_thread_start);
		if (hooks_->serial) {
			cfg.serial_output = detail::hooks::serial_output;
			cfg.serial_ctx = hooks_.get();
		}
		if (hooks_->log) {
			cfg.log = detail::hooks::log_message;
			cfg.log_ctx = hooks_.get();
		}
		if (hooks_->thread_start) {
			cfg.thread_start = detail::hooks::thread_begin;
			cfg.thread_ctx = hooks_.get();
		}
		detail::leaving::look();
		check(catnap_vm_create(&cfg, &vm_));
	}
	vm(vm &&other) noexcept
		: vm_(std::exchange(other.vm_, nullptr)), hooks_(std::move(other.hooks_))
	{
	}
	vm &operator=(vm &&other) noexcept
	{
		if (this != &other) {
			release();
			vm_ = std::exchange(other.vm_, nullptr);
			hooks_ = std::move(other.hooks_);
		}
		return *this;
	}
	vm(const vm &) = delete;
	vm &operator=(const vm &) = delete;
	~vm()
	{
		release();
	}

	struct catnap_vm *get() const noexcept
	{
		return vm_;
	}

	/* Devices, before the start. */

	void add_disk(const struct catnap_disk &d)
	{
		call(catnap_vm_add_disk(vm_, &d));
	}
	void add_pmem(const struct catnap_pmem &p)
	{
		call(catnap_vm_add_pmem(vm_, &p));
	}
	void add_net(const struct catnap_net &n)
	{
		call(catnap_vm_add_net(vm_, &n));
	}
	void set_hotplug(const struct catnap_hotplug &h)
	{
		call(catnap_vm_set_hotplug(vm_, &h));
	}
	void set_vsock(const struct catnap_vsock &v)
	{
		call(catnap_vm_set_vsock(vm_, &v));
	}
	void set_balloon(const struct catnap_balloon &b)
	{
		call(catnap_vm_set_balloon(vm_, &b));
	}
	void set_console(std::function<void(std::string_view)> output, uint16_t cols = 0,
			 uint16_t rows = 0)
	{
		struct catnap_console c;

		catnap_console_init(&c);
		c.cols = cols;
		c.rows = rows;
		if (output) {
			c.output = detail::hooks::console_output;
			c.ctx = hooks_.get();
		}
		/* Nobody calls it before the start. */
		auto before = std::exchange(hooks_->console, std::move(output));
		const int ret = catnap_vm_set_console(vm_, &c);
		if (ret < 0)
			hooks_->console = std::move(before);
		call(ret);
	}

	/* Its life. */

	void start()
	{
		call(catnap_vm_start(vm_));
	}
	/** Waits for its end, for ever. */
	struct catnap_exit wait()
	{
		struct catnap_exit e = {};

		e.size = sizeof(e);
		call(catnap_vm_wait(vm_, CATNAP_NO_DEADLINE, &e));
		return e;
	}
	/** For so long at most; nothing: it goes on. */
	std::optional<struct catnap_exit> wait_for(std::chrono::nanoseconds time)
	{
		struct catnap_exit e = {};
		int ret;

		e.size = sizeof(e);
		ret = catnap_vm_wait(
			vm_, time.count() > 0 ? static_cast<uint64_t>(time.count()) : 0, &e);
		if (ret == -ETIMEDOUT)
			return std::nullopt;
		call(ret);
		return e;
	}
	void request_stop()
	{
		call(catnap_vm_request_stop(vm_));
	}
	void stop()
	{
		call(catnap_vm_stop(vm_));
	}
	void pause()
	{
		call(catnap_vm_pause(vm_));
	}
	void request_pause()
	{
		call(catnap_vm_request_pause(vm_));
	}
	void resume()
	{
		call(catnap_vm_resume(vm_));
	}
	void reset()
	{
		call(catnap_vm_reset(vm_));
	}
	void request_reset()
	{
		call(catnap_vm_request_reset(vm_));
	}
	void power_button()
	{
		call(catnap_vm_power_button(vm_));
	}
	/** The oldest event that was not taken yet; nothing: there is none now. */
	std::optional<struct catnap_event> next_event()
	{
		struct catnap_event e = {};
		int ret;

		e.size = sizeof(e);
		ret = catnap_vm_next_event(vm_, &e);
		if (ret == -EAGAIN)
			return std::nullopt;
		call(ret);
		return e;
	}

	/* Descriptors for poll(2). They stay the VM's. */

	int end_fd() const
	{
		return call(catnap_vm_get_fd(vm_));
	}
	int stopping_fd() const
	{
		return call(catnap_vm_get_stopping_fd(vm_));
	}
	int paused_fd() const
	{
		return call(catnap_vm_get_paused_fd(vm_));
	}
	int event_fd() const
	{
		return call(catnap_vm_get_event_fd(vm_));
	}

	/* While it runs, or not. */

	void set_halt_poll(const struct catnap_halt_poll &params, int32_t vcpu = -1)
	{
		call(catnap_vm_set_halt_poll(vm_, vcpu, &params));
	}
	halt_poll get_halt_poll(uint32_t vcpu = 0) const
	{
		halt_poll params;

		call(catnap_vm_get_halt_poll(vm_, vcpu, &params));
		return params;
	}
	/** Returns how many bytes of it were taken. */
	size_t serial_input(std::string_view data)
	{
		return catnap_vm_serial_input(vm_, data.data(), data.size());
	}
	size_t console_input(std::string_view data)
	{
		return catnap_vm_console_input(vm_, data.data(), data.size());
	}
	void set_hotplug_size(uint64_t bytes)
	{
		call(catnap_vm_set_hotplug_size(vm_, bytes));
	}
	void set_balloon_target(uint64_t bytes)
	{
		call(catnap_vm_set_balloon_target(vm_, bytes));
	}
	void set_link(uint32_t device, bool up)
	{
		call(catnap_vm_set_link(vm_, device, up));
	}
	void set_disk_limit(uint32_t number, const struct catnap_rate_limit &limit)
	{
		call(catnap_vm_set_disk_limit(vm_, number, &limit));
	}
	void set_pmem_limit(uint32_t number, const struct catnap_rate_limit &limit)
	{
		call(catnap_vm_set_pmem_limit(vm_, number, &limit));
	}
	/** nullptr: that one stays. */
	void set_net_limit(uint32_t number, const struct catnap_rate_limit *rx,
			   const struct catnap_rate_limit *tx)
	{
		call(catnap_vm_set_net_limit(vm_, number, rx, tx));
	}
	/** The capacity is returned. */
	uint64_t change_disk(uint32_t number, const struct catnap_disk &image)
	{
		uint64_t bytes = 0;

		call(catnap_vm_change_disk(vm_, number, &image, &bytes));
		return bytes;
	}
	/** Asks the guest of a VM with hotplug to let go of it. */
	void remove_disk(uint32_t number)
	{
		call(catnap_vm_remove_disk(vm_, number));
	}
	void remove_net(uint32_t number)
	{
		call(catnap_vm_remove_net(vm_, number));
	}
	/** @device: its number among all devices. */
	void remove_vhost(uint32_t device)
	{
		call(catnap_vm_remove_vhost(vm_, device));
	}
	uint64_t update_disk(uint32_t number)
	{
		uint64_t bytes = 0;

		call(catnap_vm_update_disk(vm_, number, &bytes));
		return bytes;
	}
	void signal_msi(uint64_t address, uint32_t data)
	{
		call(catnap_vm_signal_msi(vm_, address, data));
	}
	/** The eventfd is the VM's. */
	int add_doorbell(const struct catnap_doorbell &bell)
	{
		int fd = -1;

		call(catnap_vm_add_doorbell(vm_, &bell, &fd));
		return fd;
	}
	/** Shared with the guest: copy, then check, then use. */
	void *guest_memory(uint64_t gpa, size_t len)
	{
		void *p = nullptr;

		call(catnap_vm_guest_memory(vm_, gpa, len, &p));
		return p;
	}

	/* What it is, and was. */

	enum catnap_vm_state state() const
	{
		return static_cast<enum catnap_vm_state>(call(catnap_vm_get_state(vm_)));
	}
	std::string_view name() const noexcept
	{
		return catnap_vm_get_name(vm_);
	}
	uint32_t vcpu_count() const noexcept
	{
		return catnap_vm_get_vcpu_count(vm_);
	}
	int vcpu_tid(uint32_t vcpu) const
	{
		return call(catnap_vm_get_vcpu_tid(vm_, vcpu));
	}
	struct catnap_vcpu_stats stats(uint32_t vcpu = 0) const
	{
		struct catnap_vcpu_stats s = {};

		s.size = sizeof(s);
		call(catnap_vm_get_stats(vm_, vcpu, &s));
		return s;
	}
	struct catnap_policy_stats policy_stats(uint32_t vcpu = 0) const
	{
		struct catnap_policy_stats s = {};

		s.size = sizeof(s);
		s.context_size = sizeof(s.context[0]);
		call(catnap_vm_get_policy_stats(vm_, vcpu, &s));
		return s;
	}
	/** Of all virtio devices, in the order in which they were added. */
	std::vector<struct catnap_device_stats> device_stats() const
	{
		std::vector<struct catnap_device_stats> all;

		for (;;) {
			struct catnap_device_stats s = {};
			int ret;

			s.size = sizeof(s);
			s.net_queue_size = sizeof(s.net_queue[0]);
			ret = catnap_vm_get_device_stats(vm_, static_cast<uint32_t>(all.size()),
							 &s);
			if (ret == -ENOENT)
				return all;
			call(ret);
			all.push_back(s);
		}
	}

      private:
	int call(int ret) const
	{
		return check(ret, vm_);
	}
	void release() noexcept
	{
		if (!vm_)
			return;
		if (catnap_vm_destroy(&vm_) < 0)
			detail::leaving::add(vm_, std::move(hooks_));
		vm_ = nullptr;
		hooks_.reset();
	}

	struct catnap_vm *vm_ = nullptr;
	std::unique_ptr<detail::hooks> hooks_;
};

/* The poll engine alone. */

namespace detail
{
template <class T, void (*destroy)(T **)> struct deleter {
	void operator()(T *p) const noexcept
	{
		destroy(&p);
	}
};
} // namespace detail

/** A policy, for simulation. One thread at a time. */
class policy
{
      public:
	explicit policy(const struct catnap_halt_poll &params)
	{
		struct catnap_policy *p;

		check(catnap_policy_create(&params, &p));
		policy_.reset(p);
	}
	struct catnap_policy *get() const noexcept
	{
		return policy_.get();
	}
	void set(const struct catnap_halt_poll &params)
	{
		check(catnap_policy_set(get(), &params));
	}
	uint64_t begin(bool allowed = true)
	{
		return catnap_policy_begin(get(), allowed);
	}
	void end(const struct catnap_halt &halt)
	{
		catnap_policy_end(get(), &halt);
	}
	uint64_t window() const
	{
		return catnap_policy_window(get());
	}

      private:
	std::unique_ptr<struct catnap_policy,
			detail::deleter<struct catnap_policy, catnap_policy_destroy>>
		policy_;
};

/** A place where one thread waits for work; any thread brings it. */
class halter
{
      public:
	explicit halter(const struct catnap_halt_poll &params = halt_poll())
	{
		struct catnap_halter_config cfg;
		struct catnap_halter *h;

		catnap_halter_config_init(&cfg);
		cfg.halt_poll = params;
		check(catnap_halter_create(&cfg, &h));
		halter_.reset(h);
	}
	explicit halter(const struct catnap_halter_config &cfg)
	{
		struct catnap_halter *h;

		check(catnap_halter_create(&cfg, &h));
		halter_.reset(h);
	}
	struct catnap_halter *get() const noexcept
	{
		return halter_.get();
	}
	void wake(uint32_t bits) noexcept
	{
		catnap_halter_wake(get(), bits);
	}
	uint32_t take() noexcept
	{
		return catnap_halter_take(get());
	}
	/** Returns why it ended. */
	enum catnap_wake_cause halt(uint64_t deadline_ns = CATNAP_NO_DEADLINE)
	{
		int cause = CATNAP_CAUSE_OTHER;

		check(catnap_halter_halt(get(), deadline_ns, &cause));
		return static_cast<enum catnap_wake_cause>(cause);
	}
	void set_halt_poll(const struct catnap_halt_poll &params)
	{
		check(catnap_halter_set_halt_poll(get(), &params));
	}
	struct catnap_halt_stats stats() const
	{
		struct catnap_halt_stats s = {};

		s.size = sizeof(s);
		check(catnap_halter_get_stats(get(), &s));
		return s;
	}

      private:
	std::unique_ptr<struct catnap_halter,
			detail::deleter<struct catnap_halter, catnap_halter_destroy>>
		halter_;
};

} // namespace catnap

#endif
