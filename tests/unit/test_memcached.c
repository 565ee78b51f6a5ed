/* SPDX-License-Identifier: Apache-2.0 */
/* The client of load memcached among servers that answer rightly, wrongly, or in crumbs. */
#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "cli/bench/memcached.h"

#define REQUESTS 400

/* The file under test has these from others. */
int bench_fail(struct bench_run *run, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(run->error, sizeof(run->error), fmt, args);
	va_end(args);
	return -1;
}

int bench_nothing(struct bench_run *run)
{
	return bench_fail(run, "nothing");
}

int bench_series_add(struct bench_series *s, uint64_t value)
{
	(void)value;
	s->n++;
	return 0;
}

uint64_t bench_offered_next(struct bench_offered *o)
{
	return o->at_ns += o->gap_ns;
}

/* -- a server --------------------------------------------------------------------------------- */

enum manner {
	RIGHTLY,
	IN_CRUMBS,     /* some bytes at a time */
	OLD_VALUE,     /* that of the first set, for ever */
	OTHER_VALUE,   /* one byte of which is another */
	NOT_STORED,    /* once */
	NOTHING_FOUND, /* to every get */
	TOO_MUCH,      /* an answer nobody asked for */
	GONE,	       /* closes the connection in the middle */
};

static struct {
	enum manner manner;
	int listener;
	in_port_t port;
} server;

struct value {
	char key[16], bytes[512];
	size_t len;
};

/* One of its connections. */
struct talk {
	struct value values[256];
	unsigned int n, answers;
	FILE *in;
	int fd;
};

int __real_connect(int fd, const struct sockaddr *to, socklen_t len);
int __wrap_connect(int fd, const struct sockaddr *to, socklen_t len);

/* The guest's address is here. */
int __wrap_connect(int fd, const struct sockaddr *to, socklen_t len)
{
	struct sockaddr_in at = *(const struct sockaddr_in *)to;

	assert_int_equal(ntohs(at.sin_port), 11211);
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	at.sin_port = server.port;
	return __real_connect(fd, (struct sockaddr *)&at, len);
}

static void say(const struct talk *t, const char *text, size_t len)
{
	const size_t each = server.manner == IN_CRUMBS ? 7 : len;

	while (len) {
		ssize_t n = send(t->fd, text, len < each ? len : each, MSG_NOSIGNAL);

		if (n <= 0)
			return;
		text += n;
		len -= (size_t)n;
	}
}

static struct value *find(struct talk *t, const char *key)
{
	for (unsigned int i = 0; i < t->n; i++)
		if (strcmp(t->values[i].key, key) == 0)
			return &t->values[i];
	return NULL;
}

static void set(struct talk *t, const char *key, size_t len)
{
	struct value *v = find(t, key), unused;
	const bool first = !v;

	if (first) {
		v = &t->values[t->n++];
		snprintf(v->key, sizeof(v->key), "%s", key);
	} else if (server.manner == OLD_VALUE) {
		v = &unused;
	}
	v->len = fread(v->bytes, 1, len + 2, t->in);
	if (server.manner == NOT_STORED && !first)
		say(t, "SERVER_ERROR out of memory\r\n", 28);
	else
		say(t, "STORED\r\n", 8);
}

static void get(struct talk *t, const char *key)
{
	const struct value *v = find(t, key);
	char text[640];
	int n;

	if (server.manner == NOTHING_FOUND || !v) {
		say(t, "END\r\n", 5);
		return;
	}
	n = snprintf(text, sizeof(text), "VALUE %s 0 %zu\r\n", key, v->len - 2);
	memcpy(text + n, v->bytes, v->len);
	if (server.manner == OTHER_VALUE)
		text[n + 100] ^= 1;
	memcpy(text + n + v->len, "END\r\n", 5);
	say(t, text, (size_t)n + v->len + 5);
	if (server.manner == TOO_MUCH)
		say(t, text, (size_t)n + v->len + 5);
}

static void *serve(void *arg)
{
	struct talk *t = arg;
	char line[64], key[16];
	size_t len;

	while (fgets(line, sizeof(line), t->in)) {
		if (sscanf(line, "set %15s 0 0 %zu", key, &len) == 2 && len < 500)
			set(t, key, len);
		else if (sscanf(line, "get %15s", key) == 1)
			get(t, key);
		else
			break;
		if (server.manner == GONE && ++t->answers == 140)
			break;
	}
	fclose(t->in);
	close(t->fd);
	free(t);
	return NULL;
}

static void *accept_all(void *arg)
{
	pthread_t threads[BENCH_MEMCACHED_CONNECTIONS];
	unsigned int n = 0;
	struct talk *t;
	int fd;

	while (n < BENCH_MEMCACHED_CONNECTIONS && (fd = accept(server.listener, NULL, NULL)) >= 0) {
		t = calloc(1, sizeof(*t));
		t->fd = fd;
		t->in = fdopen(dup(fd), "r");
		pthread_create(&threads[n++], NULL, serve, t);
	}
	while (n)
		pthread_join(threads[--n], NULL);
	return NULL;
}

/* -- the tests -------------------------------------------------------------------------------- */

/* Asks a server of this manner. Returns how many requests were answered, -1: @error says why not
 * all. */
static long ask(enum manner manner, char error[256])
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(at);
	struct bench_stop stop = {.fd = eventfd(0, 0)};
	struct bench_run run = {.stop = &stop, .seed = (uint32_t)manner};
	struct bench_offered o = {.gap_ns = 20000, .n = REQUESTS};
	struct bench_series round = {.n = 0};
	struct bench_memcached m;
	pthread_t thread;
	long ret;

	server.manner = manner;
	server.listener = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(server.listener, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(server.listener, 16), 0);
	assert_int_equal(getsockname(server.listener, (struct sockaddr *)&at, &len), 0);
	server.port = at.sin_port;
	pthread_create(&thread, NULL, accept_all, NULL);
	ret = bench_memcached_open(&m, &run, REQUESTS);
	if (ret == 0)
		ret = bench_memcached_ask(&m, &o, &round);
	if (ret == 0)
		assert_int_equal(m.unsaid, 0);
	bench_memcached_close(&m);
	shutdown(server.listener, SHUT_RDWR);
	pthread_join(thread, NULL);
	close(server.listener);
	close(stop.fd);
	memcpy(error, run.error, sizeof(run.error));
	return ret < 0 ? ret : (long)round.n;
}

static void test_right(void **state)
{
	char error[256];

	assert_int_equal(ask(RIGHTLY, error), REQUESTS);
	assert_int_equal(ask(IN_CRUMBS, error), REQUESTS);
}

static void test_wrong(void **state)
{
	static const struct {
		enum manner manner;
		const char *says;
	} wrong[] = {
		{OLD_VALUE, "is not what it has to be"},
		{OTHER_VALUE, "is not what it has to be"},
		{NOT_STORED, "is not what it has to be"},
		{NOTHING_FOUND, "is not what it has to be"},
		{GONE, "memcached: "},
	};
	char error[256];

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(ask(wrong[i].manner, error), -1);
		assert_non_null(strstr(error, wrong[i].says));
	}
	/* What comes too much is found as such, or as no answer to the next. */
	assert_int_equal(ask(TOO_MUCH, error), -1);
	assert_non_null(strstr(error, "memcached: "));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_right),
		cmocka_unit_test(test_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
