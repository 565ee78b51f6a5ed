/* SPDX-License-Identifier: Apache-2.0 */
/* Firecracker's resources before the start: what they take, refuse and show. No HTTP, no VM. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "cli/api/limiter.h"
#include "cli/api/resources.h"

#define JSON   "An error occurred when deserializing the json body of a request: "
#define BEFORE "The requested operation is not supported before starting the microVM."

static struct api api;

static int set_up(void **state)
{
	api_init(&api, "test", NULL, NULL);
	return 0;
}

static int tear_down(void **state)
{
	api_free(&api);
	return 0;
}

/* Asks, and holds the status and the beginning of the sentence against @status and @says. */
static void ask(const char *method, const char *path, const char *body, unsigned int status,
		const char *says)
{
	struct api_request rq = {
		.method = method, .path = path, .body = body, .len = body ? strlen(body) : 0};
	struct reply r;

	reply_init(&r, NULL);
	route_request(&api, &rq, &r);
	if (r.status != status || strncmp(reply_sentence(&r), says, strlen(says)) != 0)
		print_message("%s %s %s: %u %s\n", method, path, body ? body : "", r.status,
			      reply_sentence(&r));
	assert_int_equal(r.status, status);
	assert_true(strncmp(reply_sentence(&r), says, strlen(says)) == 0);
	reply_free(&r);
}

static void put(const char *path, const char *body)
{
	ask("PUT", path, body, 204, "");
}

static void shows(const char *path, const char *member, const char *expected)
{
	struct api_request rq = {.method = "GET", .path = path};
	struct json_object *o, *v = NULL;
	struct reply r;

	reply_init(&r, NULL);
	route_request(&api, &rq, &r);
	assert_int_equal(r.status, 200);
	o = json_tokener_parse(r.body);
	assert_true(json_object_object_get_ex(o, member, &v));
	assert_string_equal(json_object_to_json_string_ext(
				    v, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE),
			    expected);
	json_object_put(o);
	reply_free(&r);
}

static void test_machine(void **state)
{
	shows("/vm/config", "machine-config",
	      "{\"vcpu_count\":1,\"mem_size_mib\":128,\"smt\":false,\"track_dirty_pages\":false,"
	      "\"huge_pages\":\"None\"}");
	put("/machine-config", "{\"vcpu_count\": 2, \"mem_size_mib\": 256}");
	ask("PATCH", "/machine-config", "{\"track_dirty_pages\": true}", 204, "");
	ask("PATCH", "/machine-config", "{\"vcpu_count\": null, \"mem_size_mib\": 512}", 400, "");
	shows("/machine-config", "mem_size_mib", "256");
	shows("/machine-config", "track_dirty_pages", "true");
	/* A member that a PUT does not say has its default again. */
	put("/machine-config", "{\"vcpu_count\": 4, \"mem_size_mib\": 512}");
	shows("/machine-config", "track_dirty_pages", "false");
	ask("PUT", "/machine-config", "{\"mem_size_mib\": 128}", 400,
	    JSON "missing field `vcpu_count` at line 1 column 21.");
	ask("PUT", "/machine-config", "{\"vcpu_count\": 2}", 400,
	    JSON "missing field `mem_size_mib` at line 1 column 17.");
	ask("PATCH", "/machine-config", "{\"vcpu_count\": 0}", 400,
	    "Machine config error: The number of vCPUs must be greater than 0, less than 32");
	ask("PATCH", "/machine-config", "{\"vcpu_count\": 33}", 400,
	    "Machine config error: The number of vCPUs must be greater than 0, less than 32");
	ask("PATCH", "/machine-config", "{\"vcpu_count\": 300}", 400,
	    JSON "invalid value: integer `300`, expected u8");
	ask("PATCH", "/machine-config", "{\"mem_size_mib\": 0}", 400,
	    "Machine config error: The memory size (MiB) is either 0, or not a multiple of the "
	    "configured page size.");
	ask("PATCH", "/machine-config", "{\"mem_size_mib\": 18446744073709551616}", 400,
	    JSON "invalid type");
	ask("PATCH", "/machine-config", "{\"mem_size_mib\": 18446744073709551615}", 204, "");
	ask("PATCH", "/machine-config", "{\"cpu_template\": \"None\"}", 204, "");
	ask("PATCH", "/machine-config", "{\"cpu_template\": \"T2\"}", 400, "Machine config error:");
	ask("PATCH", "/machine-config", "{\"cpu_template\": \"T9\"}", 400,
	    JSON "unknown variant `T9`, expected one of `C3`");
	ask("PATCH", "/machine-config", "{\"huge_pages\": \"7M\"}", 400, JSON "unknown variant");
	ask("PATCH", "/machine-config", "{}", 400, "Empty PATCH request.");
	shows("/machine-config", "vcpu_count", "4");
}

