/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A workload of `catnap bench`: what it measures, under which conditions, and what the reports
 * show of it. Each workload is one file in workload/, which defines one struct bench_workload, and
 * one row of the list in workload/meson.build. Everything else asks that structure: the plan, the
 * options and their help, the table, the JSON and the page.
 *
 * Strings of the page are HTML. All others are plain text.
 */
#ifndef CLI_BENCH_WORKLOAD_H
#define CLI_BENCH_WORKLOAD_H

#include "cli/bench/bench.h"

struct bench_svg_bar;
struct json_object;

/* -- figures ---------------------------------------------------------------------------------- */

/* Gets a figure of a cell. False: the cell has none, and nothing is shown. */
typedef bool bench_value_fn(const struct bench_results *r, struct bench_cell *c, double *value);

enum bench_unit {
	BENCH_NUMBER,	   /* as it is */
	BENCH_COUNT,	   /* whole */
	BENCH_BYTES,	   /* shown in KiB */
	BENCH_NS,	   /* shown in us by the table, with a unit by the page */
	BENCH_NS_AS_MS,	   /* the same, but ms in the table */
	BENCH_NS_OR_NOISE, /* as BENCH_NS, and 0 is shown as "noise" */
};

/* A column of the table and of the page. Lists end with a head of NULL. */
struct bench_column {
	const char *head;      /* in the table */
	const char *page_head; /* in the page */
	int width;	       /* of the table's column; a space stands before it */
	enum bench_unit unit;
	int decimals; /* BENCH_NUMBER, in the page */
	bench_value_fn *value;
	const char *note; /* said once below the tables; NULL: nothing */
};

/* A member of a run in the JSON; one of the functions is given. Lists end with a name of NULL. */
struct bench_member {
	const char *name;
	bench_value_fn *whole; /* an integer */
	bench_value_fn *real;
	const struct bench_series *(*rounds)(const struct bench_cell *c); /* an array */
	const char *(*text)(const struct bench_cell *c);
};

/* A value of each round that is compared with the baseline. Lists end with a member of NULL. */
struct bench_compared {
	const char *member;	      /* in the JSON; with _min and _max behind it for the range */
	const char *head, *page_head; /* in the table and the page */
	const struct bench_series *(*of)(const struct bench_cell *c);
};

/* The picture of a condition, if it is one of bars. */
struct bench_bars {
	void (*bar)(const struct bench_results *r, struct bench_cell *c, struct bench_svg_bar *bar);
	const char *(*caption)(const struct bench_results *r, struct bench_cell *cells, size_t n);
	double mark; /* the value at which a line is drawn; 0: none */
};

/* -- a workload ------------------------------------------------------------------------------- */

/* Options that have an effect only in some workloads. */
enum bench_option {
	BENCH_OPT_GAP = 1 << 0,
	BENCH_OPT_ONE_GAP = 1 << 1, /* --gap, but once */
	BENCH_OPT_ARRIVALS = 1 << 2,
	BENCH_OPT_SAMPLES = 1 << 3,
	BENCH_OPT_DURATION = 1 << 4,
	BENCH_OPT_REALTIME = 1 << 5,
	BENCH_OPT_VCPUS = 1 << 6,
	BENCH_OPT_PROCESS = 1 << 7,
	BENCH_OPT_PEER = 1 << 8,
	BENCH_OPT_DEVICES = 1 << 9,	/* the slash of --mode, who runs the devices */
	BENCH_OPT_PIN = 1 << 10,	/* --pin on and off */
	BENCH_OPT_PIN_ONE = 1 << 11,	/* --pin one */
	BENCH_OPT_RATE = 1 << 13,	/* --rate, and with it --stall and --duration */
	BENCH_OPT_MANY_VCPUS = 1 << 14, /* --vcpus above BENCH_VCPUS */
	BENCH_OPT_SIBLING = 1 << 15,
	BENCH_OPT_RESTORE = 1 << 16, /* --clones, --memory */
	BENCH_OPT_LINUX = 1 << 17,   /* --kernel, --initramfs, --load, --exits */
	BENCH_OPT_DISK = 1 << 18,    /* --disk */
	BENCH_OPT_GUEST = 1 << 12,   /* modes in which the guest polls */
};

