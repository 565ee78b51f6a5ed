/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads files of a guest's disk, with no mount and no driver of ours: by GRUB's own drivers for
 * partition tables, volumes and file systems, in GRUB's program grub-fstest(1). The disk may be made to
 * mislead them. So each call is a process of its own that can read the image and its libraries, write to
 * one pipe, and nothing else: no other file (Landlock), few system calls (seccomp), no privileges, and
 * limits for memory and time. What comes out of the pipe is bounded and checked here.
 *
 * One thread's, before others are started.
 */
#ifndef CLI_RUN_DISK_READER_H
#define CLI_RUN_DISK_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define DISK_VOLUMES	 64
#define DISK_VOLUME_NAME 64

struct disk_reader {
	char program[256];
	char path[4096]; /* of the image */
	int image;	 /* open to read */
	pid_t parent;
	uint64_t deadline; /* as now_ns(): of all reading */
	char error[160];   /* what the program said last */
};

struct disk_volume {
	char name[DISK_VOLUME_NAME]; /* GRUB's: "loop0,gpt1", "lvm/vg-root" */
	bool readable;		     /* it has a file system that is known */
	uint64_t start;		     /* its first byte on the disk; 0: all of it, or not known */
};

/* Bytes that were read: a mapping, sealed. */
struct disk_bytes {
	void *data;
	size_t size;
};

/* Opens the image @path, or the descriptor @fd of it, which stays the caller's. Returns NULL, or a
 * sentence about what is wrong. disk_reader_close() has to follow in any case. */
const char *disk_reader_open(struct disk_reader *r, const char *path, int fd, uint64_t deadline);
void disk_reader_close(struct disk_reader *r);

/* Each of these returns a count, or 0, or: -EFBIG (more than it may be), -ETIMEDOUT, -ENOTSUP (it cannot
 * be closed in on this host), -EIO (the program says why in r->error), or another -errno. */

/* Finds all parts of the disk that can have a file system. */
int disk_reader_volumes(struct disk_reader *r, struct disk_volume volumes[DISK_VOLUMES]);
/* Reads a file, at most @max bytes, or lists a folder. disk_bytes_free() ends it; a copy of the process
 * by fork(2) has none of them. */
int disk_reader_file(struct disk_reader *r, const char *volume, const char *path, size_t max,
		     struct disk_bytes *bytes);
int disk_reader_folder(struct disk_reader *r, const char *volume, const char *path,
		       struct disk_bytes *bytes);
void disk_bytes_free(struct disk_bytes *bytes);

#endif
