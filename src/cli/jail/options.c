/* SPDX-License-Identifier: Apache-2.0 */
/* The options of `catnap jail`, by the names that Firecracker's jailer has for them. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cmd.h"
#include "cli/jail/jail.h"
#include "cli/opts.h"

#define ID_MAX 64
/* No file of a control group takes more at a time. */
#define VALUE_MAX 4095

/* -- values ----------------------------------------------------------------------------------- */

static int set_id(struct opts *o, const struct opt_arg *arg, void *cfg)
{
	size_t len = strspn(arg->text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				       "0123456789-");

	if (arg->text[len] || len < 1 || len > ID_MAX)
		return opt_fail(o, arg,
				"is no id: expected 1 to %d letters, digits and hyphens (-)",
				ID_MAX);
	((struct jail *)cfg)->id = arg->text;
	return 0;
}

/* Takes a folder below where control groups are mounted, however deep. */
static int set_parent_cgroup(struct opts *o, const struct opt_arg *arg, void *cfg)
{
	const char *part = arg->text;

	for (;;) {
		size_t len = strcspn(part, "/");

		if (len == 0 || len > NAME_MAX || (len == 1 && part[0] == '.') ||
		    (len == 2 && part[0] == '.' && part[1] == '.'))
			return opt_fail(
				o, arg,
				"is no path below the mounted hierarchy: expected names with "
				"a / between, none of them . or ..");
		if (!part[len])
			break;
		part += len + 1;
	}
	if (strlen(arg->text) >= PATH_MAX)
		return opt_fail(o, arg, "is too long: expected %d characters at most",
				PATH_MAX - 1);
	((struct jail *)cfg)->parent_cgroup = arg->text;
	return 0;
}

static int set_cgroup(struct opts *o, const struct opt_arg *arg, void *cfg)
{
	struct jail *j = cfg;
	struct jail_cgroup *c = &j->cgroups[j->n_cgroups];
	const char *value = strchr(arg->text, '='), *dot = strchr(arg->text, '.');
	size_t len = value ? (size_t)(value - arg->text) : 0;

	if (j->n_cgroups == JAIL_CGROUPS)
		return opt_fail(o, arg, "is one too many: expected at most %d", JAIL_CGROUPS);
	/* Lower case but for hugetlb.2MB.max. */
	if (!len || !dot || dot == arg->text || dot + 1 >= value || len > NAME_MAX || !value[1] ||
	    strspn(arg->text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
			      "0123456789_.") < len)
		return opt_fail(o, arg,
				"is no file of a control group with a value: expected "
				"FILE=VALUE, such as cpuset.cpus=0-1");
	value++;
	if (strlen(value) > VALUE_MAX || strchr(value, '\n'))
		return opt_fail(o, arg,
				"has a value that no such file takes: expected a line of "
				"%d bytes at most",
				VALUE_MAX);
	*c = (struct jail_cgroup){
		.file = strndup(arg->text, len),
		.controller = strndup(arg->text, (size_t)(dot - arg->text)),
		.value = strdup(value),
	};
	j->n_cgroups++;
	if (!c->file || !c->controller || !c->value)
		return opts_fail(o, "out of memory");
	return 0;
}

static int set_limit(struct opts *o, const struct opt_arg *arg, void *cfg)
{
	static const struct {
		const char *name;
		int resource;
	} known[JAIL_LIMITS] = {{"fsize=", RLIMIT_FSIZE}, {"no-file=", RLIMIT_NOFILE}};
	struct jail *j = cfg;
	size_t i = 0;
	uint64_t value;
	const struct opt_field number = {.type = OPT_U64, .max = UINT64_MAX - 1};
	struct opt_arg part = *arg;

	while (i < JAIL_LIMITS && strncmp(arg->text, known[i].name, strlen(known[i].name)) != 0)
		i++;
	if (i == JAIL_LIMITS)
		return opt_fail(o, arg, "is no limit: expected fsize=BYTES or no-file=N");
	part.text += strlen(known[i].name);
	if (opt_value(o, &part, &number, &value))
		return -EINVAL;
	for (size_t k = 0; k < j->n_limits; k++)
		if (j->limits[k].resource == known[i].resource)
			return opt_fail(o, arg, "is a second value: expected it once");
	j->limits[j->n_limits++] =
		(struct jail_limit){.resource = known[i].resource, .value = value};
	return 0;
}

static int set_fd(struct opts *o, const struct opt_arg *arg, void *cfg)
{
	const struct opt_field number = {.type = OPT_U32, .min = 3, .max = INT_MAX};
	struct jail *j = cfg;
	uint32_t fd;

	if (opt_value(o, arg, &number, &fd))
		return -EINVAL;
	if (j->n_fds == JAIL_FDS)
		return opt_fail(o, arg, "is one too many: expected at most %d", JAIL_FDS);
	if (fcntl((int)fd, F_GETFD) < 0)
		return opt_fail(o, arg, "is not open: expected a descriptor of this process");
	j->fds[j->n_fds++] = (int)fd;
	return 0;
}

static const struct opt_word versions[] = {{"1", 1}, {"2", 2}, {NULL, 0}};

