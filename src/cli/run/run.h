/* SPDX-License-Identifier: Apache-2.0 */
/* `catnap run`: between its files. */
#ifndef CLI_RUN_H
#define CLI_RUN_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <catnap/catnap.h>
#include "cli/log.h"
#include "cli/opts_guest.h"
#include "cli/output.h"
#include "cli/price_file.h"
#include "cli/run/api.h"
#include "cli/run/helper.h"
#include "cli/run/own_kernel.h"
#include "cli/run/port.h"
#include "cli/run/rescue.h"
#include "cli/snapshot_files.h"

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
enum run_guest_poll_mode { GUEST_POLL_OFF, GUEST_POLL_FORCE, GUEST_POLL_REALTIME };

struct run_guest_halt_poll {
	int mode;
	bool by_price; /* ns was not given: it is made of the price of a sleep */
	uint32_t ns, grow, grow_start_ns, shrink; /* GUEST_POLL_UNSET: left to the guest */
	int allow_shrink;			  /* -1: unset */
	int host;				  /* enum catnap_after_guest */
	bool host_given;
};

#define RUN_MAX_DISKS 15 /* and the entropy device */
#define RUN_MAX_PMEMS 15

#define RUN_MAX_NETS 8

#define RUN_MAX_VHOSTS 15 /* folders, and types that only the back end knows */

/* Given, or needed by a back end: then it is on. */
enum run_shared { SHARED_UNSET, SHARED_ON, SHARED_OFF };

enum run_cache { CACHE_AUTO, CACHE_ALWAYS, CACHE_NONE };

#define RUN_IRQCHIP_AUTO (CATNAP_IRQCHIP_KERNEL + 1)

#define RUN_FORWARDS 512 /* bytes of a list of ports */

struct run_net {
	bool made;				   /* tap=auto: an interface is made for it */
	const char *bridge;			   /* on which that is put; NULL: none */
	bool passt;				   /* a program of our own has the other end */
	char tcp[RUN_FORWARDS], udp[RUN_FORWARDS]; /* its ports that lead to the guest; "": none */
	const char *stream; /* where somebody has it, over a stream; NULL: nowhere */
	const char *back;   /* a back end's socket instead; NULL: none */
	bool leave;	    /* it is not taken back */
	const char *tap;    /* NULL: the descriptors */
	int32_t fds[CATNAP_MAX_NET_QUEUES];
	uint32_t n_fds;
	uint8_t mac[6]; /* zeroes: not given */
	uint32_t queues, mtu;
	struct catnap_rate_limit rx_limit, tx_limit;
};

