/* SPDX-License-Identifier: Apache-2.0 */
/*
 * While the guest runs: its input, the escape key, signals, job control, the timeout. One poll(2)
 * in the main thread; the vCPUs have threads of their own, and the main thread waits for none of
 * them without a limit.
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
#include "cli/printable.h"
#include "cli/run/run.h"
#include "cli/run/terminal.h"
#include "cli/service.h"

#define ESCAPE_KEY 0x01 /* Ctrl-A */
/* The guest reads its FIFO at its own speed. */
#define INPUT_RETRY_MS	   1
#define INPUT_RETRY_MAX_MS 128
/* In the background: how often it is looked whether the terminal is ours again. No signal tells. */
#define LOOK_MS 250
/* Within so long every vCPU has left, unless the host holds one up. */
#define REST_NS	      UINT64_C(5000000000)
#define IMPATIENCE_NS UINT64_C(1000000000) /* a further signal ends the wait for it after this */
/* What a restored guest touches within this belongs to its working set. */
#define WORKING_SET_NS UINT64_C(1000000000)

/* The serial port, and the console. */
struct channel {
	struct run_port *port;
	size_t (*give)(struct catnap_vm *vm, const void *data, size_t len);
	int retry_ms; /* until the guest is asked again to take input */
};

#define CHANNELS 2

/* The main thread waits until the VM is to end, for signals, the channels, the control socket, and
 * for when a limit of KVM's polling is to be learned. */
#define API_FIRST   (2 + CHANNELS * PORT_POLLFDS)
#define LIMIT	    (API_FIRST + API_POLLFDS)
#define HANDLER	    (LIMIT + 1)
#define ALL_POLLFDS (HANDLER + 1)

struct loop {
	struct catnap_vm *vm;
	struct run_io *io;
	struct channel channels[CHANNELS];
	struct run_terminal term;
	int signals;	    /* signalfd(2) */
	int limit;	    /* -errno: none is learned */
	int handler;	    /* of memory; -errno: it is not served */
	uint64_t record_at; /* when the working set is complete, as now_ns() */
	bool escaped;
	bool quit;  /* Ctrl-A x */
	bool asked; /* the guest was asked to power off */
};

/* Takes a key behind Ctrl-A. @kept: where it goes if it is the guest's. */
static uint8_t *escape(struct loop *l, uint8_t key, uint8_t *kept)
{
	l->escaped = false;
	switch (key) {
	case 'x':
		l->quit = true;
		break;
	case 'h':
	case '?':
		log_say(&l->io->messages,
			"\nCtrl-A x  end the VM\nCtrl-A z  stop for now (fg, bg go on)\n"
			"Ctrl-A h  this help\nCtrl-A Ctrl-A  send Ctrl-A\n");
		break;
	case 'z':
		/* The whole job: what else is in its pipeline, too, where Landlock lets it out.
		 * Ours comes by the signalfd. */
		kill(0, SIGTSTP);
		break;
	case ESCAPE_KEY:
		*kept++ = ESCAPE_KEY;
		break;
	}
	return kept;
}

/* Takes the escape sequences out of what was read, on a terminal only: a pipe's bytes are all the
 * guest's. */
static void filter(struct loop *l, struct run_port *p, size_t before)
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

static void take_input(struct loop *l, struct run_port *p, const struct pollfd fds[PORT_POLLFDS])
{
	size_t before = run_port_has_input(p) ? p->used : 0;

	run_port_dispatch(p, fds);
	if (p->kind == PORT_STDIO && l->term.fd >= 0 && run_port_has_input(p))
		filter(l, p, before);
}

/* Gives the guest what its FIFO has room for. While it takes nothing, it is asked less and less
 * often. */
static void give_input(struct loop *l, struct channel *c)
{
	struct run_port *p = c->port;
	size_t n = 0;

	if (run_port_has_input(p))
		n = c->give(l->vm, p->data + p->given, p->used - p->given);
	p->given += n;
	if (n || !run_port_has_input(p))
		c->retry_ms = INPUT_RETRY_MS;
	else if (c->retry_ms < INPUT_RETRY_MAX_MS)
		c->retry_ms *= 2;
}

/* Returns the time for poll(2). @retry: -1, or the most. */
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

/* Presses the power button, on the first SIGTERM, if the guest listens to it. Returns false if it
 * does not (again). */
