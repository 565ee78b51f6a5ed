/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests to the control socket's resources, before there is a VM: any method, path and body, made
 * of what the resources know, of JSON's parts and of any bytes. Half of the inputs go straight to
 * the router, the other half as HTTP over a socket. Each is answered, in JSON where it says so; one
 * that is refused says why, and leaves the configuration as it was.
 */
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/api/route.h"
#include "cli/api/server.h"
#include "fuzz.h"

#define ROUNDS 32

static const char *const methods[] = {"GET", "PUT", "PATCH", "POST", "DELETE", "get"};

static const char *const paths[] = {
	"/",
	"/version",
	"/vm",
	"/vm/config",
	"/actions",
	"/boot-source",
	"/machine-config",
	"/drives/a",
	"/drives/b_1",
	"/network-interfaces/a",
	"/network-interfaces/b",
	"/vsock",
	"/balloon",
	"/balloon/statistics",
	"/balloon/hinting/start",
	"/entropy",
	"/serial",
	"/logger",
	"/metrics",
	"/cpu-config",
	"/mmds",
	"/snapshot/load",
	"/pmem/a",
	"/hotplug/memory",
	"/catnap/status",
	"/catnap/config",
	"/catnap/threads",
	"/catnap/halt-polling/0",
	"/catnap/stop",
	"/metrics/openmetrics",
};

static const char *const tokens[] = {
	"{",
	"}",
	"[",
	"]",
	":",
	",",
	"null",
	"true",
	"false",
	"0",
	"1",
	"-1",
	"3.5",
	"32",
	"128",
	"1e400",
	"18446744073709551616",
	"\"\"",
	"\"a\"",
	"\"\\u0000\"",
	"\"\\ud800\"",
	"\"/dev/null\"",
	"\"/dev/zero\"",
	"\"action_type\":",
	"\"FlushMetrics\"",
	"\"SendCtrlAltDel\"",
	"\"kernel_image_path\":",
	"\"initrd_path\":",
	"\"boot_args\":",
	"\"vcpu_count\":",
	"\"mem_size_mib\":",
	"\"smt\":",
	"\"cpu_template\":",
	"\"None\"",
	"\"track_dirty_pages\":",
	"\"huge_pages\":",
	"\"2M\"",
	"\"drive_id\":",
	"\"b_1\"",
	"\"path_on_host\":",
	"\"is_root_device\":",
	"\"is_read_only\":",
	"\"partuuid\":",
	"\"cache_type\":",
	"\"Unsafe\"",
	"\"Writeback\"",
	"\"io_engine\":",
	"\"Sync\"",
	"\"Async\"",
	"\"socket\":",
	"\"rate_limiter\":",
	"\"rx_rate_limiter\":",
	"\"tx_rate_limiter\":",
	"\"bandwidth\":",
	"\"ops\":",
	"\"size\":",
	"\"refill_time\":",
	"\"one_time_burst\":",
	"\"iface_id\":",
	"\"host_dev_name\":",
	"\"guest_mac\":",
	"\"06:00:00:00:00:01\"",
	"\"mtu\":",
	"\"guest_cid\":",
	"\"uds_path\":",
	"\"amount_mib\":",
	"\"deflate_on_oom\":",
	"\"stats_polling_interval_s\":",
	"\"log_path\":",
	"\"level\":",
	"\"Warning\"",
	"\"show_level\":",
	"\"show_log_origin\":",
	"\"module\":",
	"\"serial_out_path\":",
	"\"metrics_path\":",
	"\"kvm_capabilities\":",
	"\"!174\"",
	"\"cpuid_modifiers\":",
	"\"msr_modifiers\":",
	"\"leaf\":",
	"\"subleaf\":",
	"\"flags\":",
	"\"modifiers\":",
	"\"register\":",
	"\"bitmap\":",
	"\"addr\":",
	"\"0b1xx0\"",
	"\"0x1\"",
	"\"eax\"",
	"{\"size\":1,\"refill_time\":1}",
};

#define N(a) (sizeof(a) / sizeof((a)[0]))

static const struct api_owner owner = {NULL};
static struct http_socket listening = {.fd = -1};

/* A body of the next bytes; the caller frees it. */
static char *body_of(const uint8_t **data, size_t *size, size_t *len)
{
	size_t parts = fuzz_take(data, size, 1) % 64, room = parts * 40 + 1;
	char *text = malloc(room), *to = text;

	check(text);
	*to = '\0';
	if (parts % 8 == 7) {
		*len = parts < *size ? parts : *size;
		memcpy(text, *data, *len);
		*data += *len;
		*size -= *len;
		return text;
	}
	for (size_t i = 0; i < parts && *size; i++)
		to = stpcpy(to, tokens[fuzz_take(data, size, 1) % N(tokens)]);
	*len = (size_t)(to - text);
	check(*len < room);
	return text;
}

