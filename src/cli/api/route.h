/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which request is whose. Each resource has a table of rows in its own file, and route.c lists the
 * tables. The router takes the body by the row's table, looks whether this is the time for the
 * request, and calls the row's function.
 *
 *	static void put_vsock(struct api *api, struct reply *r, const struct api_request *rq,
 *			      void *body);
 *
 *	const struct route fc_vsock_routes[] = {
 *		{"PUT", "/vsock", ROUTE_BEFORE, put_vsock, .body = vsock_members,
 *		 .body_size = sizeof(struct vsock_body)},
 *		{0},
 *	};
 */
#ifndef CLI_API_ROUTE_H
#define CLI_API_ROUTE_H

#include "cli/api/api.h"
#include "cli/api/body.h"

/* When a request may come. */
enum route_when {
	ROUTE_BEFORE = 1, /* the start */
	ROUTE_AFTER = 2,
	ROUTE_ALWAYS = ROUTE_BEFORE | ROUTE_AFTER,
};

struct api_request {
	const char *method, *path;
	const char *query;  /* the text behind the '?' of the path, "a=b&c=d"; NULL: none */
	const char *accept; /* the header of that name; NULL: none */
	const char *body;   /* @len bytes; NULL with 0 */
	size_t len;
	const char *id; /* the part for {} in the row's pattern; NULL: it has none */
};

struct route {
	const char *method;
	const char *pattern; /* "/drives/{}"; {} stands for one part of letters, digits and _ */
	enum route_when when;
	/* Answers in @r, or takes its exchange (reply_take()). @body is what was taken by the table
	 * below, zeroes where nothing was given; NULL: the row has no table. */
	void (*handle)(struct api *api, struct reply *r, const struct api_request *rq, void *body);
	const struct body_field *body; /* NULL: the request has no body, or handle() reads it */
	size_t body_size;
	bool no_body; /* a request without a body is as one with {} */
};

/** Returns the row of @method and @pattern; NULL: there is none. */
const struct route *route_find(const char *method, const char *pattern);

/** Answers @rq in @r. Of @rq, id is set here. */
void route_request(struct api *api, struct api_request *rq, struct reply *r);

#endif
