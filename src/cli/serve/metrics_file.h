/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metrics of `catnap serve`: lines of JSON in a file or a FIFO, one each minute, one when
 * somebody asks (FlushMetrics), and the last at the end. Names are Firecracker's where it has the
 * figure; those of requests and of devices count from the line before. Figures that only catnap has
 * are under "catnap". A line is written whole or not at all, and waits for no reader.
 */
#ifndef CLI_SERVE_METRICS_FILE_H
#define CLI_SERVE_METRICS_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <json-c/json.h>

#include "cli/api/api.h"
#include "cli/api/metrics.h"

#define METRICS_PERIOD_NS UINT64_C(60000000000)

/* The counters of a device at the last line. */
struct metrics_device {
	uint64_t read_bytes, written_bytes, requests, rx_bytes, tx_bytes, rx_packets, tx_packets;
};

#define METRICS_DEVICES 16

struct metrics_file {
	int fd; /* -1: there is none */
	bool emit_id;
	struct json_object *properties;
	uint64_t next_ns; /* when the next line is due, by now_ns() */
	uint64_t missed;  /* lines that nobody took */
	/* How long the process took to listen, and its processor time for it; 0: nobody has said when
	 * it was started. */
	uint64_t startup_us, startup_cpu_us;
	struct api_metrics before;
	struct metrics_device devices[METRICS_DEVICES];
};

void metrics_file_init(struct metrics_file *m);
/* Sets the file, once. Returns 0 or -errno; -EEXIST: it was set before. */
int metrics_file_set(struct metrics_file *m, const struct fc_metrics_setting *setting);
void metrics_file_free(struct metrics_file *m);
/* Writes a line. 0 or -errno; nothing if there is no file. */
int metrics_file_write(struct metrics_file *m, struct api *api);

#endif