static void check_answer(struct reply *r)
{
	struct json_object *o, *sentence;
	char *copy;

	check(r->status >= 200 && r->status < 600 && !r->later);
	check(r->status != 500);
	if (r->status == 204 || (r->type && strcmp(r->type, "application/json") != 0)) {
		check(r->status < 400);
		return;
	}
	check(r->body);
	copy = strndup(r->body, r->len);
	check(copy);
	o = json_tokener_parse(copy);
	check(o);
	if (r->status >= 400)
		check(json_object_object_get_ex(o, "fault_message", &sentence) &&
		      json_object_get_string_len(sentence) > 0);
	json_object_put(o);
	free(copy);
}

static unsigned int ask(struct api *api, const char *method, const char *path, const char *body,
			size_t len, char **answer)
{
	struct api_request rq = {
		.method = method, .path = path, .body = len ? body : NULL, .len = len};
	unsigned int status;
	struct reply r;

	reply_init(&r, NULL);
	route_request(api, &rq, &r);
	check_answer(&r);
	status = r.status;
	if (answer)
		*answer = r.body ? strndup(r.body, r.len) : strdup("");
	reply_free(&r);
	return status;
}

static void to_the_router(const uint8_t *data, size_t size)
{
	struct api api;

	api_init(&api, "fuzz", &owner, NULL);
	while (size) {
		const char *method = methods[fuzz_take(&data, &size, 1) % N(methods)];
		const char *path = paths[fuzz_take(&data, &size, 1) % N(paths)];
		char *before, *after, *body;
		size_t len;

		body = body_of(&data, &size, &len);
		ask(&api, "GET", "/vm/config", NULL, 0, &before);
		if (ask(&api, method, path, body, len, NULL) >= 400) {
			ask(&api, "GET", "/vm/config", NULL, 0, &after);
			check(strcmp(before, after) == 0);
			free(after);
		}
		free(before);
		free(body);
	}
	api_free(&api);
}

static void leave(void)
{
	char folder[sizeof("/tmp/fuzz_api.XXXXXX")];

	memcpy(folder, listening.path, sizeof(folder) - 1);
	folder[sizeof(folder) - 1] = '\0';
	http_socket_close(&listening, true);
	rmdir(folder);
}

static void once(void)
{
	char folder[] = "/tmp/fuzz_api.XXXXXX", path[64];

	if (listening.fd >= 0)
		return;
	check(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/socket", folder);
	check(http_listen(&listening, path) == 0);
	atexit(leave);
}

static void say(int client, const char *text, size_t len)
{
	(void)send(client, text, len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* One client that sends requests one after the other, some of them not as they should be. */
static void over_a_socket(const uint8_t *data, size_t size)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct api_server server;
	struct api api;
	int client;

	once();
	api_init(&api, "fuzz", &owner, NULL);
	check(api_server_start(&server, &api, listening.fd, 4096) == 0);
	strcpy(addr.sun_path, listening.path);
	client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	check(client >= 0);
	check(connect(client, (const struct sockaddr *)&addr, sizeof(addr)) == 0);
	while (size) {
		const char *method = methods[fuzz_take(&data, &size, 1) % N(methods)];
		size_t which = fuzz_take(&data, &size, 1), len;
		const char *path =
			which == 255 ? "/catnap/events?history=on" : paths[which % N(paths)];
		char head[200], some[4096], *body = body_of(&data, &size, &len);
		size_t says = which % 16 == 15 ? len + 3 : len;
		int n = snprintf(
			head, sizeof(head),
			"%s %s HTTP/1.1\r\nAccept: text/plain\r\nContent-Length: %zu\r\n\r\n",
			method, path, says);

		say(client, head, (size_t)n);
		say(client, body, len);
		for (int i = 0; i < 3; i++)
			api_server_dispatch(&server);
		(void)recv(client, some, sizeof(some), MSG_DONTWAIT);
		free(body);
	}
	close(client);
	for (int i = 0; i < ROUNDS && http_clients(server.http); i++)
		api_server_dispatch(&server);
	check(http_clients(server.http) == 0);
	api_server_stop(&server);
	api_free(&api);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size && data[0] & 1)
		over_a_socket(data + 1, size - 1);
	else if (size)
		to_the_router(data + 1, size - 1);
	return 0;
}
