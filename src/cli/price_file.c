/* SPDX-License-Identifier: Apache-2.0 */
/* See price_file.h. */
#include <cpuid.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cli/price_file.h"

#define MAGIC	   "catnap price 1\n"
#define SYSTEM_DIR "/var/cache"
#define FOLDER	   "catnap"
#define NAME	   "sleep-price"
#define BOOT_ID	   36 /* characters of a UUID */
#define BRAND	   48 /* bytes of the processor's name */

/* -- the key ---------------------------------------------------------------------------------- */

static bool boot_id(char id[BOOT_ID + 1])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, id, BOOT_ID);

	if (fd >= 0)
		close(fd);
	id[n == BOOT_ID ? BOOT_ID : 0] = '\0';
	return n == BOOT_ID;
}

/* Finds the processor's name by CPUID: to read /proc/cpuinfo takes milliseconds on some kernels. A
 * hypervisor may have chosen the name: what would not print, or end the line, becomes a question
 * mark. */
static void processor(char name[BRAND + 1], bool *is_virtual)
{
	unsigned int r[4], a, b, c = 0, d;

	memset(name, 0, BRAND + 1);
	for (unsigned int i = 0; i < 3; i++)
		if (__get_cpuid(0x80000002 + i, &r[0], &r[1], &r[2], &r[3]))
			memcpy(name + 16 * i, r, sizeof(r));
	for (char *p = name; *p; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
	*is_virtual = __get_cpuid(1, &a, &b, &c, &d) && (c >> 31 & 1);
}

bool price_key(char key[PRICE_KEY])
{
	char id[BOOT_ID + 1], name[BRAND + 1];
	struct utsname u;
	bool is_virtual;
	int n;

	if (!boot_id(id) || uname(&u) < 0)
		return false;
	processor(name, &is_virtual);
	n = snprintf(key, PRICE_KEY, "boot=%s\nkernel=%s\ncpu=%s\nvirtual=%d\n", id, u.release,
		     name, is_virtual);
	return n > 0 && n < PRICE_KEY;
}

/* -- the record ------------------------------------------------------------------------------- */

static const char *const irqchips[] = {
	[HOST_IRQCHIP_USER] = "user", [HOST_IRQCHIP_KERNEL] = "kernel"};

/* Returns a checksum, FNV-1a: against a record of which only a part was written, not against
 * whoever may write. */
static uint32_t checksum(const char *text, size_t len)
{
	uint32_t sum = 2166136261u;

	for (size_t i = 0; i < len; i++)
		sum = (sum ^ (unsigned char)text[i]) * 16777619u;
	return sum;
}

void price_format(char record[PRICE_RECORD], const char *key, struct host_price price)
{
	char text[PRICE_RECORD];
	int n = snprintf(text, sizeof(text), MAGIC "%ssleep_ns=%u\nexit_ns=%u\n", key,
			 price.sleep_ns, price.exit_ns);

	if (price.one_vcpu && price.several)
		n += snprintf(text + n, sizeof(text) - (size_t)n, "irqchip=%s,%s\n",
			      irqchips[price.one_vcpu], irqchips[price.several]);

	memset(record, '\n', PRICE_RECORD);
	memcpy(record, text, (size_t)n);
	snprintf(text, sizeof(text), "sum=%08x", checksum(record, (size_t)n));
	for (const char *at = text; *at; at++) /* no string: no NUL ends it */
		record[n++] = *at;
}

/* Takes @what off the front of what is left of the record. */
static bool skip(const char **at, const char *end, const char *what)
{
	size_t len = strlen(what);

	if ((size_t)(end - *at) < len || memcmp(*at, what, len) != 0)
		return false;
	*at += len;
	return true;
}

/* Takes the name of an irqchip. */
static bool irqchip(const char **at, const char *end, enum host_irqchip *which)
{
	for (*which = HOST_IRQCHIP_USER; *which <= HOST_IRQCHIP_KERNEL; ++*which)
		if (skip(at, end, irqchips[*which]))
			return true;
	return false;
}

/* Takes the line that names the better irqchips, which a record may lack. */
static bool choice(const char **at, const char *end, struct host_price *p)
{
	p->one_vcpu = p->several = HOST_IRQCHIP_UNKNOWN;
	return !skip(at, end, "\nirqchip=") ||
	       (irqchip(at, end, &p->one_vcpu) && skip(at, end, ",") &&
		irqchip(at, end, &p->several));
}

/* Takes a number of at most 7 digits, which is more than any price has. */
static bool number(const char **at, const char *end, uint32_t *value)
{
	const char *begin = *at;

	for (*value = 0; *at < end && **at >= '0' && **at <= '9' && *at - begin < 7; ++*at)
		*value = *value * 10 + (uint32_t)(**at - '0');
	return *at > begin;
}

static bool good(uint32_t ns)
{
	return ns == 0 || (ns >= PRICE_LEAST_NS && ns <= PRICE_MOST_NS);
}

struct host_price price_parse(const char *record, size_t len, const char *key)
{
	const struct host_price none = {0};
	const char *at = record, *end = record + len;
	char again[PRICE_RECORD];
	struct host_price p;

	if (len != PRICE_RECORD || !skip(&at, end, MAGIC) || !skip(&at, end, key) ||
	    !skip(&at, end, "sleep_ns=") || !number(&at, end, &p.sleep_ns) ||
	    !skip(&at, end, "\nexit_ns=") || !number(&at, end, &p.exit_ns) || !choice(&at, end, &p))
		return none;
	/* All of it is as it would be written: the checksum, and what fills it up. */
	price_format(again, key, p);
	if (memcmp(again, record, PRICE_RECORD) != 0 || !good(p.sleep_ns) || !good(p.exit_ns))
		return none;
	return p;
}

/* -- the file --------------------------------------------------------------------------------- */

/* Returns where the user wants caches to be; NULL: that is not said. A program with the set-user-ID
 * bit has an environment that is somebody else's. */
static const char *given_dir(void)
{
	const char *given = secure_getenv("XDG_CACHE_HOME");

	return given && given[0] == '/' ? given : NULL;
}

/* Finds the user's cache folder. Returns false if there is none. */
static bool cache_dir(char path[PATH_MAX])
{
	const char *given = given_dir(), *home = secure_getenv("HOME");
	int n = 0;

	if (given)
		n = snprintf(path, PATH_MAX, "%s", given);
	else if (geteuid() == 0)
		n = snprintf(path, PATH_MAX, SYSTEM_DIR);
	else if (home && home[0] == '/')
		n = snprintf(path, PATH_MAX, "%s/.cache", home);
	return n > 0 && n < PATH_MAX;
}

/* Returns whether it is a file or folder, by the type in its mode, that nobody but this user, or
 * root, may have written. */
static bool ours(int fd, mode_t type)
{
	struct stat st;

	return fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == type &&
	       (type == S_IFDIR || st.st_nlink == 1) &&
	       (st.st_uid == geteuid() || st.st_uid == 0) && !(st.st_mode & (S_IWGRP | S_IWOTH));
}

/* Opens by the names themselves, never what a link leads to; a FIFO is not waited for. Returns -1
 * if there is none. */
static int open_in(const char *dir, int flags)
{
	char path[PATH_MAX];
	int n = snprintf(path, sizeof(path), "%s/" FOLDER, dir), folder, fd = -1;

	if (n < 0 || (size_t)n >= sizeof(path))
		return -1;
	folder = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (folder < 0)
		return -1;
	if (ours(folder, S_IFDIR))
		fd = openat(folder, NAME, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
			    0644);
	close(folder);
	if (fd >= 0 && !ours(fd, S_IFREG)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static struct host_price read_in(const char *dir, const char *key)
{
	char record[PRICE_RECORD + 1];
	int fd = open_in(dir, O_RDONLY);
	ssize_t n = fd < 0 ? 0 : pread(fd, record, sizeof(record), 0);

	if (fd >= 0)
		close(fd);
	return price_parse(record, n < 0 ? 0 : (size_t)n, key);
}

void price_file_read(struct price_file *f)
{
	char dir[PATH_MAX];

	*f = (struct price_file){.fd = -1};
	if (!price_key(f->key)) {
		f->key[0] = '\0';
		return;
	}
	if (cache_dir(dir))
		f->known = read_in(dir, f->key);
	if (!f->known.sleep_ns && !f->known.one_vcpu && !given_dir())
		f->known = read_in(SYSTEM_DIR, f->key);
}

/* Makes the folders, as far as they are not there. */
static void make_folders(const char *dir)
{
	char path[PATH_MAX];
	int n = snprintf(path, sizeof(path), "%s/" FOLDER, dir);

	if (n < 0 || (size_t)n >= sizeof(path))
		return;
	if (strcmp(dir, SYSTEM_DIR) == 0) {
		mkdir(path, 0755);
	} else {
		mkdir(dir, 0700);
		mkdir(path, 0700);
	}
}

/* Returns whether the file may be replaced. One that is neither new nor a record is somebody's. One
 * of a wrong length is begun anew. */
static bool may_replace(int fd)
{
	char begin[sizeof(MAGIC) - 1];
	ssize_t n = pread(fd, begin, sizeof(begin), 0);
	struct stat st;

	if (n != 0 && (n != (ssize_t)sizeof(begin) || memcmp(begin, MAGIC, sizeof(begin)) != 0))
		return false;
	return fstat(fd, &st) == 0 && (st.st_size == PRICE_RECORD || ftruncate(fd, 0) == 0);
}

void price_file_open(struct price_file *f)
{
	char dir[PATH_MAX];

	if (!f->key[0] || !cache_dir(dir))
		return;
	make_folders(dir);
	f->fd = open_in(dir, O_RDWR | O_CREAT);
	if (f->fd >= 0 && !may_replace(f->fd))
		price_file_close(f);
}

void price_file_write(struct price_file *f, struct host_price price)
{
	char record[PRICE_RECORD];
	ssize_t n;

	if (f->fd < 0)
		return;
	price_format(record, f->key, price);
	n = pwrite(f->fd, record, sizeof(record), 0);
	(void)n; /* a part of it has a wrong checksum, or length */
}

void price_file_close(struct price_file *f)
{
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
}