struct run_cfg {
	const char *config; /* a file with options */
	bool print_config, print_schema;
	const char *name;	      /* NULL: none */
	const char *kernel, *cmdline; /* kernel NULL: only dump_acpi, dump_dtb are wanted */
	const char *initramfs, *dump_acpi, *dump_dtb;
	int hw, transport, io;
	struct {
		bool on, limited;
		struct catnap_rate_limit limit; /* if it is limited */
	} rng;
	struct {
		const char *dir;     /* a snapshot's, in the place of a kernel; NULL: none */
		int memory;	     /* enum catnap_memory_mode */
		const char *handler; /* of memory=uffd */
		int clock, forget;
		bool paused;
		/* Names that the snapshot has given to options; run_restore_close() frees them. */
		char *places[RUN_MAX_DISKS + RUN_MAX_NETS + 1];
		unsigned int n_places;
	} restore;
	const char
		*snapshots; /* the folder in which snapshots may be made; NULL: none in a sandbox */
	bool pci_hotplug;   /* devices come and go while the guest runs */
	const char *hotplug_dir; /* where images of disks may be that come then; NULL: anywhere, but
				  * in a sandbox nowhere */
	bool track_dirty;
	bool dump_memory; /* in core dumps */
	int on_reset;
	struct catnap_disk disks[RUN_MAX_DISKS];
	struct {
		const char *socket; /* NULL: none */
		bool leave;	    /* it is not taken back */
	} backs[RUN_MAX_DISKS];	    /* of disks */
	uint32_t n_disks;
	struct catnap_pmem pmems[RUN_MAX_PMEMS];
	uint32_t n_pmems;
	struct run_net nets[RUN_MAX_NETS];
	uint32_t n_nets;
	struct run_vhost {
		struct catnap_vhost back;
		/* Of a folder that is served by a program of our own; NULL: it has a socket. */
		const char *path;
		bool readonly;
		int cache; /* of enum run_cache */
	} vhosts[RUN_MAX_VHOSTS];
	uint32_t n_vhosts;
	struct {
		uint32_t cid; /* 0: none */
		const char *socket;
		int32_t fd; /* -1: none */
	} vsock;
	struct {
		bool on, deflate_on_oom;
		uint64_t size;
	} balloon;
	struct run_guest_halt_poll guest_poll;
	uint32_t cpus;
	int32_t affinity[CATNAP_MAX_VCPUS];
	bool pinned;
	uint64_t memory;
	int memory_pages;  /* enum catnap_memory_pages */
	int memory_shared; /* enum run_shared */
	bool memory_prefault, memory_lock;
	uint64_t memory_host_nodes; /* bit n: node n; 0: any */
	struct catnap_node nodes[CATNAP_MAX_NODES];
	uint32_t n_nodes;
	struct catnap_hotplug hotplug; /* max 0: none */
	int irqchip;	      /* enum catnap_irqchip, or RUN_IRQCHIP_AUTO before it is chosen */
	char irqchip_why[96]; /* the reason for what was chosen; "": it was given */
	int image_kind;
	struct {
		bool on; /* the kernel is the first disk's own */
		bool list;
		bool cmdline_given; /* in the place of the entry's */
		const char *entry;  /* NULL: the default */
	} own;
	struct catnap_halt_poll halt_poll; /* of all vCPUs */
	const char *halt_poll_tuning;	   /* a key of it that only irqchip user has; NULL: none */
	const char *halt_poll_weighing;	   /* one that policy adaptive has with both */
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
	const char *stats, *halt_trace, *log_file;
	const char *api_socket; /* NULL: none, or */
	int32_t api_fd;		/* its descriptor; -1 */
	/* The options as a file, for who asks at the socket; NULL: not known, or nobody can. */
	struct json_object *document;
	int log_level;
	bool verbose;
	enum run_port_kind serial, console; /* console PORT_NULL: no such device */
	const char *serial_path, *console_path;
	int serial_fd, console_fd; /* PORT_FD */
	int sandbox;		   /* enum catnap_sandbox_mode */
	bool sandbox_given;	   /* not the default: then it is an error if it cannot be had */
	const char *chroot_dir;
	bool change_user;
	uint32_t uid, gid;
};

/* Everything that is open while the VM runs. */
struct run_io {
	struct outputs outputs;
	struct output log, trace, stats;
	struct output working_set; /* that is recorded; -1: none is */
	char *working_set_path;
	struct log messages;
	bool stuck; /* a vCPU did not come back: what it may touch is not to be taken apart */
	char stuck_why[256];  /* which one, as catnap_vm_wait() said it */
	struct run_port port; /* the serial port's other end */
	struct run_port console;
	struct helpers helpers;
	bool closed_in;
	int folders;	     /* who starts some of them in the sandbox, see folders.h; -1: nobody */
	struct run_api *api; /* NULL: there is no control socket */
	bool snapshots;	     /* the control socket's clients may have some made */
	bool images;	     /* and images opened */
	struct snapshot_files *snapshot; /* that is restored */
	struct own_kernel *own;
	struct price_file price;
	int service;	   /* the manager to tell, see cli/service.h; -1: none */
	uint64_t deadline; /* of --timeout, as now_ns(): it counts from the command's begin */
	struct catnap_keeper *keeper; /* NULL: nobody needs one */
	struct run_rescue *rescue;    /* NULL: standard input is no terminal, or not the guest's */
};

/* Returns whether there is to be a guest; else something is only written. */
static inline bool run_starts(const struct run_cfg *cfg)
{
	return cfg->kernel || cfg->restore.dir || cfg->own.on;
}

/* Descriptors that were open when the program began. */
struct run_inherited {
	int *fds;
	size_t n;
};

