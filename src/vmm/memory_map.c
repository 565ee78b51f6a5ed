/* SPDX-License-Identifier: Apache-2.0 */
/* See memory_map.h. Each sentence says what the host lacks, and what gives it. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/memfd.h>
#include <linux/mempolicy.h>
#include <linux/mman.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/memory_map.h"

/* Linux 5.14; libcs may not have it. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define PAGE_4K	   UINT64_C(4096)
#define PAGE_2M	   (UINT64_C(1) << 21)
#define PAGE_1G	   (UINT64_C(1) << 30)
#define NODES_MAX  64
#define PATH_BYTES 96

static bool is_huge(const struct memory_map *m)
{
	return memory_page_size(m->pages) > PAGE_4K;
}

uint64_t memory_page_size(uint32_t pages)
{
	if (pages == CATNAP_PAGES_1G)
		return PAGE_1G;
	return pages == CATNAP_PAGES_2M ? PAGE_2M : PAGE_4K;
}

/* Returns the number that a file of sysfs begins with; 0 if there is none. */
static uint64_t number_in(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t value = 0;
	char text[32];
	ssize_t n;

	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n > 0) {
		text[n] = '\0';
		if (sscanf(text, "%" SCNu64, &value) != 1)
			value = 0;
	}
	return value;
}

/* Says that huge pages are not to be had, how many there are, and how to get more. */
static int fail_huge(const struct memory_map *m, int ret, struct error *err)
{
	const uint64_t page = memory_page_size(m->pages), wanted = m->total / page;
	const char *name = page == PAGE_1G ? "1 GiB" : "2 MiB";
	char folder[PATH_BYTES], path[PATH_BYTES + 32];

	snprintf(folder, sizeof(folder), "/sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB",
		 page >> 10);
	if (access(folder, F_OK) < 0)
		return error_fail(err, ret,
				  "memory: hugepages: this host has no pages of %s: expected a "
				  "kernel and a processor that know them",
				  name);
	if (ret != -ENOMEM)
		return error_errno(err, ret, "memory: hugepages: pages of %s", name);
	snprintf(path, sizeof(path), "%s/free_hugepages", folder);
	return error_fail(err, ret,
			  "memory: hugepages: this host has %" PRIu64
			  " free pages of %s, and %" PRIu64
			  " are needed: write how many there are to be to %s/nr_hugepages",
			  number_in(path), name, wanted, folder);
}

static int fail_map(const struct memory_map *m, int ret, uint64_t size, struct error *err)
{
	if (is_huge(m))
		return fail_huge(m, ret, err);
	return error_errno(err, ret, "memory: cannot map %" PRIu64 " MiB", size >> 20);
}

