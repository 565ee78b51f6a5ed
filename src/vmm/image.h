/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kernel image or an initramfs, in a file or in memory. It is not trusted: nothing is read beyond
 * its end, and it may become shorter while it is read.
 */
#ifndef VMM_IMAGE_H
#define VMM_IMAGE_H

#include <stdint.h>

#include "errors.h"

struct image {
	const char *what; /* for messages: "initramfs"; NULL: "kernel" */
	const char *name;
	int fd; /* -1: data */
	const uint8_t *data;
	uint64_t size;
};

/* Returns 0 or -errno with a sentence that names the file. @what: as in struct image. */
int image_open(struct image *img, const char *what, const char *path, struct error *err);
void image_close(struct image *img);
/* Reads exactly @len bytes at @offset: 0, -ENODATA (the image is shorter), or -errno. */
int image_read(const struct image *img, uint64_t offset, void *buf, uint64_t len);
/* Returns -ENOEXEC with a sentence made by printf, prefixed with the image's name. */
__attribute__((format(printf, 3, 4))) int image_bad(const struct image *img, struct error *err,
						    const char *fmt, ...);

/* Tells the format of the file, whether or not it can be loaded. Returns 0 or -errno. */
struct format;
int image_format(const struct image *img, struct format *f);

#endif
