/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The structures and functions that the files of http.h share. A client is a connection; an
 * exchange is a request on it. An exchange belongs to both the connection (client is not NULL) and
 * the handler (open); when neither has it, it is freed. A stream belongs to libmicrohttpd's
 * response and to whoever writes to it.
 */
#ifndef CLI_API_HTTP_IMPL_H
#define CLI_API_HTTP_IMPL_H

#include <microhttpd.h>

#include "cli/api/http.h"

#define HTTP_NEVER UINT64_MAX

/* A body that is longer than it may be, but not by more than this, is read to its end and refused
 * then: the client gets the answer, and may go on. */
#define HTTP_SWALLOW (1u << 20)

enum http_class {
	HTTP_SILENT, /* never asked for anything */
	HTTP_IDLE,
	HTTP_WAITING, /* for its answer, or reads a stream */
};

struct http_client {
	struct http_server *server;
	struct MHD_Connection *connection;
	int fd; /* libmicrohttpd's */
	struct http_exchange *exchange;
	bool answered;	      /* once at least */
	bool doomed;	      /* it is shut down; its descriptor is closed by libmicrohttpd */
	bool over;	      /* its request has ended badly: libmicrohttpd is to close it */
	bool asleep;	      /* suspended: nobody looks at the descriptor but for its end */
	uint64_t since_ns;    /* connected, or its last request ended */
	uint64_t deadline_ns; /* HTTP_NEVER: none */
	struct http_client *next, **link;
};

struct http_exchange {
	struct http_client *client; /* NULL: gone */
	char *uri;		    /* the path, and behind its end the query */
	const char *path, *query;
	char *body;
	size_t len, room;
	uint64_t came; /* bytes of the body, those that are not kept among them */
	bool begun;    /* its headers are here */
	bool called;   /* the handler has been */
	bool open;     /* the handler is to answer */
	bool calling;  /* the handler runs */
	/* The answer. */
	bool deprecated; /* it says that the request is */
	struct MHD_Response *response;
	unsigned int status;
	struct http_stream *stream;
};

struct http_stream {
	struct http_exchange *exchange; /* NULL: gone */
	unsigned int owners;
	bool broken; /* too slow, or no memory */
	bool ended;
	char *data;
	size_t first, used, room; /* from first on, used bytes wait */
};

struct http_server {
	struct MHD_Daemon *daemon;
	int fd;	      /* epoll(7) of the listener, of libmicrohttpd's own, of those who sleep */
	int listener; /* -1: it rests */
	struct http_config cfg;
	unsigned int n_clients;
	struct http_client *clients;
	struct http_client *coming; /* about to be added */
	bool some_over;		    /* among them */
	uint64_t rest_until;	    /* no descriptor was to be had; 0: one was */
};

/* http_client.c */
/* Does epoll_ctl(2) on the server's instance. Returns 0 or -errno. */
int http_watch(const struct http_server *s, int op, int fd, uint32_t events, void *what);
/* Returns the time in @ns from now; 0: never. */
uint64_t http_after(uint64_t ns);
/* Gives the client the time of a request, from now on. */
void http_within(struct http_client *c);
void http_sleep(struct http_client *c);
void http_wake(struct http_client *c);
void http_doom(struct http_client *c);
/* Adds the headers that every answer has. */
bool http_headers(const struct http_server *s, struct MHD_Response *r, const char *type);

/* http_exchange.c */
void *http_exchange_begin(void *ctx, const char *uri, struct MHD_Connection *connection);
enum MHD_Result http_exchange_go_on(void *ctx, struct MHD_Connection *connection, const char *url,
				    const char *method, const char *version, const char *data,
				    size_t *len, void **exchange);
void http_exchange_over(void *ctx, struct MHD_Connection *connection, void **exchange,
			enum MHD_RequestTerminationCode why);
/* Tells the client that the request took too long, if that can still be said. */
void http_exchange_late(struct http_client *c);

/* http_stream.c */
/* Makes the stream that is @x's answer; NULL: no memory. */
struct http_stream *http_stream_make(struct http_exchange *x, const char *type);
void http_stream_gone(struct http_stream *st);

#endif
