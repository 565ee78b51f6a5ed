/* SPDX-License-Identifier: Apache-2.0 */
/* The process that reads a guest's disk, from fork(2) to the begin of its program. */
#ifndef CLI_RUN_DISK_READER_CHILD_H
#define CLI_RUN_DISK_READER_CHILD_H

#include "cli/run/disk_reader.h"

/* Exit statuses that are none of the program's. */
enum { DISK_READER_UNCONFINED = 125, DISK_READER_NOT_STARTED = 126 };

/* Closes the calling process in, and becomes the program @argv, which writes to @out and @said. */
_Noreturn void disk_reader_child(const struct disk_reader *r, const char *const *argv, int out,
				 int said);

#endif
