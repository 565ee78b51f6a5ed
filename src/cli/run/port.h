/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the guest's serial port leads (--serial), and its virtio console (--console): standard
 * input and output, nowhere, a file, a pseudo-terminal, a Unix socket, a descriptor that was given.
 *
 * Output comes from vCPU threads, one at a time; all else happens on the main thread. Output
 * without a reader is lost, as on a wire. A reader that does not read holds the guest, until it
 * reads, goes away, or the VM is to end (stop_fd) and a moment has passed. Input is never lost: no
 * more of it is read than the guest has taken, so the sender waits.
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

enum run_port_kind { PORT_STDIO, PORT_NULL, PORT_FILE, PORT_PTY, PORT_SOCKET, PORT_FD };

/* The longest path of a socket; its address has room for this and a NUL. */
#define PORT_SOCKET_PATH (sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1)

struct run_port {
	const char *option, *what; /* for messages: "serial", "serial port" */
	enum run_port_kind kind;
	const char *path;
	int fd;		      /* PORT_FD: it becomes out */
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
	/* the writer's: when the end began, output may take until then; or 0 */
	uint64_t give_up_at;
	/* pty: whether somebody has it open, and how it is noticed that somebody opens it */
	bool attached;
	int watch;
	char name[64];
	/* socket */
	int listener;
	uint64_t rest_until; /* now_ns(): whoever connects waits, as there is no descriptor; or 0 */
	bool bound;
	struct catnap_keeper *keeper; /* removes it; NULL: run_port_close() does */
	dev_t dev; /* of the socket's file: what is removed at the end is what was made */
	ino_t ino;
	/* Input that was read: [given, used) is still to be taken by the guest. */
	uint8_t *data;
	size_t used, given, size;
};

/* Sets it up, and opens nothing. */
void run_port_init(struct run_port *p, const char *option, enum run_port_kind kind,
		   const char *path, int fd);
/* Opens the port. Returns a status, after one line on standard error. run_port_close() must follow
 * either way. */
int run_port_open(struct run_port *p, struct outputs *outputs, int stop_fd);
/* Starts the port with the VM: empties a file, now and not before, and tells the name of a pty. */
void run_port_start(struct run_port *p);
/* Closes the port, once no vCPU runs any more. Gives a reader of the pty the time to take the last
 * lines. */
void run_port_close(struct run_port *p);

/* Takes the guest's output: struct catnap_vm_config's serial_output; @ctx is the port. */
void run_port_output(void *ctx, const void *data, size_t len);

#define PORT_POLLFDS 2

/* Sets what the main thread's poll(2) is to wait for. */
void run_port_prepare(const struct run_port *p, struct pollfd fds[PORT_POLLFDS]);
/* Returns how long poll(2) may take at most before run_port_dispatch(), in ms; -1: any time. */
int run_port_timeout(const struct run_port *p);
/* Lets clients come and go, and reads input, to the end of data. After poll(2). */
void run_port_dispatch(struct run_port *p, const struct pollfd fds[PORT_POLLFDS]);

static inline bool run_port_has_input(const struct run_port *p)
{
	return p->given < p->used;
}

/* ---- between port.c, port_pty.c, port_socket.c ---- */

/* Bytes that one read(2) asks for: a screenful, read ahead of the guest. */
#define PORT_READ 4096

/* Reads at most @len bytes of p->in, behind what is there. As read(2); -1 with ENOMEM, too. */
ssize_t run_port_read(struct run_port *p, size_t len);
/* Says one line about @path, and returns -1. */
int run_port_error(const struct run_port *p, const char *path, int err);

/* Sees to it that nothing is written to p->out any more, and that it is closed, if not now then
 * soon. */
void run_port_close_output(struct run_port *p);

int run_pty_open(struct run_port *p);
int run_pty_timeout(const struct run_port *p);
void run_pty_prepare(const struct run_port *p, struct pollfd fds[PORT_POLLFDS]);
void run_pty_dispatch(struct run_port *p, const struct pollfd fds[PORT_POLLFDS]);
void run_pty_drain(struct run_port *p);

/* Removes what is at p->path if it is a socket that nobody listens to. 0, or -1 after a line on
 * standard error: something else is there. */
int run_socket_clear(const struct run_port *p);
int run_socket_open(struct run_port *p, struct outputs *outputs);
/*
 * Returns the next client, or -1. If there is no descriptor or no memory for it, the socket rests a
 * while. Otherwise poll(2) would tell of the waiting client again and again.
 */
int run_socket_accept(struct run_port *p);
bool run_socket_rests(const struct run_port *p);
int run_socket_timeout(const struct run_port *p);
/* Looks whether the rest is over, after poll(2). */
void run_socket_rested(struct run_port *p);
void run_socket_prepare(const struct run_port *p, struct pollfd fds[PORT_POLLFDS]);
void run_socket_dispatch(struct run_port *p, const struct pollfd fds[PORT_POLLFDS]);
void run_socket_close(struct run_port *p);

#endif
