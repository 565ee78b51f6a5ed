# SPDX-License-Identifier: Apache-2.0
# title: catnap bench linux --exits to its end: each load in each mode, and how many exits an operation takes
# needs: stock-6.12 qemu memcached
# processors: 1
# limit: 2400
# memory: 2560
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
mkdir -p /var/tmp
modes="user:adaptive kernel:200us"
loads="boot pipe timer read tcp udp hack sched fork"
command="catnap bench linux"
with_beat /guest/stock-6.12/initramfs >/tmp/initramfs
for load in $loads; do
	# shellcheck disable=SC2086
	timeout $((400 * slow)) catnap bench linux --kernel /guest/stock-6.12/vmlinuz --initramfs /tmp/initramfs \
		--load $load $(printf -- '--mode %s ' $modes) --peer qemu --samples 64 --rounds 1 --exits >$out 2>$err
	status=$?
	is "$load: to its end, each result right" "$status $(cat $err)" "0 "
	for mode in $modes qemu; do
		verdict "$load, $mode: a time" grep -q "^$mode *[0-9]" $out
		[ $load != boot ] || continue
		# The columns are: load, mode, exits, user, hlt, signal, inject, switch.
		line=$(awk -v l="$load" -v m="$mode" '$1 == l && $2 == m' $out)
		note "$line"
		is "$load, $mode: all is counted" "$(echo "$line" | wc -w)" 8
	done
	verdict "$load: what the times are worth" grep -q 'this host is a virtual machine itself' $out
done
# Few requests: the emulation is slow. Each answer is held against what was set, so status 0 says that all were right.
rates="10 20"
for mode in $modes qemu; do
	[ $mode != qemu ] || peer="--mode kernel:200us --peer qemu"
	[ $mode = qemu ] || peer="--mode $mode"
	# shellcheck disable=SC2086
	timeout $((400 * slow)) catnap bench linux --kernel /guest/stock-6.12/vmlinuz --initramfs /tmp/initramfs \
		--load memcached $peer $(printf -- '--rate %s ' $rates) --duration 4s --rounds 1 --exits >$out 2>$err
	status=$?
	is "memcached, $mode: to its end, each answer right" "$status $(cat $err)" "0 "
	is "memcached, $mode: a time at each rate" "$(grep -c "^$mode *[0-9]" $out)" 2
	for rate in $rates; do
		line=$(awk -v l="mc/$rate" -v m="$mode" '$1 == l && $2 == m' $out)
		note "$line"
		is "memcached, $mode, $rate a second: all is counted" "$(echo "$line" | wc -w)" 8
	done
done
