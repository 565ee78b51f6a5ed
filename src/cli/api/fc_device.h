/* SPDX-License-Identifier: Apache-2.0 */
/* Disks and interfaces of Firecracker's API as the library has them: what they are made with, their
 * numbers, and their end. */
#ifndef CLI_API_FC_DEVICE_H
#define CLI_API_FC_DEVICE_H

#include "cli/api/model.h"

/* Fills @disk, or @net, with what the library takes of it. Texts are @d's, or @n's. */
void fc_drive_library(const struct fc_drive *d, struct catnap_disk *disk);
void fc_net_library(const struct fc_net *n, struct catnap_net *net);
/* Adds a folder to @vm, whose back end is at its socket, or, if @fd is not -1, at that connection, which
 * is taken. Returns what the library does. */
int fc_fs_add(struct catnap_vm *vm, const struct fc_fs *f, int fd);
/* Notes the numbers of all devices of @vm, which was just made: each is the place-th of its kind. */
void fc_find_devices(struct fc_model *m, struct catnap_vm *vm);
/* Returns a number that no disk, or interface, of the VM has: the one that the next gets. */
uint32_t fc_next_disk(const struct fc_model *m);
uint32_t fc_next_net(const struct fc_model *m);
/* Returns the number of the device that comes next to @vm. */
uint32_t fc_next_device(struct catnap_vm *vm);
/* Forgets a device that the guest has let go of. */
void fc_removed(struct fc_model *m, const struct catnap_event *e);

#endif
