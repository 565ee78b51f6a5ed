/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long the control socket takes to answer PATCH /catnap/halt-polling while vCPUs compute: on each
 * processor a VM with a vCPU that never halts, and one client with one connection.
 *
 *	bench_api CATNAP GUEST [SAMPLES]	GUEST: end.elf of the test guests
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOST_VMS    64
#define MOST	    1000000
#define PATIENCE_NS UINT64_C(60000000000)

struct bench {
	const char *catnap, *guest;
	char folder[64];
	pid_t vms[MOST_VMS];
	unsigned int n;
};

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void socket_name(const struct bench *b, unsigned int vm, char *name, size_t size)
{
	snprintf(name, size, "%s/%u", b->folder, vm);
}

/* The guest waits for input in a loop, and does not halt. */
static pid_t start(const struct bench *b, unsigned int vm)
{
	char name[96];
	pid_t pid = fork();
	int null;

	if (pid)
		return pid;
	socket_name(b, vm, name, sizeof(name));
	null = open("/dev/null", O_RDWR);
	dup2(null, 0);
	dup2(null, 1);
	execl(b->catnap, b->catnap, "run", b->guest, "-m", "16M", "-c", "how=echo", "--timeout",
	      "600s", "--api-socket", name, (char *)NULL);
	_exit(127);
}

static int reach(const struct bench *b, unsigned int vm)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	const struct timespec moment = {.tv_nsec = 10000000};
	uint64_t begin = now();

	socket_name(b, vm, addr.sun_path, sizeof(addr.sun_path));
	while (now() - begin < PATIENCE_NS) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0)
			return fd;
		close(fd);
		nanosleep(&moment, NULL);
	}
	return -1;
}

/* False: it was not answered with 204. */
static int patch(int fd, unsigned int i)
{
	char text[512], body[64];
	int len = snprintf(body, sizeof(body), "{\"max_ns\": %u}", 100000 + i % 1000);
	ssize_t n;

	len = snprintf(text, sizeof(text),
		       "PATCH /catnap/halt-polling HTTP/1.1\r\nHost: vm\r\nContent-Length: "
		       "%d\r\n\r\n%s",
		       len, body);
	if (write(fd, text, (size_t)len) != len)
		return 0;
	for (size_t got = 0; got < sizeof(text) - 1; got += (size_t)n) {
		n = read(fd, text + got, sizeof(text) - 1 - got);
		if (n <= 0)
			return 0;
		text[got + (size_t)n] = '\0';
		if (strstr(text, "\r\n\r\n"))
			break;
	}
	return strncmp(text, "HTTP/1.1 204", 12) == 0;
}

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static int measure(const struct bench *b, size_t samples)
{
	const struct timespec gap = {.tv_nsec = 1000000};
	uint64_t *took = calloc(samples, sizeof(*took));
	int fd = reach(b, 0), ok = took && fd >= 0 && patch(fd, 0);

	for (size_t i = 0; ok && i < samples; i++) {
		uint64_t begin;

		nanosleep(&gap, NULL);
		begin = now();
		ok = patch(fd, (unsigned int)i);
		took[i] = now() - begin;
	}
	if (ok) {
		qsort(took, samples, sizeof(*took), by_value);
		printf("vms %u, samples %zu, us: p50 %.1f p90 %.1f p99 %.1f max %.1f\n", b->n,
		       samples, (double)took[samples / 2] / 1000,
		       (double)took[samples * 9 / 10] / 1000,
		       (double)took[samples * 99 / 100] / 1000, (double)took[samples - 1] / 1000);
	} else {
		fprintf(stderr, "bench_api: a VM did not answer\n");
	}
	free(took);
	if (fd >= 0)
		close(fd);
	return !ok;
}

int main(int argc, char **argv)
{
	size_t samples = argc > 3 ? strtoul(argv[3], NULL, 0) : 2000;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct bench b = {.folder = "/tmp/bench-api-XXXXXX"};
	int status = 1;

	if (argc < 3 || !samples || samples > MOST) {
		fprintf(stderr, "bench_api: expected CATNAP GUEST [SAMPLES], 1 to %d\n", MOST);
		return 2;
	}
	if (access("/dev/kvm", R_OK | W_OK) < 0) {
		printf("no /dev/kvm\n");
		return 77;
	}
	b.catnap = argv[1];
	b.guest = argv[2];
	signal(SIGPIPE, SIG_IGN);
	if (!mkdtemp(b.folder))
		return 1;
	b.n = cpus < 1 ? 1 : cpus > MOST_VMS ? MOST_VMS : (unsigned int)cpus;
	for (unsigned int i = 0; i < b.n; i++)
		b.vms[i] = start(&b, i);
	status = measure(&b, samples);
	for (unsigned int i = 0; i < b.n; i++) {
		kill(b.vms[i], SIGTERM);
		waitpid(b.vms[i], NULL, 0);
	}
	rmdir(b.folder);
	return status;
}
