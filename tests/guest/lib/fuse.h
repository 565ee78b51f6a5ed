/* SPDX-License-Identifier: Apache-2.0 */
/* The few messages of FUSE (virtio 1.2, section 5.11) that it takes to read the file "hello" of a
 * folder and to make the file "made" there, by a queue for requests that is set up. */
#ifndef GUEST_FUSE_H
#define GUEST_FUSE_H

#include "virtio.h"

#define FUSE_LOOKUP 1
#define FUSE_OPEN   14
#define FUSE_READ   15
#define FUSE_WRITE  16
#define FUSE_INIT   26
#define FUSE_CREATE 35
#define ROOT	    1
#define READ_ONLY   (-30) /* EROFS */

static struct queue requests;

/* Has the device look at the queue. */
static void kick_requests(void);

static struct {
	uint32_t len, opcode;
	uint64_t unique, nodeid;
	uint32_t uid, gid, pid, padding;
} in;
static volatile struct {
	uint32_t len;
	int32_t error;
	uint64_t unique;
} out;
static union {
	uint64_t words[512];
	uint32_t halves[1024];
	char text[4096];
} args, reply;

/* One request with @len bytes of args; the error, 0 or negative. */
static int ask(uint32_t opcode, uint64_t node, uint32_t len)
{
	in.len = (uint32_t)sizeof(in) + len;
	in.opcode = opcode;
	in.unique++;
	in.nodeid = node;
	in.pid = 1;
	queue_set(&requests, 0, &in, sizeof(in), VQ_NEXT, 1);
	queue_set(&requests, 1, &args, len, VQ_NEXT, 2);
	queue_set(&requests, 2, &out, sizeof(out), VQ_NEXT | VQ_WRITE, 3);
	queue_set(&requests, 3, &reply, sizeof(reply), VQ_WRITE, 0);
	queue_offer(&requests, 0);
	kick_requests();
	while (queue_used(&requests) < 0)
		;
	check(out.unique == in.unique && out.error <= 0);
	return out.error;
}

static uint32_t put_name(char *to, const char *name)
{
	uint32_t n = 0;

	while ((to[n] = name[n]))
		n++;
	return n + 1;
}

static void read_hello(void)
{
	static const char text[] = "from the host\n";
	uint64_t node, file;

	check(ask(FUSE_LOOKUP, ROOT, put_name(args.text, "hello")) == 0);
	node = reply.words[0];
	args.words[0] = 0;
	check(ask(FUSE_OPEN, node, 8) == 0);
	file = reply.words[0];
	for (int i = 0; i < 5; i++)
		args.words[i] = 0;
	args.words[0] = file;
	args.halves[4] = 64; /* bytes, from 0 on */
	check(ask(FUSE_READ, node, 40) == 0);
	check(out.len == sizeof(out) + sizeof(text) - 1);
	for (uint32_t i = 0; i < sizeof(text) - 1; i++)
		check(reply.text[i] == text[i]);
	args.words[0] = 0;
	check(ask(FUSE_LOOKUP, ROOT, put_name(args.text, "nothing")) == -2);
}

static void make_file(bool readonly)
{
	static const char text[] = "from the guest\n";
	uint64_t node, file;
	int ret;

	args.halves[0] = 2 | 0100; /* O_RDWR, O_CREAT */
	args.halves[1] = 0100644;
	args.halves[2] = args.halves[3] = 0;
	ret = ask(FUSE_CREATE, ROOT, 16 + put_name(args.text + 16, "made"));
	if (readonly) {
		check(ret == READ_ONLY);
		return;
	}
	check(ret == 0);
	node = reply.words[0];
	file = reply.words[16]; /* behind the entry */
	for (int i = 0; i < 5; i++)
		args.words[i] = 0;
	args.words[0] = file;
	args.halves[4] = sizeof(text) - 1;
	put_name(args.text + 40, text);
	check(ask(FUSE_WRITE, node, 40 + sizeof(text) - 1) == 0);
	check(reply.halves[0] == sizeof(text) - 1);
}

static void fuse_begin(void)
{
	args.halves[0] = 7; /* the protocol's version */
	args.halves[1] = 31;
	args.halves[2] = args.halves[3] = 0;
	check(ask(FUSE_INIT, ROOT, 16) == 0);
}

#endif