static void test_boot(void **state)
{
	char kernel[] = "/tmp/test_fc.XXXXXX", body[256], long_args[4096];
	int fd = mkstemp(kernel);

	assert_true(fd >= 0);
	close(fd);
	snprintf(body, sizeof(body), "{\"kernel_image_path\": \"%s\", \"boot_args\": \"a=b\"}",
		 kernel);
	put("/boot-source", body);
	put("/boot-source", body);
	ask("PUT", "/boot-source", "{\"kernel_image_path\": \"/nowhere/x\"}", 400,
	    "Boot source error: The kernel file cannot be opened: No such file or directory (os "
	    "error 2)");
	snprintf(body, sizeof(body),
		 "{\"kernel_image_path\": \"%s\", \"initrd_path\": \"/nowhere/x\"}", kernel);
	ask("PUT", "/boot-source", body, 400,
	    "Boot source error: The initrd file cannot be opened due to invalid path or invalid "
	    "permissions. No such file or directory (os error 2)");
	snprintf(long_args, sizeof(long_args),
		 "{\"kernel_image_path\": \"%s\", \"boot_args\": \"%2048s\"}", kernel, "");
	ask("PUT", "/boot-source", long_args, 400,
	    "Boot source error: The kernel command line is invalid:");
	ask("PATCH", "/boot-source", "{\"kernel_image_path\": \"x\"}", 400,
	    "Invalid request method and/or path: PATCH boot-source.");
	ask("PUT", "/boot-source", "{\"kernel_image_path\": \"x\", \"a\": 1}", 400,
	    JSON "unknown field `a`, expected one of");
	snprintf(body, sizeof(body),
		 "{\"kernel_image_path\":\"%s\",\"initrd_path\":null,\"boot_args\":\"a=b\"}",
		 kernel);
	shows("/vm/config", "boot-source", body);
	unlink(kernel);
}

