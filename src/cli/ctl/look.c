/* SPDX-License-Identifier: Apache-2.0 */
/* One look at a VM: its statistics, its state, and how its vCPUs are to poll; see stat.h. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/ctl/stat.h"
#include "cli/now.h"
#include "cli/opts.h"

int look_take(struct look *l, struct client *c)
{
	int ret;

	*l = (struct look){.at = 0};
	ret = client_get(c, "/catnap/stats", &l->stats);
	l->at = (double)now_ns() * 1e-9;
	/* Without these there is less to show. */
	if (ret == 0)
		ret = client_get(c, "/catnap/status", &l->status);
	if (ret == 0 || ret == -EREMOTEIO)
		ret = client_get(c, "/catnap/halt-polling", &l->polling);
	if (ret == -EREMOTEIO && client_member(l->stats.json, "vcpus"))
		ret = 0;
	if (ret < 0)
		look_free(l);
	return ret;
}

void look_free(struct look *l)
{
	client_answer_free(&l->stats);
	client_answer_free(&l->status);
	client_answer_free(&l->polling);
}

void look_rows(struct rows *r, const struct look *now, const struct look *old)
{
	double seconds = old->stats.json
				 ? now->at - old->at
				 : (double)client_number(now->status.json, "uptime_ns") * 1e-9;

	rows_take(r, now->stats.json, old->stats.json, now->polling.json, seconds);
}

static size_t put_word(char *buf, size_t size, size_t at, const char *before, const char *text)
{
	char shown[64];

	if (!text || !*text || at >= size)
		return at;
	return at + (size_t)snprintf(buf + at, size - at, "%s%s%s", at ? ", " : "", before,
				     opt_printable(text, shown, sizeof(shown)));
}

const char *look_title(char *buf, size_t size, const struct look *l)
{
	struct json_object *s = l->status.json;
	char figure[FIGURE_SIZE], text[64];
	const char *name = client_text(s, "name");
	size_t at = 0;

	buf[0] = '\0';
	at = put_word(buf, size, at, "", name && *name ? name : client_text(s, "id"));
	at = put_word(buf, size, at, "", client_text(s, "state"));
	if (client_member(s, "uptime_ns"))
		at = put_word(buf, size, at, "up ",
			      show_duration(figure, client_number(s, "uptime_ns")));
	snprintf(text, sizeof(text), "%zu vCPU%s",
		 client_length(client_member(l->stats.json, "vcpus")),
		 client_length(client_member(l->stats.json, "vcpus")) == 1 ? "" : "s");
	at = put_word(buf, size, at, "", text);
	if (client_member(s, "memory_bytes"))
		at = put_word(buf, size, at, "",
			      show_bytes(figure, client_number(s, "memory_bytes")));
	put_word(buf, size, at, "irqchip ", client_text(l->stats.json, "irqchip"));
	return buf;
}

bool look_ended(const struct look *l, char *why, size_t size)
{
	struct json_object *end = client_member(l->status.json, "exit");
	const char *state = client_text(l->status.json, "state");

	if (!end)
		end = client_member(l->stats.json, "exit");
	opt_printable(client_text(end, "reason") ? client_text(end, "reason") : "", why, size);
	return (state && strcmp(state, "ended") == 0) || end != NULL;
}

const char *look_totals(char *buf, size_t size, const struct rows *r)
{
	char halts[FIGURE_SIZE], time[FIGURE_SIZE], vain[FIGURE_SIZE], cpu[FIGURE_SIZE];
	char exits[FIGURE_SIZE];
	const struct row *all = &r->all;
	const char *rate = r->seconds > 0 ? "/s" : "";

	snprintf(buf, size, "%s halts%s, %s of polls in time, %s in vain, cpu %s, %s exits%s",
		 isnan(all->halts) ? "-" : show_count(halts, all->halts), rate,
		 all->tried > 0 ? show_percent(time, 100 * all->in_time / all->tried) : "-",
		 isnan(all->in_vain) ? "-" : show_percent(vain, 100 * all->in_vain),
		 isnan(all->busy) ? "-" : show_percent(cpu, 100 * all->busy),
		 isnan(all->exits) ? "-" : show_count(exits, all->exits), rate);
	return buf;
}
