/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checker: given the image of a disk, and what load.c has said before its machine was killed,
 * is everything there that a flush has promised?
 *
 * The last flush that a worker has reported divides its operations. Of those before it, the last on
 * each sector must be seen there, unless one after it is: these may have reached the image or not,
 * sector by sector. A discard leaves zeroes or what was there.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk.h"

/* So many more flushes may have returned before the report of the first of them got out. */
#define AHEAD	  4u
#define SAID_MAX  20
#define LINE_SIZE 256

struct said {
	unsigned long long seed, sectors;
	unsigned int workers, longest;
	bool begun;
	unsigned long long flushed[WORKERS_MAX]; /* the last flush of each; 0: none */
	unsigned int flushes, errors;
};

struct tally {
	unsigned int complaints;
	uint64_t promised, later;
};

/* A console's lines: the last one may be cut off, and others have something to say there too. */
static int read_log(const char *path, struct said *said)
{
	FILE *f = fopen(path, "re");
	unsigned long long seq;
	char line[LINE_SIZE];
	unsigned int w;

	if (!f) {
		fprintf(stderr, "disk: %s: %s\n", path, strerror(errno));
		return -1;
	}
	while (fgets(line, sizeof(line), f)) {
		char *p = strstr(line, "disk: "), end = 0;

		if (!p || !strchr(p, '\n'))
			continue;
		if (sscanf(p, "disk: begin seed=%llu workers=%u sectors=%llu longest=%u%c",
			   &said->seed, &said->workers, &said->sectors, &said->longest,
			   &end) == 5 &&
		    (end == '\r' || end == '\n')) {
			said->begun = said->workers <= WORKERS_MAX;
		} else if (sscanf(p, "disk: %u flush %llu%c", &w, &seq, &end) == 3 &&
			   (end == '\r' || end == '\n') && w < WORKERS_MAX) {
			if (seq > said->flushed[w])
				said->flushed[w] = seq;
			said->flushes++;
		} else if (strstr(p, " error: ")) {
			fputs(p, stdout);
			said->errors++;
		}
	}
	fclose(f);
	return 0;
}

/* Where a later operation leaves zeroes, these are no fault. */
static void allow_later_zeroes(const struct stream *s, struct known *region, uint64_t flush)
{
	unsigned int flushes = 0;

	for (uint64_t seq = flush + 1; flushes < AHEAD; seq++) {
		struct op op = stream_op(s, seq);

		flushes += op.type == OP_FLUSH;
		if (op.type == OP_ZERO || op.type == OP_DISCARD)
			for (uint32_t i = 0; i < op.count; i++)
				region[op.sector + i - s->first].maybe_zero = true;
	}
}

static int check_worker(const struct stream *s, uint64_t flush, const uint64_t *image,
			struct tally *t)
{
	struct known *region = calloc(s->sectors, sizeof(*region));

	if (!region)
		return -1;
	for (uint64_t seq = 1; seq <= flush; seq++)
		stream_apply(s, region, seq);
	for (uint64_t i = 0; i < s->sectors; i++)
		t->promised += region[i].seq != 0;
	allow_later_zeroes(s, region, flush);
	for (uint64_t i = 0; i < s->sectors; i++) {
		uint64_t sector = s->first + i, seq;
		const char *bad = stream_compare(s, region, sector, image + sector * SECTOR_WORDS,
						 flush, &seq);

		t->later += !bad && seq > flush;
		if (bad && t->complaints++ < SAID_MAX)
			printf("sector %llu (worker %u): %s (%llu), not write %llu, which flush "
			       "%llu promised\n",
			       (unsigned long long)sector, s->worker, bad, (unsigned long long)seq,
			       (unsigned long long)region[i].seq, (unsigned long long)flush);
	}
	free(region);
	return 0;
}

int check(const char *image, const char *log)
{
	struct said said = {.begun = false};
	struct tally t = {.complaints = 0};
	uint64_t size;
	off_t end;
	void *map;
	int fd;

	if (read_log(log, &said))
		return 2;
	if (!said.begun) {
		fprintf(stderr, "disk: %s: nothing had begun\n", log);
		return 2;
	}
	fd = open(image, O_RDONLY | O_CLOEXEC);
	end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
	if (end < 0) {
		fprintf(stderr, "disk: %s: %s\n", image, strerror(errno));
		return 2;
	}
	size = (uint64_t)end;
	if (size / SECTOR != said.sectors) {
		fprintf(stderr, "disk: %s: has %llu sectors, not %llu\n", image,
			(unsigned long long)(size / SECTOR), said.sectors);
		return 2;
	}
	map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (map == MAP_FAILED) {
		fprintf(stderr, "disk: %s: %s\n", image, strerror(errno));
		return 2;
	}
	for (uint32_t i = 0; i < said.workers; i++) {
		struct stream s;

		if (!stream_init(&s, said.seed, i, said.workers, said.sectors, said.longest) ||
		    check_worker(&s, said.flushed[i], map, &t)) {
			fprintf(stderr, "disk: no memory, or a wrong log\n");
			munmap(map, size);
			return 2;
		}
	}
	munmap(map, size);
	printf("disk: %s: %u flushes, %llu sectors promised, %llu written later, %u wrong, %u "
	       "errors\n",
	       t.complaints || said.errors ? "NOT as promised" : "as promised", said.flushes,
	       (unsigned long long)t.promised, (unsigned long long)t.later, t.complaints,
	       said.errors);
	return t.complaints || said.errors ? 1 : 0;
}