static void test_drives(void **state)
{
	char image[] = "/tmp/test_fc.XXXXXX", body[512];
	int fd = mkstemp(image);

	assert_true(fd >= 0);
	close(fd);
	snprintf(body, sizeof(body),
		 "{\"drive_id\": \"a\", \"path_on_host\": \"%s\", \"is_root_device\": false}",
		 image);
	put("/drives/a", body);
	ask("PUT", "/drives/b", body, 400,
	    "The id from the path does not match the id from the body!");
	ask("PUT", "/drives/", body, 400, "The ID cannot be empty.");
	ask("PUT", "/drives", body, 400, "The ID cannot be empty.");
	ask("PUT", "/drives/a-b", body, 400,
	    "API Resource IDs can only contain alphanumeric characters and underscores.");
	snprintf(body, sizeof(body),
		 "{\"drive_id\": \"r\", \"path_on_host\": \"%s\", \"is_root_device\": true, "
		 "\"is_read_only\": true, \"cache_type\": \"Writeback\", \"io_engine\": \"Async\", "
		 "\"partuuid\": \"0eaa91a0-01\", \"rate_limiter\": {\"ops\": {\"size\": 5, "
		 "\"refill_time\": 100}, \"bandwidth\": null}}",
		 image);
	put("/drives/r", body);
	/* The root device is the first. */
	snprintf(body, sizeof(body),
		 "[{\"drive_id\":\"r\",\"partuuid\":\"0eaa91a0-01\",\"is_root_device\":true,"
		 "\"cache_type\":\"Writeback\",\"is_read_only\":true,\"path_on_host\":\"%s\","
		 "\"rate_limiter\":{\"bandwidth\":null,\"ops\":{\"size\":5,\"one_time_burst\":null,"
		 "\"refill_time\":100}},\"io_engine\":\"Async\",\"socket\":null},"
		 "{\"drive_id\":\"a\",\"partuuid\":null,\"is_root_device\":false,"
		 "\"cache_type\":\"Unsafe\",\"is_read_only\":false,\"path_on_host\":\"%s\","
		 "\"rate_limiter\":null,\"io_engine\":\"Sync\",\"socket\":null}]",
		 image, image);
	shows("/vm/config", "drives", body);
	snprintf(body, sizeof(body),
		 "{\"drive_id\": \"a\", \"path_on_host\": \"%s\", \"is_root_device\": true}",
		 image);
	ask("PUT", "/drives/a", body, 400,
	    "Drive config error: A root block device already exists!");
	ask("PUT", "/drives/c",
	    "{\"drive_id\": \"c\", \"path_on_host\": \"foo.bar\", \"is_root_device\": false}", 400,
	    "Drive config error: Unable to create the virtio block device: Virtio backend error: "
	    "Error manipulating the backing file: No such file or directory (os error 2) foo.bar");
	ask("PUT", "/drives/c", "{\"drive_id\": \"c\", \"is_root_device\": false}", 400,
	    "Drive config error:");
	for (int i = 0; i < 4; i++) {
		static const char *const with[] = {"\"is_read_only\": false",
						   "\"path_on_host\": \"/x\"",
						   "\"io_engine\": \"Sync\"",
						   ("\"rate_limiter\": {\"ops\": {\"size\": 5, "
						    "\"refill_time\": 100}}")};

		snprintf(body, sizeof(body),
			 "{\"drive_id\": \"c\", \"is_root_device\": false, \"socket\": \"/x\", %s}",
			 with[i]);
		ask("PUT", "/drives/c", body, 400, "Drive config error: socket:");
	}
	ask("PUT", "/drives/c", "{\"drive_id\": \"c\"}", 400,
	    JSON "missing field `is_root_device`");
	ask("PATCH", "/drives/a", "{\"drive_id\": \"a\", \"path_on_host\": \"x\"}", 400, BEFORE);
	ask("PATCH", "/drives/a", "{\"drive_id\": \"a\", \"is_read_only\": true}", 400,
	    JSON "unknown field `is_read_only`");
	for (int i = 0; i < FC_MAX_DRIVES; i++) {
		char path[32];

		snprintf(path, sizeof(path), "/drives/d%d", i);
		snprintf(body, sizeof(body),
			 "{\"drive_id\": \"d%d\", \"path_on_host\": \"%s\", \"is_root_device\": "
			 "false}",
			 i, image);
		ask("PUT", path, body, i < FC_MAX_DRIVES - 2 ? 204 : 400,
		    i < FC_MAX_DRIVES - 2 ? "" : "Drive config error: there are 16 drives");
	}
	unlink(image);
}

static void test_nets(void **state)
{
	/* "lo" is an interface that is there; that it is no TAP is found at the start. */
	put("/network-interfaces/1", "{\"iface_id\": \"1\", \"host_dev_name\": \"lo\", "
				     "\"guest_mac\": \"06:00:00:00:00:01\", \"mtu\": 1400}");
	ask("PUT", "/network-interfaces/2",
	    "{\"iface_id\": \"2\", \"host_dev_name\": \"x\", \"guest_mac\": "
	    "\"06:00:00:00:00:01\"}",
	    400, "Network config error: The MAC address is already in use: 06:00:00:00:00:01");
	ask("PUT", "/network-interfaces/2", "{\"iface_id\": \"2\", \"host_dev_name\": \"lo\"}", 400,
	    "Network config error: Could not create the network device");
	ask("PUT", "/network-interfaces/2", "{\"iface_id\": \"2\", \"host_dev_name\": \"no-such\"}",
	    400, "Network config error: Could not create the network device");
	ask("PUT", "/network-interfaces/2",
	    "{\"iface_id\": \"2\", \"host_dev_name\": \"x\", \"guest_mac\": \"06:00\"}", 400,
	    JSON "The provided MAC address is invalid.");
	ask("PUT", "/network-interfaces/2",
	    "{\"iface_id\": \"2\", \"host_dev_name\": \"x\", \"mtu\": 67}", 400,
	    JSON "invalid value: integer `67`, expected u16");
	ask("PATCH", "/network-interfaces/1", "{\"iface_id\": \"1\"}", 400, BEFORE);
	shows("/vm/config", "network-interfaces",
	      "[{\"iface_id\":\"1\",\"host_dev_name\":\"lo\",\"guest_mac\":\"06:00:00:00:00:01\","
	      "\"mtu\":1400,\"rx_rate_limiter\":null,\"tx_rate_limiter\":null}]");
}

