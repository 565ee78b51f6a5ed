/* SPDX-License-Identifier: Apache-2.0 */
/* `catnap bench prices` as a child, whose JSON is read; see crossover_child.h. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/child.h"
#include "cli/crossover_child.h"

#define MOST_BYTES (4 << 20) /* of JSON */

#define MEASURE "/proc/self/exe", "bench", "prices", "--rounds", "1", "--json", "-", "--samples"

static const char *const whole[] = {MEASURE, "300", NULL};
static const char *const quick_one[] = {MEASURE,  "100",	  "--mode", "user:adaptive",
					"--mode", "kernel:200us", NULL};

static int start(const char *const *args, pid_t *pid, int *out)
{
	const pid_t parent = getpid();
	int fd[2];

	if (pipe2(fd, O_CLOEXEC) < 0)
		return -errno;
	*pid = fork();
	if (*pid == 0) {
		/* It ends with this process, however that ends. */
		if (child_ends_with(parent, SIGTERM) && dup2(fd[1], STDOUT_FILENO) >= 0)
			execv(args[0], (char *const *)args);
		_exit(1);
	}
	close(fd[1]);
	*out = fd[0];
	if (*pid > 0)
		return 0;
	close(fd[0]);
	return -EAGAIN;
}

int crossover_measure(bool quick, struct json_object **results)
{
	int out = -1, status = 0, ret;
	char *text;
	pid_t pid = -1;

	ret = start(quick ? quick_one : whole, &pid, &out);
	if (ret < 0)
		return ret;
	text = child_output(out, MOST_BYTES, NULL, NULL);
	close(out);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	*results = text && status == 0 ? json_tokener_parse(text) : NULL;
	free(text);
	return *results ? 0 : -EIO;
}

/* Finds the irqchip that @member of @choice names. */
static enum host_irqchip named(struct json_object *choice, const char *member)
{
	const char *name = json_object_get_string(json_object_object_get(choice, member));

	if (name && strcmp(name, "user") == 0)
		return HOST_IRQCHIP_USER;
	return name && strcmp(name, "kernel") == 0 ? HOST_IRQCHIP_KERNEL : HOST_IRQCHIP_UNKNOWN;
}

bool crossover_choice(struct json_object *results, struct host_price *price)
{
	struct json_object *choice = json_object_object_get(results, "irqchip_choice");
	const enum host_irqchip one = named(choice, "one_vcpu"), several = named(choice, "several");

	if (!one || !several)
		return false;
	price->one_vcpu = one;
	price->several = several;
	return true;
}
