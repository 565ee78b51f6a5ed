/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many VMs in one process, as a platform has them: one thread and one epoll(7) for all of them.
 *
 *	fleet [-n COUNT] [-s SECONDS] [-m MIB] [-k KILLED] [-r RESTARTS] [-c PERCENT] [-o FILE]
 *	      [-t FOLDER]
 *
 *  - What dies is started again, after a delay that doubles, but no more than RESTARTS times in a
 *    minute: then it is given up. -k has that many of them die, at random.
 *  - Limits are looked at before anything is started: memory, descriptors, threads, signals.
 *  - Halt polling is steered while it runs: once a second the processor time that polls lose in all
 *    VMs together is held against PERCENT of one processor, and the longest poll is halved or
 *    doubled.
 *  - FILE gets the figures of all VMs once a second, as OpenMetrics: for a collector that reads
 *    files. It is replaced as a whole.
 *  - With -t each VM is a clone of the snapshot in FOLDER, and so is one that is started again: it
 *    begins where that was put down, and shares the pages that it does not write to. If there is
 *    none, one VM is started, put down there and ended.
 *
 * Each VM has one vCPU, which halts with interrupts off and so sleeps until it is ended. Prints
 *
 *	start    from before a VM is made to after catnap_vm_start(), one VM after the other
 *	memory   private memory of the process (proc_pid_smaps(5)), for each VM
 *	fds      descriptors, for each VM
 *	restarts how many were started again, and given up; how long the last of -k took
 *	idle     processor time of the whole process while it waits SECONDS, in percent of one
 *	left     descriptors, threads and mappings, once all VMs are destroyed; nothing is right. What
 *	         malloc(3) and pthread_create(3) keep for later counts too: without MALLOC_ARENA_MAX=1
 *	         and GLIBC_TUNABLES=glibc.pthread.stack_cache_size=0 there are such mappings
 *
 * SIGINT and SIGTERM end it early, in order.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <catnap/catnap.h>
#include <catnap/snapshot.h>

#define SECOND	     UINT64_C(1000000000)
#define MINUTE	     (60 * SECOND)
#define FIRST_DELAY  (SECOND / 100)
#define LONGEST_POLL CATNAP_ADAPTIVE_MAX_NS
#define SHORTEST_NS  1000u
/* Within so long a new VM has come to where its clones begin. */
#define SETTLE_US 100000
/* The values of epoll's data that are no VM's. */
#define GONE	UINT64_MAX
#define TICK	(UINT64_MAX - 1)
#define SIGNALS (UINT64_MAX - 2)

/* cli; again: hlt; jmp again */
static const uint8_t halting[] = {0xfa, 0xf4, 0xeb, 0xfd};

/* One place in the fleet, and the VM that has it now. */
struct member {
	struct catnap_vm *vm; /* NULL: none, until due_ns */
	uint64_t due_ns;      /* CLOCK_MONOTONIC; 0: never, it was given up */
	uint64_t delay_ns, minute_ns;
	unsigned int in_minute, restarts;
	uint64_t halts, fail_ns; /* of those before it */
	uint64_t seen_fail_ns;	 /* at the last look, all of them */
};

struct fleet {
	unsigned int count, seconds, mib, kill, restart_limit, percent;
	const char *metrics;
	const char *folder;		  /* of the snapshot; NULL: each VM begins anew */
	struct catnap_snapshot *snapshot; /* NULL: none */
	int memory;			  /* the snapshot's memory file */
	struct member *members;
	uint64_t *start_ns;
	/* Opened once for all, and given to each VM. */
	int kvm, pressure;
	int epoll, tick, signals, gone; /* gone: an eventfd that counts VMs that are freed */
	unsigned int leaving, running, restarts, given_up;
	uint32_t max_ns; /* the longest poll, as it is now */
	uint64_t looked_ns;
	bool quit;
};

static uint64_t now_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * SECOND + (uint64_t)ts.tv_nsec;
}

/* ---- what the process has ---- */