static void test_others(void **state)
{
	put("/vsock", "{\"guest_cid\": 15, \"uds_path\": \"v.sock\"}");
	put("/vsock", "{\"guest_cid\": 16, \"uds_path\": \"v.sock\"}");
	ask("PUT", "/vsock", "{\"guest_cid\": 2, \"uds_path\": \"v.sock\"}", 400,
	    JSON "invalid value: integer `2`, expected u32");
	shows("/vm/config", "vsock", "{\"guest_cid\":16,\"uds_path\":\"v.sock\"}");
	ask("GET", "/balloon", NULL, 400, "Balloon config error: No balloon device found.");
	put("/balloon", "{\"amount_mib\": 1, \"deflate_on_oom\": true}");
	shows("/vm/config", "balloon",
	      "{\"amount_mib\":1,\"deflate_on_oom\":true,\"stats_polling_interval_s\":0,"
	      "\"free_page_hinting\":false,\"free_page_reporting\":false}");
	ask("PUT", "/balloon", "{\"amount_mib\": 1024, \"deflate_on_oom\": true}", 400,
	    "Balloon config error: Amount of pages requested is too large.");
	ask("PATCH", "/machine-config", "{\"mem_size_mib\": 1}", 204, "");
	ask("PATCH", "/balloon", "{\"amount_mib\": 2}", 400, BEFORE);
	ask("GET", "/balloon/statistics", NULL, 400, BEFORE);
	ask("PATCH", "/balloon/statistics", "{\"stats_polling_interval_s\": 2}", 400, BEFORE);
	put("/entropy", "{}");
	put("/entropy", "{\"rate_limiter\": {\"bandwidth\": {\"size\": 1, \"one_time_burst\": 7, "
			"\"refill_time\": 1}}}");
	shows("/vm/config", "entropy",
	      "{\"rate_limiter\":{\"bandwidth\":{\"size\":1,\"one_time_burst\":7,\"refill_time\":1}"
	      ","
	      "\"ops\":null}}");
	ask("PUT", "/entropy", "{\"rate_limiter\": {\"ops\": {\"size\": 1}}}", 400,
	    JSON "missing field `refill_time`");
	put("/serial", "{\"serial_out_path\": \"/x\"}");
	ask("PUT", "/actions", "{\"action_type\": \"SendCtrlAltDel\"}", 400, BEFORE);
	ask("PUT", "/actions", "{\"action_type\": \"FlushMetrics\"}", 400, BEFORE);
	ask("PUT", "/actions", "{\"action_type\": \"Fly\"}", 400,
	    JSON "unknown variant `Fly`, expected one of");
	ask("PATCH", "/vm", "{\"state\": \"Paused\"}", 400, BEFORE);
	ask("PATCH", "/vm", "{\"state\": \"Gone\"}", 400,
	    JSON "unknown variant `Gone`, expected `Paused` or `Resumed`");
}

/* A limit that options gave: the library is told the same again, and it shows at its rate. */
static void test_limits_of_options(void **state)
{
	const struct {
		struct catnap_bucket b;
		const char *shown;
	} buckets[] = {
		{{.size = 5, .refill_ns = 2000000000, .one_time_burst = 3},
		 "{\"size\":5,\"one_time_burst\":3,\"refill_time\":2000}"},
		{{.size = 1000, .refill_ns = 250000},
		 "{\"size\":4000,\"one_time_burst\":null,\"refill_time\":1}"},
		{{.size = 3000, .refill_ns = 1500000},
		 "{\"size\":4000,\"one_time_burst\":null,\"refill_time\":2}"},
		{{.size = UINT64_MAX, .refill_ns = 1},
		 "{\"size\":18446744073709551615,\"one_time_burst\":null,\"refill_time\":1}"},
		{{.size = 1, .refill_ns = CATNAP_MAX_REFILL_NS},
		 "{\"size\":1,\"one_time_burst\":null,\"refill_time\":1152921504607}"},
		{{.size = 1}, "null"},
		{{.refill_ns = 1}, "null"},
	};

	for (size_t i = 0; i < sizeof(buckets) / sizeof(buckets[0]); i++) {
		const struct catnap_bucket *b = &buckets[i].b;
		const bool on = b->size && b->refill_ns;
		struct catnap_rate_limit limit = {.ops = *b}, again;
		struct fc_limiter l;
		struct json_object *shown;

		fc_limiter_given(&l, &limit);
		assert_int_equal(l.on, on);
		fc_limiter_library(&l, &again);
		assert_int_equal(again.bw.size, 0);
		if (on)
			assert_memory_equal(&again, &limit, sizeof(limit));
		else
			assert_int_equal(again.ops.size, 0);
		shown = fc_bucket_json(&l.ops);
		assert_string_equal(json_object_to_json_string_ext(shown, JSON_C_TO_STRING_PLAIN),
				    buckets[i].shown);
		json_object_put(shown);
	}
}

