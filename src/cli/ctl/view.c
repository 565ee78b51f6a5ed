/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The live view of `catnap stat`, in the manner of top(1): looks at the VM in intervals, takes keys
 * in between and while it waits for an answer, and gives the terminal back however it ends.
 *
 * Signals come through a signalfd, so nothing here runs in a handler.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "cli/ctl/view.h"
#include "cli/now.h"
#include "cli/opts.h"

#define INTERVAL_LEAST UINT64_C(100000000)
#define INTERVAL_MOST  UINT64_C(60000000000)

/* The live state beside what is shown. */
struct live {
	struct view view;
	struct client *client;
	int signals; /* the signalfd */
	sigset_t mask, before;
	uint64_t due; /* the next look, as now_ns() */
	bool quit, gone;
	int signal; /* that ends it */
	/* A change that a key asked for. */
	bool change, change_all;
	int change_vcpu;
	const char *member, *value;
	uint64_t host_busy, host_all; /* of /proc/stat */
};

/* -- the host --------------------------------------------------------------------------------- */

static void look_at_host(struct live *l)
{
	uint64_t t[8] = {0}, busy, all = 0;
	FILE *f = fopen("/proc/stat", "re");
	int n = 0;

	if (!f)
		return;
	n = fscanf(f,
		   "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
		   " %" SCNu64 " %" SCNu64,
		   &t[0], &t[1], &t[2], &t[3], &t[4], &t[5], &t[6], &t[7]);
	fclose(f);
	if (n != 8)
		return;
	for (int i = 0; i < 8; i++)
		all += t[i];
	busy = all - t[3] - t[4];
	if (all > l->host_all && busy >= l->host_busy)
		l->view.busy = (double)(busy - l->host_busy) / (double)(all - l->host_all);
	l->host_busy = busy;
	l->host_all = all;
}

/* -- signals and keys ------------------------------------------------------------------------- */

/* Stops the process. The terminal is given back meanwhile. */
static void stop(struct live *l)
{
	sigset_t tstp;

	screen_suspend(l->view.screen);
	sigemptyset(&tstp);
	sigaddset(&tstp, SIGTSTP);
	signal(SIGTSTP, SIG_DFL); /* not by the handler that ncurses brings */
	raise(SIGTSTP);
	sigprocmask(SIG_UNBLOCK, &tstp, NULL); /* stops here */
	sigprocmask(SIG_BLOCK, &tstp, NULL);
	screen_resume(l->view.screen);
}

static void take_signals(struct live *l)
{
	struct signalfd_siginfo info;

	while (read(l->signals, &info, sizeof(info)) == sizeof(info)) {
		switch (info.ssi_signo) {
		case SIGWINCH:
			screen_resize(l->view.screen);
			break;
		case SIGTSTP:
			stop(l);
			break;
		case SIGCONT:
			/* After a stop that nobody can catch. */
			screen_resume(l->view.screen);
			break;
		default:
			l->signal = (int)info.ssi_signo;
			l->quit = true;
		}
	}
}

static void ask(struct live *l, const char *member, const char *value, bool all)
{
	l->change = true;
	l->change_all = all;
	l->change_vcpu = l->view.chosen;
	l->member = member;
	l->value = value;
}

/* Takes a letter of the prompt; a capital one is for all vCPUs. */
static void take_answer(struct live *l, int key)
{
	static const struct {
		enum view_prompt prompt;
		char letter;
		const char *value;
	} answers[] = {
		{PROMPT_POLICY, 'a', "adaptive"}, {PROMPT_POLICY, 'k', "kernel"},
		{PROMPT_POLICY, 'f', "fixed"},	  {PROMPT_POLICY, 'w', "always"},
		{PROMPT_POLICY, 'o', "off"},	  {PROMPT_BIAS, 'l', "latency"},
		{PROMPT_BIAS, 'b', "balanced"},	  {PROMPT_BIAS, 'p', "power"},
	};
	struct view *v = &l->view;

	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++)
		if (answers[i].prompt == v->prompt && (key | 0x20) == answers[i].letter)
			ask(l, v->prompt == PROMPT_POLICY ? "policy" : "bias", answers[i].value,
			    !(key & 0x20));
	v->prompt = PROMPT_NONE;
}

static void choose(struct view *v, long move)
{
	long place = (long)view_place(v) + move, last = (long)v->rows.n - 1;

	place = place < 0 || last < 0 ? 0 : place > last ? last : place;
	if (v->rows.n)
		v->chosen = v->rows.row[place].vcpu;
}