/* linux.c */
void run_guest_halt_poll_init(struct run_guest_halt_poll *g);
int run_guest_halt_poll_set(struct opts *o, const struct opt_arg *arg,
			    struct run_guest_halt_poll *g);
/* Makes the window of @price, unless it was given. @policy: the host's. */
void run_guest_halt_poll_settle(struct run_guest_halt_poll *g, struct host_price price,
				uint32_t policy);
/* Returns what it adds to the command line, for the caller to free; NULL: no memory. */
char *run_guest_halt_poll_cmdline(const struct run_guest_halt_poll *g);
/* Writes what --dump-acpi and --dump-dtb ask for. A status, after a line on stderr. */
int run_dump(struct catnap_vm *vm, const struct run_cfg *cfg, struct outputs *outputs);
/* Tells @f of the files that --dump-acpi makes. 0 or -ENOMEM. */
int run_compare_tables(const struct run_cfg *cfg, struct files *f);

/* outputs.c */

/* Tells @outputs of all files of the command line, and compares them. A status. */
int run_compare_files(const struct run_cfg *cfg, struct outputs *outputs);

/* memory.c: --memory. */
extern const struct opt_field run_memory_keys[];
int run_set_memory(struct opts *o, const struct opt_arg *arg, void *cfg);
/* Fills in the configuration's memory. */
void run_fill_memory(struct catnap_vm_config *vc, const struct run_cfg *cfg);

/* numa.c: --numa. The third returns -EINVAL (o->error) if the nodes are not all of the vCPUs and of
 * the memory, each once. */
extern const struct opt_field run_numa_keys[];
int run_set_numa(struct opts *o, const struct opt_arg *arg, void *cfg);
int run_check_numa(struct opts *o, const struct run_cfg *cfg);
/* Parses a list of numbers up to 63, such as 0-1 or 0:2, as bits. @what they are: "nodes". */
int run_parse_mask(struct opts *o, const struct opt_arg *arg, const char *what, uint64_t *mask);

/* vhost.c: devices whose back end is another process. */
extern const struct opt_field run_fs_keys[], run_vhost_keys[];
extern const struct opt_word run_reconnect[];
int run_set_fs(struct opts *o, const struct opt_arg *arg, void *cfg);
int run_set_vhost(struct opts *o, const struct opt_arg *arg, void *cfg);
/* Returns whether there is one. */
bool run_has_backs(const struct run_cfg *cfg);
/* Returns -EINVAL (o->error) if it would not get the guest's memory. */
int run_check_backs(struct opts *o, const struct run_cfg *cfg);
/* Checks where the back end of a disk or an interface is: a socket's path, or fd=N, a connection,
 * which cannot be made again (@leave: "reconnect=off" has no effect). NULL: there is none. */
int run_check_back(struct opts *o, const char *option, const char *back, bool leave);
/* Add the disk or the interface number @i, which has a back end. Return 0 or what the library
 * returns. */
int run_add_back_disk(struct catnap_vm *vm, const struct run_cfg *cfg, uint32_t i);
int run_add_back_net(struct catnap_vm *vm, const struct run_net *net);
/* Starts virtiofsd for the folder v->path. Stores a connection with it. 0, or -errno with a sentence
 * in @why. */
int run_start_folder(const struct run_vhost *v, struct helpers *h, int *connection, char *why,
		     size_t size);
/* Starts it for the open @folder, which it finds at @place, in mounts of its own. */
int run_place_folder(const struct run_vhost *v, int folder, const char *place, struct helpers *h,
		     int *connection, char *why, size_t size);
/* Writes why v->path could not be opened. Returns @error, which is negative. */
int run_no_folder(const struct run_vhost *v, int error, char *why, size_t size);
/* Adds a folder, or a device of another type. Returns a status, after a message. */
int run_add_vhost(struct catnap_vm *vm, const struct run_vhost *v, struct run_io *io);

/* passt.c: take its ports from an option, and start it; then *connection leads to it. A status,
 * after a message. */
int run_set_forward(struct opts *o, const struct opt_arg *arg, struct run_net *net);
int run_start_passt(const struct run_net *net, struct run_io *io, int *connection);

