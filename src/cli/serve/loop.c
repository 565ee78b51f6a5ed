/* SPDX-License-Identifier: Apache-2.0 */
/* `catnap serve`: the main thread's loop, and the VM's end. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <catnap/snapshot.h>
#include "cli/cmd.h"
#include "cli/now.h"
#include "cli/serve/serve.h"
#include "cli/service.h"

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_US UINT64_C(1000)
/* Within so long every vCPU has left, unless the host holds one up. */
#define REST_NS UINT64_C(5000000000)

enum {
	AT_END,
	AT_SIGNALS,
	AT_INPUT,
	AT_BOOT,
	AT_HANDLER,
	AT_API,
	ALL_POLLFDS = AT_API + API_POLLFDS
};

static int until(uint64_t when)
{
	uint64_t now = now_ns();

	return when <= now ? 0 : (int)((when - now + NS_PER_MS - 1) / NS_PER_MS);
}

static int prepare(const struct serve *s, struct pollfd p[ALL_POLLFDS])
{
	struct catnap_vm *vm = s->api.vm;
	int most = api_server_timeout(&s->server);

	p[AT_END] =
		(struct pollfd){.fd = vm ? catnap_vm_get_stopping_fd(vm) : -1, .events = POLLIN};
	p[AT_SIGNALS] = (struct pollfd){.fd = s->signals, .events = POLLIN};
	p[AT_INPUT] = (struct pollfd){.fd = -1};
	p[AT_BOOT] = (struct pollfd){.fd = vm ? s->boot_fd : -1, .events = POLLIN};
	p[AT_HANDLER] = (struct pollfd){.fd = vm ? catnap_vm_get_memory_handler_fd(vm) : -1,
					.events = POLLRDHUP};
	api_server_prepare(&s->server, p + AT_API);
	if (s->metrics.fd >= 0)
		most = sooner(most, until(s->metrics.next_ns));
	if (!vm)
		return most;
	serve_serial_prepare(&s->serial, &p[AT_INPUT]);
	most = sooner(most, serve_serial_timeout(&s->serial));
	if (s->balloon_ns)
		most = sooner(most, until(s->balloon_next));
	return most;
}

/* Writes Firecracker's line, which its users' tools look for. */
static void guest_booted(struct serve *s)
{
	uint64_t wall_us = (now_ns() - s->boot_ns) / NS_PER_US, cpu_us, n;

	if (read(s->boot_fd, &n, sizeof(n)) != sizeof(n))
		return;
	cpu_us = (clock_ns(CLOCK_PROCESS_CPUTIME_ID) - s->boot_cpu_ns) / NS_PER_US;
	logger_always(&s->logger, "Guest-boot-time = %6llu us %llu ms, %6llu CPU us %llu CPU ms",
		      (unsigned long long)wall_us, (unsigned long long)wall_us / 1000,
		      (unsigned long long)cpu_us, (unsigned long long)cpu_us / 1000);
}

/* Asks the guest; what it says is there at the next question. */
static void ask_balloon(struct serve *s)
{
	struct catnap_balloon_stats stats = {.size = sizeof(stats)};

	if (!s->api.vm || !s->balloon_ns || now_ns() < s->balloon_next)
		return;
	catnap_vm_get_balloon_stats(s->api.vm, &stats);
	s->balloon_next = now_ns() + s->balloon_ns;
}

static void dispatch(struct serve *s, const struct pollfd p[ALL_POLLFDS])
{
	if (p[AT_BOOT].revents)
		guest_booted(s);
	if (p[AT_HANDLER].revents)
		catnap_vm_check_memory_handler(s->api.vm);
	if (s->api.vm)
		serve_serial_dispatch(&s->serial, &p[AT_INPUT], s->api.vm);
	ask_balloon(s);
	if (s->metrics.fd >= 0 && now_ns() >= s->metrics.next_ns)
		metrics_file_write(&s->metrics, &s->api);
	api_server_dispatch(&s->server);
}

/* Returns 0 if the VM is to end; else the number of the signal that ends the process. */
static int wait_for_end(struct serve *s)
{
	for (;;) {
		struct pollfd p[ALL_POLLFDS];
		struct signalfd_siginfo si;

		if (poll(p, ALL_POLLFDS, prepare(s, p)) < 0) {
			if (errno == EINTR)
				continue;
			return SIGABRT;
		}
		if (p[AT_END].revents)
			return 0;
		if (p[AT_SIGNALS].revents && read(s->signals, &si, sizeof(si)) == sizeof(si))
			return (int)si.ssi_signo;
		dispatch(s, p);
	}
}

/* Logs a report, each line by itself. */
static void log_report(struct serve *s, int level, const char *report)
{
	char line[sizeof(((struct catnap_exit *)0)->report)];

	while (*report) {
		size_t len = strcspn(report, "\n");

		snprintf(line, sizeof(line), "%.*s", (int)len, report);
		logger_line(&s->logger, level, line);
		report += len + (report[len] == '\n');
	}
}

/* Says why it ended. Returns the status: 0 for whatever the guest did, as Firecracker. */
static int end_status(struct serve *s, const struct catnap_exit *e)
{
	bool bad = e->reason == CATNAP_EXIT_KVM_ERROR || e->reason == CATNAP_EXIT_HOST_ERROR;

	log_report(s, bad ? FC_ERROR : FC_WARN, e->report);
	if (bad)
		logger_line(&s->logger, FC_ERROR, "Firecracker exiting with error. exit_code=1");
	else
		logger_always(&s->logger, "Firecracker exiting successfully. exit_code=0");
	return bad ? CMD_ERROR : CMD_OK;
}

int serve_loop(struct serve *s)
{
	struct catnap_exit e = {.size = sizeof(e)};
	int signal = wait_for_end(s), status = CMD_OK;

	service_tell(s->service, "STOPPING=1\nSTATUS=The process ends.\n");
	if (s->api.vm) {
		if (signal)
			catnap_vm_request_stop(s->api.vm);
		if (catnap_vm_wait(s->api.vm, REST_NS, &e) < 0)
			logger_line(&s->logger, FC_ERROR, catnap_vm_last_error(s->api.vm));
		if (!signal)
			status = end_status(s, &e);
	}
	metrics_file_write(&s->metrics, &s->api);
	api_server_stop(&s->server);
	return signal ? SERVE_SIGNAL + signal : status;
}
