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
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "devices/format.h"
#include "devices/virtio/blk.h"
#include "lingering.h"
#include "relaxed.h"

#define PAGE 4096u

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

/* Locks the image. A lock that cannot be had, for whatever reason, is one that another VM may
 * believe to have. */
static int lock(struct blk_image *img, const struct blk_config *cfg, struct error *err)
{
	unsigned int tries = 0;
	bool taken;
	int ret;

	if (cfg->no_lock)
		return 0;
	do {
		ret = set_lock(img->fd, cfg->readonly ? F_RDLCK : F_WRLCK);
		taken = ret == -EAGAIN || ret == -EACCES;
	} while (taken && lingering_wait(&tries));
	if (taken)
		return error_fail(err, -EBUSY, "is in use by another disk or VM%s",
				  cfg->readonly ? " that writes to it"
						: ", which would destroy it");
	if (ret < 0)
		return error_fail(err, ret,
				  "cannot be locked: %s: expected lock=off, if nobody else uses it",
				  strerror(-ret));
	img->locked_by = getpid();
	return 0;
}

/* Sets the alignment that O_DIRECT asks for, where the kernel tells (Linux 6.1). */
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

/* Returns whether holes can be punched: the file system may refuse (-EOPNOTSUPP and the like). It
 * tries behind the end, where there is nothing and nothing happens. */
static bool can_punch(int fd, uint64_t end)
{
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			 (off_t)((end + PAGE - 1) & ~(uint64_t)(PAGE - 1)), PAGE) == 0;
}

/* Returns whether the file is in memory. Pages of it that were swapped out have to be read, as any
 * of the guest's own memory have. */
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
	 * file happens to lie. The physical size tells what is best for the file. */
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
 * Refuses a file in a format of its own by the format's name: it is not read as such, and its bytes
 * are no disk to a guest. Nobody is asked what it might be instead: a guest that owns a raw disk
 * could write another format's header on it, and that may name any file of the host.
 */
static int check_format(const struct blk_image *img, uint64_t bytes, struct error *err)
{
	struct format f;

	/* A file that cannot be read will be an error to the guest, where it reads it. */
	if (format_tell_fd(img->unaligned_fd, bytes, &f) < 0 || f.kind != FORMAT_DISK_IMAGE)
		return 0;
	return error_fail(
		err, -EINVAL,
		"is %s: expected a raw image, or format=raw if its bytes are to be the disk as "
		"they are",
		f.name);
}

/* Calls fstat(2) itself: C libraries make it a call that may look at paths, which the sandbox
 * refuses. */
static int stat_of(int fd, struct stat *st)
{
	_Static_assert(sizeof(long) == 8, "the kernel's structure is the C library's");

	return (int)syscall(SYS_fstat, fd, st);
}

static int bytes_of(const struct blk_image *img, struct stat *st, uint64_t *bytes,
		    struct error *err)
{
	if (stat_of(img->fd, st) < 0)
		return error_fail(err, -errno, "%s", strerror(errno));
	*bytes = (uint64_t)st->st_size;
	if (S_ISBLK(st->st_mode) && ioctl(img->fd, BLKGETSIZE64, bytes) < 0)
		return error_errno(err, -errno, "its size");
	return 0;
}

static int sectors_of(const struct blk_image *img, uint64_t bytes, uint64_t *sectors,
		      struct error *err)
{
	if (!bytes)
		return error_fail(err, -EINVAL, "is empty: expected at least one block of %u bytes",
				  img->logical);
	if (bytes % img->logical)
		return error_fail(err, -EINVAL,
				  "has %llu bytes: expected a multiple of %u, its block size",
				  (unsigned long long)bytes, img->logical);
	*sectors = bytes / BLK_SECTOR;
	return 0;
}

static int measure(struct blk_image *img, const struct blk_config *cfg, struct error *err)
{
	uint64_t bytes = 0, sectors = 0;
	struct stat st = {0};
	int ret = bytes_of(img, &st, &bytes, err);

	if (ret < 0)
		return ret;
	if (S_ISBLK(st.st_mode))
		device_properties(img, cfg->readonly);
	else if (S_ISREG(st.st_mode))
		file_properties(img, &st, cfg->readonly);
	else
		return error_fail(err, -EINVAL, "is neither a file nor a block device");
	if (cfg->block_size)
		img->logical = cfg->block_size;
	if (img->physical < img->logical)
		img->physical = img->logical;
	ret = cfg->raw ? 0 : check_format(img, bytes, err);
	if (ret == 0)
		ret = sectors_of(img, bytes, &sectors, err);
	if (ret == 0)
		atomic_store(&img->sectors, sectors);
	return ret;
}

/* Says what it is that failed, a disk or @what, and returns @ret. */
static int of_disk(const char *what, const char *name, int ret, struct error *err)
{
	return ret < 0 ? error_prefix(err, ret, "%s: %s: ", what ? what : "disk", name) : ret;
}

int blk_image_sectors(const struct blk_image *img, const char *name, uint64_t *sectors,
		      struct error *err)
{
	uint64_t bytes = 0;
	struct stat st;
	int ret = bytes_of(img, &st, &bytes, err);

