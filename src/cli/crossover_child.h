/* SPDX-License-Identifier: Apache-2.0 */
/* The crossover of this host, as `catnap bench prices` finds it: a process of its own measures it. */
#ifndef CLI_CROSSOVER_CHILD_H
#define CLI_CROSSOVER_CHILD_H

#include <json-c/json.h>

/* Measures for some seconds. 0 and *@results, the whole document, for json_object_put(); or a negative
 * errno value: -EIO: it could not be measured, and the process has said why on standard error. */
int crossover_measure(struct json_object **results);

#endif
