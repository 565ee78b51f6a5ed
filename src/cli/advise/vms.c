/* SPDX-License-Identifier: Apache-2.0 */
/* Virtual machines, by their process: their halts, and what KVM has counted of them in debugfs. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/advise/advise.h"

/* Returns the process of a thread; 0: it has gone. *@name: how that is called, as it says. */
static pid_t process_of(pid_t thread)
{
	char path[64], line[128];
	int pid = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)thread);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Tgid: %d", &pid) == 1)
			break;
	if (f)
		fclose(f);
	return pid;
}

static void name_of(pid_t pid, char name[17])
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	f = fopen(path, "re");
	if (f && fgets(name, 17, f))
		name[strcspn(name, "\n")] = '\0';
	if (f)
		fclose(f);
	/* It is whatever the process likes. */
	for (char *c = name; *c; c++)
		if (!isgraph((unsigned char)*c))
			*c = '?';
}

static struct advise_vm *vm_of(struct advise_vms *all, pid_t pid)
{
	struct advise_vm *more;

	for (size_t i = 0; i < all->n; i++)
		if (all->v[i].pid == pid)
			return &all->v[i];
	more = reallocarray(all->v, all->n + 1, sizeof(*more));
	if (!more)
		return NULL;
	all->v = more;
	more = &all->v[all->n++];
	*more = (struct advise_vm){.pid = pid};
	if (all->live)
		name_of(pid, more->name);
	return more;
}

static struct advise_thread *find_thread(struct advise_vms *all, pid_t id, struct advise_vm **vm)
{
	for (size_t i = 0; i < all->n; i++)
		for (struct advise_thread *t = all->v[i].threads; t; t = t->next)
			if (t->id == id) {
				*vm = &all->v[i];
				return t;
			}
	return NULL;
}

static struct advise_thread *add_thread(struct advise_vm *vm, pid_t id)
{
	struct advise_thread *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->id = id;
	t->next = vm->threads;
	vm->threads = t;
	vm->n_threads++;
	return t;
}

static struct advise_thread *thread_of(struct advise_vms *all, pid_t id, struct advise_vm **vm)
{
	struct advise_thread *t = find_thread(all, id, vm);
	pid_t pid;

	if (t)
		return t;
	pid = all->live ? process_of(id) : id;
	*vm = pid ? vm_of(all, pid) : NULL;
	return *vm ? add_thread(*vm, id) : NULL;
}

/* Takes a change of the window, which is told before the halt that it follows from. */
static void take_window(struct advise_thread *t, const struct advise_halt *halt)
{
	t->window_ns = halt->before_ns;
	t->next_ns = halt->now_ns;
	t->changed = true;
	t->told = true;
}

/* Counts how long a halt was polled for: all of it, or the window, and then it slept. */
static void count_poll(struct advise_thread *t, const struct advise_halt *halt)
{
	if (!halt->waited)
		t->polled_ns += halt->ns;
	else
		t->polled_ns += t->window_ns < halt->ns ? t->window_ns : halt->ns;
	if (t->changed)
		t->window_ns = t->next_ns;
	t->changed = false;
}

void advise_vms_add(struct advise_vms *all, const struct advise_halt *halt)
{
	struct advise_vm *vm;
	struct advise_thread *t = thread_of(all, halt->thread, &vm);

	if (t && halt->window) {
		take_window(t, halt);
		return;
	}
	if (t)
		count_poll(t, halt);
	if (t && advise_thread_keep(t, halt) == 0)
		vm->halts++;
	else
		all->dropped++;
}

/* -- KVM's counters --------------------------------------------------------------------------- */

static bool read_counter(const char *folder, const char *vm, const char *name, uint64_t *sum)
{
	unsigned long long value;
	char path[768];
	bool there;
	FILE *f;

	snprintf(path, sizeof(path), "%.400s/kvm/%.64s/%s", folder, vm, name);
	f = fopen(path, "re");
	there = f && fscanf(f, "%llu", &value) == 1;
	if (there)
		*sum += value;
	if (f)
		fclose(f);
	return there;
}

/* Reads a VM's counters. Of several VMs of a process the sum is known if each of them is. */
static void read_vm(struct advise_counters *c, bool first, const char *folder, const char *vm)
{
	bool there = read_counter(folder, vm, "halt_poll_success_ns", &c->polled_ns) &&
		     read_counter(folder, vm, "halt_poll_fail_ns", &c->polled_ns);

	c->known = there && (first || c->known);
}

uint64_t advise_vm_told(const struct advise_vm *vm, bool *told)
{
	uint64_t ns = 0;

	*told = false;
	for (const struct advise_thread *t = vm->threads; t; t = t->next) {
		*told |= t->told;
		ns += t->polled_ns;
	}
	return ns;
}

uint64_t advise_vm_polled(const struct advise_vm *vm, bool *counted)
{
	bool told;

	*counted =
		vm->before.known && vm->after.known && vm->after.polled_ns >= vm->before.polled_ns;
	return *counted ? vm->after.polled_ns - vm->before.polled_ns : advise_vm_told(vm, &told);
}

void advise_vms_count(struct advise_vms *all, const char *debugfs, bool after)
{
	char path[512];
	struct dirent *e;
	DIR *dir;

	for (size_t i = 0; i < all->n; i++) {
		if (after)
			all->v[i].after = (struct advise_counters){.known = false};
		else
			all->v[i].before = (struct advise_counters){.known = false};
		all->v[i].vms = 0;
	}
	snprintf(path, sizeof(path), "%.400s/kvm", debugfs);
	dir = opendir(path);
	/* A folder is called after the thread that has made the VM, and its descriptor. */
	while (dir && (e = readdir(dir))) {
		struct advise_vm *vm;
		int thread, fd, end = 0;

		if (sscanf(e->d_name, "%9d-%9d%n", &thread, &fd, &end) != 2 || e->d_name[end])
			continue;
		vm = vm_of(all, process_of(thread) ? process_of(thread) : thread);
		if (!vm)
			continue;
		read_vm(after ? &vm->after : &vm->before, vm->vms == 0, debugfs, e->d_name);
		vm->vms++;
	}
	if (dir)
		closedir(dir);
}

void advise_vms_free(struct advise_vms *all)
{
	for (size_t i = 0; i < all->n; i++)
		for (struct advise_thread *t = all->v[i].threads, *next; t; t = next) {
			next = t->next;
			free(t->halts);
			free(t);
		}
	free(all->v);
	*all = (struct advise_vms){.live = all->live};
}