/* Returns the KiB of this process that it shares with nobody, or 0 if it is not told. */
static uint64_t private_kib(void)
{
	FILE *f = fopen("/proc/self/smaps_rollup", "re");
	uint64_t sum = 0;
	char line[256];

	while (f && fgets(line, sizeof(line), f)) {
		unsigned long long n;

		if (sscanf(line, "Private_Clean: %llu", &n) == 1 ||
		    sscanf(line, "Private_Dirty: %llu", &n) == 1)
			sum += n;
	}
	if (f)
		fclose(f);
	return sum;
}

static int entries(const char *folder)
{
	DIR *dir = opendir(folder);
	int n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

static int mappings(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	int n = 0, c;

	while (f && (c = getc(f)) != EOF)
		n += c == '\n';
	if (f)
		fclose(f);
	return n;
}

struct things {
	int fds, threads, mappings;
};

static struct things things(void)
{
	return (struct things){entries("/proc/self/fd"), entries("/proc/self/task"), mappings()};
}

/* Raises a limit as far as this user may; whether @need is in it. */
static bool room(int resource, const char *name, uint64_t need)
{
	struct rlimit limit;

	if (getrlimit(resource, &limit) < 0)
		return true;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(resource, &limit);
	if (limit.rlim_cur >= need)
		return true;
	fprintf(stderr, "fleet: %s: %" PRIu64 " are needed, and %" PRIu64 " allowed\n", name, need,
		(uint64_t)limit.rlim_cur);
	return false;
}

static bool fits(const struct fleet *f)
{
	const uint64_t n = f->count, most = catnap_host_memory();

	/* Memory that a guest has not touched takes nothing; but a platform that promises more than
	 * there is will have to end some. */
	if ((n * f->mib) << 20 > most) {
		fprintf(stderr,
			"fleet: %u VMs of %u MiB are more than this host's %" PRIu64 " MiB\n",
			f->count, f->mib, most >> 20);
		return false;
	}
	/* Two descriptors for a VM, one for its vCPU, and as many again while some come and others
	 * go; a thread and a pending signal for each vCPU. */
	return room(RLIMIT_NOFILE, "descriptors (ulimit -n)", 4 * n + 64) &&
	       room(RLIMIT_SIGPENDING, "pending signals (ulimit -i)", n + 16);
}

/* ---- one VM ---- */

/* Makes one that begins anew, or a clone of the snapshot. */
static int make_one(struct fleet *f, const char *name, struct catnap_vm **vm)
{
	struct catnap_restore how;
	struct catnap_vm_config cfg;

	catnap_vm_config_init(&cfg);
	cfg.name = name;
	cfg.kvm_fd = f->kvm;
	cfg.pressure_fd = f->pressure;
	cfg.no_rings = 1; /* no devices */
	cfg.halt_poll.max_ns = f->max_ns;
	if (f->snapshot) {
		catnap_restore_init(&how);
		how.memory_fds = &f->memory;
		how.memory_count = 1;
		return catnap_vm_restore(&cfg, f->snapshot, &how, vm);
	}
	cfg.memory_size = (uint64_t)f->mib << 20;
	cfg.image_kind = CATNAP_IMAGE_FLAT;
	cfg.kernel_data = halting;
	cfg.kernel_size = sizeof(halting);
	return catnap_vm_create(&cfg, vm);
}

static int start_one(struct fleet *f, unsigned int i)
{
	struct member *m = &f->members[i];
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = i};
	char name[16];
	int ret;

	snprintf(name, sizeof(name), "vm%u", i);
	ret = make_one(f, name, &m->vm);
	if (ret == 0)
		ret = catnap_vm_start(m->vm);
	if (ret < 0) {
		fprintf(stderr, "fleet: %s: %s\n", name, catnap_vm_last_error(NULL));
		catnap_vm_destroy(&m->vm);
		return ret;
	}
	f->running++;
	return epoll_ctl(f->epoll, EPOLL_CTL_ADD, catnap_vm_get_fd(m->vm), &ev);
}

