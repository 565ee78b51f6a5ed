/* SPDX-License-Identifier: Apache-2.0 */
/* See client.h. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "cli/cmd.h"
#include "cli/ctl/client.h"
#include "cli/ctl/curl.h"
#include "cli/now.h"
#include "cli/printable.h"

#define HEADER_MOST (64u << 10)
#define FIRST	    4096u /* the first size of an answer's buffer */

static const char no_http[] =
	"it is no control socket: expected that of catnap run --api-socket, or of "
	"catnap serve";

struct client {
	struct client_config cfg;
	struct curl_functions lib;
	bool loaded;
	CURL *easy;
	CURLM *multi;
	struct curl_slist *headers;
	char error[512];
	/* The answer to the request that is on its way. */
	char *body;
	size_t len, room, header;
	int refused; /* the reason of a callback that gave it up, -errno */
	/* Of a stream. */
	bool (*line)(void *ctx, char *text);
	void *line_ctx;
};

/* -- errors ----------------------------------------------------------------------------------- */

static int fail(struct client *c, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int fail(struct client *c, int err, const char *fmt, ...)
{
	char text[sizeof(c->error)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	printable(text, false, c->error, sizeof(c->error));
	return err;
}

const char *client_error(const struct client *c)
{
	return c ? c->error : strerror(ENOMEM);
}

int client_failed(const struct client *c)
{
	char shown[128];

	if (c)
		fprintf(stderr, "catnap %s: %s: %s\n", c->cfg.command,
			printable(c->cfg.path, false, shown, sizeof(shown)), c->error);
	else
		fprintf(stderr, "catnap: %s\n", strerror(ENOMEM));
	return CMD_ERROR;
}

bool client_is_gone(int err)
{
	return err == -ENOENT || err == -ECONNREFUSED || err == -ECONNRESET;
}

/* -- what libcurl calls ----------------------------------------------------------------------- */

static long status_of(struct client *c)
{
	long status = 0;

	c->lib.easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
	return status;
}

/* Makes room for @more bytes and a NUL. */
static bool make_room(struct client *c, size_t more, size_t most)
{
	size_t size = c->room ? c->room : FIRST;
	char *body;

	if (more > most || c->len > most - more) {
		c->refused = -EFBIG;
		return false;
	}
	while (size <= c->len + more)
		size *= 2;
	if (size == c->room)
		return true;
	body = realloc(c->body, size);
	if (!body) {
		c->refused = -ENOMEM;
		return false;
	}
	c->body = body;
	c->room = size;
	return true;
}

/* Gives out the lines that are whole, and keeps the rest. */
static bool give_lines(struct client *c)
{
	char *from = c->body, *end;

	while ((end = memchr(from, '\n', c->len - (size_t)(from - c->body)))) {
		*end = '\0';
		if (!c->line(c->line_ctx, from)) {
			c->refused = -ECANCELED;
			return false;
		}
		from = end + 1;
	}
	c->len -= (size_t)(from - c->body);
	memmove(c->body, from, c->len);
	return true;
}

static size_t take_body(char *data, size_t one, size_t n, void *ctx)
{
	struct client *c = ctx;
	bool stream = c->line && status_of(c) == 200;
	size_t len = one * n, left = len;

	while (left) {
		size_t part = left < CLIENT_LINE ? left : CLIENT_LINE;

		if (!make_room(c, part, stream ? 2 * CLIENT_LINE : CLIENT_MOST))
			return 0;
		memcpy(c->body + c->len, data, part);
		c->len += part;
		data += part;
		left -= part;
		if (stream && !give_lines(c))
			return 0;
	}
	return len;
}

static size_t take_header(char *data, size_t one, size_t n, void *ctx)
{
	struct client *c = ctx;

	(void)data;
	c->header += one * n;
	if (c->header > HEADER_MOST) {
		c->refused = -EFBIG;
		return 0;
	}
	return one * n;
}

/* -- one request ------------------------------------------------------------------------------ */

/* connect(2) says the same of a socket without a listener and of a file that is none. */
static int explain_refusal(struct client *c)
{
	struct stat st;

	if (stat(c->cfg.path, &st) == 0 && !S_ISSOCK(st.st_mode))
		return fail(c, -ENOTSOCK, "not a socket: expected that of a VM, --api-socket");
	return fail(c, -ECONNREFUSED, "nobody listens there: the VM has ended");
}

/* Returns the meaning of @code, as an errno value and a sentence. */
static int explain(struct client *c, CURLcode code)
{
	long err = 0;

	switch ((int)code) {
	case CURLE_OK:
		return 0;
	case CURLE_COULDNT_CONNECT:
		c->lib.easy_getinfo(c->easy, CURLINFO_OS_ERRNO, &err);
		if (err == ECONNREFUSED)
			return explain_refusal(c);
		if (err <= 0)
			err = ECONNREFUSED;
		return fail(c, -(int)err, "%s", strerror((int)err));
	case CURLE_OPERATION_TIMEDOUT:
		return fail(c, -ETIMEDOUT, "no answer within %.3g s",
			    (double)c->cfg.limit_ns * 1e-9);
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_BAD_CONTENT_ENCODING:
		return fail(c, -EPROTO, "%s", no_http);
	case CURLE_GOT_NOTHING:
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
	case CURLE_PARTIAL_FILE:
		return fail(c, -ECONNRESET, "the connection ended before the answer did");
	case CURLE_OUT_OF_MEMORY:
		return fail(c, -ENOMEM, "%s", strerror(ENOMEM));
	default:
		return fail(c, -EPROTO, "the answer is not understood (libcurl: %d)", (int)code);
	}
}

static int explain_refused(struct client *c)
{
	if (c->refused == -EFBIG)
		return fail(c, -EFBIG, "the answer is too large");
	if (c->refused == -ENOMEM)
		return fail(c, -ENOMEM, "%s", strerror(ENOMEM));
	return c->refused;
}

/* Moves the transfer on until it has ended, or is given up. */
static int transfer(struct client *c, CURLcode *code)
{
	uint64_t limit = c->line && c->cfg.limit_ns ? now_ns() + c->cfg.limit_ns : UINT64_MAX;
	struct curl_waitfd fds[2];
	unsigned int n = 0;
	int running = 0, left, ready;
	CURLMsg *said;

	for (int i = 0; i < 2; i++)
		if (c->cfg.woken && c->cfg.watch[i] >= 0)
			fds[n++] = (struct curl_waitfd){.fd = c->cfg.watch[i],
							.events = CURL_WAIT_POLLIN};
	while (c->lib.multi_perform(c->multi, &running) == CURLM_OK && running) {
		bool woken = false;

		for (unsigned int i = 0; i < n; i++)
			fds[i].revents = 0;
		if (c->lib.multi_poll(c->multi, fds, n, 1000, &ready) != CURLM_OK)
			return fail(c, -ENOMEM, "%s", strerror(ENOMEM));
		for (unsigned int i = 0; i < n; i++)
			woken |= fds[i].revents != 0;
		if (woken && c->cfg.woken(c->cfg.ctx))
			return fail(c, -EINTR, "interrupted");
		if (!c->header && now_ns() >= limit)
			return explain(c, CURLE_OPERATION_TIMEDOUT);
	}
	*code = CURLE_RECV_ERROR;
	while ((said = c->lib.multi_info_read(c->multi, &left)))
		if (said->msg == CURLMSG_DONE)
			*code = said->data.result;
	return 0;
}

/* Sets the options of a request that are not those of each. */
static void set_up(struct client *c, const char *method, const char *url, const char *body)
{
	__typeof__(c->lib.easy_setopt) set = c->lib.easy_setopt;

	c->lib.easy_reset(c->easy);
	set(c->easy, CURLOPT_UNIX_SOCKET_PATH, c->cfg.path);
	set(c->easy, CURLOPT_URL, url);
	set(c->easy, CURLOPT_PROXY, "");
	set(c->easy, CURLOPT_NOSIGNAL, 1L);
	set(c->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	set(c->easy, CURLOPT_CUSTOMREQUEST, method);
	set(c->easy, CURLOPT_HTTPHEADER, c->headers);
	set(c->easy, CURLOPT_WRITEFUNCTION, take_body);
	set(c->easy, CURLOPT_WRITEDATA, c);
	set(c->easy, CURLOPT_HEADERFUNCTION, take_header);
	set(c->easy, CURLOPT_HEADERDATA, c);
	if (!c->line && c->cfg.limit_ns)
		set(c->easy, CURLOPT_TIMEOUT_MS, (long)((c->cfg.limit_ns + 999999) / 1000000));
	if (body) {
		set(c->easy, CURLOPT_POSTFIELDSIZE, (long)strlen(body));
		set(c->easy, CURLOPT_POSTFIELDS, body);
	}
}

static int perform(struct client *c, const char *method, const char *path, const char *body)
{
	char url[1024];
	CURLcode code = CURLE_OK;
	int ret;

	c->error[0] = '\0';
	if (!c->loaded)
		return -ENOPKG;
	if (snprintf(url, sizeof(url), "http://localhost%s", path) >= (int)sizeof(url))
		return fail(c, -ENAMETOOLONG, "the name of what is asked for is too long");
	free(c->body);
	c->body = NULL;
	c->len = c->room = c->header = 0;
	c->refused = 0;
	set_up(c, method, url, body);
	if (c->lib.multi_add_handle(c->multi, c->easy) != CURLM_OK)
		return fail(c, -ENOMEM, "%s", strerror(ENOMEM));
	ret = transfer(c, &code);
	if (ret == 0)
		ret = c->refused ? explain_refused(c) : explain(c, code);
	c->lib.multi_remove_handle(c->multi, c->easy);
	return ret;
}

/* -- answers ---------------------------------------------------------------------------------- */

/* Parses JSON. Returns NULL if it is none. */
static struct json_object *parse(const char *text, size_t len)
{
	struct json_tokener *t = json_tokener_new_ex(CLIENT_DEPTH);
	struct json_object *o;

	if (!t)
		return NULL;
	o = json_tokener_parse_ex(t, text, (int)len);
	if (json_tokener_get_error(t) != json_tokener_success) {
		json_object_put(o);
		o = NULL;
	}
	json_tokener_free(t);
	return o;
}

/* Takes a refusal: a server that refuses says why in a member. */
static int refusal(struct client *c, const struct client_answer *a)
{
	struct json_object *o = a->body ? parse(a->body, a->len) : NULL;
	const char *why = client_text(o, "fault_message");

	if (why)
		fail(c, 0, "%s", why);
	else
		fail(c, 0, "%s (HTTP status %u)", no_http, a->status);
	json_object_put(o);
	return -EREMOTEIO;
}

/* Makes an answer of what perform() has got. */
static int take_answer(struct client *c, struct client_answer *a)
{
	a->status = (unsigned int)status_of(c);
	a->len = c->len;
	a->body = c->body;
	c->body = NULL;
	c->len = c->room = 0;
	if (a->body)
		a->body[a->len] = '\0';
	if (a->status < 200 || a->status >= 300)
		return refusal(c, a);
	return 0;
}

int client_call(struct client *c, const char *method, const char *path, const char *body,
		struct client_answer *a)
{
	int ret;

	*a = (struct client_answer){.status = 0};
	c->line = NULL;
	ret = perform(c, method, path, body);
	return ret < 0 ? ret : take_answer(c, a);
}

int client_get(struct client *c, const char *path, struct client_answer *a)
{
	int ret = client_call(c, "GET", path, NULL, a);

	if (ret < 0)
		return ret;
	a->json = a->body ? parse(a->body, a->len) : NULL;
	if (!json_object_is_type(a->json, json_type_object))
		return fail(c, -EPROTO, "the answer to GET %s is no JSON object", path);
	return 0;
}

int client_send(struct client *c, const char *method, const char *path, struct json_object *body)
{
	const char *text = body ? json_object_to_json_string_ext(body, JSON_C_TO_STRING_PLAIN) : "";
	struct client_answer a = {.status = 0};
	int ret = text ? client_call(c, method, path, body ? text : NULL, &a)
		       : fail(c, -ENOMEM, "%s", strerror(ENOMEM));

	client_answer_free(&a);
	json_object_put(body);
	return ret;
}

void client_answer_free(struct client_answer *a)
{
	free(a->body);
	json_object_put(a->json);
	*a = (struct client_answer){.status = 0};
}

int client_stream(struct client *c, const char *path, bool (*line)(void *ctx, char *text),
		  void *ctx)
{
	struct client_answer a = {.status = 0};
	int ret;

	c->line = line;
	c->line_ctx = ctx;
	ret = perform(c, "GET", path, NULL);
	if (ret == -ECANCELED) {
		ret = 0;
	} else if (ret == 0 && status_of(c) == 200) {
		/* The last line may be without its end; there is room for a NUL. */
		if (c->len) {
			c->body[c->len] = '\0';
			line(ctx, c->body);
		}
	} else if (ret == 0) {
		ret = take_answer(c, &a);
	}
	client_answer_free(&a);
	c->line = NULL;
	return ret;
}

/* -- the client ------------------------------------------------------------------------------- */

static int connectable(struct client *c)
{
	struct curl_slist *more = NULL;
	struct sockaddr_un addr;
	const char *why;
	int ret;

	if (strlen(c->cfg.path) >= sizeof(addr.sun_path))
		return fail(c, -ENAMETOOLONG,
			    "the name is too long for a socket: expected at most %zu bytes",
			    sizeof(addr.sun_path) - 1);
	ret = curl_load(&c->lib, &why);
	if (ret == -ENOPKG)
		return fail(c, ret, "libcurl (libcurl.so.4) is needed for this: %s", why);
	if (ret < 0)
		return fail(c, ret, "%s", strerror(-ret));
	c->easy = c->lib.easy_init();
	c->multi = c->lib.multi_init();
	c->headers = c->lib.slist_append(NULL, "Content-Type: application/json");
	/* Of the formats that metrics have, the newer one. */
	if (c->headers)
		more = c->lib.slist_append(
			c->headers, "Accept: application/json, application/openmetrics-text, */*");
	if (!c->easy || !c->multi || !more)
		return fail(c, -ENOMEM, "%s", strerror(ENOMEM));
	c->loaded = true;
	return 0;
}

int client_open(const struct client_config *cfg, struct client **out)
{
	struct client *c = calloc(1, sizeof(*c));

	*out = c;
	if (!c)
		return -ENOMEM;
	c->cfg = *cfg;
	return connectable(c);
}

void client_close(struct client **out)
{
	struct client *c = *out;

	*out = NULL;
	if (!c)
		return;
	if (c->easy)
		c->lib.easy_cleanup(c->easy);
	if (c->multi)
		c->lib.multi_cleanup(c->multi);
	if (c->headers)
		c->lib.slist_free_all(c->headers);
	free(c->body);
	free(c);
}

void client_set_limit(struct client *c, uint64_t limit_ns)
{
	c->cfg.limit_ns = limit_ns;
}

/* -- members ---------------------------------------------------------------------------------- */

struct json_object *client_member(struct json_object *o, const char *name)
{
	struct json_object *m = NULL;

	return json_object_is_type(o, json_type_object) && json_object_object_get_ex(o, name, &m)
		       ? m
		       : NULL;
}

uint64_t client_number(struct json_object *o, const char *name)
{
	struct json_object *m = client_member(o, name);

	return json_object_is_type(m, json_type_int) ? json_object_get_uint64(m) : 0;
}

const char *client_text(struct json_object *o, const char *name)
{
	struct json_object *m = client_member(o, name);

	return json_object_is_type(m, json_type_string) ? json_object_get_string(m) : NULL;
}

size_t client_length(struct json_object *o)
{
	return json_object_is_type(o, json_type_array) ? json_object_array_length(o) : 0;
}
