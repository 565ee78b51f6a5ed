/* SPDX-License-Identifier: Apache-2.0 */
/* See bucket.h. */
#include <stdio.h>

#include "cli/ctl/bucket.h"
#include "cli/ctl/client.h"
#include "cli/ctl/figures.h"

#define REFILL_MS 1000

static struct json_object *one(uint64_t size, uint64_t once)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "size", json_object_new_uint64(size));
	if (once)
		json_object_object_add(o, "one_time_burst", json_object_new_uint64(once));
	json_object_object_add(o, "refill_time", json_object_new_int(size ? REFILL_MS : 0));
	return o;
}

struct json_object *bucket_json(const struct bucket_keys *k, unsigned int given)
{
	struct json_object *o = given & 15 ? json_object_new_object() : NULL;

	if (given & 3)
		json_object_object_add(o, "bandwidth", one(k->bw, k->bw_once));
	if (given & 12)
		json_object_object_add(o, "ops", one(k->ops, k->ops_once));
	return o;
}

int bucket_check(struct opts *o, const char *command, const char *prefix, unsigned int given)
{
	const char *name = (given & 3) == 2 ? "bw" : (given & 12) == 8 ? "ops" : NULL;

	return name ? opts_fail(o, "%s: %s%s-once without %s%s: expected both", command, prefix,
				name, prefix, name)
		    : 0;
}

/* Returns how much it lets through in a second; 0: there is no limit. */
static double rate(struct json_object *limiter, const char *name)
{
	struct json_object *b = client_member(limiter, name);
	uint64_t ms = client_number(b, "refill_time");

	return ms ? (double)client_number(b, "size") * 1000 / (double)ms : 0;
}

const char *bucket_text(char *buf, size_t size, struct json_object *limiter)
{
	double bw = rate(limiter, "bandwidth"), ops = rate(limiter, "ops");
	char figure[FIGURE_SIZE];
	size_t n = 0;

	if (bw >= 1 && bw < 1e19)
		n = (size_t)snprintf(buf, size, "%s/s", show_bytes(figure, (uint64_t)bw));
	if (ops > 0 && n < size)
		n += (size_t)snprintf(buf + n, size - n, "%s%s ops/s", n ? ", " : "",
				      show_count(figure, ops));
	if (!n)
		snprintf(buf, size, "-");
	return buf;
}
