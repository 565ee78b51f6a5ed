/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk image on the host: a file or a block device. Checked and locked before anything starts.
 *
 * The lock is that of an open file description (fcntl(2), F_OFD_SETLK), over the whole image:
 * shared by those who only read, and by nobody with one who writes; in this process as between
 * processes. It belongs to the description, which a child of fork(2) shares: so it is given up by
 * name when the image is closed, but not by a child. A block device that is written to is opened
 * exclusively as well: what is mounted is not for guests.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "devices/format.h"
#include "devices/virtio/blk.h"

#define PAGE 4096u

struct sentence {
	const char *path;
	char *text;
	size_t size;
};

static int bad(const struct sentence *s, int ret, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int bad(const struct sentence *s, int ret, const char *format, ...)
{
	va_list args;
	int n = snprintf(s->text, s->size, "disk: %s: ", s->path);

	if (n > 0 && (size_t)n < s->size) {
		va_start(args, format);
		vsnprintf(s->text + n, s->size - (size_t)n, format, args);
		va_end(args);
	}
	return ret;
}

static int open_one(const struct blk_config *cfg, bool block, bool direct)
{
	int flags = (cfg->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY;

	if (direct)
		flags |= O_DIRECT;
	if (block && !cfg->readonly)
		flags |= O_EXCL;
	return open(cfg->path, flags);
}

static int set_lock(int fd, short type)
{
	struct flock l = {.l_type = type, .l_whence = SEEK_SET};
	int ret;

	do
		ret = fcntl(fd, F_OFD_SETLK, &l);
	while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : 0;
}

/* A lock that cannot be had, for whatever reason, is one that another VM may believe to have. */
static int lock(struct blk_image *img, const struct blk_config *cfg, const struct sentence *s)
{
	int ret;

	if (cfg->no_lock)
		return 0;
	ret = set_lock(img->fd, cfg->readonly ? F_RDLCK : F_WRLCK);
	if (ret == -EAGAIN || ret == -EACCES)
		return bad(s, -EBUSY, "is in use by another disk or VM%s",
			   cfg->readonly ? " that writes to it" : ", which would destroy it");
	if (ret < 0)
		return bad(s, ret,
			   "cannot be locked: %s: expected lock=off, if nobody else uses it",
			   strerror(-ret));
	img->locked_by = getpid();
	return 0;
}

/* What O_DIRECT asks for, where the kernel tells (Linux 6.1). */
static void direct_alignment(struct blk_image *img)
{
	img->mem_align = img->file_align = PAGE;
#ifdef STATX_DIOALIGN
	struct statx x;

	if (statx(img->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &x) == 0 &&
	    (x.stx_mask & STATX_DIOALIGN) && x.stx_dio_mem_align && x.stx_dio_offset_align) {
		img->mem_align = x.stx_dio_mem_align;
		img->file_align = x.stx_dio_offset_align;
	}
#endif
}

static bool power_of_two(uint64_t n)
{
	return n && !(n & (n - 1));
}

/* -EOPNOTSUPP and the like if the file system cannot; where there is nothing, nothing happens. */
static bool can_punch(int fd, uint64_t end)
{
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			 (off_t)((end + PAGE - 1) & ~(uint64_t)(PAGE - 1)), PAGE) == 0;
}

/* What was swapped out has to be read, as any of the guest's own memory has. */
static bool in_memory(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return false;
	return fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC || fs.f_type == HUGETLBFS_MAGIC;
}

static void file_properties(struct blk_image *img, const struct stat *st, bool readonly)
{
	/* A partition table is in units of the logical size, so that may not depend on where the
	 * file happens to lie. What is best for it is told by the physical one. */
	img->logical = BLK_SECTOR;
	img->physical = power_of_two((uint64_t)st->st_blksize) && st->st_blksize >= BLK_SECTOR &&
					st->st_blksize <= 65536
				? (uint32_t)st->st_blksize
				: BLK_SECTOR;
	img->discard = !readonly && can_punch(img->fd, (uint64_t)st->st_size);
	img->in_memory = in_memory(img->fd);
}

static void device_properties(struct blk_image *img, bool readonly)
{
	int logical = 0;
	unsigned int value = 0;

	img->logical = img->physical = BLK_SECTOR;
	if (ioctl(img->fd, BLKSSZGET, &logical) == 0 && logical >= (int)BLK_SECTOR &&
	    power_of_two((uint64_t)logical))
		img->logical = img->physical = (uint32_t)logical;
	if (ioctl(img->fd, BLKPBSZGET, &value) == 0 && value > img->logical && power_of_two(value))
		img->physical = value;
	if (ioctl(img->fd, BLKIOMIN, &value) == 0)
		img->io_min = value;
	if (ioctl(img->fd, BLKIOOPT, &value) == 0)
		img->io_opt = value;
	/* Whether it takes discards shows when it is asked to. */
	img->discard = !readonly;
}

/*
 * What is in a format of its own is not read as such, and its bytes are no disk to a guest, so it
 * is refused by its name. Nobody is asked what it might be instead: a guest that owns a raw disk
 * could write another format's header on it, and that may name any file of the host.
 */
static int check_format(const struct blk_image *img, uint64_t bytes, const struct sentence *s)
{
	struct format f;

	/* What cannot be read will be an error to the guest, where it reads it. */
	if (format_tell_fd(img->unaligned_fd, bytes, &f) < 0 || f.kind != FORMAT_DISK_IMAGE)
		return 0;
	return bad(s, -EINVAL,
		   "is %s: expected a raw image, or format=raw if its bytes are to be the disk as "
		   "they are",
		   f.name);
}

static int bytes_of(const struct blk_image *img, struct stat *st, uint64_t *bytes,
		    const struct sentence *s)
{
	if (fstat(img->fd, st) < 0)
		return bad(s, -errno, "%s", strerror(errno));
	*bytes = (uint64_t)st->st_size;
	if (S_ISBLK(st->st_mode) && ioctl(img->fd, BLKGETSIZE64, bytes) < 0)
		return bad(s, -errno, "its size: %s", strerror(errno));
	return 0;
}

static int sectors_of(uint64_t bytes, uint64_t *sectors, const struct sentence *s)
{
	if (!bytes)
		return bad(s, -EINVAL, "is empty: expected at least one sector of 512 bytes");
	if (bytes % BLK_SECTOR)
		return bad(s, -EINVAL, "has %llu bytes: expected a multiple of 512",
			   (unsigned long long)bytes);
	*sectors = bytes / BLK_SECTOR;
	return 0;
}

static int measure(struct blk_image *img, const struct blk_config *cfg, const struct sentence *s)
{
	uint64_t bytes = 0, sectors = 0;
	struct stat st = {0};
	int ret = bytes_of(img, &st, &bytes, s);

	if (ret < 0)
		return ret;
	if (S_ISBLK(st.st_mode))
		device_properties(img, cfg->readonly);
	else if (S_ISREG(st.st_mode))
		file_properties(img, &st, cfg->readonly);
	else
		return bad(s, -EINVAL, "is neither a file nor a block device");
	ret = cfg->raw ? 0 : check_format(img, bytes, s);
	if (ret == 0)
		ret = sectors_of(bytes, &sectors, s);
	if (ret == 0)
		atomic_store(&img->sectors, sectors);
	return ret;
}

int blk_image_sectors(const struct blk_image *img, const char *name, uint64_t *sectors, char *why,
		      size_t size)
{
	const struct sentence s = {name, why, size};
	uint64_t bytes = 0;
	struct stat st;
	int ret = bytes_of(img, &st, &bytes, &s);

	return ret < 0 ? ret : sectors_of(bytes, sectors, &s);
}

int blk_image_open(struct blk_image *img, const struct blk_config *cfg, char *why, size_t size)
{
	const struct sentence s = {cfg->path, why, size};
	struct stat st;
	int ret;

	*img = (struct blk_image){.fd = -1, .unaligned_fd = -1, .mem_align = 1, .file_align = 1};
	/* Before it is opened: opening a FIFO or a terminal does things. */
	if (stat(cfg->path, &st) < 0)
		return bad(&s, -errno, "%s", strerror(errno));
	if (S_ISDIR(st.st_mode))
		return bad(&s, -EISDIR, "is a directory: expected a file or a block device");
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return bad(&s, -EINVAL, "is neither a file nor a block device");
	img->fd = open_one(cfg, S_ISBLK(st.st_mode), cfg->direct);
	if (img->fd < 0) {
		ret = -errno;
		if (ret == -EINVAL && cfg->direct)
			return bad(&s, ret,
				   "its file system has no direct I/O: expected direct=off");
		if (ret == -EROFS || (ret == -EACCES && !cfg->readonly))
			return bad(&s, ret, "%s: expected readonly=on, or permission to write",
				   strerror(-ret));
		return bad(&s, ret, "%s", strerror(-ret));
	}
	ret = lock(img, cfg, &s);
	if (ret == 0 && cfg->direct) {
		direct_alignment(img);
		/* A second description has no lock, and takes none away when it is closed. */
		img->unaligned_fd = open_one(cfg, false, false);
		if (img->unaligned_fd < 0)
			ret = bad(&s, -errno, "%s", strerror(errno));
	} else if (ret == 0) {
		img->unaligned_fd = img->fd;
	}
	if (ret == 0)
		ret = measure(img, cfg, &s);
	if (ret < 0)
		blk_image_close(img);
	return ret;
}

void blk_image_close(struct blk_image *img)
{
	if (img->unaligned_fd >= 0 && img->unaligned_fd != img->fd)
		close(img->unaligned_fd);
	if (img->locked_by == getpid())
		set_lock(img->fd, F_UNLCK);
	if (img->fd >= 0)
		close(img->fd);
	img->locked_by = 0;
	img->fd = img->unaligned_fd = -1;
}
