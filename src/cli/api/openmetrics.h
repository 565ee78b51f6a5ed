/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Figures of a VM as text for Prometheus and others: OpenMetrics 1.0, or Prometheus' own format
 * 0.0.4, which differ in how counters, infos and sets of states are declared. docs/metrics.md has
 * the names.
 */
#ifndef CLI_API_OPENMETRICS_H
#define CLI_API_OPENMETRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct api_metrics;
struct catnap_vm;

/* Content-Type of either. */
#define OPENMETRICS_TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"
#define PROMETHEUS_TYPE	 "text/plain; version=0.0.4; charset=utf-8"

struct openmetrics {
	struct catnap_vm *vm; /* NULL: there is none yet */
	const char *id;	      /* of the VM, for people; "" at least */
	const char *state;    /* one of own_states */
	/* When it was started, ns since 1970; 0: it was not. */
	uint64_t started_ns;
	const struct api_metrics *api;
	bool strict; /* OpenMetrics; else Prometheus' format */
};

/* Returns the text, for the caller to free; NULL: no memory. */
char *openmetrics_text(const struct openmetrics *m, size_t *len);

#endif
