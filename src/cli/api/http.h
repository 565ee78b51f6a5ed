/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1.1 on a Unix stream socket, for the control socket of `catnap run` and `catnap serve`
 * (RFC 9112; the parsing is libmicrohttpd's). Any number of clients on one thread, which is the one
 * that runs its owner's loop. No call here waits.
 *
 * The cost of a client is bounded: the size of a request and of what is kept for one that does not
 * read, the time that a request and an answer may take, and the number of clients. A new client
 * always gets in: when there are as many as there may be, the idlest goes. It is one that never
 * asked for anything, or else the one whose last answer was given first, or else the one that has
 * waited longest.
 *
 * Threads: a server, its exchanges and its streams belong to one thread. Errors: 0 or a negative
 * errno value.
 */
#ifndef CLI_API_HTTP_H
#define CLI_API_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define HTTP_MAX_BODY	 51200 /* bytes; Firecracker's default */
#define HTTP_MAX_CLIENTS 256   /* at once; each is a descriptor, and some 80 KiB at most */
#define HTTP_REQUEST_NS	 UINT64_C(10000000000)
#define HTTP_BACKLOG	 (256u << 10) /* bytes of a stream that wait for its reader */

struct http_server;   /* a listening socket and its clients */
struct http_exchange; /* a request, until it is answered */
struct http_stream;   /* an answer without an end */

/* A request, as long as the handler runs. Text of a client's: any bytes but 0. */
struct http_request {
	const char *method; /* "GET" or any other word */
	const char *path;   /* as it came: nothing in it is decoded; begins with "/" */
	const char *query;  /* the text behind "?"; "": none */
	const char *body;   /* @len bytes, and a 0 after them; may contain others */
	size_t len;
	const char *type;   /* Content-Type; NULL: none was given */
	const char *accept; /* Accept; the same */
	struct http_exchange *exchange;
};

/*
 * Called once for each request, when all of it is here. It answers by http_reply() or
 * http_reply_stream() of its exchange, once: there and then, or later. Until then this client
 * waits, without a limit, and no other does. It must not stop the server.
 */
typedef void (*http_handler)(void *ctx, const struct http_request *rq);

struct http_config {
	int listen_fd;		  /* see struct http_socket; stays the caller's */
	size_t max_body;	  /* bytes of a request's body; 0: HTTP_MAX_BODY */
	unsigned int max_clients; /* 0: HTTP_MAX_CLIENTS */
	uint64_t idle_ns;    /* so long may a client say nothing between requests; 0: for ever */
	uint64_t request_ns; /* so long may a request take to arrive, and an answer to be taken;
				* 0: HTTP_REQUEST_NS */
	const char *server;  /* the header of that name; kept as a pointer; NULL: none */
	http_handler handler;
	void *ctx;
};

/* Starts a server. Returns 0, or -EINVAL: no handler, or listen_fd is not a listening Unix stream
 * socket; -ENOMEM, -EMFILE ... */
int http_start(const struct http_config *cfg, struct http_server **s);

/* Returns a descriptor that is readable when http_dispatch() has something to do; for poll(2) and
 * epoll(7). It stays the server's. */
int http_fd(const struct http_server *s);

/* Returns after how many ms http_dispatch() is to be called in any case; -1: never. It changes with
 * each call of a function here. */
int http_timeout_ms(struct http_server *s);

/* Does what there is to do: new clients, requests (by the handler), answers. Calls no system call
 * that waits. Not from within the handler. */
void http_dispatch(struct http_server *s);

/* Returns how many clients are connected. */
unsigned int http_clients(const struct http_server *s);

/*
 * Sends what has been replied as far as the sockets take it, ends all clients, and sets *s to NULL.
 * Exchanges and streams that are open stay valid: a reply to them does nothing but release them.
 * Not from within the handler. NULL: nothing.
 */
void http_stop(struct http_server **s);

/*
 * Answers, and releases @x. Exactly once for each exchange, also when the client has gone, and
 * after http_stop(). @type: Content-Type, "application/json" if NULL. @body is taken, and freed by
 * free(3). NULL: no body.
 */
void http_reply(struct http_exchange *x, unsigned int status, const char *type, char *body,
		size_t len);

/* Gives the answer to @x, which is still to come, the header "Deprecation: true": its client has
 * used what it is to leave alone (RFC 9745 has another form; this is Firecracker's). */
void http_deprecated(struct http_exchange *x);

/* Returns whether anybody waits for the answer. */
bool http_waits(const struct http_exchange *x);

/*
 * Answers 200 with a body that has no end yet, and releases @x. NULL: no memory, and the client has
 * been told so (500). http_stream_end() releases the stream that is returned.
 */
struct http_stream *http_reply_stream(struct http_exchange *x, const char *type);

/*
 * Appends to it; all of it or nothing. Returns false if the client has gone, or has left more than
 * HTTP_BACKLOG bytes unread (then it is sent away), or there is no memory. Nothing comes of it any
 * more: end it.
 */
bool http_stream_write(struct http_stream *st, const void *data, size_t len);

/* Ends the stream, and releases @st. All that has been written still is sent. */
void http_stream_end(struct http_stream *st);

/* A listening socket, and the name that goes with it. */
struct http_socket {
	int fd;	    /* -1: none; non-blocking, close-on-exec */
	char *path; /* that it made; NULL: it was inherited */
	dev_t dev;
	ino_t ino;
};

/*
 * Makes and listens on a socket of that name, with mode 0600 from the first moment. A file that is
 * there is not taken over: -EADDRINUSE. -ENAMETOOLONG: more than an address takes. For the main
 * thread while signals are held (leftovers.h), so that nothing is left behind; tell the keeper of
 * @path (catnap/sandbox.h) where there is one.
 */
int http_listen(struct http_socket *s, const char *path);

/*
 * Takes @fd, which this process was started with. It must be a listening Unix stream socket;
 * otherwise *wrong is what it is instead, "is not open" for instance, and nothing is taken.
 */
int http_inherit(struct http_socket *s, int fd, const char **wrong);

/* Returns why @fd cannot be listened on, as above; NULL: it can. */
const char *http_socket_wrong(int fd);

/*
 * Returns the descriptor that systemd passed (sd_listen_fds(3)), the first if there are several;
 * -1: none. Forgets the variables.
 */
int http_activated(void);

/* Closes it, and removes its name if @remove and that still leads to it. Twice is once. */
void http_socket_close(struct http_socket *s, bool remove);

#endif