static void add_figures(const struct member *m, uint64_t *halts, uint64_t *fail_ns)
{
	struct catnap_vcpu_stats s = {.size = sizeof(s)};

	*halts = m->halts;
	*fail_ns = m->fail_ns;
	if (m->vm && catnap_vm_get_stats(m->vm, 0, &s) == 0) {
		*halts += s.halt.halt_exits;
		*fail_ns += s.halt.halt_poll_fail_ns;
	}
}

/* Gives a VM that has ended back, without waiting for that. */
static void let_go(struct fleet *f, struct member *m)
{
	add_figures(m, &m->halts, &m->fail_ns);
	epoll_ctl(f->epoll, EPOLL_CTL_DEL, catnap_vm_get_fd(m->vm), NULL);
	if (catnap_vm_request_destroy(m->vm, f->gone) == 0)
		f->leaving++;
	m->vm = NULL;
	f->running--;
}

/* When it is to be there again: at once the first time, then later and later. */
static void plan_restart(struct fleet *f, struct member *m)
{
	uint64_t now = now_ns(CLOCK_MONOTONIC);

	if (now - m->minute_ns > MINUTE) {
		m->minute_ns = now;
		m->in_minute = 0;
		m->delay_ns = 0;
	}
	if (m->in_minute++ >= f->restart_limit) {
		m->due_ns = 0;
		f->given_up++;
		return;
	}
	m->due_ns = now + m->delay_ns;
	m->delay_ns = m->delay_ns ? 2 * m->delay_ns : FIRST_DELAY;
}

static void ended(struct fleet *f, unsigned int i)
{
	struct catnap_exit e = {.size = sizeof(e)};
	struct member *m = &f->members[i];

	if (!m->vm || catnap_vm_wait(m->vm, 0, &e) < 0)
		return;
	if (e.report[0])
		fprintf(stderr, "fleet: vm%u: %s", i, e.report);
	let_go(f, m);
	plan_restart(f, m);
}

static void restart_due(struct fleet *f)
{
	uint64_t now = now_ns(CLOCK_MONOTONIC);

	for (unsigned int i = 0; i < f->count && !f->quit; i++) {
		struct member *m = &f->members[i];

		if (m->vm || !m->due_ns || m->due_ns > now)
			continue;
		if (start_one(f, i) < 0) {
			plan_restart(f, m);
			continue;
		}
		m->restarts++;
		f->restarts++;
	}
}

/* ---- the snapshot ---- */

