/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other end of the guest's serial port in `catnap serve`: standard output, or the file or FIFO
 * that /serial names, with a limit perhaps; and standard input. A reader that does not read loses
 * output rather than holding up a vCPU.
 */
#ifndef CLI_SERVE_SERIAL_H
#define CLI_SERVE_SERIAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <poll.h>
#include <termios.h>

#include <catnap/catnap.h>
#include "cli/api/model.h"

struct serve_serial {
	int out, in; /* -1: none */
	bool own;    /* out is to be closed */
	bool raw;    /* the terminal's modes are to be put back */
	struct termios modes;
	/* Of the vCPU that writes, one at a time. */
	struct fc_bucket limit;
	double tokens, burst;
	uint64_t filled_ns;
	atomic_ullong dropped; /* bytes, for the limit */
	atomic_ullong lost;    /* bytes that nobody took */
	/* Input that was read: [given, used) is still to be taken by the guest. */
	uint8_t data[4096];
	size_t given, used;
};

void serve_serial_init(struct serve_serial *s);
/* Opens what @cfg names. 0 or -errno. */
int serve_serial_open(struct serve_serial *s, const struct fc_serial *cfg);
/* Gives the terminal the modes of a guest's, if there is one and it is ours. */
void serve_serial_begin(struct serve_serial *s);
void serve_serial_close(struct serve_serial *s);

/* Takes the guest's output: struct catnap_vm_config's serial_output; @ctx is the port. */
void serve_serial_output(void *ctx, const void *data, size_t len);

void serve_serial_prepare(const struct serve_serial *s, struct pollfd *p);
/* Returns the time for poll(2) in ms; -1: any. */
int serve_serial_timeout(const struct serve_serial *s);
void serve_serial_dispatch(struct serve_serial *s, const struct pollfd *p, struct catnap_vm *vm);

#endif
