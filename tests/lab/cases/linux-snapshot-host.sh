# SPDX-License-Identifier: Apache-2.0
# title: snapshots: put down under a 6.1 host, a guest goes on under a 6.12 one (--host both)
# needs: stock-6.12 sock disk
# drives: kept=512M
# processors: 1
# limit: 1200
# memory: 2560
needs_option --restore
# shellcheck source=tests/lab/snapshots.sh
. /lab/snapshots.sh
kept=/tmp/kept
mkdir $kept
mount -t ext4 "$(drive 0)" $kept
peer_begin
cycles=1 also=

# elsewhere NAME CPUS ARGUMENT ...: its folder
elsewhere()
{
	shot=$kept/$1 name="from host 6.1: 6.12 $2 $3 $4 $5 $6" cpus=$2
	shift
	if [ "$LAB_HOST" = 6.1 ]; then
		if load_begin 6.12 "$@" && put_down false && go_on "" && works 1 && put_down true; then
			ok "$name: put down"
			cp $image $shot/disk.img
			cp $all $shot/printed
			date +%s >$shot/when
			peer_end
		else
			load_give_up
		fi
	elif [ ! -e $shot/when ]; then
		skip "$name" "nothing was put down under the other host"
	else
		cp $shot/disk.img $image
		cp $shot/printed $all
		# Its connection's other side has gone with the other host.
		alone=1
		if go_on ,clock=realtime && works 2; then
			ok "$name: goes on under $(uname -r), after $(($(date +%s) - $(cat $shot/when))) s"
			load_end
		else
			load_give_up
		fi
	fi
}

elsewhere user 4 --irqchip user --transport pci
elsewhere kernel 2 --irqchip kernel --transport mmio
