/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program of a jail. In an empty root there is no loader and no library, so it must be linked
 * statically (ELF64 without PT_INTERP: System V gABI, "Program Header"), and it is a copy: what
 * happens to the file outside does not reach it, and none shares its pages.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/jail/jail.h"

#define CHUNK	    (1u << 20)
#define MAX_HEADERS 128

static const char *shown(const struct jail *j)
{
	return j->exec_file ? j->exec_file : "/proc/self/exe";
}

static int no_program(const struct jail *j, const char *why)
{
	return jail_fail("--exec-file: %s: %s: expected a program for x86-64 that is linked "
			 "statically",
			 shown(j), why);
}

static int check_static(const struct jail *j)
{
	Elf64_Ehdr head;
	Elf64_Phdr part;

	if (pread(j->exec_fd, &head, sizeof(head), 0) != sizeof(head) ||
	    memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 || head.e_ident[EI_CLASS] != ELFCLASS64 ||
	    head.e_machine != EM_X86_64)
		return no_program(j, "is not one");
	if ((head.e_type != ET_EXEC && head.e_type != ET_DYN) || head.e_phentsize != sizeof(part) ||
	    !head.e_phnum || head.e_phnum > MAX_HEADERS ||
	    head.e_phoff > INT64_MAX - MAX_HEADERS * sizeof(part))
		return no_program(j, "is damaged");
	for (size_t i = 0; i < head.e_phnum; i++) {
		if (pread(j->exec_fd, &part, sizeof(part),
			  (off_t)(head.e_phoff + i * sizeof(part))) != sizeof(part))
			return no_program(j, "is damaged");
		if (part.p_type != PT_INTERP)
			continue;
		if (!j->exec_file)
			return jail_fail("this catnap needs shared libraries, which an empty root "
					 "has not: expected one that is built with -Dstatic=true "
					 "(or --exec-file)");
		return no_program(j, "needs a loader and shared libraries, which an empty root "
				     "has not");
	}
	return 0;
}

int jail_open_exec_file(struct jail *j)
{
	struct stat st;

	/* To open it is not to wait, whatever it is. */
	j->exec_fd = open(shown(j), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (j->exec_fd < 0 || fstat(j->exec_fd, &st))
		return jail_fail("--exec-file: %s: %s", shown(j), strerror(errno));
	if (!S_ISREG(st.st_mode))
		return no_program(j, "is no file");
	if (!(st.st_mode & (S_IXUSR | S_IXGRP | S_IXOTH)))
		return no_program(j, "may not be executed");
	return check_static(j);
}

int jail_copy_exec_file(struct jail *j)
{
	off_t at = 0;
	ssize_t n;
	int fd, ret;

	/* Noted first: a signal of the host's end changes nothing, and an error is told once. */
	fd = openat(j->root_fd, j->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		    0500);
	if (fd < 0)
		return jail_fail("%s/%s: %s%s", j->root_path, j->name, strerror(errno),
				 errno == EEXIST
					 ? ": expected an id that is not in use, or a folder "
					   "that has been cleared"
					 : "");
	ret = undo_add_file(&j->undo, j->root_fd, j->name);
	if (ret) {
		unlinkat(j->root_fd, j->name, 0);
		close(fd);
		return jail_fail("%s/%s: %s", j->root_path, j->name, strerror(-ret));
	}
	do
		n = sendfile(fd, j->exec_fd, &at, CHUNK);
	while (n > 0);
	/* Not the other user's: whoever runs as that one cannot change what the next start runs. */
	if (n == 0)
		n = fchown(fd, geteuid(), j->gid) || fchmod(fd, 0550);
	if (n != 0)
		jail_fail("%s/%s: %s", j->root_path, j->name, strerror(errno));
	/* A file system may refuse now what it has put off. */
	if (close(fd) && n == 0) {
		n = -1;
		jail_fail("%s/%s: %s", j->root_path, j->name, strerror(errno));
	}
	return n == 0 ? 0 : -1;
}
