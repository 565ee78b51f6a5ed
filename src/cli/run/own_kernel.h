/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk's own kernel: what `catnap run --disk PATH` without --kernel starts. The boot loader's files on
 * the first disk say which entries there are (cli/boot/entries.h); kernel, initramfs and command line of
 * one of them are taken out by a reader that is closed in (disk_reader.h), before there is a VM.
 *
 * The order in which places are looked at: volumes by name; on each /boot, / and /@/boot (btrfs); there
 * grub/grub.cfg, grub2/grub.cfg, loader/entries, extlinux/extlinux.conf and syslinux.
 */
#ifndef CLI_RUN_OWN_KERNEL_H
#define CLI_RUN_OWN_KERNEL_H

#include <stdbool.h>
#include <stddef.h>

#include "cli/run/disk_reader.h"

struct own_kernel {
	struct disk_bytes kernel;
	void *initrd; /* all of the entry's, one after the other; NULL: none */
	size_t initrd_size;
	char *cmdline;
	char said[512]; /* which entry it is, for -v */
};

struct run_cfg;

/* Takes the kernel out of the first disk of @cfg, or prints which entries it has. Nothing is to be done
 * where @cfg has a kernel. own_kernel_close() has to follow in any case. A status, after a message. */
int own_kernel_open(struct run_cfg *cfg, struct own_kernel *own);
/* Lets go of kernel and initramfs: the VM has them. */
void own_kernel_loaded(struct own_kernel *own);
void own_kernel_close(struct own_kernel *own);

#endif
