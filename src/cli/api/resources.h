/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of all resources, each of which ends with a method of NULL. */
#ifndef CLI_API_RESOURCES_H
#define CLI_API_RESOURCES_H

#include "cli/api/route.h"

extern const struct route fc_absent_routes[], fc_balloon_routes[], fc_boot_routes[];
extern const struct route fc_cpu_routes[], fc_drive_routes[], fc_info_routes[], fc_machine_routes[];
extern const struct route fc_net_routes[], fc_hotplug_routes[], fc_pmem_routes[], fc_small_routes[],
	fc_telling_routes[];
extern const struct route fc_vm_routes[], fc_vsock_routes[];

extern const struct route own_control_routes[], own_events_routes[], own_fs_routes[];
extern const struct route own_halt_routes[], own_look_routes[];
extern const struct route snapshot_routes[];

#endif