static int open_in(const char *folder, const char *name, int flags)
{
	char path[4096];

	if (snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	flags = open(path, flags | O_CLOEXEC, 0600);
	return flags < 0 ? -errno : flags;
}

static int give_name(const char *folder, const char *name)
{
	char from[4096], to[4096];

	if (snprintf(to, sizeof(to), "%s/%s", folder, name) >= (int)sizeof(to) ||
	    snprintf(from, sizeof(from), "%s/%s.new", folder, name) >= (int)sizeof(from))
		return -ENAMETOOLONG;
	return rename(from, to) < 0 ? -errno : 0;
}

/* Gives both files their names, now that they are whole: the memory first, since the state names
 * it. One that is to outlive a crash of the host wants fsync(2) before that. */
static int commit(void *ctx)
{
	const struct fleet *f = ctx;
	int ret = give_name(f->folder, "memory");

	return ret < 0 ? ret : give_name(f->folder, "state");
}

/* Closes a file that was being written, and removes it if it has this name still. */
static void drop(const char *folder, const char *name, int fd)
{
	char path[4096];

	if (fd < 0)
		return;
	close(fd);
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	unlink(path);
}

/* Puts a VM down in the folder. What is written so far has another name until it is whole. */
static int put_down(struct fleet *f, struct catnap_vm *vm)
{
	struct catnap_snapshot_request rq;
	int ret;

	catnap_snapshot_request_init(&rq);
	rq.state_fd = open_in(f->folder, "state.new", O_RDWR | O_CREAT | O_TRUNC);
	rq.memory_fd = open_in(f->folder, "memory.new", O_RDWR | O_CREAT | O_TRUNC);
	rq.commit = commit;
	rq.commit_ctx = f;
	ret = rq.state_fd < 0 ? rq.state_fd : rq.memory_fd;
	if (ret >= 0)
		ret = catnap_vm_pause(vm);
	if (ret >= 0)
		ret = catnap_vm_snapshot(vm, &rq);
	drop(f->folder, "state.new", rq.state_fd);
	drop(f->folder, "memory.new", rq.memory_fd);
	return ret;
}

/* Makes the VM that all others are clones of, and lets it come to where they begin. */
static int make_snapshot(struct fleet *f)
{
	struct catnap_vm *vm = NULL;
	int ret = make_one(f, "first", &vm);
	const char *why;

	if (ret == 0)
		ret = catnap_vm_start(vm);
	if (ret == 0) {
		usleep(SETTLE_US);
		ret = put_down(f, vm);
	}
	why = catnap_vm_last_error(vm);
	if (ret < 0)
		fprintf(stderr, "fleet: %s: %s\n", f->folder, *why ? why : strerror(-ret));
	catnap_vm_destroy(&vm);
	return ret;
}

/* Opens the snapshot of the folder, which is made if there is none. */
static bool open_snapshot(struct fleet *f)
{
	struct catnap_snapshot_info info = {.size = sizeof(info)};
	int state = open_in(f->folder, "state", O_RDONLY), ret;

	if (state == -ENOENT && make_snapshot(f) < 0)
		return false;
	if (state == -ENOENT)
		state = open_in(f->folder, "state", O_RDONLY);
	f->memory = open_in(f->folder, "memory", O_RDONLY);
	ret = state < 0 ? state : f->memory;
	if (ret < 0) {
		fprintf(stderr, "fleet: %s: %s\n", f->folder, strerror(-ret));
	} else {
		ret = catnap_snapshot_open(state, &f->snapshot);
		if (ret < 0)
			fprintf(stderr, "fleet: %s: %s\n", f->folder, catnap_vm_last_error(NULL));
	}
	if (state >= 0)
		close(state);
	if (ret < 0)
		return false;
	catnap_snapshot_get_info(f->snapshot, &info);
	f->mib = (unsigned int)(info.memory_size >> 20);
	return true;
}

/* ---- once a second ---- */

/* Holds what polls have lost against what they may lose, and moves the longest poll of all. */
static void steer(struct fleet *f)
{
	uint64_t now = now_ns(CLOCK_MONOTONIC), lost = 0, allowed;
	uint32_t max_ns = f->max_ns;
	struct catnap_halt_poll params;

	for (unsigned int i = 0; i < f->count; i++) {
		uint64_t halts, fail_ns;

		add_figures(&f->members[i], &halts, &fail_ns);
		lost += fail_ns - f->members[i].seen_fail_ns;
		f->members[i].seen_fail_ns = fail_ns;
	}
	allowed = (now - f->looked_ns) / 100 * f->percent;
	f->looked_ns = now;
	if (lost > allowed && max_ns > SHORTEST_NS)
		max_ns /= 2;
	else if (lost < allowed / 2 && max_ns < LONGEST_POLL)
		max_ns = max_ns > LONGEST_POLL / 2 ? LONGEST_POLL : 2 * max_ns;
	if (max_ns == f->max_ns)
		return;
	f->max_ns = max_ns;
	catnap_halt_poll_init(&params);
	params.max_ns = max_ns;
	for (unsigned int i = 0; i < f->count; i++)
		if (f->members[i].vm)
			(void)catnap_vm_set_halt_poll(f->members[i].vm, -1, &params);
}

static void family(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# TYPE %s %s\n# HELP %s %s\n", name, type, name, help);
}

static void print_metrics(const struct fleet *f, FILE *out)
{
	uint64_t halts, fail_ns;

	family(out, "fleet_vms", "gauge", "How many VMs run.");
	fprintf(out, "fleet_vms %u\n", f->running);
	family(out, "fleet_poll_max_seconds", "gauge", "The longest poll of all.");
	fprintf(out, "fleet_poll_max_seconds %.9f\n", f->max_ns / 1e9);
	family(out, "fleet_vm_restarts", "counter", "How often it was started again.");
	for (unsigned int i = 0; i < f->count; i++)
		fprintf(out, "fleet_vm_restarts_total{vm=\"vm%u\"} %u\n", i,
			f->members[i].restarts);
	family(out, "fleet_halt_exits", "counter", "Halts.");
	for (unsigned int i = 0; i < f->count; i++) {
		add_figures(&f->members[i], &halts, &fail_ns);
		fprintf(out, "fleet_halt_exits_total{vm=\"vm%u\"} %" PRIu64 "\n", i, halts);
	}
	family(out, "fleet_halt_poll_fail_seconds", "counter", "Time polled before a sleep.");
	for (unsigned int i = 0; i < f->count; i++) {
		add_figures(&f->members[i], &halts, &fail_ns);
		fprintf(out, "fleet_halt_poll_fail_seconds_total{vm=\"vm%u\"} %.9f\n", i,
			(double)fail_ns / 1e9);
	}
	fputs("# EOF\n", out);
}

static bool write_metrics(const struct fleet *f)
{
	char beside[4096];
	FILE *out;

	if (!f->metrics)
		return true;
	if (snprintf(beside, sizeof(beside), "%s.new", f->metrics) >= (int)sizeof(beside)) {
		fprintf(stderr, "fleet: -o: %s\n", strerror(ENAMETOOLONG));
		return false;
	}
	out = fopen(beside, "we");
	if (out)
		print_metrics(f, out);
	if (out && fclose(out) == 0 && rename(beside, f->metrics) == 0)
		return true;
	fprintf(stderr, "fleet: -o: %s: %s\n", f->metrics, strerror(errno));
	if (out)
		unlink(beside);
	return false;
}

/* Writes them for the first time. What takes the place of a device or a FIFO would be no such thing
 * any more. */
static bool begin_metrics(const struct fleet *f)
{
	struct stat st;

	if (f->metrics && lstat(f->metrics, &st) == 0 && !S_ISREG(st.st_mode)) {
		fprintf(stderr, "fleet: -o: %s: is no regular file\n", f->metrics);
		return false;
	}
	return write_metrics(f);
}

/* ---- the loop ---- */

static void dispatch(struct fleet *f, const struct epoll_event *ev)
{
	struct signalfd_siginfo si;
	uint64_t n;

	switch (ev->data.u64) {
	case GONE:
		if (read(f->gone, &n, sizeof(n)) == sizeof(n))
			f->leaving -= (unsigned int)n;
		break;
	case TICK:
		if (read(f->tick, &n, sizeof(n)) == sizeof(n)) {
			steer(f);
			(void)write_metrics(f);
		}
		break;
	case SIGNALS:
		if (read(f->signals, &si, sizeof(si)) == sizeof(si))
			f->quit = true;
		break;
	default:
		ended(f, (unsigned int)ev->data.u64);
	}
}

/* One turn: for 10 ms at most, so that what is due comes. */
static void turn(struct fleet *f)
{
	struct epoll_event events[64];
	int n = epoll_wait(f->epoll, events, 64, 10);

	for (int i = 0; i < n; i++)
		dispatch(f, &events[i]);
	restart_due(f);
}

/* Has some of them die, and waits until all are there again, or given up. */
static void kill_some(struct fleet *f)
{
	uint64_t begin = now_ns(CLOCK_MONOTONIC);
	unsigned int left = f->kill;

	while (left > 0) {
		struct member *m = &f->members[(unsigned int)random() % f->count];

		if (m->vm && catnap_vm_get_state(m->vm) == CATNAP_VM_RUNNING) {
			catnap_vm_request_stop(m->vm);
			left--;
		}
		/* One may meet its fate again, but then it is to have been there. */
		if (left > 0 && f->kill > f->count / 2)
			turn(f);
	}
	do
		turn(f);
	while (!f->quit &&
	       (f->restarts + f->given_up < f->kill || f->running + f->given_up < f->count));
	printf("killed  %u, all there again after %.1f ms\n", f->kill,
	       (double)(now_ns(CLOCK_MONOTONIC) - begin) / 1e6);
}

static void wait_for(struct fleet *f, unsigned int seconds)
{
	uint64_t end = now_ns(CLOCK_MONOTONIC) + seconds * SECOND;
	struct epoll_event ev;
	uint64_t now;

	while (!f->quit && (now = now_ns(CLOCK_MONOTONIC)) < end) {
		int n = epoll_wait(f->epoll, &ev, 1, (int)((end - now) / 1000000 + 1));

		if (n == 1)
			dispatch(f, &ev);
		restart_due(f);
	}
}

static void destroy_all(struct fleet *f)
{
	for (unsigned int i = 0; i < f->count; i++) {
		f->members[i].due_ns = 0;
		if (f->members[i].vm)
			let_go(f, &f->members[i]);
	}
	f->quit = true;
	while (f->leaving > 0)
		turn(f);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void print_starts(struct fleet *f, uint64_t kib, int fds)
{
	qsort(f->start_ns, f->count, sizeof(*f->start_ns), by_value);
	printf("vms     %u\n", f->count);
	printf("start   p50 %.3f ms, p99 %.3f ms, max %.3f ms\n",
	       (double)f->start_ns[f->count / 2] / 1e6,
	       (double)f->start_ns[f->count * 99u / 100] / 1e6,
	       (double)f->start_ns[f->count - 1] / 1e6);
	printf("memory  %.1f KiB each\n", (double)kib / f->count);
	printf("fds     %.2f each\n", (double)fds / f->count);
}

static void *nothing(void *ctx)
{
	return ctx;
}

/* Returns what is left once all threads have gone. The last thread of a VM tells that all is freed,
 * and then leaves; the C library frees the stack of a thread that nobody joins when the next one
 * ends. */
static struct things things_left(const struct things *before)
{
	struct things after = things();
	pthread_t thread;

	for (unsigned int n = 0; n < 200 && after.threads > before->threads; n++) {
		usleep(10000);
		after = things();
	}
	if (pthread_create(&thread, NULL, nothing, NULL) == 0)
		pthread_join(thread, NULL);
	return things();
}

static int run(struct fleet *f)
{
	const struct things before = things();
	uint64_t kib = private_kib(), cpu, begin;
	struct things after;
	unsigned int i;
	bool written = false;

	f->looked_ns = now_ns(CLOCK_MONOTONIC);
	for (i = 0; i < f->count; i++) {
		begin = now_ns(CLOCK_MONOTONIC);
		if (start_one(f, i) < 0)
			break;
		f->start_ns[i] = now_ns(CLOCK_MONOTONIC) - begin;
	}
	if (i == f->count) {
		print_starts(f, private_kib() - kib, entries("/proc/self/fd") - before.fds);
		if (f->kill)
			kill_some(f);
		wait_for(f, 1); /* until the last has halted */
		cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID);
		begin = now_ns(CLOCK_MONOTONIC);
		wait_for(f, f->seconds);
		cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
		begin = now_ns(CLOCK_MONOTONIC) - begin;
		printf("idle    %.4f %% of a processor in %.1f s\n",
		       begin ? 100.0 * (double)cpu / (double)begin : 0, (double)begin / 1e9);
		printf("restarts %u, given up %u\n", f->restarts, f->given_up);
		printf("polls   %u ns at most in the end\n", f->max_ns);
		written = write_metrics(f);
	}
	destroy_all(f);
	after = things_left(&before);
	printf("left    fds %d, threads %d, mappings %d\n", after.fds - before.fds,
	       after.threads - before.threads, after.mappings - before.mappings);
	return i == f->count && written ? 0 : 1;
}

static int watch(struct fleet *f, int fd, uint64_t what)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = what};

	return fd < 0 ? -1 : epoll_ctl(f->epoll, EPOLL_CTL_ADD, fd, &ev);
}

