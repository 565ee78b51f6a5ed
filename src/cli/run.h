/* SPDX-License-Identifier: Apache-2.0 */
/* `catnap run`: between its files. */
#ifndef CLI_RUN_H
#define CLI_RUN_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <catnap/catnap.h>
#include "cli/answer_socket.h"
#include "cli/log.h"
#include "cli/opts.h"
#include "cli/output.h"
#include "cli/port.h"
#include "cli/rescue.h"

/* Exit statuses of `catnap run` beyond those of every command; interface documented in
 * catnap-run(1). */
enum {
	RUN_POWEROFF = 0,
	RUN_RESET = 32,
	RUN_FAULT = 33,
	RUN_PANIC = 34,
	RUN_BASE_END = 123, /* the last that a guest may say where it has a base */
	RUN_TIMEOUT = 124,
	RUN_SIGNAL = 128, /* + the signal's number */
};

/* --guest-halt-poll: Linux's own, by the command line and CPUID. */
enum guest_poll_mode { GUEST_POLL_OFF, GUEST_POLL_FORCE, GUEST_POLL_REALTIME };
#define GUEST_POLL_UNSET UINT32_MAX /* left to the guest */

struct guest_halt_poll {
	int mode;
	uint32_t ns, grow, grow_start, shrink;
	int allow_shrink; /* -1: unset */
	int host;	  /* 1: the host polls for the break-even time after the guest gave up */
};

#define RUN_MAX_DISKS 15 /* and the entropy device */

struct run_disk {
	const char *path, *id;
	bool readonly, direct, lock;
	int format;	 /* enum catnap_disk_format */
	uint32_t queues; /* 0: one for each vCPU */
	struct catnap_rate_limit limit;
};

#define RUN_MAX_NETS 8

struct run_net {
	const char *tap;
	uint8_t mac[6]; /* zeroes: not given */
	uint32_t queues, mtu;
	struct catnap_rate_limit limit;
};

struct run_cfg {
	const char *kernel, *cmdline; /* kernel NULL: only dump_acpi, dump_dtb are wanted */
	const char *initramfs, *dump_acpi, *dump_dtb;
	int hw, transport, io;
	bool rng;
	struct run_disk disks[RUN_MAX_DISKS];
	uint32_t n_disks;
	struct run_net nets[RUN_MAX_NETS];
	uint32_t n_nets;
	struct {
		uint32_t cid; /* 0: none */
		const char *socket;
	} vsock;
	struct {
		bool on, deflate_on_oom;
		uint64_t size;
		const char *socket; /* NULL: none */
	} balloon;
	struct guest_halt_poll guest_poll;
	uint32_t cpus;
	int32_t affinity[CATNAP_MAX_VCPUS];
	bool pinned;
	uint64_t memory;
	int irqchip, image_kind;
	struct catnap_halt_poll halt_poll; /* of all vCPUs */
	const char *halt_poll_tuning;	   /* a key of it that only irqchip user has; NULL: none */
	bool halt_poll_given;		   /* for all vCPUs */
	bool halt_poll_named;		   /* its policy was given */
	struct {
		int vcpu;
		struct catnap_halt_poll params;
	} vcpu_halt_poll[CATNAP_MAX_VCPUS];
	uint32_t n_vcpu_halt_poll;
	uint32_t debug_exit;	  /* UINT32_MAX: off */
	uint32_t debug_exit_base; /* 0: the status is value << 1 | 1 */
	uint64_t timeout_ns;	  /* 0: none */
	uint64_t begin_ns;	  /* when the command was given: what is loaded counts, too */
	const char *stats, *stats_socket, *halt_trace, *log_file;
	int log_level;
	bool verbose;
	enum port_kind serial, console; /* console PORT_NULL: no such device */
	const char *serial_path, *console_path;
	int sandbox;	    /* enum catnap_sandbox_mode */
	bool sandbox_given; /* not the default: then it is an error if it cannot be had */
	const char *chroot_dir;
	bool change_user;
	uint32_t uid, gid;
};

/* Everything that is open while the VM runs. */
struct run_io {
	struct outputs outputs;
	struct output log, trace, stats;
	struct log messages;
	bool stuck;	  /* a vCPU did not come back: what it may touch is not to be taken apart */
	struct port port; /* the serial port's other end */
	struct port console;
	struct answer_socket stats_socket, balloon_socket;
	uint64_t deadline; /* of --timeout, as now_ns(): it counts from the command's begin */
	struct catnap_keeper *keeper; /* NULL: nobody needs one */
	struct rescue *rescue;	      /* NULL: standard input is no terminal, or not the guest's */
};

