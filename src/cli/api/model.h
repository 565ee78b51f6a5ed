/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM's configuration as Firecracker has it: what its API, and its configuration files, tell
 * `catnap serve` of, and what they show of a VM that was started by other options. Texts are the
 * model's own, and NULL for what nobody has said. One thread's.
 */
#ifndef CLI_API_MODEL_H
#define CLI_API_MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include <json-c/json.h>

#include <catnap/catnap.h>

/* As many devices as the library takes, see catnap_vm_add_disk(). */
#define FC_MAX_DRIVES 16
#define FC_MAX_NETS   16
#define FC_MAX_PMEMS  16
#define FC_MAX_FSS    16

/* Sizes here are MiB, as Firecracker's are. */
#define FC_MIB_BITS	   20
#define FC_DEFAULT_MEM_MIB 128
#define FC_MAX_VCPUS	   32

/* A token bucket: size tokens, which come back in refill_ms; burst more at the beginning. */
struct fc_bucket {
	bool on; /* size and refill_ms are not 0, or it limits nothing */
	bool has_burst;
	uint64_t size, one_time_burst, refill_ms;
	uint64_t
		refill_ns; /* the same, of one that no request has brought; 0: refill_ms is exact */
};

struct fc_limiter {
	bool on; /* one was given, whatever is in it */
	struct fc_bucket bandwidth, ops;
};

enum fc_cache { FC_CACHE_UNSAFE, FC_CACHE_WRITEBACK };
enum fc_engine { FC_ENGINE_SYNC, FC_ENGINE_ASYNC };
enum fc_huge { FC_HUGE_NONE, FC_HUGE_TRANSPARENT, FC_HUGE_2M };
/* Each with those before it. */
enum fc_level { FC_OFF, FC_ERROR, FC_WARN, FC_INFO, FC_DEBUG, FC_TRACE };

struct fc_drive {
	char *id, *path, *partuuid;
	char *socket; /* of a vhost-user back end, instead of a path; NULL: none */
	bool root, read_only;
	enum fc_cache cache;
	enum fc_engine engine;
	struct fc_limiter limiter;
	uint32_t disk, device; /* its numbers in the VM, once that is there */
	uint32_t place;	       /* as disk, where those with a back end of their own count */
};

struct fc_net {
	char *id, *tap;
	char *mac;    /* as it was given */
	uint32_t mtu; /* 0: not told */
	struct fc_limiter rx, tx;
	uint32_t net, device; /* its numbers in the VM, once that is there */
	uint32_t place;	      /* as that of a drive */
};

struct fc_pmem {
	char *id, *path;
	bool root, read_only;
	struct fc_limiter limiter;
};

/* In the order of the words that virtiofsd takes. */
enum fc_fs_cache { FC_FS_CACHE_AUTO, FC_FS_CACHE_ALWAYS, FC_FS_CACHE_NONE };

/* A folder, which is catnap's own. */
struct fc_fs {
	char *id, *tag;
	char *path, *socket; /* of a folder that a program is started for, or of a back end */
	bool read_only;
	enum fc_fs_cache cache;
	uint32_t device; /* its number in the VM, once that is there */
};

struct fc_machine {
	uint64_t vcpus, mem_mib;
	bool smt, track_dirty_pages;
	enum fc_huge huge;
	struct catnap_node nodes[CATNAP_MAX_NODES];
	uint32_t n_nodes; /* 0: the guest is told of none */
};

struct fc_boot {
	bool on;
	char *kernel, *initrd;
	char *args; /* NULL: the default's */
};

struct fc_balloon {
	bool on, deflate_on_oom, hinting, reporting;
	uint64_t amount_mib, stats_interval_s;
};

struct fc_hotplug {
	bool on;
	uint64_t total_mib, slot_mib, block_mib, requested_mib;
};

struct fc_vsock {
	bool on;
	uint64_t cid;
	char *path, *id;
};

struct fc_entropy {
	bool on;
	struct fc_limiter limiter;
};

struct fc_serial {
	char *path;
	struct fc_bucket limit;
};

/* The changes of the log that a request asks for. NULL and -1: it stays. */
struct fc_logger_change {
	const char *path, *module;
	int level; /* enum fc_level */
	int show_level, show_origin;
};

struct fc_metrics_setting {
	const char *path;
	bool emit_id;
	struct json_object *properties; /* names and strings; NULL: none */
};

/* Registers of 128 leaves of CPUID, and so on: what is in a template of Firecracker's is some tens. */
#define FC_MAX_LEAVES	    128
#define FC_MAX_MSRS	    256
#define FC_MAX_CAPABILITIES 64

struct fc_cpu {
	struct catnap_cpuid_modifier cpuid[4 * FC_MAX_LEAVES];
	struct catnap_msr_modifier msrs[FC_MAX_MSRS];
	uint32_t required[FC_MAX_CAPABILITIES], dropped[FC_MAX_CAPABILITIES];
	uint32_t n_cpuid, n_msrs, n_required, n_dropped;
};

struct fc_model {
	struct fc_machine machine;
	struct fc_boot boot;
	struct fc_drive drives[FC_MAX_DRIVES]; /* a root device is the first */
	uint32_t n_drives;
	struct fc_net nets[FC_MAX_NETS];
	uint32_t n_nets;
	struct fc_pmem pmems[FC_MAX_PMEMS]; /* in the order of the VM's */
	uint32_t n_pmems;
	struct fc_fs fss[FC_MAX_FSS]; /* in the order of the VM's, up to its start */
	uint32_t n_fss;
	struct fc_balloon balloon;
	struct fc_hotplug hotplug;
	struct fc_vsock vsock;
	struct fc_entropy entropy;
	struct fc_serial serial;
	struct fc_cpu *cpu; /* NULL: none was given */
};

/* Fills @m with what holds before anybody has said anything. fc_model_free() must follow. */
void fc_model_init(struct fc_model *m);
void fc_model_free(struct fc_model *m);

/* Frees the texts of one. */
void fc_drive_free(struct fc_drive *d);
void fc_net_free(struct fc_net *n);
void fc_pmem_free(struct fc_pmem *p);
void fc_fs_free(struct fc_fs *f);

/* Returns the one of that id; NULL: there is none. */
struct fc_drive *fc_drive_find(struct fc_model *m, const char *id);
struct fc_net *fc_net_find(struct fc_model *m, const char *id);
struct fc_pmem *fc_pmem_find(struct fc_model *m, const char *id);
struct fc_fs *fc_fs_find(struct fc_model *m, const char *id);
/* Returns the id of the root device, a drive or persistent memory; NULL: there is none. */
const char *fc_root_of(const struct fc_model *m);

#endif
