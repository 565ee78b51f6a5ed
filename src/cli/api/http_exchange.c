/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request: its body is collected, within its limit; then it is the handler's, which answers at
 * once or later. libmicrohttpd calls for each part that has come; at the end; and again when a
 * connection that slept is woken.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "cli/api/http_impl.h"

#define JSON "application/json"
/* A body is kept in pieces of this. */
#define PIECE 4096u

static struct http_client *client_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

static void release(struct http_exchange *x)
{
	if (x->client || x->open)
		return;
	if (x->response)
		MHD_destroy_response(x->response);
	free(x->body);
	free(x->uri);
	free(x);
}

/* Returns the path in a URI. "http://host/path" is "/path": a proxy would be asked so, and a client
 * may ask so. */
static char *path_in(char *uri)
{
	char *host, *path;

	if (strncasecmp(uri, "http://", 7) != 0)
		return uri;
	host = uri + 7;
	path = host + strcspn(host, "/?");
	return *path == '/' ? path : NULL;
}

/* Begins an exchange. Returns NULL if there is no memory; then the request is not gone on with. */
void *http_exchange_begin(void *ctx, const char *uri, struct MHD_Connection *connection)
{
	struct http_client *c = client_of(connection);
	struct http_exchange *x = calloc(1, sizeof(*x));
	char *path, *query;

	if (!x)
		return NULL;
	x->uri = strdup(uri);
	if (!x->uri) {
		free(x);
		return NULL;
	}
	path = path_in(x->uri);
	x->path = path ? path : "/";
	query = strchr(x->path, '?');
	if (query && path)
		*query++ = '\0';
	x->query = query && path ? query : "";
	x->client = c;
	c->exchange = x;
	http_within(c);
	return x;
}

void http_exchange_over(void *ctx, struct MHD_Connection *connection, void **exchange,
			enum MHD_RequestTerminationCode why)
{
	struct http_exchange *x = *exchange;

	*exchange = NULL;
	if (!x)
		return;
	if (x->client)
		x->client->exchange = NULL;
	x->client = NULL;
	if (x->stream)
		http_stream_gone(x->stream);
	x->stream = NULL;
	release(x);
}

/* Makes a response, and takes @body. Returns NULL if there is no memory. */
static struct MHD_Response *response_of(const struct http_server *s, const char *type, char *body,
					size_t len)
{
	struct MHD_Response *r;

	if (body)
		r = MHD_create_response_from_buffer(len, body, MHD_RESPMEM_MUST_FREE);
	else
		r = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
	if (!r) {
		free(body);
		return NULL;
	}
	if (!http_headers(s, r, body ? (type ? type : JSON) : NULL)) {
		MHD_destroy_response(r);
		return NULL;
	}
	return r;
}

/* Returns the answer to a body that is too long, in the words of Firecracker's server, under its
 * name and ours. NULL: no memory. */
static char *too_long(const struct http_server *s, uint64_t size)
{
	char *text, *sentence;
	int n;

	n = asprintf(&sentence,
		     "Request payload with size %llu is larger than the limit of %zu allowed by "
		     "server.",
		     (unsigned long long)size, s->cfg.max_body);
	if (n < 0)
		return NULL;
	n = asprintf(
		&text,
		"{\"fault_message\": \"%s\", \"error\": \"%s\\nAll previous unanswered requests "
		"will be dropped.\"}",
		sentence, sentence);
	free(sentence);
	return n < 0 ? NULL : text;
}

static enum MHD_Result queue(struct http_exchange *x, struct MHD_Connection *connection)
{
	enum MHD_Result ret = MHD_queue_response(connection, x->status, x->response);

	MHD_destroy_response(x->response);
	x->response = NULL;
	if (!x->stream)
		http_within(x->client);
	return ret;
}

static enum MHD_Result refuse_long(struct http_exchange *x, struct MHD_Connection *connection,
				   uint64_t size)
{
	char *text = too_long(x->client->server, size);

	x->status = MHD_HTTP_BAD_REQUEST;
	x->called = true;
	x->response = text ? response_of(x->client->server, JSON, text, strlen(text)) : NULL;
	return x->response ? queue(x, connection) : MHD_NO;
}

/* Sends an answer as it is, and closes the connection: in the middle of a request libmicrohttpd
 * takes no answer. */
