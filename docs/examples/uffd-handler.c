/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Serves the memory of VMs that are restored with memory=uffd, each page when it is touched: from a
 * memory file, or from several, of which a diff comes before those that it builds on.
 *
 *	uffd-handler SOCKET MEMORY [DIFF ...], in the order of `catnap snapshot info`
 *
 * One process serves any number of VMs. It has a thread for each. The layout of memory files is in
 * snapshot-format.md, and the message with which a VM comes is Firecracker's.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define PAGE	    4096u
#define FILES_MAX   1024
#define REGIONS_MAX 8

/* A memory file. bits: of a diff, which pages are in it; NULL: all. */
static struct file {
	const uint8_t *pages, *id;
	const uint64_t *bits;
} files[FILES_MAX];
static int file_count;
static uint64_t memory_size;

struct region {
	uint64_t host, size, offset;
};

struct vm {
	int socket, uffd;
	struct region regions[REGIONS_MAX];
	int region_count;
};

static void die(const char *what)
{
	fprintf(stderr, "uffd-handler: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ---- the files ---- */

static uint64_t read64(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

/* The trailer is behind the pages. Where that is says the size of memory, which each of them has. */
static void add_file(const char *path)
{
	struct file *f = &files[file_count++];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	const uint8_t *bytes, *trailer = NULL;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		die(path);
	bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (bytes == MAP_FAILED)
		die(path);
	close(fd);
	for (off_t at = st.st_size & ~(off_t)(PAGE - 1); at >= 0 && !trailer; at -= PAGE)
		if (at + 88 <= st.st_size && memcmp(bytes + at, "catnapMM", 8) == 0 &&
		    read64(bytes + at + 48) == (uint64_t)at)
			trailer = bytes + at;
	if (!trailer || (memory_size && read64(trailer + 48) != memory_size)) {
		fprintf(stderr, "uffd-handler: %s: is no memory file of these\n", path);
		exit(1);
	}
	/* The first is full, and each that follows is a diff of the one before. */
	if (f == files ? read64(trailer + 72) != 0
		       : !read64(trailer + 72) || memcmp(trailer + 32, f[-1].id, 16) != 0) {
		fprintf(stderr, "uffd-handler: %s: expected %s\n", path,
			f == files ? "the full memory file first"
				   : "the diff that builds on the file before");
		exit(1);
	}
	memory_size = read64(trailer + 48);
	f->pages = bytes;
	f->id = trailer + 16;
	if (read64(trailer + 72)) { /* a diff; behind a checksum for each MiB */
		uint64_t sums = (memory_size + (1 << 20) - 1) >> 20;

		f->bits = malloc(read64(trailer + 72) * 8);
		if (!f->bits)
			die(path);
		memcpy((void *)(uintptr_t)f->bits, trailer + PAGE + sums * 4,
		       read64(trailer + 72) * 8);
	}
}

/* The newest file that has it. */
static const uint8_t *find_page(uint64_t offset)
{
	uint64_t page = offset / PAGE;

	for (int i = file_count - 1; i > 0; i--)
		if (files[i].bits && files[i].bits[page / 64] >> page % 64 & 1)
			return files[i].pages + offset;
	return files[0].pages + offset;
}

/* ---- a VM ---- */

static uint64_t member(const char *object, const char *name)
{
	const char *at = strstr(object, name);

	return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

/* An array of objects with base_host_virt_addr, size and offset. */
static bool take_regions(struct vm *vm, const char *text)
{
	for (const char *o = strchr(text, '{'); o && vm->region_count < REGIONS_MAX;
	     o = strchr(o + 1, '{')) {
		struct region *r = &vm->regions[vm->region_count];

		r->host = member(o, "\"base_host_virt_addr\":");
		r->size = member(o, "\"size\":");
		r->offset = member(o, "\"offset\":");
		if (r->offset > memory_size || r->size > memory_size - r->offset)
			return false;
		vm->region_count++;
	}
	return vm->region_count > 0;
}

static bool greet(struct vm *vm)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	char text[4096];
	struct iovec iov = {.iov_base = text, .iov_len = sizeof(text) - 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes)};
	ssize_t n = recvmsg(vm->socket, &msg, MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;

	if (!c || c->cmsg_type != SCM_RIGHTS)
		return false;
	memcpy(&vm->uffd, CMSG_DATA(c), sizeof(int));
	text[n] = '\0';
	return take_regions(vm, text);
}

static void serve_page(struct vm *vm, uint64_t address)
{
	address &= ~(uint64_t)(PAGE - 1);
	for (int i = 0; i < vm->region_count; i++) {
		const struct region *r = &vm->regions[i];
		struct uffdio_copy copy = {.dst = address, .len = PAGE};

		if (address < r->host || address - r->host >= r->size)
			continue;
		copy.src = (uint64_t)(uintptr_t)find_page(r->offset + (address - r->host));
		/* EEXIST: another fault was quicker. ENOENT, ESRCH: the VM ends. */
		ioctl(vm->uffd, UFFDIO_COPY, &copy);
	}
}

static void *serve(void *arg)
{
	struct vm *vm = arg;

	vm->uffd = -1;
	if (greet(vm)) {
		struct pollfd p[2] = {{.fd = vm->uffd, .events = POLLIN},
				      {.fd = vm->socket, .events = POLLRDHUP}};
		struct uffd_msg m;

		while (poll(p, 2, -1) > 0 && !p[1].revents)
			if (read(vm->uffd, &m, sizeof(m)) == sizeof(m) &&
			    m.event == UFFD_EVENT_PAGEFAULT)
				serve_page(vm, m.arg.pagefault.address);
	}
	if (vm->uffd >= 0)
		close(vm->uffd);
	close(vm->socket);
	free(vm);
	return NULL;
}

/* ---- all of them ---- */

int main(int argc, char **argv)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int listener;

	if (argc < 3 || argc - 2 > FILES_MAX || strlen(argv[1]) >= sizeof(addr.sun_path)) {
		fprintf(stderr, "Usage: uffd-handler SOCKET MEMORY [DIFF ...]\n");
		return 2;
	}
	for (int i = 2; i < argc; i++)
		add_file(argv[i]);
	strcpy(addr.sun_path, argv[1]);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    listen(listener, 64) < 0)
		die(argv[1]);
	for (;;) {
		struct vm *vm = calloc(1, sizeof(*vm));
		pthread_t thread;

		if (!vm)
			die("memory");
		vm->socket = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (vm->socket < 0)
			die("accept");
		if (pthread_create(&thread, NULL, serve, vm) != 0)
			die("thread");
		pthread_detach(thread);
	}
}