/* Descriptors that were open when the program began. */
struct run_inherited {
	int *fds;
	size_t n;
};

/* run_linux.c */
void guest_halt_poll_init(struct guest_halt_poll *g);
int guest_halt_poll_set(struct opts *o, const struct opt_arg *arg, struct guest_halt_poll *g);
/* What it adds to the command line, for the caller to free; NULL: no memory. */
char *guest_halt_poll_cmdline(const struct guest_halt_poll *g);
/* Writes what --dump-acpi and --dump-dtb ask for. A status, after a line on stderr. */
int run_dump(struct catnap_vm *vm, const struct run_cfg *cfg, struct outputs *outputs);
/* Tells @f of the files that --dump-acpi makes. 0 or -ENOMEM. */
int run_compare_tables(const struct run_cfg *cfg, struct files *f);

/* run_outputs.c */

/* Tells @outputs of all files of the command line, and compares them. A status. */
int run_compare_files(const struct run_cfg *cfg, struct outputs *outputs);

/* run_devices.c: --disk, --net and so on; and all devices, added to @vm. An exit status, after a
 * message. */
int run_set_disk(struct opts *o, const struct opt_arg *arg, void *cfg);
int run_set_net(struct opts *o, const struct opt_arg *arg, void *cfg);
int run_set_vsock(struct opts *o, const struct opt_arg *arg, void *cfg);
int run_set_balloon(struct opts *o, const struct opt_arg *arg, void *cfg);
int run_set_serial(struct opts *o, const struct opt_arg *arg, void *cfg);
int run_set_console(struct opts *o, const struct opt_arg *arg, void *cfg);
int run_add_devices(struct catnap_vm *vm, const struct run_cfg *cfg, struct run_io *io);

/* run_sandbox.c */
int run_set_user(struct opts *o, const struct opt_arg *arg, struct run_cfg *cfg);
/* The mode of the threads' filters here: what was asked for, or off after a warning. CMD_OK, or
 * CMD_ERROR after a line on stderr. */
int run_sandbox_filters(const struct run_cfg *cfg, const struct catnap_vm_config *vc,
			uint32_t *filters);
/* Closes the process in, once everything is open and before there are threads. The same. */
int run_sandbox_enter(const struct run_cfg *cfg, const struct catnap_vm_config *vc,
		      const struct run_io *io);
/* What the main thread will do for the ports: CATNAP_SANDBOX_ALLOW_*. */
uint32_t run_sandbox_allow(const struct run_io *io);

/* run_effect.c: -EINVAL (o->error) if an option was given that does nothing beside the others. */
int run_check_effects(struct opts *o, const struct run_cfg *cfg);

/* run_status.c: the exit status that an ended VM has; what could be mistaken is said. */
int run_status(const struct run_cfg *cfg, struct run_io *io, const struct catnap_exit *e);

/* run_close.c. The keeper, before anything is opened, and its end, after the VM's. CMD_OK, or
 * CMD_ERROR after a line on stderr. */
int run_keeper_start(const struct run_cfg *cfg, struct run_io *io);
void run_keeper_stop(struct run_io *io);
/* Before anything is opened; and once all is, for an option may have named one (/dev/fd/3). */
void run_inherited_note(struct run_inherited *inherited);
void run_inherited_close(struct run_inherited *inherited);
/* Resources, once all is open. */
void run_limit(const struct run_cfg *cfg);

/* run_loop.c: runs @vm to its end, with input, signals and timeout. Returns the exit status. */
int run_loop(struct catnap_vm *vm, const struct run_cfg *cfg, struct run_io *io);

/* run_end.c: after the end @e, says and writes what is left. @why: as run_loop() has it, 0: by
 * itself;
 * @signals: a signalfd(2). The exit status. */
int run_finish(struct catnap_vm *vm, const struct run_cfg *cfg, struct run_io *io,
	       const struct catnap_exit *e, int why, int signals);

/* balloon_socket.c: what whoever asks @vm's balloon is answered. For the caller to free; NULL: no
 * memory. */
char *balloon_answer(struct catnap_vm *vm, const char *request, size_t *len);

/* stats_json.c: all statistics of @vm as one JSON document on a line, while it
 * runs. For the caller to free; NULL: no memory. */
char *stats_text(struct catnap_vm *vm, const struct run_cfg *cfg, size_t *len);
/* The same at the end, in a form for people, too. */
char *stats_document(struct catnap_vm *vm, const struct run_cfg *cfg,
		     const struct catnap_exit *exit, size_t *len);

#endif
