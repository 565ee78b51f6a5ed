/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The functions that the parts of the Linux guest's init share. Each workload prints lines "result:
 * key=value" and returns 0, or -1 where something that it needs is not there (it has then said so).
 */
#ifndef ROOTFS_GUEST_H
#define ROOTFS_GUEST_H

#include <stdbool.h>
#include <stdint.h>

#define MAX_CPUS 256

/* init.c: the kernel's command line. */
const char *option(const char *name, const char *otherwise);
long option_number(const char *name, long otherwise);

/* init.c: one line on the console, in one write. */
void result(const char *key, const char *format, ...) __attribute__((format(printf, 2, 3)));
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* init.c: small helpers */
int64_t now_ns(void);
bool read_line(const char *path, char *line, int size);
bool write_text(const char *path, const char *text);
int online_cpus(int *cpus);
void pin(int cpu);

/* report.c */
int report(void);
/* The sum over all CPUs of a line of /proc/interrupts: RES, LOC, CAL, ...; -1 if it has none. */
long interrupts(const char *name);

/* counts.c: what happens between the two, on all CPUs; a line "NAME_KEY=..." for each count. Both
 * hold, if the command line says so. */
struct counts {
	const char *name;
	long rounds;
	/* At the begin. */
	long res, cal, loc, steal_ms;
	int64_t ns;
};
void counts_begin(struct counts *c, const char *name, long rounds);
void counts_end(const struct counts *c);
/* Holds, if the command line says so. */
void hold(void);

/* samples.c: how long each operation took. samples_end() tells quantiles, and of how many operations
 * the result was what it had to be: lines NAME_p50_ns and so on, and NAME_checked. */
struct samples {
	const char *name;
	int64_t *ns;
	long n, room;
};
bool samples_begin(struct samples *s, const char *name, long room);
void samples_add(struct samples *s, int64_t ns);
void samples_end(struct samples *s, long checked);

/* ask.c */
/* Gives eth0 the address of address=, if there is one. */
void network(void);
int read_test(void);
int tcp_test(void);
int udp_test(void);

/* work.c */
int hack_test(void);
int sched_test(void);
int fork_test(void);

/* serve.c */
int memcached_test(void);

/* beat.c */
/* Wakes each CPU now and then, if beat= says so. */
void beat(void);

/* measure.c */
int ping_pong(void);
int timer_test(void);
int clock_test(void);
int sleep_test(void);

/* stress.c */
int stress(void);
int offline(void);
int online(void);

#endif
