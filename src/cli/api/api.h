/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The things that the control socket's requests are about: one VM, its configuration as Firecracker
 * has it, and the command that owns both. `catnap serve` has no VM at first, and makes one of the
 * model when it is told to; `catnap run` has one, and fills the model from its options.
 *
 * Resources reach the VM by the public library alone. One thread's, that of the control socket's
 * loop.
 */
#ifndef CLI_API_API_H
#define CLI_API_API_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include <catnap/catnap.h>
#include "cli/api/model.h"
#include "cli/api/own.h"
#include "cli/api/reply.h"
#include "cli/place.h"

/* The version of Firecracker whose API this is, as its clients parse it. */
#define FC_VERSION "1.17.0"

struct http_request;

/* The members of /snapshot/load. Texts are the request's. */
struct api_load {
	const char *state, *memory; /* paths */
	bool uffd;		    /* memory is the socket of who serves it */
	const char *vsock;	    /* NULL: as it was */
	bool clock_realtime, track_dirty, resume;
	struct {
		const char *id, *tap;
	} nets[FC_MAX_NETS];
	uint32_t n_nets;
};

/* The functions that the command has for the API; NULL: it cannot do that. @ctx is that of struct
 * api. */
struct api_owner {
	/* Makes the VM of the model and starts it: api->vm is there then. Returns 0, or -EINVAL with
	 * @r answered and the model as before. */
	int (*start)(void *ctx, struct reply *r);
	/* Makes a VM of a snapshot, and starts it, in a pause unless it is to be resumed. The same. */
	int (*load)(void *ctx, struct reply *r, const struct api_load *load);
	/* Writes the metrics now. Returns 0, or -EINVAL with @r answered. */
	int (*flush_metrics)(void *ctx, struct reply *r);
	/* Puts into force what /logger and /metrics have changed. Returns the same. */
	int (*set_logger)(void *ctx, struct reply *r, const struct fc_logger_change *change);
	int (*set_metrics)(void *ctx, struct reply *r, const struct fc_metrics_setting *setting);
	/* Starts the program that serves a folder. Stores a connection with it. 0, or -errno with a
	 * sentence in @why. NULL: none is started. */
	int (*start_folder)(void *ctx, const struct fc_fs *folder, int *connection, char *why,
			    size_t size);
	/* A message for the log. NULL: there is none. */
	void (*log)(void *ctx, enum catnap_log_level level, struct place place,
		    const char *message);
	/* How often /balloon/statistics is to be asked for; 0: not. */
	void (*set_balloon_interval)(void *ctx, uint64_t seconds);
};

struct api {
	struct catnap_vm *vm; /* NULL before the start */
	const char *id;	      /* of the VM, for people; "" at least */
	struct fc_model model;
	struct own own;
	const struct api_owner *owner;
	void *ctx;		  /* the owner's */
	bool snapshots;		  /* files may be made for them */
	struct api_pause *pauses; /* requests that wait for the VM to stand still, see pause.c */
};

/* Sets *@api up, with an empty model and no VM. api_free() must follow, before the VM's end. */
void api_init(struct api *api, const char *id, const struct api_owner *owner, void *ctx);
void api_free(struct api *api);

/* Writes to the owner's log a line of the place where this is written. */
#define api_log(api, level, ...) api_log_at(api, level, PLACE_HERE, __VA_ARGS__)
void api_log_at(struct api *api, enum catnap_log_level level, struct place place,
		const char *format, ...) __attribute__((format(printf, 4, 5)));

/* pause.c: pauses the VM. @r is answered, or later, once it stands still. */
void api_pause(struct api *api, struct reply *r);
/* Tells those who still wait that it goes on. */
void api_resumed(struct api *api);
/* Returns a descriptor that is readable when api_pause_dispatch() has something to do; -1: none. */
int api_pause_fd(const struct api *api);
void api_pause_dispatch(struct api *api);
/* Tells those who still wait that the VM has ended, as the server ends. */
void api_pause_free(struct api *api);

#endif
