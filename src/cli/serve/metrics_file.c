/* SPDX-License-Identifier: Apache-2.0 */
/* See metrics_file.h. */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_ids.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli/now.h"
#include "cli/json_out.h"
#include "cli/serve/metrics_file.h"

#define MS_PER_S  UINT64_C(1000)
#define NS_PER_MS 1000000

void metrics_file_init(struct metrics_file *m)
{
	*m = (struct metrics_file){.fd = -1};
}

int metrics_file_set(struct metrics_file *m, const struct fc_metrics_setting *setting)
{
	int fd;

	if (m->fd >= 0)
		return -EEXIST;
	/* As Firecracker: a FIFO needs no reader yet, and a file is made, and added to. */
	fd = open(setting->path, O_RDWR | O_CREAT | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOCTTY,
		  0600);
	if (fd < 0)
		return -errno;
	m->fd = fd;
	m->emit_id = setting->emit_id;
	m->properties = json_object_get(setting->properties);
	m->next_ns = now_ns() + METRICS_PERIOD_NS;
	return 0;
}

void metrics_file_free(struct metrics_file *m)
{
	if (m->fd >= 0)
		close(m->fd);
	json_object_put(m->properties);
	metrics_file_init(m);
}

/* ---- the start ---- */

static struct json_object *start_json(const struct metrics_file *m)
{
	struct json_object *o = json_object_new_object();

	if (!o)
		return NULL;
	add_u64(o, "process_startup_time_us", m->startup_us);
	add_u64(o, "process_startup_time_cpu_us", m->startup_cpu_us);
	return o;
}

/* ---- requests ---- */

static const struct {
	enum api_resource resource;
	enum api_method method;
	const char *count, *fails; /* Firecracker's names; NULL: it has none */
} requests[] = {
	{API_ROOT, API_GET, "instance_info_count", NULL},
	{API_MACHINE_CONFIG, API_GET, "machine_cfg_count", NULL},
	{API_MMDS, API_GET, "mmds_count", NULL},
	{API_VERSION, API_GET, "vmm_version_count", NULL},
	{API_HOTPLUG, API_GET, "hotplug_memory_count", NULL},
	{API_ACTIONS, API_PUT, "actions_count", "actions_fails"},
	{API_BOOT_SOURCE, API_PUT, "boot_source_count", "boot_source_fails"},
	{API_DRIVES, API_PUT, "drive_count", "drive_fails"},
	{API_LOGGER, API_PUT, "logger_count", "logger_fails"},
	{API_MACHINE_CONFIG, API_PUT, "machine_cfg_count", "machine_cfg_fails"},
	{API_CPU_CONFIG, API_PUT, "cpu_cfg_count", "cpu_cfg_fails"},
	{API_METRICS, API_PUT, "metrics_count", "metrics_fails"},
	{API_NETWORK_INTERFACES, API_PUT, "network_count", "network_fails"},
	{API_MMDS, API_PUT, "mmds_count", "mmds_fails"},
	{API_VSOCK, API_PUT, "vsock_count", "vsock_fails"},
	{API_PMEM, API_PUT, "pmem_count", "pmem_fails"},
	{API_SERIAL, API_PUT, "serial_count", "serial_fails"},
	{API_HOTPLUG, API_PUT, "hotplug_memory_count", "hotplug_memory_fails"},
	{API_DRIVES, API_PATCH, "drive_count", "drive_fails"},
	{API_NETWORK_INTERFACES, API_PATCH, "network_count", "network_fails"},
	{API_MACHINE_CONFIG, API_PATCH, "machine_cfg_count", "machine_cfg_fails"},
	{API_MMDS, API_PATCH, "mmds_count", "mmds_fails"},
	{API_PMEM, API_PATCH, "pmem_count", "pmem_fails"},
	{API_HOTPLUG, API_PATCH, "hotplug_memory_count", "hotplug_memory_fails"},
};

static struct json_object *requests_json(const struct metrics_file *m,
					 const struct api_metrics *now, enum api_method method)
{
	struct json_object *o = json_object_new_object();

	for (size_t i = 0; o && i < sizeof(requests) / sizeof(requests[0]); i++) {
		enum api_resource n = requests[i].resource;

		if (requests[i].method != method)
			continue;
		add_u64(o, requests[i].count, now->count[method][n] - m->before.count[method][n]);
		if (requests[i].fails)
			add_u64(o, requests[i].fails,
				now->fails[method][n] - m->before.fails[method][n]);
	}
	return o;
}

/* ---- devices ---- */

static void take(const struct catnap_device_stats *s, struct metrics_device *d)
{
	*d = (struct metrics_device){.read_bytes = s->read_bytes,
				     .written_bytes = s->written_bytes,
				     .requests = s->requests};
	for (uint32_t i = 0; i < s->net_queues && i < CATNAP_MAX_NET_QUEUES; i++) {
		d->rx_bytes += s->net_queue[i].rx_bytes;
		d->tx_bytes += s->net_queue[i].tx_bytes;
		d->rx_packets += s->net_queue[i].rx_packets;
		d->tx_packets += s->net_queue[i].tx_packets;
	}
}

/* Adds to @sum what has come since the line before. */
static void add_difference(struct metrics_device *sum, const struct metrics_device *now,
			   const struct metrics_device *before)
{
	sum->read_bytes += now->read_bytes - before->read_bytes;
	sum->written_bytes += now->written_bytes - before->written_bytes;
	sum->requests += now->requests - before->requests;
	sum->rx_bytes += now->rx_bytes - before->rx_bytes;
	sum->tx_bytes += now->tx_bytes - before->tx_bytes;
	sum->rx_packets += now->rx_packets - before->rx_packets;
	sum->tx_packets += now->tx_packets - before->tx_packets;
}

