/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `catnap serve --config-file`: Firecracker's own configuration files. Each member is a resource of
 * the API, and is taken by the table and the function of the request that would have brought it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/api/route.h"
#include "cli/cmd.h"
#include "cli/printable.h"
#include "cli/serve/serve.h"

#define FILE_MAX_ (1u << 20) /* bytes */

/* In the order in which they are taken: memory before the balloon that is part of it. */
static const struct {
	const char *member, *path; /* of the request: a PUT */
	bool many;
} members[] = {
	{"logger", "/logger", false},
	{"metrics", "/metrics", false},
	{"machine-config", "/machine-config", false},
	{"cpu-config", NULL, false}, /* the path of a file that has it */
	{"boot-source", "/boot-source", false},
	{"drives", "/drives/{}", true},
	{"network-interfaces", "/network-interfaces/{}", true},
	{"vsock", "/vsock", false},
	{"balloon", "/balloon", false},
	{"entropy", "/entropy", false},
	{"serial", "/serial", false},
	{"pmem", "/pmem/{}", true},
	{"mmds-config", "/mmds/config", false},
	{"memory-hotplug", "/hotplug/memory", false},
};

#define N_MEMBERS (sizeof(members) / sizeof(members[0]))

/* ---- the text ---- */

/* Waits until there is something to read. Returns false if a signal has come that ends the process:
 * it is left in s->signals. */
static bool wait_for_text(const struct serve *s, int fd)
{
	struct pollfd p[] = {{.fd = fd, .events = POLLIN}, {.fd = s->signals, .events = POLLIN}};

	while (poll(p, 2, -1) < 0 && errno == EINTR)
		;
	return !p[1].revents;
}