static bool ask_to_power_off(struct loop *l)
{
	if (l->asked || catnap_vm_power_button(l->vm) < 0)
		return false;
	l->asked = true;
	service_tell(l->io->service, "STOPPING=1\nSTATUS=The guest was asked to power off.\n");
	return true;
}

/* Gives the guest's console the terminal's new size. */
static void resized(struct loop *l)
{
	struct winsize size;

	if (l->io->console.kind == PORT_STDIO && ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0)
		catnap_vm_console_resize(l->vm, size.ws_col, size.ws_row);
}

/* Stops on SIGTSTP as everybody does, with the terminal as it was. Where no shell would let us go
 * on (an orphaned process group), the kernel passes over it. */
static void stand_still(struct loop *l)
{
	sigset_t stop;

	run_terminal_restore(&l->term);
	sigemptyset(&stop);
	sigaddset(&stop, SIGTSTP);
	raise(SIGTSTP);
	sigprocmask(SIG_UNBLOCK, &stop, NULL);
	sigprocmask(SIG_BLOCK, &stop, NULL);
	run_terminal_continued(&l->term);
}

/* Returns 0 if it is dealt with; else RUN_SIGNAL + n: it ends the VM. */
static int take_signal(struct loop *l)
{
	struct signalfd_siginfo si;

	if (read(l->signals, &si, sizeof(si)) != sizeof(si))
		return 0;
	switch (si.ssi_signo) {
	case SIGWINCH:
		resized(l);
		return 0;
	case SIGTSTP:
		stand_still(l);
		return 0;
	case SIGCONT:
		run_terminal_continued(&l->term);
		return 0;
	case SIGCHLD:
		helpers_reap(&l->io->helpers);
		return 0;
	case SIGTERM:
		if (ask_to_power_off(l))
			return 0;
		break;
	}
	return RUN_SIGNAL + (int)si.ssi_signo;
}

/* Fills @p with what poll(2) is to look at. Returns for how long at most, in ms, -1: for ever. */
static int prepare(struct loop *l, struct pollfd p[ALL_POLLFDS])
{
	bool ours = run_terminal_look(&l->term);
	int most = ours ? -1 : LOOK_MS;

	p[0] = (struct pollfd){.fd = catnap_vm_get_stopping_fd(l->vm), .events = POLLIN};
	p[1] = (struct pollfd){.fd = l->signals, .events = POLLIN};
	for (int i = 0; i < CHANNELS; i++) {
		struct channel *c = &l->channels[i];

		c->port->held = c->port->kind == PORT_STDIO && !ours;
		run_port_prepare(c->port, p + 2 + i * PORT_POLLFDS);
		most = sooner(most, run_port_timeout(c->port));
		if (run_port_has_input(c->port))
			most = sooner(most, c->retry_ms);
	}
	for (int i = 0; i < API_POLLFDS; i++)
		p[API_FIRST + i] = (struct pollfd){.fd = -1};
	if (l->io->api) {
		api_server_prepare(&l->io->api->server, p + API_FIRST);
		most = sooner(most, api_server_timeout(&l->io->api->server));
	}
	p[LIMIT] = (struct pollfd){.fd = l->limit, .events = POLLIN};
	p[HANDLER] = (struct pollfd){.fd = l->handler, .events = POLLRDHUP};
	return most;
}

static void dispatch(struct loop *l, const struct pollfd p[ALL_POLLFDS])
{
	if (l->io->api)
		api_server_dispatch(&l->io->api->server);
	/* KVM may take the next time what it refuses now. */
	if (p[LIMIT].revents)
		(void)catnap_vm_learn_poll_limit(l->vm);
	if (p[HANDLER].revents)
		catnap_vm_check_memory_handler(l->vm);
	for (int i = 0; i < CHANNELS; i++) {
		take_input(l, l->channels[i].port, p + 2 + i * PORT_POLLFDS);
		give_input(l, &l->channels[i]);
	}
}

/* Writes what the guest has touched, once it is time. Returns for how long poll(2) may wait at most,
 * as @most is. */
static int record(struct loop *l, int most)
{
	struct way_out w = {
		.signals = -1, .deadline = now_ns() + WORKING_SET_NS, .patience_ns = UINT64_MAX};

	if (l->io->working_set.fd < 0)
		return most;
	if (now_ns() < l->record_at)
		return timeout_ms(l->record_at, most);
	run_working_set_write(l->vm, l->io, &w);
	return most;
}

/* Waits until the VM is to end, or for a reason to end it: 0 it has one, RUN_TIMEOUT, RUN_SIGNAL +
 * n, -1 quit. */
