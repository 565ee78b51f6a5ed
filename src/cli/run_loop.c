/* SPDX-License-Identifier: Apache-2.0 */
/*
 * While the guest runs: its input, the escape key, signals, the timeout. One poll(2) in the main
 * thread; the vCPUs have threads of their own.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "cli/now.h"
#include "cli/run.h"
#include "cli/terminal.h"

#define ESCAPE_KEY 0x01 /* Ctrl-A */
/* The guest reads its FIFO at its own speed. */
#define INPUT_RETRY_MS	   1
#define INPUT_RETRY_MAX_MS 128

/* The serial port, and the console. */
struct channel {
	struct port *port;
	size_t (*give)(struct catnap_vm *vm, const void *data, size_t len);
	int retry_ms; /* until the guest is asked again to take input */
};

#define CHANNELS 2

/* The main thread waits for the end, signals, the channels, and whoever asks for statistics or asks
 * the balloon. */
#define STATS_FIRST   (2 + CHANNELS * PORT_POLLFDS)
#define BALLOON_FIRST (STATS_FIRST + ANSWER_POLLFDS)
#define ALL_POLLFDS   (BALLOON_FIRST + ANSWER_POLLFDS)

struct loop {
	struct catnap_vm *vm;
	struct run_io *io;
	struct channel channels[CHANNELS];
	struct terminal term;
	bool escaped;
	bool quit;  /* Ctrl-A x */
	bool asked; /* the guest was asked to power off */
};

/* @kept: where the key goes if it is the guest's. */
static uint8_t *escape(struct loop *l, uint8_t key, uint8_t *kept)
{
	l->escaped = false;
	switch (key) {
	case 'x':
		l->quit = true;
		break;
	case 'h':
	case '?':
		fprintf(stderr, "\nCtrl-A x  end the VM\nCtrl-A h  this help\n"
				"Ctrl-A Ctrl-A  send Ctrl-A\n");
		break;
	case ESCAPE_KEY:
		*kept++ = ESCAPE_KEY;
		break;
	}
	return kept;
}

/* Takes the escape sequences out of what was read, on a terminal only: a pipe's bytes are all the
 * guest's. */
static void filter(struct loop *l, struct port *p, size_t before)
{
	uint8_t *kept = p->data + before;

	for (const uint8_t *c = kept, *end = p->data + p->used; c < end; c++) {
		if (l->escaped)
			kept = escape(l, *c, kept);
		else if (*c == ESCAPE_KEY)
			l->escaped = true;
		else
			*kept++ = *c;
	}
	p->used = (size_t)(kept - p->data);
}

static void take_input(struct loop *l, struct port *p, const struct pollfd fds[PORT_POLLFDS])
{
	size_t before = port_has_input(p) ? p->used : 0;

	port_dispatch(p, fds);
	if (p->kind == PORT_STDIO && l->term.raw && port_has_input(p))
		filter(l, p, before);
}

/* The guest takes what its FIFO has room for. While it takes nothing, it is asked less and less
 * often. */
static void give_input(struct loop *l, struct channel *c)
{
	struct port *p = c->port;
	size_t n = 0;

	if (port_has_input(p))
		n = c->give(l->vm, p->data + p->given, p->used - p->given);
	p->given += n;
	if (n || !port_has_input(p))
		c->retry_ms = INPUT_RETRY_MS;
	else if (c->retry_ms < INPUT_RETRY_MAX_MS)
		c->retry_ms *= 2;
}

/* @retry: -1, or the most. */
static int timeout_ms(uint64_t deadline, int retry)
{
	uint64_t now = now_ns(), ms;

	if (deadline == UINT64_MAX)
		return retry;
	ms = deadline > now ? (deadline - now + 999999) / 1000000 : 0;
	if (retry >= 0 && ms > (uint64_t)retry)
		return retry;
	return ms > 1000000 ? 1000000 : (int)ms;
}

/* The first SIGTERM presses the power button, if the guest listens to it. False: not (again). */
static bool ask_to_power_off(struct loop *l)
{
	if (l->asked || catnap_vm_power_button(l->vm) < 0)
		return false;
	l->asked = true;
	return true;
}

/* The terminal has another size: the guest's console, too. False: it is another signal. */
static bool resized(struct loop *l, const struct signalfd_siginfo *si)
{
	struct winsize size;

	if (si->ssi_signo != SIGWINCH)
		return false;
	if (l->io->console.kind == PORT_STDIO && ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0)
		catnap_vm_console_resize(l->vm, size.ws_col, size.ws_row);
	return true;
}

struct source {
	struct catnap_vm *vm;
	const struct run_cfg *cfg;
};

static char *stats_now(void *ctx, const char *request, size_t *len)
{
	const struct source *s = ctx;

	return stats_text(s->vm, s->cfg, len);
}

static char *ask_balloon(void *ctx, const char *request, size_t *len)
{
	const struct source *s = ctx;

	return balloon_answer(s->vm, request, len);
}

/* Waits for the VM's end or a reason to end it: 0 it ended, RUN_TIMEOUT, RUN_SIGNAL + n, -1 quit.
 */