/* tap.c: makes an interface for @net; its queues' descriptors are the caller's. A status, after a
 * message. */
int run_make_tap(const struct run_net *net, int32_t fds[CATNAP_MAX_NET_QUEUES]);

/* options.c: the command with its options, and what holds without them, as of now. */
extern const struct opt_command run_command;
void run_cfg_init(struct run_cfg *cfg);

/* irqchip.c: makes RUN_IRQCHIP_AUTO one of the two, which takes a second or two where this host was
 * not measured since its boot. */
void run_choose_irqchip(struct run_cfg *cfg);
/* Says what was chosen, to who wants to know. */
void run_say_irqchip(const struct run_cfg *cfg, struct run_io *io);

/* complete.c: takes what is no option and what the configuration file has, and checks whether all
 * goes together. Returns 0, or -EINVAL or -ETIMEDOUT with a sentence in o->error. */
int run_complete(struct opts *o, struct run_cfg *cfg);
/* Returns when --timeout is over, by now_ns(); UINT64_MAX: there is none. */
uint64_t run_deadline(const struct run_cfg *cfg);
/* Do --print-schema and --print-config. Return an exit status, after a message. */
int run_print_schema(void);
int run_print_config(const struct opts *o);
/* Returns the same as a document, for the caller to put; NULL: it cannot be one, or no memory. */
struct json_object *run_config_document(struct opts *o);

/* devices.c: --disk, --net and so on; and all devices, added to @vm. An exit status, after a
 * message. */
/* The keys of options, for configuration files. */
extern const struct opt_field run_disk_keys[], run_net_keys[], run_vsock_keys[], run_balloon_keys[];
extern const struct opt_field run_pmem_keys[];
extern const struct opt_field run_rng_keys[];
extern const struct opt_field run_guest_halt_poll_keys[];

int run_set_disk(struct opts *o, const struct opt_arg *arg, void *cfg);
int run_set_net(struct opts *o, const struct opt_arg *arg, void *cfg);
int run_set_vsock(struct opts *o, const struct opt_arg *arg, void *cfg);
int run_set_balloon(struct opts *o, const struct opt_arg *arg, void *cfg);
/* pmem.c. The second adds all of them to the VM, before its start. Returns an exit status, after a
 * message. */
int run_set_pmem(struct opts *o, const struct opt_arg *arg, void *cfg);
int run_add_pmems(struct catnap_vm *vm, const struct run_cfg *cfg);
int run_set_hotplug(struct opts *o, const struct opt_arg *arg, void *cfg);
int run_set_rng(struct opts *o, const struct opt_arg *arg, void *cfg);
int run_set_serial(struct opts *o, const struct opt_arg *arg, void *cfg);
int run_set_api_socket(struct opts *o, const struct opt_arg *arg, void *cfg);
int run_set_console(struct opts *o, const struct opt_arg *arg, void *cfg);
int run_add_devices(struct catnap_vm *vm, const struct run_cfg *cfg, struct run_io *io);
/* Makes what the host has of @n. @made: room for descriptors of an interface that is made. Returns a
 * status, after a message. */
int run_open_net(const struct run_net *n, struct run_io *io, int32_t *made, struct catnap_net *net);
/* Fills *@console: it is at @port. */
void run_console(struct catnap_console *console, struct run_port *port);

/* restore.c: --restore. */
extern const struct opt_field run_restore_keys[];
int run_set_restore(struct opts *o, const struct opt_arg *arg, void *cfg);
/* Checks that no option was given for what is the snapshot's; else it is -EINVAL, and o->error. */
int run_check_restore(struct opts *o, const struct run_cfg *cfg);
/* Opens the snapshot, and takes what it has into @cfg; with no --restore there is nothing to do.
 * run_restore_close() has to follow in any case. A status, after a message. */
int run_restore_open(struct run_cfg *cfg, struct snapshot_files *files);
void run_restore_close(struct run_cfg *cfg, struct snapshot_files *files);
/* Makes the VM, in the place of catnap_vm_create() and of run_add_devices(). Returns 0, -errno with a
 * sentence, or a status after a message. */
