/* SPDX-License-Identifier: Apache-2.0 */
/* How a snapshot is written, by whoever makes one: of a VM, or of other snapshots. */
#include <errno.h>
#include <unistd.h>

#include "vmm/snapshot.h"

int snapshot_write_state(const struct state_writer *w, int fd, struct error *err)
{
	size_t done = 0;

	if (ftruncate(fd, 0) < 0)
		return error_errno(err, -errno, "writing the state");
	while (done < w->len) {
		ssize_t n = pwrite(fd, w->data + done, w->len - done, (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return error_errno(err, n < 0 ? -errno : -EIO, "writing the state");
		done += (size_t)n;
	}
	return 0;
}

int snapshot_commit(const struct catnap_snapshot_request *rq, struct error *err)
{
	int ret = rq->commit(rq->commit_ctx);

	if (ret > 0)
		return error_fail(err, -EINVAL,
				  "commit: expected 0 or a negative errno value, it returned %d",
				  ret);
	return ret < 0 ? error_errno(err, ret, "making it durable") : 0;
}
