/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way out of what a guest writes (serial port, console) to the VM's user: one call of the
 * user's function at a time, in the order in which the threads came, and with no lock held. The
 * function may block, and may call the library; whoever waits here holds nothing either.
 *
 * Nobody waits here for longer than the calls before its own take: once a VM is to end, its user's
 * function is to come back.
 */
#ifndef DEVICES_OUTLET_H
#define DEVICES_OUTLET_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

struct outlet {
	void (*output)(void *ctx, const void *data, size_t len); /* NULL: what comes is lost */
	void *ctx;
	pthread_mutex_t lock;
	pthread_cond_t turn;
	uint64_t next, served; /* tickets; under the lock */
};

/* Sets *@o up. output and ctx are the caller's to set, before the threads start. Returns 0 or
 * -errno. */
int outlet_init(struct outlet *o);
void outlet_fini(struct outlet *o);
/* Puts @data out, and returns once output() has returned. Any thread, no lock held. */
void outlet_put(struct outlet *o, const void *data, size_t len);

#endif