static void test_cpu(void **state)
{
	put("/cpu-config", "{}");
	put("/cpu-config",
	    "{\"kvm_capabilities\": [\"121\", \"!0x10\"], \"reg_modifiers\": [], "
	    "\"cpuid_modifiers\": [{\"leaf\": \"0x1\", \"subleaf\": \"0b0\", \"flags\": 0, "
	    "\"modifiers\": [{\"register\": \"ecx\", \"bitmap\": \"0b1xx0\"}]}], "
	    "\"msr_modifiers\": [{\"addr\": \"0x10a\", \"bitmap\": \"0b0x_1\"}]}");
	assert_int_equal(api.model.cpu->n_required, 1);
	assert_int_equal(api.model.cpu->required[0], 121);
	assert_int_equal(api.model.cpu->dropped[0], 16);
	assert_int_equal(api.model.cpu->cpuid[0].leaf, 1);
	assert_int_equal(api.model.cpu->cpuid[0].reg, CATNAP_CPUID_ECX);
	assert_int_equal(api.model.cpu->cpuid[0].mask, 9);
	assert_int_equal(api.model.cpu->cpuid[0].value, 8);
	assert_int_equal(api.model.cpu->msrs[0].index, 0x10a);
	assert_int_equal(api.model.cpu->msrs[0].mask, 5);
	assert_int_equal(api.model.cpu->msrs[0].value, 1);
	ask("PUT", "/cpu-config", "{\"kvm_capabilities\": [\"x\"]}", 400, JSON "Failed to parse");
	ask("PUT", "/cpu-config", "{\"kvm_capabilities\": [\"-1\"]}", 400, JSON "Failed to parse");
	ask("PUT", "/cpu-config", "{\"reg_modifiers\": [{}]}", 400, "Configure CPU error:");
	ask("PUT", "/cpu-config",
	    "{\"msr_modifiers\": [{\"addr\": \"0x100000000\", \"bitmap\": \"0b1\"}]}", 400,
	    JSON "Failed to parse string [0x100000000] as a number");
	ask("PUT", "/cpu-config", "{\"msr_modifiers\": [{\"addr\": \"1\", \"bitmap\": \"1\"}]}",
	    400, JSON "Failed to parse string [1] as a bitmap");
	ask("PUT", "/cpu-config", "{\"msr_modifiers\": [{\"addr\": \"1\", \"bitmap\": \"0b\"}]}",
	    400, JSON "Failed to parse string [0b] as a bitmap");
	ask("PUT", "/cpu-config", "{\"foo\": false}", 400, JSON "unknown field `foo`");
	assert_int_equal(api.model.cpu->n_msrs, 1);
}

static void test_absent(void **state)
{
	static const struct {
		const char *method, *path, *says;
	} absent[] = {
		{"GET", "/mmds", "The requested operation is not supported: the metadata service"},
		{"PUT", "/mmds", "The requested operation is not supported: the metadata service"},
		{"PUT", "/mmds/config", "The requested operation is not supported: the metadata"},
		{"PATCH", "/balloon/hinting/stop", BEFORE},
	};

	for (size_t i = 0; i < sizeof(absent) / sizeof(absent[0]); i++)
		ask(absent[i].method, absent[i].path,
		    strcmp(absent[i].method, "GET") == 0 ? NULL : "{}", 400, absent[i].says);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_machine), TEST(test_boot),
		TEST(test_drives),  TEST(test_nets),
		TEST(test_others),  TEST(test_cpu),
		TEST(test_absent),  TEST(test_limits_of_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