static void say(const struct http_client *c, const char *status, const char *text)
{
	const char *server = c->server->cfg.server;
	char answer[1024];
	int n = snprintf(answer, sizeof(answer),
			 "HTTP/1.1 %s\r\n%s%s%sConnection: close\r\nContent-Type: " JSON
			 "\r\nContent-Length: %zu\r\n\r\n%s",
			 status, server ? "Server: " : "", server ? server : "",
			 server ? "\r\n" : "", strlen(text), text);

	if (n > 0 && (size_t)n < sizeof(answer))
		(void)send(c->fd, answer, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void http_exchange_late(struct http_client *c)
{
	if (c->exchange && !c->exchange->called)
		say(c, "408 Request Timeout",
		    "{\"fault_message\": \"The request took too long to arrive.\"}");
}

/* Returns how much the client says that it will send; 0: nothing, or it does not say. */
static uint64_t announced(struct MHD_Connection *connection)
{
	const char *text = MHD_lookup_connection_value(connection, MHD_HEADER_KIND,
						       MHD_HTTP_HEADER_CONTENT_LENGTH);

	return text ? strtoull(text, NULL, 10) : 0; /* libmicrohttpd has checked it */
}

static enum MHD_Result begin(struct http_exchange *x, struct MHD_Connection *connection)
{
	uint64_t size = announced(connection);

	x->begun = true;
	if (size > (uint64_t)x->client->server->cfg.max_body + HTTP_SWALLOW)
		return refuse_long(x, connection, size);
	return MHD_YES;
}

/* Keeps what has come, unless it is too much. */
static enum MHD_Result take(struct http_exchange *x, const char *data, size_t *len)
{
	size_t most = x->client->server->cfg.max_body, n = *len;

	*len = 0;
	x->came += n;
	if (x->came > (uint64_t)most + HTTP_SWALLOW) {
		char *text = too_long(x->client->server, x->came);

		if (text)
			say(x->client, "400 Bad Request", text);
		free(text);
		return MHD_NO;
	}
	if (x->came > most) {
		free(x->body);
		x->body = NULL;
		x->len = x->room = 0;
		return MHD_YES;
	}
	if (x->len + n + 1 > x->room) {
		size_t room = x->room ? x->room * 2 : PIECE;
		char *more;

		if (room < x->len + n + 1)
			room = x->len + n + 1;
		if (room > most + 1)
			room = most + 1;
		more = realloc(x->body, room);
		if (!more)
			return MHD_NO;
		x->body = more;
		x->room = room;
	}
	memcpy(x->body + x->len, data, n);
	x->len += n;
	x->body[x->len] = '\0';
	return MHD_YES;
}

static void call(struct http_exchange *x, struct MHD_Connection *connection, const char *method)
{
	const struct http_server *s = x->client->server;
	const struct http_request rq = {
		.method = method,
		.path = x->path,
		.query = x->query,
		.body = x->body ? x->body : "",
		.len = x->len,
		.type = MHD_lookup_connection_value(connection, MHD_HEADER_KIND,
						    MHD_HTTP_HEADER_CONTENT_TYPE),
		.accept = MHD_lookup_connection_value(connection, MHD_HEADER_KIND,
						      MHD_HTTP_HEADER_ACCEPT),
		.exchange = x,
	};

	x->called = x->open = x->calling = true;
	x->client->deadline_ns = HTTP_NEVER; /* that of the handler */
	s->cfg.handler(s->cfg.ctx, &rq);
	x->calling = false;
}

enum MHD_Result http_exchange_go_on(void *ctx, struct MHD_Connection *connection, const char *url,
				    const char *method, const char *version, const char *data,
				    size_t *len, void **exchange)
{
	struct http_exchange *x = *exchange;
	struct http_server *s = ctx;

	if (!x || x->client->doomed)
		return MHD_NO;
	if (!x->begun)
		return begin(x, connection);
	if (*len)
		return take(x, data, len);
	if (x->came > s->cfg.max_body && !x->called)
		return refuse_long(x, connection, x->came);
	if (!x->called)
		call(x, connection, method);
	if (x->response)
		return queue(x, connection);
	if (!x->open)
		return MHD_NO; /* no memory for the answer */
	http_sleep(x->client);
	return MHD_YES;
}

bool http_waits(const struct http_exchange *x)
{
	return x->client && !x->client->doomed;
}

/* Takes note that the handler is done with it. */
static void answered(struct http_exchange *x)
{
	x->open = false;
	if (!x->client)
		release(x);
	else if (!x->calling)
		http_wake(x->client);
}

void http_reply(struct http_exchange *x, unsigned int status, const char *type, char *body,
		size_t len)
{
	if (!x->client) {
		free(body);
	} else {
		x->status = status;
		x->response = response_of(x->client->server, type, body, len);
		if (x->deprecated && x->response)
			MHD_add_response_header(x->response, "Deprecation", "true");
	}
	answered(x);
}

void http_deprecated(struct http_exchange *x)
{
	x->deprecated = true;
}

struct http_stream *http_reply_stream(struct http_exchange *x, const char *type)
{
	struct http_stream *st = http_stream_make(x, type);
	static const char sentence[] = "{\"fault_message\": \"There is not enough memory.\"}";

	if (!st) {
		char *text = strdup(sentence);

		http_reply(x, MHD_HTTP_INTERNAL_SERVER_ERROR, NULL, text, text ? strlen(text) : 0);
		return NULL;
	}
	answered(x);
	return st;
}
