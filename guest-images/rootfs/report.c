// SPDX-License-Identifier: Apache-2.0
/*
 * run=report: what the guest sees of its machine, and what its kernel complained about: each
 * message of the level "warning" or worse, as a line "log: ...".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "guest.h"

#define KLOG_READ_ALL 3
#define KLOG_SIZE     10
#define WARNING	      4
#define MAX_LINES     300

long interrupts(const char *name)
{
	FILE *f = fopen("/proc/interrupts", "re");
	char text[8192];
	long sum = -1;

	if (!f)
		return -1;
	while (fgets(text, sizeof(text), f)) {
		char *p = text + strspn(text, " ");
		size_t n = strlen(name);

		if (strncmp(p, name, n) || p[n] != ':')
			continue;
		sum = 0;
		for (p += n + 1;;) {
			char *end;
			long v = strtol(p, &end, 10);

			if (end == p)
				break;
			sum += v;
			p = end;
		}
	}
	fclose(f);
	return sum;
}

static void file(const char *key, const char *path)
{
	char text[512];

	result(key, "%s", read_line(path, text, sizeof(text)) ? text : "none");
}

/* Sums of all CPUs: how often they were in the idle state @state, and for how long, in us. With
 * Linux's haltpoll driver 0 is polling in the guest, 1 is HLT. */
static void idle_state(const char *name, int state)
{
	unsigned long long usage = 0, time = 0, n;
	char path[128], text[64], key[64];

	for (int cpu = 0; cpu < sysconf(_SC_NPROCESSORS_CONF); cpu++) {
		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/cpuidle/state%d/usage",
			 cpu, state);
		if (!read_line(path, text, sizeof(text)))
			return;
		usage += strtoull(text, NULL, 10);
		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/cpuidle/state%d/time",
			 cpu, state);
		n = read_line(path, text, sizeof(text)) ? strtoull(text, NULL, 10) : 0;
		time += n;
	}
	result(name, "%llu", usage);
	snprintf(key, sizeof(key), "%s_us", name);
	result(key, "%llu", time);
}

static void log_lines(void)
{
	int size = klogctl(KLOG_SIZE, NULL, 0), n, bad = 0;
	char *text = size > 0 ? malloc(size + 1) : NULL, *at = NULL;

	n = text ? klogctl(KLOG_READ_ALL, text, size) : -1;
	if (n < 0) {
		complain("the kernel's log cannot be read");
		free(text);
		return;
	}
	text[n] = 0;
	for (char *p = strtok_r(text, "\n", &at); p; p = strtok_r(NULL, "\n", &at)) {
		int level = p[0] == '<' ? atoi(p + 1) & 7 : 7;

		if (level > WARNING)
			continue;
		if (bad++ < MAX_LINES)
			dprintf(1, "log: %s\n", p);
	}
	result("log_lines", "%d", bad);
	free(text);
}

int report(void)
{
	static const char *const haltpoll[] = {"guest_halt_poll_ns", "guest_halt_poll_shrink",
					       "guest_halt_poll_grow", "guest_halt_poll_grow_start",
					       "guest_halt_poll_allow_shrink"};
	struct utsname u;

	if (!uname(&u))
		result("release", "%s", u.release);
	file("cmdline", "/proc/cmdline");
	result("cpus_online", "%d", online_cpus(NULL));
	file("cpus_present", "/sys/devices/system/cpu/present");
	file("cpus_possible", "/sys/devices/system/cpu/possible");
	result("memory_mib", "%ld", sysconf(_SC_PHYS_PAGES) / 256);
	file("idle_driver", "/sys/devices/system/cpu/cpuidle/current_driver");
	file("idle_governor", "/sys/devices/system/cpu/cpuidle/current_governor");
	for (size_t i = 0; i < sizeof(haltpoll) / sizeof(haltpoll[0]); i++) {
		char path[128];

		snprintf(path, sizeof(path), "/sys/module/haltpoll/parameters/%s", haltpoll[i]);
		file(haltpoll[i], path);
	}
	idle_state("idle_polls", 0);
	idle_state("idle_halts", 1);
	file("haltpoll_force", "/sys/module/cpuidle_haltpoll/parameters/force");
	file("clocksource", "/sys/devices/system/clocksource/clocksource0/current_clocksource");
	file("clocksources", "/sys/devices/system/clocksource/clocksource0/available_clocksource");
	file("clockevent", "/sys/devices/system/clockevents/clockevent0/current_device");
	result("acpi", "%s", access("/sys/firmware/acpi/tables", F_OK) ? "no" : "yes");
	result("device_tree", "%s", access("/proc/device-tree/compatible", F_OK) ? "no" : "yes");
	result("interrupts_err", "%ld", interrupts("ERR"));
	result("interrupts_mis", "%ld", interrupts("MIS"));
	result("interrupts_nmi", "%ld", interrupts("NMI"));
	log_lines();
	return 0;
}
