/* SPDX-License-Identifier: Apache-2.0 */
/* See alloc_fail.h. */
#include "alloc_fail.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#define MOST 8192

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
int __real_posix_memalign(void **p, size_t align, size_t size);
char *__real_strdup(const char *s);
char *__real_strndup(const char *s, size_t n);
void __real_free(void *p);
void *__real_mmap64(void *at, size_t size, int prot, int flags, int fd, off_t offset);
int __real_eventfd(unsigned int value, int flags);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
			  void *arg);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
int __wrap_posix_memalign(void **p, size_t align, size_t size);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t n);
int __wrap_asprintf(char **to, const char *format, ...) __attribute__((format(printf, 2, 3)));
void __wrap_free(void *p);
void *__wrap_mmap64(void *at, size_t size, int prot, int flags, int fd, off_t offset);
int __wrap_eventfd(unsigned int value, int flags);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
			  void *arg);

static _Thread_local unsigned int left; /* until the one that fails; 0: none does */
static _Thread_local bool failed;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const void *live[MOST];
static unsigned int n_live;

void alloc_fail_at(unsigned int n)
{
	left = n;
	failed = false;
}

bool alloc_failed(void)
{
	return failed;
}

unsigned int alloc_live(void)
{
	unsigned int n;

	pthread_mutex_lock(&lock);
	n = n_live;
	pthread_mutex_unlock(&lock);
	return n;
}

static bool fails(int error)
{
	if (!left || --left)
		return false;
	failed = true;
	errno = error;
	return true;
}

static void *given(void *p)
{
	pthread_mutex_lock(&lock);
	if (p && n_live < MOST)
		live[n_live++] = p;
	pthread_mutex_unlock(&lock);
	return p;
}

/* Forgets a block. Those that libc itself has allocated are not in the list. */
static void taken(const void *p)
{
	pthread_mutex_lock(&lock);
	for (unsigned int i = n_live; i-- > 0;)
		if (live[i] == p) {
			live[i] = live[--n_live];
			break;
		}
	pthread_mutex_unlock(&lock);
}

void *__wrap_malloc(size_t size)
{
	return fails(ENOMEM) ? NULL : given(__real_malloc(size));
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails(ENOMEM) ? NULL : given(__real_calloc(n, size));
}

void *__wrap_realloc(void *p, size_t size)
{
	if (fails(ENOMEM))
		return NULL;
	taken(p);
	return given(__real_realloc(p, size));
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
	return fails(ENOMEM) ? NULL : given(__real_aligned_alloc(align, size));
}

int __wrap_posix_memalign(void **p, size_t align, size_t size)
{
	int ret = fails(ENOMEM) ? ENOMEM : __real_posix_memalign(p, align, size);

	if (ret == 0)
		given(*p);
	return ret;
}

char *__wrap_strdup(const char *s)
{
	return fails(ENOMEM) ? NULL : given(__real_strdup(s));
}

char *__wrap_strndup(const char *s, size_t n)
{
	return fails(ENOMEM) ? NULL : given(__real_strndup(s, n));
}

int __wrap_asprintf(char **to, const char *format, ...)
{
	va_list args;
	int ret;

	if (fails(ENOMEM))
		return -1;
	va_start(args, format);
	ret = vasprintf(to, format, args);
	va_end(args);
	if (ret >= 0)
		given(*to);
	return ret;
}

void __wrap_free(void *p)
{
	if (p)
		taken(p);
	__real_free(p);
}

void *__wrap_mmap64(void *at, size_t size, int prot, int flags, int fd, off_t offset)
{
	return fails(ENOMEM) ? MAP_FAILED : __real_mmap64(at, size, prot, flags, fd, offset);
}

int __wrap_eventfd(unsigned int value, int flags)
{
	return fails(EMFILE) ? -1 : __real_eventfd(value, flags);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
			  void *arg)
{
	return fails(EAGAIN) ? EAGAIN : __real_pthread_create(thread, attr, run, arg);
}