	if (ret == 0)
		ret = sectors_of(img, bytes, sectors, err);
	return of_disk(NULL, name, ret, err);
}

/* Checks that it is something that can be a disk. */
static int check_kind(const struct stat *st, struct error *err)
{
	if (S_ISDIR(st->st_mode))
		return error_fail(err, -EISDIR,
				  "is a directory: expected a file or a block device");
	if (!S_ISREG(st->st_mode) && !S_ISBLK(st->st_mode))
		return error_fail(err, -EINVAL, "is neither a file nor a block device");
	return 0;
}

/* Takes an image that somebody else has opened. Where O_APPEND is set, writes do not go where they
 * are meant to. */
static int take_descriptor(struct blk_image *img, const struct blk_config *cfg, struct error *err)
{
	int flags = fcntl(cfg->fd, F_GETFL), ret;
	struct stat st;

	if (flags < 0 || stat_of(cfg->fd, &st) < 0)
		return error_fail(err, -errno, "%s", strerror(errno));
	ret = check_kind(&st, err);
	if (ret < 0)
		return ret;
	if (cfg->direct)
		return error_fail(err, -EINVAL, "direct: not with a descriptor");
	if (flags & (O_PATH | O_APPEND | O_DIRECT))
		return error_fail(err, -EINVAL, "expected one without O_PATH, O_APPEND, O_DIRECT");
	if ((flags & O_ACCMODE) == O_WRONLY || (!cfg->readonly && (flags & O_ACCMODE) == O_RDONLY))
		return error_fail(err, -EINVAL, "expected one that is open to read%s",
				  cfg->readonly ? "" : " and write");
	img->fd = fcntl(cfg->fd, F_DUPFD_CLOEXEC, 0);
	return img->fd < 0 ? error_fail(err, -errno, "%s", strerror(errno)) : 0;
}

static int open_path(struct blk_image *img, const struct blk_config *cfg, struct error *err)
{
	struct stat st;
	int ret;

	/* Before it is opened: opening a FIFO or a terminal does things. */
	if (stat(cfg->path, &st) < 0)
		return error_fail(err, -errno, "%s", strerror(errno));
	ret = check_kind(&st, err);
	if (ret < 0)
		return ret;
	img->fd = open_one(cfg, S_ISBLK(st.st_mode), cfg->direct);
	if (img->fd >= 0)
		return 0;
	ret = -errno;
	if (ret == -EINVAL && cfg->direct)
		return error_fail(err, ret,
				  "its file system has no direct I/O: expected direct=off");
	if (ret == -EROFS || (ret == -EACCES && !cfg->readonly))
		return error_fail(err, ret, "%s: expected readonly=on, or permission to write",
				  strerror(-ret));
	return error_fail(err, ret, "%s", strerror(-ret));
}

static int open_image(struct blk_image *img, const struct blk_config *cfg, struct error *err)
{
	int ret;

	*img = (struct blk_image){.fd = -1, .unaligned_fd = -1, .mem_align = 1, .file_align = 1};
	ret = cfg->given ? take_descriptor(img, cfg, err) : open_path(img, cfg, err);
	if (ret < 0)
		return ret;
	ret = lock(img, cfg, err);
	if (ret == 0 && cfg->direct) {
		direct_alignment(img);
		/* A second description has no lock, and takes none away when it is closed. */
		img->unaligned_fd = open_one(cfg, false, false);
		if (img->unaligned_fd < 0)
			ret = error_fail(err, -errno, "%s", strerror(errno));
	} else if (ret == 0) {
		img->unaligned_fd = img->fd;
	}
	if (ret == 0)
		ret = measure(img, cfg, err);
	if (ret < 0)
		blk_image_close(img);
	return ret;
}

int blk_image_open(struct blk_image *img, const struct blk_config *cfg, struct error *err)
{
	return of_disk(cfg->what, cfg->path, open_image(img, cfg, err), err);
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

void blk_image_move(struct blk_image *to, struct blk_image *from)
{
	uint64_t sectors = relaxed_load(&from->sectors);
	bool no_nowait = relaxed_load(&from->no_nowait);

	to->fd = from->fd;
	to->locked_by = from->locked_by;
	to->unaligned_fd = from->unaligned_fd;
	to->mem_align = from->mem_align;
	to->file_align = from->file_align;
	to->logical = from->logical;
	to->physical = from->physical;
	to->io_min = from->io_min;
	to->io_opt = from->io_opt;
	to->discard = from->discard;
	to->in_memory = from->in_memory;
	relaxed_store(&to->sectors, sectors);
	relaxed_store(&to->no_nowait, no_nowait);
	from->fd = from->unaligned_fd = -1;
	from->locked_by = 0;
}

bool blk_image_is(const struct blk_image *img, const struct blk_config *cfg)
{
	struct stat have, want;

	if (stat_of(img->fd, &have) < 0 ||
	    (cfg->given ? stat_of(cfg->fd, &want) : stat(cfg->path, &want)) < 0)
		return false;
	if (S_ISBLK(have.st_mode) && S_ISBLK(want.st_mode))
		return have.st_rdev == want.st_rdev;
	return have.st_dev == want.st_dev && have.st_ino == want.st_ino;
}
