/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Linux guest that measures by itself, for workload linux: in a VM of this process, or in another
 * monitor. Its init (guest-images/rootfs) runs one load, says on its console what each operation took, and holds
 * before and after it until it is told to go on.
 */
#ifndef CLI_BENCH_LINUX_H
#define CLI_BENCH_LINUX_H

#include <pthread.h>
#include <time.h>

#include "cli/bench/bench.h"
#include "cli/bench/child.h"
#include "cli/bench/learner.h"

#define BENCH_LINUX_VCPUS   2
#define BENCH_LINUX_MIB	    256
#define BENCH_LINUX_HOST    "10.9.0.1" /* of the TAP */
#define BENCH_LINUX_ADDRESS "10.9.0.2" /* of the guest */
#define BENCH_LINUX_PORT    5000
#define BENCH_LINUX_PATH    4096

/* The images. */
struct bench_linux_images {
	char kernel[BENCH_LINUX_PATH], initramfs[BENCH_LINUX_PATH];
};

/* Finds those that were given, or else those of the cache. 0, or -1 with run->error. */
int bench_linux_images(struct bench_run *run, struct bench_linux_images *images);

/* What the guest is given. */
struct bench_linux_devices {
	const char *disk; /* NULL: none */
	bool direct;	  /* it is read past the page cache */
	const char *tap;
};

struct bench_linux_guest {
	struct catnap_vm *vm; /* here, or else */
	struct bench_learner learner;
	struct bench_child child; /* there */
	bool there;
	clockid_t clock;      /* processor time of its process */
	int out, to;	      /* what it says is read from here; in a VM, written there */
	int in;		      /* there: what it is told */
	enum bench_peer peer; /* there */
	uint64_t begin_ns;    /* its start, as now_ns() */
	char text[4096];      /* what has not been a line yet */
	size_t used;
	char line[1024]; /* the last one */
	char word[64];	 /* the key of the last result, "" before the first */
};

/* Starts it, in the cell's mode, with @load on its command line. 0 or -1 with run->error;
 * bench_linux_end() is needed after success only. */
int bench_linux_start(struct bench_run *run, struct bench_linux_guest *g,
		      const struct bench_linux_images *images,
		      const struct bench_linux_devices *dev, const char *load);
void bench_linux_end(struct bench_linux_guest *g);
/* linux_peer.c: the same for a guest that is there. */
int bench_linux_start_peer(struct bench_run *run, struct bench_linux_guest *g,
			   const struct bench_linux_images *images,
			   const struct bench_linux_devices *dev, const char *cmdline);
void bench_linux_end_peer(struct bench_linux_guest *g);
/* Waits for the next "result: KEY=VALUE", at most until @deadline_ns. 0 with *key and *value, which
 * count until the next call; or -1 with run->error. */
int bench_linux_result(struct bench_run *run, struct bench_linux_guest *g, uint64_t deadline_ns,
		       const char **key, const char **value);
/* Lets it go on. */
void bench_linux_go(struct bench_linux_guest *g);
/* Returns the processor time of the guest and of all that serves it, in ns. */
uint64_t bench_linux_cpu_ns(const struct bench_linux_guest *g);
/* Returns the process that runs it. */
pid_t bench_linux_pid(const struct bench_linux_guest *g);

/* linux_echo.c: a thread that sends back what comes over TCP and UDP, at the TAP's address. */
struct bench_echo {
	pthread_t thread;
	int tcp, udp, stop;
};

/* Gives the TAP its address and begins. 0 or -1 with run->error. */
int bench_echo_start(struct bench_run *run, struct bench_echo *e);
void bench_echo_end(struct bench_echo *e);
/* Returns the processor time that it has taken. */
uint64_t bench_echo_cpu_ns(const struct bench_echo *e);

#endif
