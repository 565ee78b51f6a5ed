# SPDX-License-Identifier: Apache-2.0
# title: a qcow2 image with a backing file through qemu-storage-daemon: catnap, or the daemon, is killed; what was flushed is there
# needs: stock-6.12 disk storage
# drives: ext4=512M
# processors: 1
# limit: 2400
# long: 9000
# 5 kills of each kind; 20 in the long form.
needs_option --disk
rounds=5
[ "$LAB_LONG" != 1 ] || rounds=20
mkdir -p /tmp/images
mount -t ext4 "$(drive 0)" /tmp/images
base=/tmp/images/base.raw image=/tmp/images/disk.qcow2

# What the backing file has: a table of partitions, 8 MiB that are not touched, and 32 MiB of zeroes for the load.
head -c 8388608 /dev/urandom >/tmp/images/first
{
	head -c 446 /dev/zero
	printf '\0\0\0\0\203\0\0\0\0\010\0\0\0\100\0\0' # from sector 2048 on, 16384 of them
	printf '\0\0\0\0\203\0\0\0\0\110\0\0\0\0\001\0' # from 18432 on, 65536
	head -c 32 /dev/zero
	printf '\125\252'
	head -c 1048064 /dev/zero
	cat /tmp/images/first
	head -c 33554432 /dev/zero
} >$base
sum=$(md5sum <$base)

daemon()
{
	rm -f /tmp/disk.sock
	qemu-storage-daemon --blockdev driver=file,node-name=file,filename=$image,discard=unmap \
		--blockdev driver=qcow2,node-name=disk,file=file,discard=unmap \
		--export type=vhost-user-blk,id=export,node-name=disk,writable=on,addr.type=unix,addr.path=/tmp/disk.sock,num-queues=2 \
		>/tmp/daemon 2>&1 &
	storage=$!
	until [ -S /tmp/disk.sock ]; do
		kill -0 $storage 2>/dev/null || return 1
		usleep 50000
	done
}

moment() # up to four seconds
{
	usleep $((RANDOM % 32768 * 122))
}

flushes_said()
{
	grep -c 'disk: [0-9]* flush' $out
}

# begin NUMBER ARGUMENTS: a new image, its daemon, and a guest with a load on it
begin()
{
	seed=$1
	shift
	rm -f $image
	qemu-img create -q -f qcow2 -b $base -F raw $image && daemon || return 1
	guest_start 200 -k /guest/stock-6.12/vmlinuz -i /guest/stock-6.12/initramfs "$@" -c "console=ttyS0 quiet run=shell"
	wait_for 100 'guest# ' || return 1
	echo "md5sum /dev/vda1; catnap-disk load /dev/vda2 seed=$seed workers=4 seconds=600" >&3
	wait_for 60 'disk: begin' && grep -q "$(md5sum </tmp/images/first | cut -d ' ' -f 1)" $out
}

# finish GOOD: ends what is left, and looks at the image. Status 0 if all that was promised is there.
finish()
{
	good=$1
	kill -9 $pid $storage 2>/dev/null
	guest_end 2>/dev/null # "Killed"
	wait $storage 2>/dev/null
	qemu-img check -q $image >/tmp/checked 2>&1
	checked=$?
	qemu-img convert -O raw $image /tmp/images/raw
	dd if=/tmp/images/raw of=/tmp/images/second bs=1M skip=9 2>/dev/null
	answer=$(catnap-disk check /tmp/images/second $out)
	kept=$?
	# 3: clusters that nobody uses, as after any crash.
	if [ "$good" != 0 ] || [ $kept != 0 ] || { [ $checked != 0 ] && [ $checked != 3 ]; } ||
		! dd if=/tmp/images/raw bs=1M skip=1 count=8 2>/dev/null | cmp -s - /tmp/images/first; then
		note "round $seed: load $good, image $checked, kept $kept: $answer"
		sed 's/^/# daemon: /' /tmp/daemon
		show
		return 1
	fi
	flushes=$((flushes + $(echo "$answer" | sed -n 's/.*: \([0-9]*\) flushes.*/\1/p')))
	promised=$((promised + $(echo "$answer" | sed -n 's/.* \([0-9]*\) sectors promised.*/\1/p')))
}

how() # NUMBER: arguments that differ
{
	case $(($1 % 4)) in
	0) echo --transport pci --cpus 2 ;;
	1) echo --transport pci --cpus 2 --irqchip kernel ;;
	2) echo --transport mmio --cpus 1 ;;
	3) echo --transport mmio --cpus 2 --irqchip kernel ;;
	esac
}

summary() # TEXT KILLS
{
	is "$1: $2 kills: images that lack what was flushed, or are not whole" $bad 0
	note "$1: $flushes flushes, $promised sectors that they promised"
	between "$1: there were promises to keep" $promised $rounds 100000000
}

# -- catnap is killed, and the daemon with it --
n=0 bad=0 flushes=0 promised=0
while [ $n -lt $rounds ]; do
	n=$((n + 1))
	# shellcheck disable=SC2046
	begin $n $(how $n) -d vhost-user=/tmp/disk.sock
	good=$?
	moment
	finish $good || bad=$((bad + 1))
done
summary "catnap" $rounds

# -- the daemon is killed, and comes back: the load goes on --
n=0 bad=0 flushes=0 promised=0 kills=0
while [ $kills -lt $rounds ]; do
	n=$((n + 1))
	# shellcheck disable=SC2046
	begin $((100 + n)) $(how $n) -d vhost-user=/tmp/disk.sock
	good=$? life=0
	while [ $good = 0 ] && [ $life -lt 5 ]; do
		life=$((life + 1)) kills=$((kills + 1))
		moment
		kill -9 $storage
		wait $storage 2>/dev/null
		before=$(flushes_said)
		daemon || good=1
		tries=$((60 * slow))
		until [ "$(flushes_said)" -gt $((before + 4)) ]; do
			tries=$((tries - 1))
			if [ $tries -le 0 ] || ! kill -0 $pid 2>/dev/null; then
				note "kill $kills: the load does not go on"
				good=1
				break
			fi
			sleep 1
		done
	done
	[ $good = 0 ] || kills=$((kills + 1))
	finish $good || bad=$((bad + 1))
done
summary "the daemon, which comes back" $kills

# -- the daemon is killed, and is not waited for --
n=0 bad=0 flushes=0 promised=0
while [ $n -lt $rounds ]; do
	n=$((n + 1))
	# shellcheck disable=SC2046
	begin $((200 + n)) $(how $n) -d vhost-user=/tmp/disk.sock,reconnect=off
	good=$?
	moment
	kill -9 $storage
	tries=$((30 * slow))
	until [ -s $err ] || [ $tries = 0 ]; do
		tries=$((tries - 1))
		sleep 1
	done
	[ $n != 1 ] || note "catnap says: $(cat $err)"
	grep -q . $err && kill -0 $pid || good=1
	finish $good || bad=$((bad + 1))
done
summary "the daemon, which does not come back" $rounds
is "the backing file is as it was" "$(md5sum <$base)" "$sum"
