/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An answer that goes on: what is written waits here until the client takes it. A client that has
 * taken all sleeps until there is more; one that takes too little is sent away.
 */
#include <stdlib.h>
#include <string.h>

#include "cli/api/http_impl.h"

/* That libmicrohttpd asks for at a time. */
#define BLOCK 4096
#define ROOM  4096u

static void disown(struct http_stream *st)
{
	if (--st->owners)
		return;
	free(st->data);
	free(st);
}

static struct http_client *client_of(const struct http_stream *st)
{
	return st->exchange ? st->exchange->client : NULL;
}

/* Gives libmicrohttpd bytes of the stream: it has room for @max. */
static ssize_t more(void *ctx, uint64_t position, char *to, size_t max)
{
	struct http_stream *st = ctx;
	struct http_client *c = client_of(st);
	size_t n = st->used < max ? st->used : max;

	if (!c || c->doomed || st->broken)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (n) {
		memcpy(to, st->data + st->first, n);
		st->first += n;
		st->used -= n;
		return (ssize_t)n;
	}
	if (st->ended)
		return MHD_CONTENT_READER_END_OF_STREAM;
	http_sleep(c);
	return 0;
}

static void response_freed(void *ctx)
{
	disown(ctx);
}

struct http_stream *http_stream_make(struct http_exchange *x, const char *type)
{
	struct http_stream *st = calloc(1, sizeof(*st));
	struct MHD_Response *r;

	if (!st)
		return NULL;
	st->owners = 1;
	if (!x->client)
		return st;
	r = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, more, st, response_freed);
	if (!r) {
		free(st);
		return NULL;
	}
	st->owners = 2;
	if (!http_headers(x->client->server, r, type)) {
		MHD_destroy_response(r);
		disown(st);
		return NULL;
	}
	st->exchange = x;
	x->stream = st;
	x->status = MHD_HTTP_OK;
	x->response = r;
	return st;
}

void http_stream_gone(struct http_stream *st)
{
	st->exchange = NULL;
}

/* Makes room for @len bytes more behind what waits. */
static bool make_room(struct http_stream *st, size_t len)
{
	size_t room = st->room ? st->room : ROOM;
	char *bigger;

	if (len > HTTP_BACKLOG - st->used)
		return false;
	if (st->first && st->first + st->used + len > st->room) {
		memmove(st->data, st->data + st->first, st->used);
		st->first = 0;
	}
	if (st->first + st->used + len <= st->room)
		return true;
	while (room < st->used + len)
		room *= 2;
	bigger = realloc(st->data, room);
	if (!bigger)
		return false;
	st->data = bigger;
	st->room = room;
	return true;
}

bool http_stream_write(struct http_stream *st, const void *data, size_t len)
{
	struct http_client *c = client_of(st);

	if (!c || c->doomed || st->broken)
		return false;
	if (!make_room(st, len)) {
		st->broken = true;
		http_doom(c);
		return false;
	}
	if (len)
		memcpy(st->data + st->first + st->used, data, len);
	st->used += len;
	http_wake(c);
	return true;
}

void http_stream_end(struct http_stream *st)
{
	struct http_client *c = client_of(st);

	st->ended = true;
	if (c && !c->doomed) {
		http_within(c);
		http_wake(c);
	}
	disown(st);
}