static int make_file(struct memory_map *m, struct error *err)
{
	unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int ret;

	if (m->pages == CATNAP_PAGES_2M)
		flags |= MFD_HUGETLB | MFD_HUGE_2MB;
	if (m->pages == CATNAP_PAGES_1G)
		flags |= MFD_HUGETLB | MFD_HUGE_1GB;
	m->fd = memfd_create("catnap-memory", flags);
	if (m->fd < 0) {
		ret = -errno;
		return is_huge(m) ? fail_huge(m, ret, err)
				  : error_errno(err, ret, "memory: shared: memfd_create");
	}
	/* A back end that could make it shorter could end us by SIGBUS. */
	if (ftruncate(m->fd, (off_t)m->total) < 0 ||
	    fcntl(m->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
		ret = error_errno(err, -errno, "memory: shared: a file of %" PRIu64 " MiB",
				  m->total >> 20);
		memory_map_end(m);
		return ret;
	}
	return 0;
}

int memory_map_begin(struct memory_map *m, const struct catnap_vm_config *cfg, struct error *err)
{
	*m = (struct memory_map){.fd = -1,
				 .total = cfg->memory_size,
				 .pages = cfg->memory_pages,
				 .prefault = cfg->memory_prefault,
				 .lock = cfg->memory_lock,
				 .host_nodes = cfg->memory_host_nodes};
	return cfg->memory_shared ? make_file(m, err) : 0;
}

/* Reserves address space that begins at a multiple of @align; NULL, with errno: there is none. */
static void *reserve(uint64_t size, uint64_t align)
{
	uint8_t *at = mmap(NULL, size + align, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint64_t before;

	if (at == MAP_FAILED)
		return NULL;
	before = -(uintptr_t)at & (align - 1);
	if (before)
		munmap(at, before);
	munmap(at + before + size, align - before);
	return at + before;
}

int memory_map_part(struct memory_map *m, uint64_t size, void **host, struct error *err)
{
	int flags = m->fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
	void *at = NULL, *got;
	int ret;

	/* Huge pages are reserved: a guest must not find out that there are none (SIGBUS). */
	if (is_huge(m) && m->fd < 0)
		flags |= MAP_HUGETLB | (m->pages == CATNAP_PAGES_1G ? MAP_HUGE_1GB : MAP_HUGE_2MB);
	else if (!is_huge(m))
		flags |= MAP_NORESERVE;
	/* A transparent huge page begins where one may begin in the guest, too. */
	if (m->pages == CATNAP_PAGES_TRANSPARENT && size >= PAGE_2M) {
		at = reserve(size, PAGE_2M);
		if (!at)
			return fail_map(m, -errno, size, err);
		flags |= MAP_FIXED;
	}
	got = mmap(at, size, PROT_READ | PROT_WRITE, flags, m->fd,
		   m->fd < 0 ? 0 : (off_t)m->mapped);
	if (got == MAP_FAILED) {
		ret = -errno;
		if (at)
			munmap(at, size);
		return fail_map(m, ret, size, err);
	}
	m->mapped += size;
	*host = got;
	return 0;
}

/* The numbers of the bits of @mask, with colons between. */
static const char *list(unsigned long mask, char *text, size_t size)
{
	size_t n = 0;

	text[0] = '\0';
	for (unsigned int i = 0; i < 64 && n < size; i++)
		if (mask >> i & 1)
			n += (size_t)snprintf(text + n, size - n, "%s%u", n ? ":" : "", i);
	return text;
}

int memory_map_bind(const struct memory_map *m, void *host, uint64_t size, uint64_t host_nodes,
		    struct error *err)
{
	const unsigned long mask = host_nodes ? host_nodes : m->host_nodes;
	char nodes[192];
	int ret = 0;

	/* The kernel takes one bit less than it is told. */
	if (mask && syscall(SYS_mbind, host, size, MPOL_BIND, &mask, NODES_MAX + 1UL, 0UL) < 0)
		ret = -errno;
	if (ret == -EINVAL)
		return error_fail(err, ret,
				  "memory: host-nodes: not all of %s are nodes with memory: "
				  "expected those of /sys/devices/system/node/has_memory",
				  list(mask, nodes, sizeof(nodes)));
	if (ret == -ENOSYS)
		return error_fail(err, ret,
				  "memory: host-nodes: this kernel knows no nodes (CONFIG_NUMA)");
	return ret < 0 ? error_errno(err, ret, "memory: host-nodes: mbind") : 0;
}

static int set_transparent(const struct memory_map *m, void *host, uint64_t size, struct error *err)
{
	bool on = m->pages == CATNAP_PAGES_TRANSPARENT;
	int ret = 0;

	if ((on || m->pages == CATNAP_PAGES_SMALL) &&
	    madvise(host, size, on ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) < 0)
		ret = -errno;
	if (ret == 0 || (!on && ret == -EINVAL)) /* there are none to do without */
		return 0;
	if (ret == -EINVAL)
		return error_fail(err, ret,
				  "memory: thp: this kernel has no transparent huge pages "
				  "(CONFIG_TRANSPARENT_HUGEPAGE)");
	return error_errno(err, ret, "memory: thp");
}

static int lock(void *host, uint64_t size, struct error *err)
{
	struct rlimit limit = {0, 0};
	int ret;

	if (mlock2(host, size, MLOCK_ONFAULT) == 0)
		return 0;
	ret = -errno;
	if (ret != -ENOMEM && ret != -EPERM && ret != -EAGAIN)
		return error_errno(err, ret, "memory: lock");
	getrlimit(RLIMIT_MEMLOCK, &limit);
	return error_fail(err, ret,
			  "memory: lock: this process may lock %llu KiB: expected a limit (ulimit "
			  "-l, LimitMEMLOCK=) that has room for %llu KiB more, or CAP_IPC_LOCK",
			  (unsigned long long)limit.rlim_cur >> 10, (unsigned long long)size >> 10);
}

static int prefault(const struct memory_map *m, uint8_t *host, uint64_t size, struct error *err)
{
	int ret = madvise(host, size, MADV_POPULATE_WRITE) < 0 ? -errno : 0;

	if (ret == -EINVAL) { /* before Linux 5.14 */
		for (uint64_t i = 0; i < size; i += PAGE_4K)
			*(volatile uint8_t *)(host + i) = 0;
		return 0;
	}
	/* Of huge pages: reserved, but not on these nodes, or not for this control group. */
	if (ret == -EFAULT || ret == -ENOMEM || ret == -EHWPOISON)
		return error_fail(err, -ENOMEM,
				  "memory: prefault: this host has no %" PRIu64 " MiB to give%s",
				  size >> 20,
				  m->bound     ? ", on the nodes that host-nodes names"
				  : is_huge(m) ? ", of huge pages for this control group"
					       : "");
	return ret < 0 ? error_errno(err, ret, "memory: prefault") : 0;
}

int memory_map_settle(struct memory_map *m, void *host, uint64_t size, struct error *err)
{
	int ret = set_transparent(m, host, size, err);

	if (ret == 0 && m->lock)
		ret = lock(host, size, err);
	if (ret == 0 && m->prefault)
		ret = prefault(m, host, size, err);
	return ret;
}

/* Clears a part. A huge page that went back might be somebody else's when it is touched again,
 * which is a SIGBUS. */
void memory_map_clear(const struct memory_map *m, void *host, uint64_t size)
{
	int advice = m->fd < 0 ? MADV_DONTNEED : MADV_REMOVE;

	if (m->prefault || m->lock || is_huge(m) || madvise(host, size, advice) < 0)
		memset(host, 0, size);
}

void memory_map_end(struct memory_map *m)
{
	if (m->fd >= 0)
		close(m->fd);
	m->fd = -1;
}
