/* SPDX-License-Identifier: Apache-2.0 */
/* `catnap check`: says what this host offers. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <json-c/json.h>

#include <catnap/catnap.h>
#include "cli/cmd.h"
#include "cli/crossover_child.h"
#include "cli/json_out.h"
#include "cli/opts.h"
#include "cli/price_file.h"
#include "cli/sleep_price.h"
#include "cli/wrap.h"

#define MAX_CHECKS 64
#define INDENT	   9  /* of names and advice */
#define FOUND	   38 /* of what was found */

struct check_cfg {
	bool json, crossover;
};

/* All that was found. */
struct found {
	struct catnap_check checks[MAX_CHECKS];
	size_t n;
	bool can_run;
	struct host_price price;
};

static const struct opt_def options[] = {
	{.f = {.name = "json", .type = OPT_FLAG, .offset = offsetof(struct check_cfg, json)},
	 .letter = 'j',
	 .help = "Prints it as a JSON document."},
	{.f = {.name = "crossover",
	       .type = OPT_FLAG,
	       .offset = offsetof(struct check_cfg, crossover)},
	 .help = "Measures, for some ten seconds, for how many interrupts beside each halt which "
		 "irqchip is better here."},
	{.f = {.name = NULL}},
};

static const struct opt_command command = {
	.name = "check",
	.synopsis = "[OPTIONS]",
	.summary = "Says what this host offers: KVM, each capability that is used, what its "
		   "absence costs and what to do about it.",
	.options = options,
	.notes = "Exit status: 0 a VM can run; 1 it cannot; 2 wrong command line.\n",
};

/* Returns the state as it is written in tables, and in JSON. */
static const char *state_name(const struct catnap_check *c, bool json)
{
	switch (c->state) {
	case CATNAP_CHECK_OK:
		return "ok";
	case CATNAP_CHECK_DEGRADED:
		return "less";
	case CATNAP_CHECK_MISSING:
		break;
	}
	return json ? "missing" : "MISSING";
}

static void print_table(const struct found *f)
{
	for (size_t i = 0; i < f->n; i++) {
		const struct catnap_check *c = &f->checks[i];

		wrap(stdout, c->found,
		     printf("%-7s  %-*s ", state_name(c, false), FOUND - INDENT - 1, c->name),
		     FOUND);
		putchar('\n');
		if (c->advice[0])
			wrap_line(stdout, INDENT, "%*s%s", INDENT, "", c->advice);
	}
}

static struct json_object *json_check(const struct catnap_check *c)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "name", json_object_new_string(c->name));
	json_object_object_add(o, "state", json_object_new_string(state_name(c, true)));
	json_object_object_add(o, "found", json_object_new_string(c->found));
	json_object_object_add(o, "advice",
			       c->advice[0] ? json_object_new_string(c->advice) : NULL);
	return o;
}

static int print_json(const struct found *f)
{
	struct json_object *root = json_object_new_object(), *all = json_object_new_array();

	json_object_object_add(root, "catnap", json_object_new_string(catnap_version()));
	json_object_object_add(root, "can_run", json_object_new_boolean(f->can_run));
	for (size_t i = 0; i < f->n; i++)
		json_object_array_add(all, json_check(&f->checks[i]));
	json_object_object_add(root, "checks", all);
	add_u64(root, "sleep_price_ns", f->price.sleep_ns);
	add_u64(root, "exit_price_ns", f->price.exit_ns);
	add_u64(root, "guest_halt_poll_ns", guest_window(f->price, true).ns);
	return json_write(root, stdout);
}

/* -- the price of a sleep --------------------------------------------------------------------- */

static const char *show_us(char text[32], uint32_t ns)
{
	snprintf(text, 32, "%u.%02u us", ns / 1000, ns % 1000 / 10);
	return text;
}

static void add(struct found *f, const char *name, enum catnap_check_state state, const char *text)
{
	struct catnap_check *c = &f->checks[f->n];

	if (f->n == MAX_CHECKS)
		return;
	f->n++;
	*c = (struct catnap_check){.name = name, .state = state};
	snprintf(c->found, sizeof(c->found), "%s", text);
}

