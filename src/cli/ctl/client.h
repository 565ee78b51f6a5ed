/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's side of the control socket: requests to a VM's process by HTTP over a Unix socket,
 * with libcurl. The listener there may be anybody: an answer has a limit in time, one in size, and
 * what it says is shown as printable() shows it.
 *
 * libcurl is loaded when a client is made, and not with the program: it brings thirty libraries,
 * which `catnap run` would carry for nothing.
 *
 * One thread's. Functions that fail say why in client_error(): one line, without a newline.
 */
#ifndef CLI_CTL_CLIENT_H
#define CLI_CTL_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <json-c/json.h>

#define CLIENT_LIMIT_NS UINT64_C(5000000000) /* of one request, if nobody says otherwise */
#define CLIENT_MOST	(16u << 20)	     /* bytes of an answer, and 64 KiB of its header */
#define CLIENT_LINE	(64u << 10)	     /* bytes of a line of a stream */
#define CLIENT_DEPTH	16		     /* how deep an answer may be nested */

struct client;

struct client_config {
	const char *command; /* "ctl": for messages */
	const char *path;    /* the socket; the caller keeps it */
	uint64_t limit_ns;   /* of a whole request; 0: none */
	/* While a request waits, these are looked at too (-1: none); if one can be read, woken() is
	 * called, which reads it. It returns true to give the request up: -EINTR. */
	int watch[2];
	bool (*woken)(void *ctx);
	void *ctx;
};

/* The result of a request. client_answer_free() gives it back, also after an error. */
struct client_answer {
	unsigned int status;
	char *body; /* ends with a NUL; NULL: there is none */
	size_t len;
	struct json_object *json; /* @body, if that was asked for */
};

/* Makes a client, which is not connected yet. Returns 0; -ENOMEM; -ENAMETOOLONG: @path is none of a
 * socket; -ENOPKG: libcurl is not there. *@c is made in each of these cases but -ENOMEM, so that it
 * can tell. */
int client_open(const struct client_config *cfg, struct client **c);
void client_close(struct client **c);

/* Changes the limit of the requests to come. */
void client_set_limit(struct client *c, uint64_t limit_ns);

/*
 * Makes one request: @method, @path with its '/', @body (JSON; NULL: none). 0: the server did it.
 * 	-ENOENT, -ECONNREFUSED, -EACCES ...	as for connect(2)
 * 	-ECONNRESET	the connection ended before the answer did
 * 	-ETIMEDOUT	there was no answer within the limit
 * 	-EPROTO		that was no HTTP, or not the JSON that was asked for
 * 	-EFBIG		the answer is too large
 * 	-EREMOTEIO	the server refuses: a->status, and client_error() has its fault_message
 * 	-EINTR		woken() gave it up
 * 	-ENOMEM
 */
int client_call(struct client *c, const char *method, const char *path, const char *body,
		struct client_answer *a);
/* Makes a GET, whose answer must be a JSON object: a->json. */
int client_get(struct client *c, const char *path, struct client_answer *a);
/* Makes a request whose answer does not matter; @body is put. */
int client_send(struct client *c, const char *method, const char *path, struct json_object *body);
void client_answer_free(struct client_answer *a);

/* Gives line() each line of an answer that goes on and on, without its newline; false: no more. The
 * limit is that of the answer's beginning. Returns the same; 0: it has come to its end. */
int client_stream(struct client *c, const char *path, bool (*line)(void *ctx, char *text),
		  void *ctx);

/* Returns whether the VM's process has gone, as far as the error of a request tells. */
bool client_is_gone(int err);
const char *client_error(const struct client *c);
/* Prints `catnap COMMAND: SOCKET: ` and the error. Returns CMD_ERROR. */
int client_failed(const struct client *c);

/* Returns NULL if @o is no object, or has no such member. */
struct json_object *client_member(struct json_object *o, const char *name);
/* Return a member's value; 0, NULL: it is not there, or something else. */
uint64_t client_number(struct json_object *o, const char *name);
const char *client_text(struct json_object *o, const char *name);
/* Returns an array's length; 0: @o is none. */
size_t client_length(struct json_object *o);

#endif