static int wait_for_end(struct loop *l, int signals, uint64_t deadline)
{
	for (;;) {
		struct pollfd p[ALL_POLLFDS] = {
			{.fd = catnap_vm_get_fd(l->vm), .events = POLLIN},
			{.fd = signals, .events = POLLIN},
		};
		int retry = -1;
		struct signalfd_siginfo si;

		for (int i = 0; i < CHANNELS; i++) {
			const struct channel *c = &l->channels[i];

			port_prepare(c->port, p + 2 + i * PORT_POLLFDS);
			if (port_has_input(c->port) && (retry < 0 || c->retry_ms < retry))
				retry = c->retry_ms;
		}
		answer_socket_prepare(&l->io->stats_socket, p + STATS_FIRST);
		answer_socket_prepare(&l->io->balloon_socket, p + BALLOON_FIRST);
		if (poll(p, ALL_POLLFDS, timeout_ms(deadline, retry)) < 0) {
			if (errno != EINTR)
				return -errno;
			continue;
		}
		if (p[0].revents)
			return 0;
		if (p[1].revents && read(signals, &si, sizeof(si)) == sizeof(si) &&
		    !resized(l, &si) && !(si.ssi_signo == SIGTERM && ask_to_power_off(l)))
			return RUN_SIGNAL + (int)si.ssi_signo;
		if (deadline != UINT64_MAX && now_ns() >= deadline)
			return RUN_TIMEOUT;
		answer_socket_dispatch(&l->io->stats_socket, p + STATS_FIRST);
		answer_socket_dispatch(&l->io->balloon_socket, p + BALLOON_FIRST);
		for (int i = 0; i < CHANNELS; i++) {
			take_input(l, l->channels[i].port, p + 2 + i * PORT_POLLFDS);
			give_input(l, &l->channels[i]);
		}
		if (l->quit)
			return -1;
	}
}

static int status_of(const struct catnap_exit *e)
{
	switch ((enum catnap_exit_reason)e->reason) {
	case CATNAP_EXIT_POWEROFF:
	case CATNAP_EXIT_STOPPED:
		return RUN_POWEROFF;
	case CATNAP_EXIT_RESET:
		return RUN_RESET;
	case CATNAP_EXIT_TRIPLE_FAULT:
	case CATNAP_EXIT_KVM_ERROR:
		return RUN_FAULT;
	case CATNAP_EXIT_PANIC:
		return RUN_PANIC;
	case CATNAP_EXIT_DEBUG:
		return (int)(((uint32_t)e->code << 1 | 1) & 255);
	case CATNAP_EXIT_NONE:
	case CATNAP_EXIT_HOST_ERROR:
		break;
	}
	return CMD_ERROR;
}

static void our_signals(sigset_t *set)
{
	struct sigaction hangup;

	sigemptyset(set);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGQUIT);
	sigaddset(set, SIGWINCH);
	/* Blocked, it would come although nohup(1) has it ignored. */
	if (sigaction(SIGHUP, NULL, &hangup) < 0 || hangup.sa_handler != SIG_IGN)
		sigaddset(set, SIGHUP);
}

int run_loop(struct catnap_vm *vm, const struct run_cfg *cfg, struct run_io *io)
{
	struct loop l = {.vm = vm,
			 .io = io,
			 .channels = {{&io->port, catnap_vm_serial_input, INPUT_RETRY_MS},
				      {&io->console, catnap_vm_console_input, INPUT_RETRY_MS}}};
	struct catnap_exit e = {.size = sizeof(e)};
	struct source source = {vm, cfg};
	uint64_t deadline = cfg->timeout_ns ? now_ns() + cfg->timeout_ns : UINT64_MAX;
	int signals, status, why;
	sigset_t set;

	if (deadline < cfg->timeout_ns)
		deadline = UINT64_MAX;
	our_signals(&set);
	signal(SIGPIPE, SIG_IGN); /* a reader of our output that went away is not the guest's end */
	sigprocmask(SIG_BLOCK, &set, NULL);
	signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signals < 0) {
		fprintf(stderr, "catnap run: signalfd: %s\n", strerror(errno));
		return CMD_ERROR;
	}
	for (int i = 0; i < CHANNELS; i++)
		if (l.channels[i].port->kind == PORT_STDIO)
			terminal_raw(&l.term, l.channels[i].port->in);
	status = catnap_vm_start(vm);
	if (status == 0)
		status = catnap_vm_sandbox_thread(vm, run_sandbox_allow(io));
	if (status < 0) {
		terminal_restore(&l.term);
		fprintf(stderr, "catnap run: %s\n", catnap_vm_last_error(vm));
		close(signals);
		return CMD_ERROR;
	}
	io->stats_socket.text = stats_now;
	io->balloon_socket.text = ask_balloon;
	io->stats_socket.ctx = io->balloon_socket.ctx = &source;
	why = wait_for_end(&l, signals, deadline);
	if (why != 0) {
		ssize_t n = write(io->stop_fd, &(uint64_t){1}, sizeof(uint64_t));

		(void)n;
		catnap_vm_stop(vm);
	}
	catnap_vm_wait(vm, UINT64_MAX, &e);
	terminal_restore(&l.term);
	close(signals);

	if (e.report[0])
		fprintf(stderr, "catnap run: %s", e.report);
	if (why == RUN_TIMEOUT && e.reason == CATNAP_EXIT_STOPPED)
		fprintf(stderr, "catnap run: --timeout: the time is over\n");
	if (io->stats && write_stats(vm, cfg, &e, io->stats) < 0) {
		fprintf(stderr, "catnap run: --stats: %s: %s\n", cfg->stats, strerror(errno));
		if (why == 0 && e.reason == CATNAP_EXIT_POWEROFF)
			return CMD_ERROR;
	}
	/* Ended by itself while it was being stopped: then that is how it ended. */
	if (why > 0 && e.reason == CATNAP_EXIT_STOPPED)
		return why;
	return status_of(&e);
}