static void sort(struct view *v, long move)
{
	const struct column *all[COLUMNS_MOST], *seen[COLUMNS_MOST];
	size_t n = columns_all(all), shown = columns_fit(seen, screen_columns(v->screen));

	/* Only by what is seen. */
	n = shown && shown < n ? shown : n;
	v->sort = (size_t)((long)(v->sort < n ? v->sort : 0) + move + (long)n) % n;
	rows_sort(&v->rows, all[v->sort], v->up);
	/* The first of them is what one sorts for. */
	if (v->rows.n)
		v->chosen = v->rows.row[0].vcpu;
	snprintf(v->message, sizeof(v->message), "sorted by %s: %s",
		 all[v->sort]->head + (all[v->sort]->head[0] == '<'), all[v->sort]->what);
}

static void show_page(struct view *v, enum view_page page)
{
	v->page = v->page == page ? PAGE_VCPUS : page;
}

static void set_interval(struct live *l, uint64_t ns)
{
	char figure[FIGURE_SIZE];

	l->view.interval_ns = ns < INTERVAL_LEAST  ? INTERVAL_LEAST
			      : ns > INTERVAL_MOST ? INTERVAL_MOST
						   : ns;
	l->due = now_ns();
	snprintf(l->view.message, sizeof(l->view.message), "a look every %s",
		 show_ns(figure, l->view.interval_ns));
}

static void take_key(struct live *l, int key)
{
	struct view *v = &l->view;
	const long page = (long)view_height(v);

	v->message[0] = '\0';
	if (v->prompt) {
		take_answer(l, key);
		return;
	}
	switch (key) {
	case 'q':
	case 'Q':
		l->quit = true;
		break;
	case 27:
		v->page = PAGE_VCPUS;
		break;
	case KEYS_UP:
		choose(v, -1);
		break;
	case KEYS_DOWN:
		choose(v, 1);
		break;
	case KEYS_PAGE_UP:
		choose(v, -page);
		break;
	case KEYS_PAGE_DOWN:
		choose(v, page);
		break;
	case KEYS_HOME:
		choose(v, -ROWS_MOST);
		break;
	case KEYS_END:
		choose(v, ROWS_MOST);
		break;
	case '<':
	case KEYS_LEFT:
		sort(v, -1);
		break;
	case '>':
	case KEYS_RIGHT:
		sort(v, 1);
		break;
	case 'r':
		v->up = !v->up;
		sort(v, 0);
		break;
	case 'p':
		v->prompt = PROMPT_POLICY;
		break;
	case 'b':
		v->prompt = PROMPT_BIAS;
		break;
	case 'h':
	case '\n':
		show_page(v, PAGE_HISTOGRAM);
		break;
	case 'l':
		show_page(v, PAGE_LEARNED);
		break;
	case 'd':
		show_page(v, PAGE_DEVICES);
		break;
	case '?':
		show_page(v, PAGE_HELP);
		break;
	case 't':
		v->total = !v->total;
		break;
	case '+':
		set_interval(l, v->interval_ns * 2);
		break;
	case '-':
		set_interval(l, v->interval_ns / 2);
		break;
	case ' ':
		l->due = now_ns();
		break;
	default:
		snprintf(v->message, sizeof(v->message), "unknown key: ? lists them");
	}
}

/* Makes the rows as they are to be shown. */
static void reckon(struct view *v)
{
	static const struct look none;
	const struct column *all[COLUMNS_MOST];
	size_t n = columns_all(all);

	look_rows(&v->rows, &v->now, v->total ? &none : &v->old);
	rows_sort(&v->rows, all[v->sort < n ? v->sort : 0], v->up);
}

/* Takes what came from the terminal, and from signals. Returns true if the request that is under
 * way is to be given up. */
static bool take_input(void *ctx)
{
	struct live *l = ctx;
	struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
	bool total = l->view.total;
	int key;

	take_signals(l);
	while (!l->quit && (key = screen_key(l->view.screen)) != KEYS_NONE)
		take_key(l, key);
	/* Nobody will ever press a key there. */
	if (poll(&in, 1, 0) > 0 && in.revents & (POLLHUP | POLLERR | POLLNVAL))
		l->quit = true;
	if (l->view.total != total)
		reckon(&l->view);
	if (!l->quit)
		view_draw(&l->view);
	return l->quit;
}

/* -- requests --------------------------------------------------------------------------------- */

static void look(struct live *l)
{
	struct view *v = &l->view;
	struct look new;
	int ret = look_take(&new, l->client);

	l->due = now_ns() + v->interval_ns;
	if (ret < 0) {
		if (ret != -EINTR)
			snprintf(v->message, sizeof(v->message), "%s", client_error(l->client));
		l->gone |= client_is_gone(ret);
		return;
	}
	look_free(&v->old);
	v->old = v->now;
	v->now = new;
	look_at_host(l);
	reckon(v);
}

