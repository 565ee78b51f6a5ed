/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `catnap ctl SOCKET COMMAND [SETTINGS]`: what its commands have in common. A command is a row of
 * the table in ctl.c; its settings are a list of key=value, as in options.
 */
#ifndef CLI_CTL_CTL_H
#define CLI_CTL_CTL_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/ctl/client.h"
#include "cli/opts.h"

/* One invocation. */
struct ctl {
	struct client *client;
	struct opts *opts;	 /* holds the texts of settings, and their error */
	struct opt_arg settings; /* .text NULL: none were given */
	uint64_t limit_ns;
	bool json;
	bool diff; /* of snapshot */
	int then;  /* of snapshot; 0: not given */
};

struct ctl_command {
	const char *name;
	const char *form;    /* of its settings, for its help; NULL: it takes none */
	const char *summary; /* a line, for the list of all */
	const char *more;    /* paragraphs for its own help, each line below 80 columns; or NULL */
	int (*run)(struct ctl *ctl);
	const struct opt_field *keys; /* of its settings, for completion; NULL: those of form */
};

extern const struct ctl_command ctl_status, ctl_pause, ctl_resume, ctl_stop, ctl_power_button;
extern const struct ctl_command ctl_halt_poll, ctl_disk, ctl_net, ctl_fs, ctl_balloon;
extern const struct ctl_command ctl_memory, ctl_snapshot;
extern const struct ctl_command ctl_events, ctl_metrics, ctl_config, ctl_threads;

/* The words of --then. */
extern const struct opt_word *const ctl_snapshot_thens;

/* request.c. Each returns an exit status, and has said what is wrong. */

/* Says that the settings are wrong: ctl->opts->error. */
int ctl_usage(struct ctl *ctl);
/* Makes a request that answers nothing; @body is put. */
int ctl_send(struct ctl *ctl, const char *method, const char *path, struct json_object *body);
/* Makes a GET of @path into @a, whose json is an object; free it in any case. */
int ctl_get(struct ctl *ctl, const char *path, struct client_answer *a);
/* Prints an answer as it came, and a newline. */
int ctl_print_json(const struct client_answer *a);
/* Makes a GET of @path, and prints the answer: as it came with --json, else by @print. */
int ctl_show(struct ctl *ctl, const char *path, int (*print)(struct json_object *o));
/* The resources that are told of while they are there. */
struct ctl_kind {
	const char *what;   /* as /catnap/devices has it: "disk" */
	const char *folder; /* "/drives/", where they are by their ids */
	/* The document that has them, the list in it, and the member that is an id. */
	const char *where, *list, *key;
};

/* Asks the VM to let go of @id, and waits until it is not told of any more; for some seconds. */
int ctl_remove(struct ctl *ctl, const struct ctl_kind *kind, const char *id);
/* Writes "/drives/" and the id, escaped for a path, into @buf. */
const char *ctl_path(char *buf, size_t size, const char *folder, const char *id);

#endif
