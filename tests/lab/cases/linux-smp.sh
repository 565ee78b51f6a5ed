# SPDX-License-Identifier: Apache-2.0
# title: the other processors come up, again and again: 2, 4 and 16 vCPUs, 20 times each
# needs: linux
# processors: 1
# limit: 900
needs_option --initramfs
for cpus in 2 4 16; do
	n=0 bad=0
	while [ $n -lt 20 ]; do
		n=$((n + 1))
		linux $((30 + 5 * cpus)) run=report --cpus $cpus
		[ "$status $(value "done") $(value cpus_online)" = "0 ok $cpus" ] && continue
		bad=$((bad + 1))
		note "$cpus vCPUs, time $n:"
		show
	done
	is "$cpus vCPUs, $n times: those that did not come up" $bad 0
done