static struct json_object *block_json(const struct metrics_device *d)
{
	struct json_object *o = json_object_new_object();

	if (!o)
		return NULL;
	add_u64(o, "read_bytes", d->read_bytes);
	add_u64(o, "write_bytes", d->written_bytes);
	add_u64(o, "queue_event_count", d->requests);
	return o;
}

static struct json_object *net_json(const struct metrics_device *d)
{
	struct json_object *o = json_object_new_object();

	if (!o)
		return NULL;
	add_u64(o, "rx_bytes_count", d->rx_bytes);
	add_u64(o, "rx_packets_count", d->rx_packets);
	add_u64(o, "tx_bytes_count", d->tx_bytes);
	add_u64(o, "tx_packets_count", d->tx_packets);
	return o;
}

/* Adds the sums of all disks, "block", and of all interfaces, "net"; @next: what is remembered for
 * the next line. */
static void add_devices(struct json_object *o, const struct metrics_file *m, struct catnap_vm *vm,
			struct metrics_device next[METRICS_DEVICES])
{
	struct metrics_device block = {.requests = 0}, net = {.requests = 0};

	for (uint32_t i = 0; vm && i < METRICS_DEVICES; i++) {
		struct catnap_device_stats s = {.size = sizeof(s),
						.net_queue_size = sizeof(s.net_queue[0])};

		/* One that was removed may leave others behind it. */
		if (catnap_vm_get_device_stats(vm, i, &s) < 0)
			continue;
		take(&s, &next[i]);
		if (s.type == VIRTIO_ID_BLOCK)
			add_difference(&block, &next[i], &m->devices[i]);
		if (s.type == VIRTIO_ID_NET)
			add_difference(&net, &next[i], &m->devices[i]);
	}
	json_object_object_add(o, "block", block_json(&block));
	json_object_object_add(o, "net", net_json(&net));
}

/* ---- vCPUs ---- */

/* Adds the figures of all vCPUs since the start. */
static void add_vcpus(struct json_object *o, struct catnap_vm *vm)
{
	struct json_object *vcpu = json_object_new_object(), *own = json_object_new_object();
	uint64_t io = 0, mmio = 0, halts = 0, polled = 0, slept = 0, cpu_ns = 0;

	for (uint32_t i = 0; vm && i < catnap_vm_get_vcpu_count(vm); i++) {
		struct catnap_vcpu_stats s = {.size = sizeof(s), .halt = {.size = sizeof(s.halt)}};

		if (catnap_vm_get_stats(vm, i, &s) < 0)
			break;
		io += s.exits_io;
		mmio += s.exits_mmio;
		halts += s.halt.halt_exits;
		polled += s.halt.halt_successful_poll;
		slept += s.halt.halt_wait_ns;
		cpu_ns += s.cpu_ns;
	}
	if (vcpu) {
		add_u64(vcpu, "exit_io", io);
		add_u64(vcpu, "exit_mmio", mmio);
	}
	if (own) {
		add_u64(own, "halts", halts);
		add_u64(own, "halts_polled_through", polled);
		add_u64(own, "sleep_ns", slept);
		add_u64(own, "vcpu_cpu_ns", cpu_ns);
	}
	json_object_object_add(o, "vcpu", vcpu);
	json_object_object_add(o, "catnap", own);
}

/* ---- lines ---- */

static uint64_t time_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * MS_PER_S + (uint64_t)now.tv_nsec / NS_PER_MS;
}

static struct json_object *document(const struct metrics_file *m, const struct api *api,
				    struct metrics_device next[METRICS_DEVICES])
{
	const struct api_metrics *now = &api->own.metrics;
	struct json_object *o = json_object_new_object(), *deprecated = json_object_new_object();

	if (!o)
		return NULL;
	add_u64(o, "utc_timestamp_ms", time_ms());
	if (m->emit_id)
		json_object_object_add(o, "id", json_object_new_string(api->id));
	if (m->properties)
		json_object_object_add(o, "properties", json_object_get(m->properties));
	json_object_object_add(o, "api_server", start_json(m));
	json_object_object_add(o, "get_api_requests", requests_json(m, now, API_GET));
	json_object_object_add(o, "put_api_requests", requests_json(m, now, API_PUT));
	json_object_object_add(o, "patch_api_requests", requests_json(m, now, API_PATCH));
	if (deprecated)
		add_u64(deprecated, "deprecated_http_api_calls",
			now->deprecated - m->before.deprecated);
	json_object_object_add(o, "deprecated_api", deprecated);
	add_devices(o, m, api->vm, next);
	add_vcpus(o, api->vm);
	return o;
}

/* Sends all of a line or nothing: a FIFO has room for that, or has not. */
static int send_line(int fd, const char *text, size_t len)
{
	struct stat st;
	int room = 0;

	if (fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode)) {
		struct pollfd p = {.fd = fd, .events = POLLOUT};

		room = fcntl(fd, F_GETPIPE_SZ);
		if (poll(&p, 1, 0) != 1 || room < (int)len)
			return -EAGAIN;
	}
	while (len) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

int metrics_file_write(struct metrics_file *m, struct api *api)
{
	struct metrics_device next[METRICS_DEVICES] = {{.requests = 0}};
	struct json_object *o;
	size_t len;
	char *text;
	int ret;

	if (m->fd < 0)
		return 0;
	m->next_ns = now_ns() + METRICS_PERIOD_NS;
	o = document(m, api, next);
	text = o ? json_line(o, &len) : NULL;
	ret = text ? send_line(m->fd, text, len) : -ENOMEM;
	free(text);
	if (ret < 0) {
		m->missed++;
		return ret;
	}
	m->before = api->own.metrics;
	memcpy(m->devices, next, sizeof(next));
	return 0;
}
