/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer: random writes, reads that are held against what was written, discards, zeroes and
 * flushes on a disk (or, for a try, a file), by several processes at once. Even workers go around
 * the page cache, odd ones through it.
 *
 * Each flush that has returned is said on standard output, and has left the terminal before the
 * next operation begins: "disk: WORKER flush NUMBER". That is what check.c goes by.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "disk.h"

#define PAGE 4096u

struct worker {
	struct stream s;
	struct known *known;
	uint64_t *data; /* OP_SECTORS sectors */
	int fd;
	bool file;
};

static void say(const char *text)
{
	size_t len = strlen(text), done = 0;

	while (done < len) {
		ssize_t n = write(1, text + done, len - done);

		if (n < 0 && errno != EINTR)
			_exit(1);
		done += n > 0 ? (size_t)n : 0;
	}
	tcdrain(1);
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int complain(const struct worker *w, uint64_t seq, uint64_t sector, const char *what)
{
	char text[160];

	snprintf(text, sizeof(text), "disk: %u error: operation %llu, sector %llu: %s\n",
		 w->s.worker, (unsigned long long)seq, (unsigned long long)sector, what);
	say(text);
	return -1;
}

static int range(const struct worker *w, const struct op *op)
{
	uint64_t bytes[2] = {op->sector * SECTOR, (uint64_t)op->count * SECTOR};
	int mode = FALLOC_FL_KEEP_SIZE |
		   (op->type == OP_DISCARD ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);

	if (w->file)
		return fallocate(w->fd, mode, (off_t)bytes[0], (off_t)bytes[1]);
	return ioctl(w->fd, op->type == OP_DISCARD ? BLKDISCARD : BLKZEROOUT, bytes);
}

static int verify(const struct worker *w, const struct op *op, uint64_t now)
{
	for (uint32_t i = 0; i < op->count; i++) {
		uint64_t seq;
		const char *bad = stream_compare(&w->s, w->known, op->sector + i,
						 w->data + i * SECTOR_WORDS, UINT64_MAX, &seq);

		if (bad)
			return complain(w, now, op->sector + i, bad);
	}
	return 0;
}

static int transfer(const struct worker *w, const struct op *op, uint64_t seq)
{
	size_t len = (size_t)op->count * SECTOR;
	off_t at = (off_t)(op->sector * SECTOR);
	ssize_t n;

	if (op->type == OP_WRITE) {
		for (uint32_t i = 0; i < op->count; i++)
			stream_fill(&w->s, op->sector + i, seq, w->data + i * SECTOR_WORDS);
		n = pwrite(w->fd, w->data, len, at);
	} else {
		n = pread(w->fd, w->data, len, at);
	}
	if (n != (ssize_t)len)
		return complain(w, seq, op->sector, n < 0 ? strerror(errno) : "short");
	return op->type == OP_READ ? verify(w, op, seq) : 0;
}

static int one(struct worker *w, uint64_t seq)
{
	struct op op = stream_op(&w->s, seq);
	char text[64];

	switch (op.type) {
	case OP_READ:
	case OP_WRITE:
		if (transfer(w, &op, seq))
			return -1;
		break;
	case OP_FLUSH:
		if (fdatasync(w->fd))
			return complain(w, seq, 0, strerror(errno));
		snprintf(text, sizeof(text), "disk: %u flush %llu\n", w->s.worker,
			 (unsigned long long)seq);
		say(text);
		return 0;
	case OP_DISCARD:
	case OP_ZERO:
		/* A disk need not know discards; zeroes the kernel writes itself, if need be. */
		if (range(w, &op)) {
			if (op.type == OP_ZERO || errno != EOPNOTSUPP)
				return complain(w, seq, op.sector, strerror(errno));
			return 0;
		}
		break;
	}
	stream_apply(&w->s, w->known, seq);
	return 0;
}

static int work(const struct load_options *o, const struct stream *s, bool file)
{
	struct worker w = {.s = *s, .file = file};
	double end = seconds() + o->seconds;
	uint64_t seq = 0;
	char text[64];
	int ret = -1;

	w.known = calloc(s->sectors, sizeof(*w.known));
	w.data = aligned_alloc(PAGE, OP_SECTORS * SECTOR);
	w.fd = open(o->path, O_RDWR | O_CLOEXEC | (s->buffered ? 0 : O_DIRECT));
	if (!w.known || !w.data || w.fd < 0) {
		complain(&w, 0, 0, w.fd < 0 ? strerror(errno) : "no memory");
		goto out;
	}
	while (seconds() < end)
		if (one(&w, ++seq))
			goto out;
	snprintf(text, sizeof(text), "disk: %u ended after %llu\n", s->worker,
		 (unsigned long long)seq);
	say(text);
	ret = 0;
out:
	if (w.fd >= 0)
		close(w.fd);
	free(w.data);
	free(w.known);
	return ret;
}

int load(const struct load_options *o)
{
	struct stream s[WORKERS_MAX];
	uint64_t bytes = 0;
	int status, bad = 0;
	struct stat st;
	char text[128];
	int fd = open(o->path, O_RDWR | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) || (S_ISBLK(st.st_mode) && ioctl(fd, BLKGETSIZE64, &bytes))) {
		fprintf(stderr, "disk: %s: %s\n", o->path, strerror(errno));
		return 1;
	}
	close(fd);
	if (!S_ISBLK(st.st_mode))
		bytes = (uint64_t)st.st_size;
	for (uint32_t i = 0; i < o->workers; i++)
		if (!stream_init(&s[i], o->seed, i, o->workers, bytes / SECTOR, OP_SECTORS)) {
			fprintf(stderr, "disk: %s: too small for %u workers\n", o->path,
				o->workers);
			return 1;
		}
	snprintf(text, sizeof(text), "disk: begin seed=%llu workers=%u sectors=%llu longest=%u\n",
		 (unsigned long long)o->seed, o->workers, (unsigned long long)(bytes / SECTOR),
		 OP_SECTORS);
	say(text);
	for (uint32_t i = 0; i < o->workers; i++) {
		pid_t pid = fork();

		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			_exit(work(o, &s[i], !S_ISBLK(st.st_mode)) ? 1 : 0);
		}
		bad += pid < 0;
	}
	while (wait(&status) > 0 || errno == EINTR)
		bad += !WIFEXITED(status) || WEXITSTATUS(status);
	snprintf(text, sizeof(text), "disk: done %s\n", bad ? "failed" : "ok");
	say(text);
	return bad ? 1 : 0;
}