/* The cells that will be measured. */
struct bench_plan {
	const struct bench_cfg *cfg;
	struct bench_cell *cells;
	size_t n, room;
};

struct bench_workload {
	const char *name;
	const char *title; /* the thing that is measured: "signal to the guest's handler" */
	const char *help;  /* for --help; lines are broken by hand */
	const char *about; /* sentences of the page */

	/* The choice of what is measured. */
	bool by_default;	  /* measured if no workload is named */
	bool own_clock;		  /* the guest's: it needs no TSC of the host, and shares no page */
	uint32_t options;	  /* those of enum bench_option that have an effect */
	const char *const *modes; /* measured if no --mode is given; NULL: the usual ones */
	const uint64_t *gaps;	  /* BENCH_OPT_GAP: tried if no --gap is given; 0 ends the list */
	const char *gaps_help;	  /* the same in words, if they are not the usual ones */
	uint32_t vcpus;		  /* BENCH_OPT_VCPUS: bit n: n vCPUs are tried by default */
	const char *vcpus_help;	  /* the vCPUs that --vcpus counts */

	/* Adds a cell for each mode under each condition. 0, or -1: out of memory. NULL: there is
	 * one condition. */
	int (*plan)(struct bench_plan *p, const struct bench_workload *w);
	/* Puts the condition of a cell in words: "random gap of 50 us". NULL: there is one. */
	void (*condition)(char *buf, size_t size, const struct bench_cell *c);
	/* Measures one round. 0, or -1 with run->error. */
	int (*run)(struct bench_run *run);
	/* Takes away what run() has kept, at the end of all rounds. NULL: nothing. */
	void (*finish)(void);
	/* Returns whether @b cannot be measured either once bench_fail_all() was said of @a. NULL:
	 * it cannot. */
	bool (*fails_alike)(const struct bench_cell *a, const struct bench_cell *b);

	/* The figures that are shown. */
	const struct bench_column *columns;
	const struct bench_column *rate_columns;      /* BENCH_OPT_RATE: of a cell with a rate */
	const char *gap_member;			      /* JSON's name of gap_ns; NULL: that */
	const struct bench_member *condition_members; /* NULL: none */
	const struct bench_member *members;
	const struct bench_bars *bars; /* NULL: curves of latency */

	/* Writes the table of all that was measured of it (@n cells), instead of one for each
	 * condition. NULL: the usual ones. */
	void (*table)(FILE *out, const struct bench_results *r, struct bench_cell *cells, size_t n);
	/* Writes what follows from all of it, below the tables, and adds it to the JSON. NULL:
	 * nothing. */
	void (*summary)(FILE *out, const struct bench_results *r);
	void (*summary_json)(struct json_object *root, const struct bench_results *r);

	/* The values that are compared; the first gives a cell's rounds. NULL: the median
	 * latency. */
	const struct bench_compared *compared;
	const char *baseline; /* the mode with which it is compared; NULL: the usual one */
	/* A larger ratio is a better one. Such ratios have a table of their own. */
	bool higher_is_better;
	bool fitted; /* its conditions are points of a line: a ratio in one of them is no verdict */
	/* Its conditions are set against one another and against those of other workloads with
	 * this: all of them have a turn in each round, so that none finds another host. */
	bool in_turn;
	const char *compared_page; /* the page's words for such ratios: "of the hog's progress" */
};

/* The table, in the order in which workloads are measured and reported; NULL ends it. */
extern const struct bench_workload *const bench_workloads[];
extern const unsigned int bench_n_workloads;

/* Returns the workload of this name, or NULL. */
const struct bench_workload *bench_workload_find(const char *name);
/* Returns the row of @w, a bit of bench_cfg.workloads. */
unsigned int bench_workload_row(const struct bench_workload *w);
/* Returns whether @w was chosen. */
bool bench_workload_chosen(const struct bench_cfg *cfg, const struct bench_workload *w);
/* Returns the rows that have one of @options at least, as bits. */
uint32_t bench_workloads_with(uint32_t options);
/* workload/linux.c: return the load of this name, -1 if there is none, and the name of one, NULL
 * behind the last. */
