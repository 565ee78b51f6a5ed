/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the guest's serial port leads (--serial), and its virtio console (--console): standard
 * input and output, nowhere, a file, a pseudo-terminal, a Unix socket.
 *
 * Output comes from vCPU threads, one at a time; all else happens on the main thread. Output that
 * nobody is there to take is lost, as on a wire; who is there and does not read holds the guest,
 * until it reads, goes away, or the VM is to end (stop_fd) and a moment has passed. Input is never
 * lost: no more of it is read than the guest has taken, so the sender waits.
 */
#ifndef CLI_PORT_H
#define CLI_PORT_H

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/un.h>

#include "cli/output.h"

enum port_kind { PORT_STDIO, PORT_NULL, PORT_FILE, PORT_PTY, PORT_SOCKET };

/* The longest path of a socket; its address has room for this and a NUL. */
#define PORT_SOCKET_PATH (sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1)

struct port {
	const char *option, *what; /* for messages: "serial", "serial port" */
	enum port_kind kind;
	const char *path;
	int stop_fd;	      /* readable once the VM is to end; the caller's */
	int in;		      /* -1: none, or none any more */
	bool held;	      /* not to be read now */
	int out;	      /* -1: none. Changed under lock, by the main thread */
	struct output file;   /* PORT_FILE: out is its descriptor */
	atomic_int failed;    /* errno of the first write that failed */
	atomic_ullong lost;   /* bytes from that on */
	pthread_mutex_t lock; /* nothing that may block is done with it held */
	int writing;	      /* under lock: the descriptor that is written to just now, or -1 */
	bool writing_ends;    /* under lock: the writer is to close it */
	uint64_t give_up_at;  /* the writer's: when the end began, output may take until then; or 0
			       */
	/* pty: whether somebody has it open, and how it is noticed that somebody opens it */
	bool attached;
	int watch;
	char name[64];
	/* socket */
	int listener;
	uint64_t rest_until; /* now_ns(): whoever connects waits, as there is no descriptor; or 0 */
	bool bound;
	struct catnap_keeper *keeper; /* who removes it; NULL: port_close() */
	dev_t dev; /* of the socket's file: what is removed at the end is what was made */
	ino_t ino;
	/* Input that was read: [given, used) is still to be taken by the guest. */
	uint8_t *data;
	size_t used, given, size;
};

/* Only sets it up: nothing is opened. */
void port_init(struct port *p, const char *option, enum port_kind kind, const char *path);
/* A status, after one line on standard error. port_close() must follow either way. */
int port_open(struct port *p, struct outputs *outputs, int stop_fd);
/* The VM starts: a file is emptied now and not before; the name of a pty is told. */
void port_start(struct port *p);
/* No vCPU runs any more. Gives a reader of the pty the time to take the last lines. */
void port_close(struct port *p);

/* struct catnap_vm_config's serial_output; @ctx is the port. */
void port_output(void *ctx, const void *data, size_t len);

#define PORT_POLLFDS 2

/* What the main thread's poll(2) is to wait for. */
void port_prepare(const struct port *p, struct pollfd fds[PORT_POLLFDS]);
/* How long poll(2) may take at most before port_dispatch(), in ms; -1: any time. */
int port_timeout(const struct port *p);
/* After poll(2): clients come and go, and input is read, to the end of data. */
void port_dispatch(struct port *p, const struct pollfd fds[PORT_POLLFDS]);

static inline bool port_has_input(const struct port *p)
{
	return p->given < p->used;
}

/* ---- between port.c, port_pty.c, port_socket.c ---- */

/* What one read(2) asks for: a screenful, and what is read ahead of the guest. */
#define PORT_READ 4096

/* Reads at most @len bytes of p->in, behind what is there. As read(2); -1 with ENOMEM, too. */
ssize_t port_read(struct port *p, size_t len);
/* One line about @path, and -1. */
int port_error(const struct port *p, const char *path, int err);

/* Nothing is written to p->out any more, and it is closed, if not now then soon. */
void port_close_output(struct port *p);

int pty_open(struct port *p);
int pty_timeout(const struct port *p);
void pty_prepare(const struct port *p, struct pollfd fds[PORT_POLLFDS]);
void pty_dispatch(struct port *p, const struct pollfd fds[PORT_POLLFDS]);
void pty_drain(struct port *p);

int socket_open(struct port *p, struct outputs *outputs);
/*
 * The next client, or -1. If that is for want of a descriptor or of memory, the socket rests a
 * while: whoever waits there would be told of by poll(2) again and again.
 */
int socket_accept(struct port *p);
bool socket_rests(const struct port *p);
int socket_timeout(const struct port *p);
/* After poll(2): it may be over. */
void socket_rested(struct port *p);
void socket_prepare(const struct port *p, struct pollfd fds[PORT_POLLFDS]);
void socket_dispatch(struct port *p, const struct pollfd fds[PORT_POLLFDS]);
void socket_close(struct port *p);

#endif
