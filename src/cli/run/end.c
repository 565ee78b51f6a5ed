/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After the VM's end: what is said of it, and what is still to be written. The signals that would
 * end this process are blocked by now, so nothing waits for a reader that they, or the timeout,
 * could not end.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/api/own.h"
#include "cli/cmd.h"
#include "cli/json_out.h"
#include "cli/now.h"
#include "cli/run/run.h"

/* A command that was told to end does not wait long: without progress, and in all. */
#define PATIENCE_NS UINT64_C(400000000)
#define ALL_NS	    UINT64_C(4000000000)

struct finish {
	struct catnap_vm *vm;
	const struct run_cfg *cfg;
	struct run_io *io;
	struct way_out out;
	bool lost; /* something could not be written */
};

static void finish_trace(struct finish *f)
{
	const struct output *o = &f->io->trace;
	uint64_t lost = 0;
	int ret;

	if (o->fd < 0)
		return;
	while ((ret = catnap_vm_flush_halt_trace(f->vm, &lost)) == -EAGAIN &&
	       output_wait(o->fd, &f->out) == 0)
		;
	if (!lost)
		return;
	f->lost = true;
	log_last(&f->io->messages, "catnap run: --halt-trace: %s: %s: %" PRIu64 " lines are lost\n",
		 o->path, ret < 0 && ret != -EAGAIN ? strerror(-ret) : "its reader was too slow",
		 lost);
}

static void finish_port(struct finish *f, const struct run_port *p)
{
	int err = atomic_load(&p->failed);

	if (!err)
		return;
	f->lost = true;
	log_last(&f->io->messages, "catnap run: --%s: %s: %s: %llu bytes are lost\n", p->option,
		 p->path	      ? p->path
		 : p->kind == PORT_FD ? "its descriptor"
				      : "standard output",
		 strerror(err), (unsigned long long)atomic_load(&p->lost));
}

static void finish_stats(struct finish *f, const struct catnap_exit *e)
{
	struct output *o = &f->io->stats;
	size_t len;
	char *text;
	int ret;

	if (o->fd < 0)
		return;
	text = json_document(own_stats(f->vm, e), &len);
	ret = text ? output_write(o, text, len, &f->out) : -ENOMEM;
	free(text);
	if (ret == 0)
		return;
	f->lost = true;
	if (ret == -EINPROGRESS)
		log_last(&f->io->messages,
			 "catnap run: --stats: %s: the process that is to rename it does not "
			 "answer: the statistics are in %s until it does\n",
			 f->cfg->stats, o->beside);
	else
		log_last(&f->io->messages, "catnap run: --stats: %s: %s\n", f->cfg->stats,
			 output_error(ret));
}

int run_finish(struct catnap_vm *vm, const struct run_cfg *cfg, struct run_io *io,
	       const struct catnap_exit *e, int why, int signals)
{
	struct finish f = {
		.vm = vm,
		.cfg = cfg,
		.io = io,
		.out = {.signals = signals, .deadline = io->deadline, .patience_ns = UINT64_MAX}};
	bool stopped = e->reason == CATNAP_EXIT_STOPPED;
	int status;

	if (why != 0) {
		f.out.deadline = now_ns() + ALL_NS;
		f.out.patience_ns = PATIENCE_NS;
	}
	if (io->stuck)
		log_last(&io->messages, "catnap run: %s: the process ends all the same\n",
			 io->stuck_why);
	if (e->report[0])
		log_last(&io->messages, "catnap run: %s", e->report);
	if (why == RUN_TIMEOUT && stopped)
		log_last(&io->messages, "catnap run: --timeout: the time is over\n");
	finish_trace(&f);
	finish_port(&f, &io->port);
	finish_port(&f, &io->console);
	finish_stats(&f, e);
	if (!io->stuck && !run_working_set_write(vm, io, &f.out))
		f.lost = true;
	/* Ended by itself while it was being stopped: then that is how it ended. */
	status = why > 0 && stopped ? why : run_status(cfg, io, e);
	return f.lost && status == RUN_POWEROFF ? CMD_ERROR : status;
}