int bench_linux_load(const char *name);
const char *bench_linux_load_name(int load);
/* workload/blk.c: the same for a disk. */
int bench_blk_disk(const char *name);
const char *bench_blk_disk_name(int disk);
/* Returns whether a load is measured that is asked at a rate. */
bool bench_linux_asked(const struct bench_cfg *cfg);

/* Returns the rows that are measured if no workload is named. */
uint32_t bench_workloads_by_default(void);
/* Puts the names of @rows in @buf: "event, timer or ipi", with " or " for @last. Returns @buf. */
const char *bench_workload_names(uint32_t rows, const char *last, char *buf, size_t size);
/* Returns whether @w has a column with this value. */
bool bench_workload_shows(const struct bench_workload *w, bench_value_fn *value);

/* Returns the columns of such a cell. */
static inline const struct bench_column *bench_columns_of(const struct bench_cell *c)
{
	return c->rate ? c->workload->rate_columns : c->workload->columns;
}

/* -- condition.c ------------------------------------------------------------------------------- */

/* Adds a cell as @like for each mode that is measured in its workload. 0, or -1: out of memory. */
int bench_plan_add(struct bench_plan *p, const struct bench_cell *like);
/* Those of workloads with arrival processes: a condition for each, by its name. */
int bench_plan_processes(struct bench_plan *p, const struct bench_workload *w);
void bench_condition_process(char *buf, size_t size, const struct bench_cell *c);
extern const struct bench_member bench_process_members[];
/* Adds each gap, constant and random as --arrivals says. For .plan. */
int bench_plan_gaps(struct bench_plan *p, const struct bench_workload *w);
/* Adds cells like @like for each rate, at random unless --arrivals says constant alone; @constant:
 * evenly as well. */
int bench_plan_rates(struct bench_plan *p, const struct bench_cell *like, const uint32_t *rates,
		     size_t n, bool constant);
/* Plans the same, or, with --rate, each rate; both arrivals unless --arrivals says which. For
 * .plan. */
int bench_plan_load(struct bench_plan *p, const struct bench_workload *w);
/* Returns whether the user, or else the workload, wants this number of vCPUs. */
bool bench_plan_vcpus(const struct bench_plan *p, const struct bench_workload *w, uint32_t vcpus);
/* Writes "random gap of 50 us". For .condition. */
void bench_gap_condition(char *buf, size_t size, const struct bench_cell *c);

/* -- figure.c: figures that several workloads have -------------------------------------------- */

/* Of the latency. */
bench_value_fn bench_value_mean;
bench_value_fn bench_value_p50;
bench_value_fn bench_value_p90;
bench_value_fn bench_value_p99;
bench_value_fn bench_value_p999;
bench_value_fn bench_value_max;
/* Processor time of the vCPUs, in per cent of one processor, and for each event in ns. */
bench_value_fn bench_value_cpu_percent;
bench_value_fn bench_value_event_cpu;
/* back_end.c: the part of the latter that is a back end's. */
bench_value_fn bench_value_back_cpu;
/* The part of it that was polled, in per cent of one processor. */
bench_value_fn bench_value_polled_percent;
/* Wakes that cost a system call. */
bench_value_fn bench_value_kicks;
bench_value_fn bench_value_futex_wakes;
/* Events, and those of a second. */
bench_value_fn bench_value_events;
bench_value_fn bench_value_event_rate;
bench_value_fn bench_value_vcpus;
/* With --rate: what was offered in a second, what was handled, and what got lost of all. */
bench_value_fn bench_value_rate;
bench_value_fn bench_value_handled;
bench_value_fn bench_value_lost;
/* The cost of a signal to its sender, in workloads whose events are sent by bench_guest_event(). */
#define BENCH_SIGNAL 0 /* bench_cell.own[] */
bench_value_fn bench_value_signal_p50;
bench_value_fn bench_value_signal_p99;
/* Gives the median without @share_ns, the guest's own part of it. Returns false if that is 0: not
 * known. */
bool bench_value_net(struct bench_cell *c, uint64_t share_ns, double *value);

/* Divides a sum by the events of @c. Returns false if there were none. */
bool bench_cell_each(const struct bench_cell *c, uint64_t sum, double *each);

