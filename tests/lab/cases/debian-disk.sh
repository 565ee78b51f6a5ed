# SPDX-License-Identifier: Apache-2.0
# title: a stock Debian 12 disk, its own kernel and initrd: a login, commands, off; the file system after it
# needs: debian
# drives: debian
# limit: 1500
# memory: 2048
needs_option --disk
disk=$(drive 0)

# Prints what is typed at the prompt. Each answer is a line "result: KEY=...".
commands()
{
	cat <<-'END'
		r() { echo "result: $1=$2"; }
		sum() { sha256sum | cut -d ' ' -f 1; }
		r system "$(. /etc/os-release; echo $ID $VERSION_ID)"
		r kernel "$(uname -r | grep -c cloud-amd64)"
		r cpus "$(nproc)"
		r root "$(findmnt -n -o SOURCE,FSTYPE /) $(findmnt -n -o OPTIONS / | cut -d , -f 1)"
		r driver "$(basename $(readlink -f /sys/block/vda/device/driver)) $(basename $(readlink -f /sys/block/vda/device/../driver))"
		r vectors $(grep -c 'MSI.*virtio.*req' /proc/interrupts)
		head -c 32M /dev/urandom >/root/data; sync
		r wrote $(sum </root/data)
		echo 3 >/proc/sys/vm/drop_caches
		r read $(sum </root/data)
		cp /root/data /root/copy; rm /root/data; fstrim /; sync
		echo 3 >/proc/sys/vm/drop_caches
		r copy $(sum </root/copy)
		r failed "$(systemctl --failed --no-legend --plain)"
		r log "$(dmesg | grep -c 'vda.*error\|I/O error\|EXT4-fs error\|virtio.*\(fail\|broken\)')"
		echo e''nd
	END
}

guest_start 1300 -k /guest/debian/vmlinuz -i /guest/debian/initrd.img -d "path=$disk" --cpus 2 -m 512M \
	-c "root=/dev/vda console=ttyS0 quiet"
begin=$(now)
if ! wait_for 900 'debian login: '; then
	not_ok "a login"
	show
	kill -9 $pid
	guest_end
	exit 0
fi
ok "a login"
note "after $(awk "BEGIN { print $(now) - $begin }") s"
echo root >&3
wait_for 90 'root@debian' || not_ok "a shell"
echo 'exec sh' >&3
sleep 2
echo 'stty -echo; PS1=' >&3
sleep 1
commands >&3
wait_for 200 '^end' || not_ok "no answer"
echo 'systemctl poweroff' >&3
guest_end
tr -d '\r' <$out >$out.text
cp $out.text $out
is "poweroff: its status" $status 0
is "it is Debian 12 with its cloud kernel" "$(value system), $(value kernel), $(value cpus) CPUs" \
	"debian 12, 1, 2 CPUs"
is "the root file system, writable" "$(value root)" "/dev/vda ext4 rw"
is "by virtio-pci" "$(value driver)" "virtio_blk virtio-pci"
is "a vector for each queue" "$(value vectors)" 2
verdict "something was written" [ -n "$(value wrote)" ]
is "read back" "$(value read)" "$(value wrote)"
is "a copy, after a discard" "$(value copy)" "$(value wrote)"
is "no unit has failed" "$(value failed)" ""
is "nothing failed" "$(value log)" 0
is "nothing to say for catnap" "$(cat $err)" ""
e2fsck -fn "$disk" >/tmp/fsck 2>&1
is "its file system is clean" $? 0 || sed 's/^/# fsck: /' /tmp/fsck
mkdir -p /tmp/root
mount -t ext4 -o ro "$disk" /tmp/root
is "what is on the disk" "$(sha256sum </tmp/root/root/copy | cut -d ' ' -f 1)" "$(value wrote)"
