/* SPDX-License-Identifier: Apache-2.0 */
/* Reads and writes of a whole piece of a file, however the kernel cuts them; pread(2), pwrite(2). */
#ifndef VMM_WHOLE_H
#define VMM_WHOLE_H

#include <stdint.h>

#include "errors.h"

/*
 * Reads and writes @len bytes at @at of @fd. Return 0, or with the end of a sentence that begins with
 * the file's name: -EINVAL (it ends before that), -EIO (it takes nothing), and those of the calls.
 */
int whole_read(int fd, void *data, uint64_t len, uint64_t at, struct error *err);
int whole_write(int fd, const void *data, uint64_t len, uint64_t at, struct error *err);

#endif