static void send_change(struct live *l)
{
	struct view *v = &l->view;
	struct json_object *body = json_object_new_object();
	char path[64] = "/catnap/halt-polling", who[32] = "all vCPUs";
	int ret;

	l->change = false;
	if (!l->change_all && l->change_vcpu >= 0) {
		snprintf(path, sizeof(path), "/catnap/halt-polling/%d", l->change_vcpu);
		snprintf(who, sizeof(who), "vCPU %d", l->change_vcpu);
	} else if (!l->change_all) {
		snprintf(v->message, sizeof(v->message),
			 "the I/O thread follows all vCPUs: a capital letter changes them");
		json_object_put(body);
		return;
	}
	json_object_object_add(body, l->member, json_object_new_string(l->value));
	ret = client_send(l->client, "PATCH", path, body);
	if (ret < 0 && ret != -EINTR)
		snprintf(v->message, sizeof(v->message), "%s", client_error(l->client));
	else
		snprintf(v->message, sizeof(v->message), "%s: %s %s", who, l->member, l->value);
	l->due = now_ns();
}

/* -- from start to end ------------------------------------------------------------------------ */

static void loop(struct live *l)
{
	struct pollfd fds[] = {{.fd = STDIN_FILENO, .events = POLLIN},
			       {.fd = l->signals, .events = POLLIN}};
	char why[64];

	while (!l->quit && !l->gone && !look_ended(&l->view.now, why, sizeof(why))) {
		uint64_t now;

		if (l->change)
			send_change(l);
		if (!l->quit && now_ns() >= l->due)
			look(l);
		if (l->quit || l->gone)
			break;
		view_draw(&l->view);
		now = now_ns();
		if (l->change || now >= l->due)
			continue;
		if (poll(fds, 2, (int)((l->due - now) / 1000000) + 1) > 0)
			take_input(l);
	}
}

static void block_signals(struct live *l)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGTSTP, SIGCONT};

	sigemptyset(&l->mask);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaddset(&l->mask, signals[i]);
	sigprocmask(SIG_BLOCK, &l->mask, &l->before);
	l->signals = signalfd(-1, &l->mask, SFD_NONBLOCK | SFD_CLOEXEC);
}

/* Ends the process by the signal that came, if one did. */
static void unblock_signals(struct live *l)
{
	if (l->signals >= 0)
		close(l->signals);
	if (l->signal) {
		signal(l->signal, SIG_DFL);
		raise(l->signal);
	}
	sigprocmask(SIG_SETMASK, &l->before, NULL);
}

/* Says why it ends, after the terminal has been given back. */
static void say_why(const struct live *l)
{
	char title[128], why[64];

	if (l->quit)
		return;
	look_title(title, sizeof(title), &l->view.now);
	if (look_ended(&l->view.now, why, sizeof(why)))
		printf("%s: ended%s%s\n", title, *why ? ": " : "", why);
	else
		printf("%s: has ended\n", title);
}

static int show(struct live *l)
{
	const char *why;

	if (screen_open(&l->view.screen, &why) < 0) {
		fprintf(stderr,
			"catnap stat: the live view needs ncurses: %s: expected --once or "
			"--count\n",
			why);
		return CMD_ERROR;
	}
	loop(l);
	screen_close(&l->view.screen);
	say_why(l);
	return CMD_OK;
}

int view_run(const struct stat_cfg *cfg)
{
	struct live *l = calloc(1, sizeof(*l));
	struct client_config client = {.command = "stat",
				       .path = cfg->path,
				       .limit_ns = CLIENT_LIMIT_NS,
				       .watch = {-1, -1}};
	int status;

	if (!l)
		return CMD_ERROR;
	l->view.interval_ns = cfg->interval_ns;
	/* The first look before the screen is taken: what is wrong is a line. */
	status = client_open(&client, &l->client) < 0 || look_take(&l->view.now, l->client) < 0
			 ? client_failed(l->client)
			 : CMD_OK;
	client_close(&l->client);
	if (status == CMD_OK) {
		block_signals(l);
		client.watch[0] = STDIN_FILENO;
		client.watch[1] = l->signals;
		client.woken = take_input;
		client.ctx = l;
		l->due = now_ns() + l->view.interval_ns;
		look_at_host(l);
		reckon(&l->view);
		status = client_open(&client, &l->client) < 0 ? client_failed(l->client) : show(l);
		client_close(&l->client);
		unblock_signals(l);
	}
	look_free(&l->view.now);
	look_free(&l->view.old);
	free(l);
	return status;
}