/* summary.c: returns the median latency of each round. */
const struct bench_series *bench_round_medians(const struct bench_cell *c);

#define BENCH_NOTE_CPU "cpu: processor time of the guest for each event, us"
#define BENCH_NOTE_NET                                                                            \
	"net: without the guest's own share, as measured in this run: blk, a request that takes " \
	"no I/O and is done within the doorbell's exit; echo, from the guest's handler to its "   \
	"doorbell; noise: the median is not above that share"

/* Columns of those that measure latency: p50 to max, and the processor time of an event. */
/* clang-format off */
#define BENCH_LATENCY_COLUMNS(unit_name, unit_value)                                               \
	{"p50 " unit_name, "p50", 6, unit_value, .value = bench_value_p50},                        \
	{"p90", "p90", 5, unit_value, .value = bench_value_p90},                                   \
	{"p99", "p99", 5, unit_value, .value = bench_value_p99},                                   \
	{"max", "max", 5, unit_value, .value = bench_value_max}
#define BENCH_CPU_COLUMN                                                                           \
	{"cpu", "CPU/event", 5, BENCH_NS, .value = bench_value_event_cpu, .note = BENCH_NOTE_CPU}
#define BENCH_NET_COLUMN(net)                                                                      \
	{"net", "net", 5, BENCH_NS_OR_NOISE, .value = (net), .note = BENCH_NOTE_NET}

/* Members of the same: of the latency; of its price, between and behind which others may stand. */
#define BENCH_QUANTILE_MEMBERS                                                                     \
	{"mean_ns", .whole = bench_value_mean},                                                    \
	{"p50_ns", .whole = bench_value_p50},                                                      \
	{"p90_ns", .whole = bench_value_p90},                                                      \
	{"p99_ns", .whole = bench_value_p99},                                                      \
	{"max_ns", .whole = bench_value_max}
#define BENCH_LATENCY_MEMBERS                                                                      \
	BENCH_QUANTILE_MEMBERS,                                                                    \
	{"round_p50_ns", .rounds = bench_round_medians}
#define BENCH_RATE_MEMBERS                                                                         \
	{"rate", .whole = bench_value_rate},                                                       \
	{"handled_per_s", .real = bench_value_handled},                                            \
	{"lost", .whole = bench_value_lost},                                                       \
	{"p999_ns", .whole = bench_value_p999}
#define BENCH_RATE_COLUMNS                                                                         \
	{"ev/s", "handled/s", 6, BENCH_COUNT, .value = bench_value_handled,                        \
	 .note = "ev/s: handled in a second, of those that were offered; latency is from when an " \
		 "event was due"},                                                                 \
	{"p50 us", "p50", 6, BENCH_NS, .value = bench_value_p50},                                  \
	{"p99", "p99", 5, BENCH_NS, .value = bench_value_p99},                                     \
	{"p99.9", "p99.9", 5, BENCH_NS, .value = bench_value_p999},                                \
	{"max", "max", 5, BENCH_NS, .value = bench_value_max}
#define BENCH_CPU_MEMBER {"cpu_ns_per_event", .whole = bench_value_event_cpu}
#define BENCH_WAKE_MEMBERS                                                                         \
	{"kicks", .whole = bench_value_kicks},                                                     \
	{"futex_wakes", .whole = bench_value_futex_wakes}
#define BENCH_SIGNAL_MEMBERS                                                                       \
	{"signal_p50_ns", .whole = bench_value_signal_p50},                                        \
	{"signal_p99_ns", .whole = bench_value_signal_p99}
/* clang-format on */

/* Columns and members of a workload that shows latency and nothing of its own. */
extern const struct bench_column bench_latency_columns[];
extern const struct bench_member bench_latency_members[];
/* summary.c, its ratio: that of the medians. */
extern const struct bench_compared bench_compared_medians[];

/* Gives the median, with its unit, and its caption. For .bars. */
void bench_bar_of_median(const struct bench_results *r, struct bench_cell *c,
			 struct bench_svg_bar *bar);
const char *bench_caption_of_medians(const struct bench_results *r, struct bench_cell *cells,
				     size_t n);

#endif
