/* SPDX-License-Identifier: Apache-2.0 */
/* Reading images, and telling what they are. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/format.h"
#include "vmm/image.h"

int image_open(struct image *img, const char *what, const char *path, struct error *err)
{
	struct stat st;
	int ret = 0;

	memset(img, 0, sizeof(*img));
	img->what = what;
	img->name = path;
	/* Not blocking: opening a FIFO that nobody writes must not hang. */
	img->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (img->fd < 0) {
		ret = -errno;
		return error_errno(err, ret, "%s %s", what, path);
	}
	if (fstat(img->fd, &st) < 0)
		ret = -errno;
	else if (S_ISDIR(st.st_mode))
		ret = -EISDIR;
	if (ret < 0) {
		error_errno(err, ret, "%s %s", what, path);
	} else if (!S_ISREG(st.st_mode)) {
		error_set(err, "%s %s: not a regular file", what, path);
		ret = -EINVAL;
	} else {
		img->size = (uint64_t)st.st_size;
	}
	if (ret < 0)
		image_close(img);
	return ret;
}

void image_close(struct image *img)
{
	if (img->fd >= 0)
		close(img->fd);
	img->fd = -1;
}

int image_read(const struct image *img, uint64_t offset, void *buf, uint64_t len)
{
	uint8_t *p = buf;

	if (offset > img->size || len > img->size - offset)
		return -ENODATA;
	if (img->fd < 0) {
		memcpy(buf, img->data + offset, len);
		return 0;
	}
	while (len) {
		ssize_t n = pread(img->fd, p, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENODATA; /* it shrank */
		p += n;
		offset += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

int image_bad(const struct image *img, struct error *err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	error_vset(err, fmt, ap);
	va_end(ap);
	return error_prefix(err, -ENOEXEC, "%s %.120s: ", img->what ? img->what : "kernel",
			    img->name);
}

static int read_image(const void *ctx, uint64_t offset, void *buf, uint64_t len)
{
	return image_read(ctx, offset, buf, len);
}

int image_format(const struct image *img, struct format *f)
{
	const struct format_source src = {img->size, read_image, img};

	return format_tell(&src, f);
}
