/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper: a small process beside the one that is closed in, which does for it what that one may
 * not do any more. It connects to Unix sockets of one name each, and hands the descriptors over; it
 * removes the sockets that it was told of, once the process has ended, in whatever way; and it runs
 * one function of its starter's if that end was not orderly. The public part is in
 * catnap/sandbox.h.
 *
 * It is closed in itself (SANDBOX_KEEPER in allow.h; Landlock), from keeper_seal() on, which comes
 * before the first instruction of a guest. From then on it takes no orders but numbers of ports,
 * and to end. It has no descriptors but those named here, and it is a copy of the process as it was
 * when it was made: nothing a guest does is seen there.
 *
 * keeper.c is the process's side, keeper_child.c the keeper's.
 */
#ifndef SANDBOX_KEEPER_H
#define SANDBOX_KEEPER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <catnap/sandbox.h>

#define KEEPER_SOCKETS	  16 /* that it removes */
#define KEEPER_CONNECTORS 24
#define KEEPER_NAME	  112 /* bytes of a name, with its end: more than an address takes */

/* Requests to the keeper, one SOCK_SEQPACKET message each. It answers each but the last by an
 * int32_t, 0 or -errno. */
enum keeper_op {
	KEEPER_SOCKET = 1, /* with the folder's descriptor, and the socket's */
	KEEPER_CONNECT,	   /* with the folder's, and that over which it is asked */
	KEEPER_CONNECT_TO, /* the same, to the name itself */
	KEEPER_SEAL,
	KEEPER_FINISH, /* the process's end is an orderly one */
};

struct keeper_message {
	uint32_t op;
	char name[KEEPER_NAME]; /* in the folder; without its end: "_" and the port follow */
};

struct catnap_keeper {
	int fd;
	pid_t pid, owner;
	uint32_t mode;
	bool sealed;
};

/* keeper_child.c: the arguments of the new process. Signals are blocked. */
struct keeper_start {
	int control, fd; /* descriptors that stay open; fd -1: none */
	pid_t parent;
	uint32_t mode;
	void (*at_end)(void *ctx);
	void *ctx;
};

_Noreturn void keeper_run(const struct keeper_start *start);

/*
 * Makes a descriptor (*@fd) over which @keeper is asked (handover.h) for connections to @path, "_"
 * and the port. It opens the folder now. Errors: those of opening it, -EPERM (sealed), -ENOSPC.
 */
int keeper_connector(struct catnap_keeper *keeper, const char *path, int *fd);

/* Does the same for connections to @path itself, whatever the port. */
int keeper_connector_to(struct catnap_keeper *keeper, const char *path, int *fd);

/* Closes it in; more than once is once. 0 or -errno. */
int keeper_seal(struct catnap_keeper *keeper);

#endif