/* NULL with errno; EINTR: a signal ends the process. */
static char *read_all(const struct serve *s, const char *path, size_t *len)
{
	/* O_NONBLOCK: a FIFO opens without a writer, and is waited for below. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	char *text = fd < 0 ? NULL : malloc(FILE_MAX_ + 1);
	int err = 0;

	*len = 0;
	while (text && *len <= FILE_MAX_) {
		ssize_t n;

		if (!wait_for_text(s, fd)) {
			err = EINTR;
			break;
		}
		n = read(fd, text + *len, FILE_MAX_ + 1 - *len);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0) {
			err = n < 0 ? errno : 0;
			break;
		}
		*len += (size_t)n;
	}
	err = !text ? errno : *len > FILE_MAX_ ? EFBIG : err;
	if (fd >= 0)
		close(fd);
	if (err) {
		free(text);
		errno = err;
		return NULL;
	}
	return text;
}

/* ---- the members ---- */

/* The place that all members are taken into, by a table that is made of the requests' own. */
struct document {
	struct body_field table[N_MEMBERS + 1];
	const struct route *rows[N_MEMBERS];
	char *into;
	size_t size;
};

static size_t align(size_t size)
{
	return (size + 15) & ~(size_t)15;
}

static bool lay_out(struct document *d)
{
	size_t at = align(sizeof(uint64_t)); /* which were given */

	memset(d, 0, sizeof(*d));
	for (size_t i = 0; i < N_MEMBERS; i++) {
		const char *path = members[i].path;
		const struct route *row = path ? route_find("PUT", path) : NULL;
		struct body_field *f = &d->table[i];

		d->rows[i] = row;
		*f = (struct body_field){.name = members[i].member, .offset = at, .nullable = true};
		if (!path) {
			f->type = BODY_STRING;
			at += align(sizeof(const char *));
		} else if (!row || !row->body) {
			f->type = BODY_ANY;
			at += align(sizeof(struct json_object *));
		} else if (members[i].many) {
			f->type = BODY_ARRAY;
			f->table = row->body;
			f->size = row->body_size;
			at += align(sizeof(struct body_array));
		} else {
			f->type = BODY_OBJECT;
			f->table = row->body;
			at += align(row->body_size);
		}
	}
	d->into = calloc(1, at);
	d->size = at;
	return d->into;
}

/* Returns whether there is nothing in a member that is refused whatever is in it. */
static bool is_empty(const struct body_field *f, struct json_object *v)
{
	return json_object_is_type(v, json_type_array) && json_object_array_length(v) == 0;
}

/* Returns the sentence without the words about a request, which this is none. */
static const char *sentence_of(struct reply *r)
{
	static const char begin[] =
		"An error occurred when deserializing the json body of a request: ";
	const char *text = reply_sentence(r);

	return strncmp(text, begin, sizeof(begin) - 1) == 0 ? text + sizeof(begin) - 1 : text;
}

static int take_one(struct serve *s, struct reply *r, const struct route *row, const char *member,
		    void *body)
{
	struct api_request rq = {.method = "PUT", .path = row->pattern};

	row->handle(&s->api, r, &rq, body);
	if (r->status < 400)
		return 0;
	complain("catnap serve: --config-file: %s: \"%s\": %s\n", s->cfg->config_file, member,
		 sentence_of(r));
	return -EINVAL;
}

/* Takes the file @path, as a PUT of /cpu-config. */
static int take_cpu(struct serve *s, struct reply *r, const char *path)
{
	struct api_request rq = {.method = "PUT", .path = "/cpu-config"};
	size_t len;
	char *text = read_all(s, path, &len);

	if (!text && errno == EINTR)
		return -EINTR;
	if (!text) {
		complain("catnap serve: --config-file: %s: \"cpu-config\": %s: %s\n",
			 s->cfg->config_file, path, strerror(errno));
		return -EINVAL;
	}
	rq.body = text;
	rq.len = len;
	route_request(&s->api, &rq, r);
	free(text);
	if (r->status < 400)
		return 0;
	complain("catnap serve: --config-file: %s: \"cpu-config\": %s: %s\n", s->cfg->config_file,
		 path, sentence_of(r));
	return -EINVAL;
}

static int take_members(struct serve *s, struct reply *r, const struct document *d)
{
	uint64_t given;

	memcpy(&given, d->into, sizeof(given));
	for (unsigned int i = 0; i < N_MEMBERS; i++) {
		const struct body_field *f = &d->table[i];
		void *value = d->into + f->offset;

		if (!body_given(given, i))
			continue;
		if (f->type == BODY_ARRAY) {
			const struct body_array *a = value;

			for (size_t j = 0; j < a->n; j++)
				if (take_one(s, r, d->rows[i], members[i].member,
					     (char *)a->items + j * f->size) < 0)
					return -EINVAL;
		} else if (f->type == BODY_STRING) {
			/* The document stays: the paths of others are in it. */
			struct reply own;
			int ret;

			reply_init(&own, NULL);
			ret = take_cpu(s, &own, *(const char **)value);
			reply_free(&own);
			if (ret < 0)
				return ret;
		} else if (f->type == BODY_OBJECT ||
			   (d->rows[i] && !is_empty(f, *(struct json_object **)value))) {
			if (take_one(s, r, d->rows[i], members[i].member, value) < 0)
				return -EINVAL;
		}
	}
	return 0;
}

static int take_text(struct serve *s, const char *text, size_t len)
{
	struct document d;
	struct reply r;
	int ret = -ENOMEM;

	reply_init(&r, NULL);
	if (lay_out(&d)) {
		ret = body_take(&r, text, len, d.table, d.into);
		if (ret < 0)
			complain("catnap serve: --config-file: %s: %s\n", s->cfg->config_file,
				 sentence_of(&r));
		else
			ret = take_members(s, &r, &d);
	}
	free(d.into);
	reply_free(&r);
	return ret;
}

/* Returns the status of a process that the signal ends which has come. */
static int ended(const struct serve *s)
{
	struct signalfd_siginfo si;

	if (read(s->signals, &si, sizeof(si)) != sizeof(si))
		return CMD_ERROR;
	return SERVE_SIGNAL + (int)si.ssi_signo;
}

int serve_config_file(struct serve *s, const char *path)
{
	struct reply r;
	size_t len;
	char *text = read_all(s, path, &len);
	int ret;

	if (!text && errno == EINTR)
		return ended(s);
	if (!text) {
		complain("catnap serve: --config-file: %s: %s\n", path, strerror(errno));
		return CMD_ERROR;
	}
	ret = take_text(s, text, len);
	free(text);
	if (ret == -EINTR)
		return ended(s);
	if (ret < 0)
		return SERVE_BAD_CONFIGURATION;
	reply_init(&r, NULL);
	ret = serve_start(s, &r);
	if (ret < 0)
		complain("catnap serve: --config-file: %s: %s\n", path, reply_sentence(&r));
	else
		logger_always(&s->logger,
			      "Successfully started microvm that was configured from one "
			      "single json");
	reply_free(&r);
	return ret < 0 ? SERVE_BAD_CONFIGURATION : CMD_OK;
}
