/* SPDX-License-Identifier: Apache-2.0 */
/* Tests what the control socket counts, and the text of metrics where there is no VM yet. */
#include <stdarg.h>
#include <stdlib.h>
#include <stddef.h>
#include <string.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdint.h>
#include <cmocka.h>

#include "cli/api/metrics.h"
#include "cli/api/openmetrics.h"
#include "cli/api/own.h"

static void requests_are_counted(void **state)
{
	static struct api_metrics m;

	api_count(&m, "GET", "/", 200);
	api_count(&m, "GET", "/vm", 200);
	api_count(&m, "GET", "/vm/config", 200);
	api_count(&m, "PUT", "/machine-config", 204);
	api_count(&m, "PUT", "//machine-config/", 400);
	api_count(&m, "PATCH", "/drives/root", 400);
	api_count(&m, "DELETE", "/drives/root", 404);
	api_count(&m, "GET", "/machine", 404);
	api_count(&m, "GET", "/machine-configs", 404);
	assert_int_equal(m.count[API_GET][API_ROOT], 1);
	assert_int_equal(m.count[API_GET][API_VM], 2);
	assert_int_equal(m.count[API_PUT][API_MACHINE_CONFIG], 2);
	assert_int_equal(m.fails[API_PUT][API_MACHINE_CONFIG], 1);
	assert_int_equal(m.fails[API_PATCH][API_DRIVES], 1);
	assert_int_equal(m.fails[API_OTHER_METHOD][API_DRIVES], 1);
	assert_int_equal(m.count[API_GET][API_OTHER_RESOURCE], 2);
	assert_int_equal(m.fails[API_GET][API_VM], 0);
}

static void the_names_are_those_of_paths(void **state)
{
	struct api_metrics m;
	char path[64];

	memset(&m, 0, sizeof(m));
	for (int i = 0; i < API_OTHER_RESOURCE; i++) {
		snprintf(path, sizeof(path), "/%s", api_resource_name((enum api_resource)i));
		api_count(&m, "GET", path, 200);
		assert_int_equal(m.count[API_GET][i], 1);
	}
}

static void has(const char *text, const char *line)
{
	if (!strstr(text, line))
		fail_msg("lacks %s in\n%s", line, text);
}

static void both_formats_before_the_start(void **state)
{
	struct api_metrics api = {.deprecated = 0};
	struct openmetrics m = {.id = "a\"b\\c\n\xff", .state = own_state(NULL), .api = &api};
	char *text;
	size_t len;

	api_count(&api, "GET", "/", 200);
	text = openmetrics_text(&m, &len);
	assert_non_null(text);
	assert_int_equal(strlen(text), len);
	has(text, "catnap_vm_info{id=\"a\\\"b\\\\c\\n?\",");
	has(text, "# TYPE catnap_vm_info gauge\n");
	has(text, "catnap_vm_state{catnap_vm_state=\"not_started\"} 1\n");
	has(text, "catnap_vm_state{catnap_vm_state=\"running\"} 0\n");
	has(text, "# TYPE catnap_api_requests_total counter\n");
	has(text, "catnap_api_requests_total{method=\"GET\",resource=\"/\"} 1\n");
	assert_string_equal(text + len - 6, "# EOF\n");
	assert_null(strstr(text, "catnap_halt_exits"));
	free(text);
	m.strict = true;
	text = openmetrics_text(&m, &len);
	assert_non_null(text);
	has(text, "# TYPE catnap_vm info\n");
	has(text, "# TYPE catnap_vm_state stateset\n");
	has(text, "# TYPE catnap_api_requests counter\n");
	has(text, "catnap_api_requests_total{method=\"GET\",resource=\"/\"} 1\n");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_are_counted),
		cmocka_unit_test(the_names_are_those_of_paths),
		cmocka_unit_test(both_formats_before_the_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
