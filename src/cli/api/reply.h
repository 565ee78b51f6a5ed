/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The answer to a request. A handler fills it by one of the functions below; the handler's caller
 * sends it. Errors are what Firecracker's clients expect: {"fault_message": "..."}.
 *
 * It also owns what a handler needs until it has answered: the document that the request brought,
 * and memory. One thread's.
 */
#ifndef CLI_API_REPLY_H
#define CLI_API_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <json-c/json.h>

struct http_exchange;
struct reply_memory;

/* The most bytes of a sentence; it is cut beyond that. */
#define REPLY_FAULT_MAX 2048

struct reply {
	/* The exchange that waits for it. NULL: none, for a file's contents are taken as requests,
	 * too. */
	struct http_exchange *exchange;
	unsigned int status; /* 0: not answered yet */
	const char *type;    /* of the body; static */
	char *body;	     /* malloc'd; NULL: none */
	size_t len;
	bool deprecated; /* the request has used what its clients are to leave alone */
	/* A handler has taken the exchange, and answers it later by http_reply(), or as a stream. */
	bool later;
	/* The document that came with the request; what was taken from it may point into it. */
	struct json_object *document;
	struct reply_memory *memory;
};

/* Sets *@r up for one request. reply_free() must follow. */
void reply_init(struct reply *r, struct http_exchange *exchange);
void reply_free(struct reply *r);

/* Returns @size zeroed bytes that live as long as @r; NULL: no memory, which is answered. */
void *reply_alloc(struct reply *r, size_t size);
/* Answers with 204. */
void reply_empty(struct reply *r);
/* Answers with @status and @o as its body. @o is put; NULL: no memory, which is answered. */
void reply_json(struct reply *r, unsigned int status, struct json_object *o);
/* Answers with @status and @len bytes at @body, malloc'd, which are taken; NULL as above. @type is
 * static. */
void reply_text(struct reply *r, unsigned int status, const char *type, char *body, size_t len);
/* Answers with @status and a sentence, in UTF-8 whatever is in it. Returns -EINVAL. */
int reply_fault(struct reply *r, unsigned int status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Takes the exchange: the router leaves it alone, and the caller answers it. */
struct http_exchange *reply_take(struct reply *r);
/* Returns the sentence of a fault, "" if it is none. It is @r's. */
const char *reply_sentence(struct reply *r);

#endif