static bool open_all(struct fleet *f)
{
	const struct itimerspec second = {{1, 0}, {1, 0}};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	f->epoll = epoll_create1(EPOLL_CLOEXEC);
	f->gone = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	f->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	f->tick = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (f->epoll < 0 || watch(f, f->gone, GONE) < 0 || watch(f, f->signals, SIGNALS) < 0 ||
	    watch(f, f->tick, TICK) < 0 || timerfd_settime(f->tick, 0, &second, NULL) < 0) {
		fprintf(stderr, "fleet: %s\n", strerror(errno));
		return false;
	}
	f->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (f->kvm < 0) {
		fprintf(stderr, "fleet: /dev/kvm: %s\n", strerror(errno));
		return false;
	}
	/* -1: each VM looks itself. */
	f->pressure = open("/proc/pressure/cpu", O_RDONLY | O_CLOEXEC);
	f->members = calloc(f->count, sizeof(*f->members));
	f->start_ns = calloc(f->count, sizeof(*f->start_ns));
	if (!f->members || !f->start_ns) {
		fprintf(stderr, "fleet: no memory\n");
		return false;
	}
	return begin_metrics(f) && (!f->folder || open_snapshot(f));
}

static void close_all(struct fleet *f)
{
	int *fds[] = {&f->kvm,	&f->pressure, &f->tick,	 &f->signals,
		      &f->gone, &f->epoll,    &f->memory};

	catnap_snapshot_close(&f->snapshot);
	free(f->members);
	free(f->start_ns);
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (*fds[i] >= 0)
			close(*fds[i]);
}