static const struct opt_def options[] = {
	{.f = {.name = "id", .type = OPT_CALL, .set = set_id},
	 .form = "ID",
	 .help = "What the VM is called: 1 to 64 letters, digits and hyphens. Required."},
	{.f = {.name = "exec-file", .type = OPT_STRING, .offset = offsetof(struct jail, exec_file)},
	 .form = "FILE",
	 .help = "The program, which must be linked statically. The last part of FILE is its name.",
	 .def = "this catnap"},
	{.f = {.name = "uid",
	       .type = OPT_U32,
	       .offset = offsetof(struct jail, uid),
	       .max = UINT32_MAX - 1},
	 .form = "UID",
	 .help = "The user that it runs as. Required."},
	{.f = {.name = "gid",
	       .type = OPT_U32,
	       .offset = offsetof(struct jail, gid),
	       .max = UINT32_MAX - 1},
	 .form = "GID",
	 .help = "Its group, and the only one. Required."},
	{.f = {.name = "chroot-base-dir",
	       .type = OPT_STRING,
	       .offset = offsetof(struct jail, base_dir)},
	 .form = "DIR",
	 .help = "The root is made in DIR, as NAME/ID/root.",
	 .def = "/srv/jailer"},
	{.f = {.name = "cgroup-version",
	       .type = OPT_WORD,
	       .offset = offsetof(struct jail, cgroup_version),
	       .words = versions},
	 .form = "1|2",
	 .help = "The hierarchy of control groups that --cgroup is about.",
	 .def = "where the host has the first controller"},
	{.f = {.name = "cgroup", .type = OPT_CALL, .set = set_cgroup},
	 .form = "FILE=VALUE",
	 .help = "Writes VALUE to FILE of the program's own control group, such as "
		 "cpuset.cpus=0-1. May be given several times.",
	 .repeat = true},
	{.f = {.name = "parent-cgroup", .type = OPT_CALL, .set = set_parent_cgroup},
	 .form = "PATH",
	 .help = "The control group is made in PATH, as ID. Without --cgroup (version 2 only) the "
		 "program runs in PATH itself, which must be there.",
	 .def = "the program's name"},
	{.f = {.name = "netns", .type = OPT_STRING, .offset = offsetof(struct jail, netns)},
	 .form = "FILE",
	 .help = "The network namespace to join, such as /run/netns/NAME."},
	{.f = {.name = "new-pid-ns", .type = OPT_FLAG, .offset = offsetof(struct jail, new_pid_ns)},
	 .help = "The program is a child, the first process of a new PID namespace. Its PID is in "
		 "NAME.pid in the root."},
	{.f = {.name = "daemonize", .type = OPT_FLAG, .offset = offsetof(struct jail, daemonize)},
	 .help = "The program has a session of its own, and /dev/null as its first three "
		 "descriptors."},
	{.f = {.name = "resource-limit", .type = OPT_CALL, .set = set_limit},
	 .form = "fsize=BYTES|no-file=N",
	 .help = "The largest file that it may write; the number that descriptors stay below. May "
		 "be given once for each.",
	 .def = "no-file=2048",
	 .repeat = true},
	{.f = {.name = "keep-fd", .type = OPT_CALL, .set = set_fd},
	 .form = "N",
	 .help = "Leaves descriptor N open. May be given several times.",
	 .def = "0, 1 and 2 only",
	 .repeat = true},
	{.f = {.name = NULL}},
};

static const struct opt_command command = {
	.name = "jail",
	.synopsis = "--id ID --uid UID --gid GID [OPTIONS] -- [ARGUMENTS]",
	.summary =
		"Starts catnap, or another program, in an empty root with its own ids, namespaces, "
		"control group and limits. ARGUMENTS are the program's: for catnap a command and "
		"its options.",
	.options = options,
	.notes = "Exit status: that of the program, as which this process goes on; 0 with "
		 "--new-pid-ns, or --daemonize if that takes a child; 1 a step failed, and what "
		 "the others had made is gone; 2 wrong command line.\n",
};

/* -- the whole -------------------------------------------------------------------------------- */

/* Names the program by the last part of the path, for a file in the root and a folder in the
 * base. */
static int name_program(struct jail *j, struct opts *o)
{
	const char *path = j->exec_file ? j->exec_file : "catnap";
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;

	if (!*name || strlen(name) > JAIL_NAME || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return opts_fail(o, "--exec-file: %s: has no name: expected a program's file",
				 path);
	snprintf(j->name, sizeof(j->name), "%s", name);
	return 0;
}

static int check(struct opts *o, struct jail *j)
{
	static const char *const required[] = {"id", "uid", "gid"};

	for (size_t i = 0; i < sizeof(required) / sizeof(required[0]); i++)
		if (!opts_given(o, required[i]))
			return opts_fail(o, "--%s: is missing: expected catnap jail %s",
					 required[i], command.synopsis);
	if (name_program(j, o))
		return -EINVAL;
	if (!j->exec_file && !j->n_args)
		return opts_fail(o, "--: no command: expected what catnap is to do in the jail, "
				    "such as -- run --kernel FILE");
	if (j->cgroup_version == 1 && !j->n_cgroups)
		return opts_fail(o,
				 "--cgroup-version: has no effect without --cgroup: expected both");
	return 0;
}

int jail_options(struct jail *j, int argc, char **argv)
{
	struct opts *o = &j->opts;
	int own = 1, status;

	/* The arguments that follow are another program's, and nothing here looks at them. */
	if (argc > 1 && strcmp(argv[1], "--complete") == 0)
		own = argc;
	while (own < argc && strcmp(argv[own], "--") != 0)
		own++;
	if (own < argc) {
		j->args = argv + own + 1;
		j->n_args = (size_t)(argc - own - 1);
	}
	status = opts_command(o, &command, own, argv, j);
	if (status < 0 && check(o, j)) {
		fprintf(stderr, "%s\n", o->error);
		status = CMD_USAGE;
	}
	return status;
}

void jail_options_free(struct jail *j)
{
	for (size_t i = 0; i < j->n_cgroups; i++) {
		free(j->cgroups[i].file);
		free(j->cgroups[i].controller);
		free(j->cgroups[i].value);
	}
	opts_free(&j->opts);
}
