/* SPDX-License-Identifier: Apache-2.0 */
/* The crossover of this host, as `catnap bench prices` finds it: a process of its own measures it. */
#ifndef CLI_CROSSOVER_CHILD_H
#define CLI_CROSSOVER_CHILD_H

#include <stdbool.h>

#include <json-c/json.h>

#include "cli/guest_window.h"

/* Measures for some ten seconds; @quick: for one or two, only what crossover_choice() needs. 0 and
 * *@results, the whole document, for json_object_put(); or a negative errno value: -EIO: it could
 * not be measured, and the process has said why on standard error. */
int crossover_measure(bool quick, struct json_object **results);

/* Puts the better irqchips by @results into @price. False: @results have none; @price is as it
 * was. */
bool crossover_choice(struct json_object *results, struct host_price *price);

#endif