/* Puts the value of @option, a number from @least to a million, into *value; says so if it is none. */
static bool number(int option, unsigned int least, unsigned int *value)
{
	char *end;
	unsigned long n = strtoul(optarg, &end, 10);

	if (*optarg < '0' || *optarg > '9' || *end || n < least || n > 1000000) {
		fprintf(stderr, "fleet: -%c: \"%s\": expected a number from %u to 1000000\n",
			option, optarg, least);
		return false;
	}
	*value = (unsigned int)n;
	return true;
}

static bool parse(struct fleet *f, int argc, char **argv)
{
	bool good = true;
	int option;

	while (good && (option = getopt(argc, argv, "n:s:m:k:r:c:o:t:")) != -1) {
		switch (option) {
		case 'n':
			good = number(option, 1, &f->count);
			break;
		case 's':
			good = number(option, 0, &f->seconds);
			break;
		case 'm':
			good = number(option, 1, &f->mib);
			break;
		case 'k':
			good = number(option, 0, &f->kill);
			break;
		case 'r':
			good = number(option, 0, &f->restart_limit);
			break;
		case 'c':
			good = number(option, 0, &f->percent);
			break;
		case 'o':
			f->metrics = optarg;
			break;
		case 't':
			f->folder = optarg;
			break;
		default:
			good = false;
		}
	}
	if (good && f->kill > f->count) {
		fprintf(stderr, "fleet: -k: %u: there are %u VMs\n", f->kill, f->count);
		return false;
	}
	return good && optind == argc;
}

int main(int argc, char **argv)
{
	struct fleet f = {.count = 1000,
			  .seconds = 20,
			  .mib = 16,
			  .restart_limit = 5,
			  .percent = 10,
			  .max_ns = LONGEST_POLL,
			  .kvm = -1,
			  .pressure = -1,
			  .epoll = -1,
			  .tick = -1,
			  .signals = -1,
			  .gone = -1,
			  .memory = -1};
	int ret = 1;

	if (!parse(&f, argc, argv)) {
		fprintf(stderr, "usage: fleet [-n COUNT] [-s SECONDS] [-m MIB] [-k KILLED] "
				"[-r RESTARTS] [-c PERCENT] [-o FILE] [-t FOLDER]\n");
		return 2;
	}
	srandom((unsigned int)getpid());
	if (fits(&f) && open_all(&f))
		ret = run(&f);
	close_all(&f);
	return ret;
}
