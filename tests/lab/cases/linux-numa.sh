# SPDX-License-Identifier: Apache-2.0
# title: NUMA nodes in stock Debian kernels: their CPUs, memory and distances are as --numa has them
# needs: stock-6.1 stock-6.12
# processors: 1
# limit: 600
# memory: 2048
needs_option --initramfs

for kernel in 6.1 6.12; do
	name="$kernel"
	guest_start 150 -k /guest/stock-$kernel/vmlinuz -i /guest/stock-$kernel/initramfs --cpus 4 -m 640M \
		--numa cpus=0:2,memory=256M,distances=10:17 --numa cpus=1:3,memory=384M,distances=23:10 \
		-c "console=ttyS0 quiet run=report,shell"
	if ! wait_for 100 'guest# '; then
		not_ok "$name: no shell"
		show
		kill $pid
		sleep 1
		kill -9 $pid 2>/dev/null
		guest_end
		continue
	fi
	ok "$name: a shell"
	shell_says "$name: two nodes" 'echo n$(cat /sys/devices/system/node/online)n' 'n0-1n'
	shell_says "$name: the CPUs of the first" 'echo a$(cat /sys/devices/system/node/node0/cpulist)a' 'a0,2a'
	shell_says "$name: the CPUs of the second" 'echo b$(cat /sys/devices/system/node/node1/cpulist)b' 'b1,3b'
	shell_says "$name: distances from the first" 'echo c$(cat /sys/devices/system/node/node0/distance)c' 'c10 17c'
	shell_says "$name: distances from the second" 'echo d$(cat /sys/devices/system/node/node1/distance)d' 'd23 10d'
	# What the kernel has taken for itself at its start is not counted.
	shell_says "$name: memory of the second" \
		'echo e$(awk "/MemTotal/ { print (\$4 > 300000 && \$4 <= 393216) }" /sys/devices/system/node/node1/meminfo)e' 'e1e'
	shell_says "$name: memory of the first" \
		'echo f$(awk "/MemTotal/ { print (\$4 > 100000 && \$4 <= 262144) }" /sys/devices/system/node/node0/meminfo)f' 'f1f'
	echo exit >&3
	guest_end
	tr -d '\r' <$out >$out.text
	cp $out.text $out
	# It has nothing to say of the topology either.
	healthy "$name: exit ends it" 4
done