static int wait_for_end(struct loop *l, uint64_t deadline)
{
	l->record_at = now_ns() + WORKING_SET_NS;
	for (;;) {
		struct pollfd p[ALL_POLLFDS];
		int most = record(l, prepare(l, p)), why = 0;

		if (poll(p, ALL_POLLFDS, timeout_ms(deadline, most)) < 0) {
			if (errno != EINTR)
				return -errno;
			continue;
		}
		if (p[0].revents)
			return 0;
		if (p[1].revents)
			why = take_signal(l);
		if (why)
			return why;
		if (deadline != UINT64_MAX && now_ns() >= deadline)
			return RUN_TIMEOUT;
		dispatch(l, p);
		if (l->quit)
			return -1;
	}
}

/* Waits until the VM's threads have left; false: one does not, and somebody or we lost patience. */
static bool come_to_rest(struct loop *l, struct catnap_exit *e)
{
	uint64_t begin = now_ns();

	for (;;) {
		struct pollfd p[2] = {{.fd = catnap_vm_get_fd(l->vm), .events = POLLIN},
				      {.fd = l->signals, .events = POLLIN}};
		int n = poll(p, 2, timeout_ms(begin + REST_NS, -1)), why = 0;

		if (n > 0 && p[0].revents)
			return catnap_vm_wait(l->vm, UINT64_MAX, e) == 0;
		if (n > 0 && p[1].revents)
			why = take_signal(l);
		if (now_ns() - begin < (why ? IMPATIENCE_NS : REST_NS))
			continue;
		catnap_vm_wait(l->vm, 0, e);
		/* Kept: the next call that fails leaves another sentence. */
		snprintf(l->io->stuck_why, sizeof(l->io->stuck_why), "%s",
			 catnap_vm_last_error(l->vm));
		return false;
	}
}

/* Fills @set with the signals that end it, those of the terminal, and that of a helper's end. */
static void our_signals(sigset_t *set)
{
	ending_signals(set);
	sigaddset(set, SIGWINCH);
	sigaddset(set, SIGTSTP);
	sigaddset(set, SIGCONT);
	sigaddset(set, SIGCHLD);
}

int run_loop(struct catnap_vm *vm, const struct run_cfg *cfg, struct run_io *io)
{
	struct loop l = {.vm = vm,
			 .io = io,
			 .limit = catnap_vm_get_poll_limit_fd(vm),
			 .handler = catnap_vm_get_memory_handler_fd(vm),
			 .channels = {{&io->port, catnap_vm_serial_input, INPUT_RETRY_MS},
				      {&io->console, catnap_vm_console_input, INPUT_RETRY_MS}}};
	struct catnap_exit e = {.size = sizeof(e)};
	int status = 0, why = 0;
	sigset_t set;

	our_signals(&set);
	/* Nothing that concerns the terminal stops the VM but SIGTSTP: see terminal.h. */
	signal(SIGTTIN, SIG_IGN);
	signal(SIGTTOU, SIG_IGN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	l.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (l.signals < 0) {
		complain("catnap run: signalfd: %s\n", strerror(errno));
		return CMD_ERROR;
	}
	run_terminal_none(&l.term);
	for (int i = 0; i < CHANNELS; i++)
		if (l.channels[i].port->kind == PORT_STDIO)
			run_terminal_take(&l.term, l.channels[i].port->in, io->rescue);
	/* Over while it was loaded: it is not started at all. */
	if (now_ns() >= io->deadline)
		why = RUN_TIMEOUT;
	else
		status = catnap_vm_start(vm);
	if (status == 0 && why == 0)
		status = catnap_vm_sandbox_thread(vm, run_sandbox_allow(io));
	if (status < 0) {
		run_terminal_restore(&l.term);
		complain("catnap run: %s\n", catnap_vm_last_error(vm));
		close(l.signals);
		return CMD_ERROR;
	}
	if (why == 0) {
		service_tell(io->service, "READY=1\nSTATUS=The guest runs.\n");
		why = wait_for_end(&l, io->deadline);
		service_tell(io->service, "STOPPING=1\nSTATUS=The VM ends.\n");
	}
	if (why != 0)
		catnap_vm_request_stop(vm);
	io->stuck = !come_to_rest(&l, &e);
	run_api_ended(io);
	run_terminal_restore(&l.term);
	status = run_finish(vm, cfg, io, &e, why, l.signals);
	close(l.signals);
	return status;
}
