# SPDX-License-Identifier: Apache-2.0
# title: memory of a stock Debian guest that grows to 2 GiB and shrinks again; and its root file system by DAX, from a file
# needs: debian-tools
# drives: debian-tools
# processors: 1
# limit: 2400
# memory: 4096
needs_option --memory --pmem
# shellcheck source=tests/lab/debian.sh
. /lab/debian.sh
disk=$(drive 0)

total() # KEY: the guest's memory, MiB
{
	ask "$1" 60 'set -- $(grep MemTotal /proc/meminfo); echo $(($2 / 1024))'
}

debian 1100 -k /guest/debian-tools/vmlinuz -i /guest/debian-tools/initrd.img -d "path=$disk" -m 256M,max=2G --api-socket /tmp/b \
	-c "root=/dev/vda console=ttyS0 quiet memhp_default_state=online_movable"
small=$(total small) before=$(resident $pid)
note "at first: the guest has $small MiB, $before MiB are resident"
between "256 MiB" "$before" 1 270
is "2 GiB are asked for" "$(catnap ctl /tmp/b memory size=2G,wait=200s >/tmp/said 2>&1; echo $?)" 0
between "the guest has 1792 MiB more" "$(total large)" $((small + 1700)) $((small + 1792))
ask fill 300 'mkdir -p /m; mount -t tmpfs -o size=1500M tmpfs /m; dd if=/dev/zero of=/m/fill bs=1M count=1400 2>/dev/null' >/dev/null
full=$(resident $pid)
note "with 1400 MiB in use: $full MiB are resident"
between "what it uses is resident" "$full" 1400 2048
ask free 60 'umount /m' >/dev/null
is "256 MiB are asked for" "$(catnap ctl /tmp/b memory size=256M,wait=200s >/tmp/said 2>&1; echo $?)" 0
after=$(resident $pid)
note "at last: $after MiB are resident"
is "the guest has what it had" "$(total last)" "$small"
between "resident memory has followed" "$after" 1 270
debian_off "memory"

# The file is the drive itself, which can be mapped as well.
debian 1100 -k /guest/debian-tools/vmlinuz -i /guest/debian-tools/initrd.img --pmem "path=$disk" -m 512M \
	-c "root=/dev/pmem0 rootflags=dax console=ttyS0 quiet"
is "its root is a file, by DAX" \
	"$(ask root 60 'echo $(findmnt -n -o SOURCE,FSTYPE /) $(findmnt -n -o OPTIONS / | grep -c dax)')" "/dev/pmem0 ext4 1"
wrote=$(ask wrote 120 'head -c 16M /dev/urandom >/root/data; sync; md5sum </root/data')
debian_off "DAX"
e2fsck -fn "$disk" >/tmp/fsck 2>&1
is "its file system is clean" $? 0 || sed 's/^/# fsck: /' /tmp/fsck
mkdir -p /tmp/root
mount -t ext4 -o ro "$disk" /tmp/root
is "what it has written and flushed" "$(md5sum </tmp/root/root/data)" "$wrote"
