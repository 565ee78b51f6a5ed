/* SPDX-License-Identifier: Apache-2.0 */
/* Writing a JSON document. */
#include <errno.h>

#include "cli/json_out.h"

int json_write(struct json_object *root, FILE *out)
{
	int ret;

	errno = 0;
	ret = fprintf(out, "%s\n", json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY));
	if (fflush(out) != 0)
		ret = -1;
	json_object_put(root);
	return ret < 0 ? -1 : 0;
}