/* Measures what a sleep costs, and keeps it for the VMs to come. */
static void check_price(struct found *f)
{
	struct price_file file;
	uint64_t exit_ns;
	char text[32];

	price_file_read(&file);
	f->price = file.known;
	f->price.sleep_ns = sleep_price_measure();
	exit_ns = f->can_run ? catnap_host_kvm_run_ns() : 0;
	f->price.exit_ns = exit_ns < PRICE_LEAST_NS || exit_ns > PRICE_MOST_NS ? file.known.exit_ns
									       : (uint32_t)exit_ns;
	if (f->price.sleep_ns) {
		price_file_open(&file);
		price_file_write(&file, f->price);
		price_file_close(&file);
	}
	add(f, "price of a sleep", f->price.sleep_ns ? CATNAP_CHECK_OK : CATNAP_CHECK_DEGRADED,
	    f->price.sleep_ns ? show_us(text, f->price.sleep_ns) : "not measured");
	add(f, "polling of Linux guests", CATNAP_CHECK_OK,
	    show_us(text, guest_window(f->price, true).ns));
}

/* -- the crossover ---------------------------------------------------------------------------- */

/* Shows up to how many of @extra for each halt irqchip user is better: "1.35", "user" or
 * "kernel". */
static const char *show_better(char text[32], struct json_object *all, const char *halt,
			       const char *extra)
{
	snprintf(text, 32, "not measured");
	for (size_t i = 0; i < json_object_array_length(all); i++) {
		struct json_object *o = json_object_array_get_idx(all, i);
		const char *better = json_object_get_string(json_object_object_get(o, "better"));
		double at = json_object_get_double(json_object_object_get(o, "at"));

		if (strcmp(json_object_get_string(json_object_object_get(o, "halt")), halt) != 0 ||
		    strcmp(json_object_get_string(json_object_object_get(o, "extra")), extra) != 0)
			continue;
		if (strncmp(better, "user_", 5) == 0)
			snprintf(text, 32, "user %s %.2f", better + 5, at);
		else
			snprintf(text, 32, "%.20s", better);
	}
	return text;
}

static void add_halt(struct found *f, struct json_object *all, const char *name, const char *halt)
{
	char text[128], irq[32], ipi[32], timer[32];

	snprintf(text, sizeof(text), "by interrupts %s, IPIs %s, timers %s",
		 show_better(irq, all, halt, "interrupt"), show_better(ipi, all, halt, "ipi"),
		 show_better(timer, all, halt, "timer"));
	add(f, name, CATNAP_CHECK_OK, text);
}

/* Keeps the better irqchips for `catnap run --irqchip auto`. */
static void keep_choice(struct found *f, struct json_object *results)
{
	struct price_file file;

	price_file_read(&file);
	f->price = file.known;
	if (!crossover_choice(results, &f->price))
		return;
	price_file_open(&file);
	price_file_write(&file, f->price);
	price_file_close(&file);
}

static void check_crossover(struct found *f)
{
	struct json_object *results, *all, *choice;
	char text[128];

	if (!f->can_run || crossover_measure(false, &results) < 0) {
		add(f, "irqchip by crossover", CATNAP_CHECK_DEGRADED, "not measured");
		return;
	}
	all = json_object_object_get(results, "crossover");
	add_halt(f, all, "irqchip, halts by a thread", "event_polled");
	add_halt(f, all, "irqchip, halts by a timer", "timer_polled");
	choice = json_object_object_get(results, "irqchip_choice");
	if (choice) {
		snprintf(text, sizeof(text), "%s with one vCPU, %s with several",
			 json_object_get_string(json_object_object_get(choice, "one_vcpu")),
			 json_object_get_string(json_object_object_get(choice, "several")));
		add(f, "irqchip by crossover", CATNAP_CHECK_OK, text);
		keep_choice(f, results);
	}
	json_object_put(results);
}

int cmd_check(int argc, char **argv)
{
	struct check_cfg cfg = {.json = false};
	struct found f = {.can_run = true};
	struct opts o;
	int status = opts_command(&o, &command, argc, argv, &cfg);

	opts_free(&o);
	if (status >= 0)
		return status;
	f.n = catnap_check_host(f.checks, MAX_CHECKS);
	if (f.n > MAX_CHECKS)
		f.n = MAX_CHECKS;
	for (size_t i = 0; i < f.n; i++)
		f.can_run &= f.checks[i].state != CATNAP_CHECK_MISSING;
	check_price(&f);
	if (cfg.crossover)
		check_crossover(&f);
	/* If something could not be written, main() says so. */
	if (cfg.json)
		print_json(&f);
	else
		print_table(&f);
	return f.can_run ? CMD_OK : CMD_ERROR;
}