int run_restore_vm(const struct catnap_vm_config *vc, const struct run_cfg *cfg, struct run_io *io,
		   struct catnap_vm **vm);
/* Opens the file for what the guest touches, if that is to be recorded. A status, after a message. */
int run_working_set_open(const struct run_cfg *cfg, struct run_io *io);
/* Writes it and closes it; nothing if it is not open. Returns false, after a message, if it could not
 * be written. */
bool run_working_set_write(struct catnap_vm *vm, struct run_io *io, struct way_out *w);
void run_working_set_close(struct run_io *io);

/* sandbox.c */
int run_set_user(struct opts *o, const struct opt_arg *arg, struct run_cfg *cfg);
/* Finds the mode of the threads' filters here: what was asked for, or off after a warning. Returns
 * CMD_OK, or CMD_ERROR after a line on stderr. */
int run_sandbox_filters(const struct run_cfg *cfg, const struct catnap_vm_config *vc,
			uint32_t *filters);
/* Checks that the folders that options name are there. The same. */
int run_check_folders(const struct run_cfg *cfg);
/* Closes the process in, once everything is open and before there are threads. The same. */
int run_sandbox_enter(const struct run_cfg *cfg, const struct catnap_vm_config *vc,
		      const struct run_io *io);
/* Returns what the main thread will do for the ports: CATNAP_SANDBOX_ALLOW_*. */
uint32_t run_sandbox_allow(const struct run_io *io);

/* effect.c: returns -EINVAL (o->error) if an option was given that does nothing beside the
 * others. */
int run_check_effects(struct opts *o, const struct run_cfg *cfg);

/* status.c: returns the exit status that an ended VM has, and says what could be mistaken. */
int run_status(const struct run_cfg *cfg, struct run_io *io, const struct catnap_exit *e);

/* close.c: start the keeper, before anything is opened, and end it, after the VM's end. Returns
 * CMD_OK, or CMD_ERROR after a line on stderr. */
int run_keeper_start(const struct run_cfg *cfg, struct run_io *io);
void run_keeper_stop(struct run_io *io);
/* Notes what is open, before anything is opened, and closes it once all is, for an option may have
 * named one (/dev/fd/3). */
void run_inherited_note(struct run_inherited *inherited);
void run_inherited_close(struct run_inherited *inherited);
/* Keeps those that options name as fd=N. */
void run_inherited_keep(struct run_inherited *inherited, const struct run_cfg *cfg);

/* given.c: finds the descriptors that options name as fd=N. Returns number @i of them, with its
 * option; -1: there are not so many. */
int run_given(const struct run_cfg *cfg, unsigned int i, const char **option);
/* Returns -EINVAL (o->error) if one of them is not open, or was given twice. */
int run_check_given(struct opts *o, const struct run_cfg *cfg);
/* Returns the descriptor that a back end's place is, fd=N; -1: it is a socket's path, or NULL. */
int run_back_fd(const char *back);
/* Takes "fd=N" as the value of an option. Returns N, or -1: it is something else; *bad: it is no
 * descriptor's. */
int run_given_fd(const char *text, bool *bad);
/* Limits resources, once all is open. */
void run_limit(const struct run_cfg *cfg);

/* loop.c: runs @vm to its end, with input, signals and timeout. Returns the exit status. */
int run_loop(struct catnap_vm *vm, const struct run_cfg *cfg, struct run_io *io);

/* end.c: says and writes what is left, after the end @e. @why: as run_loop() has it, 0: by itself;
 * @signals: a signalfd(2). Returns the exit status. */
int run_finish(struct catnap_vm *vm, const struct run_cfg *cfg, struct run_io *io,
	       const struct catnap_exit *e, int why, int signals);

/* price.c: read what a sleep costs on this host, as the last VMs have measured it, and write it at
 * the end, as this one has. */
void run_price_read(const struct run_cfg *cfg, struct run_io *io);
/* Returns --guest-halt-poll, its window made of the price unless it was given. */
struct run_guest_halt_poll run_guest_halt_poll(const struct run_cfg *cfg, struct run_io *io);
void run_price_write(struct catnap_vm *vm, const struct run_cfg *cfg, struct run_io *io);

#endif
