/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's NUMA nodes in /machine-config. */
#ifndef CLI_API_FC_NODES_H
#define CLI_API_FC_NODES_H

#include "cli/api/fc.h"

/* The members of one, and the size of what they are taken into. */
extern const struct body_field fc_node_members[];
#define FC_NODE_SIZE 40u

/* Takes those of a request. 0, or -EINVAL with @r answered. */
int fc_take_nodes(struct reply *r, const struct body_array *given, struct fc_machine *m);
/* Checks whether they are all of the machine's, if there are any. The same. */
int fc_check_nodes(struct reply *r, const struct fc_machine *m);
/* Returns them as answers show them. */
struct json_object *fc_nodes_json(const struct fc_machine *m);

#endif
