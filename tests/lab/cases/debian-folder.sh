# SPDX-License-Identifier: Apache-2.0
# title: a folder of the host in a stock Debian guest: fio's verification, thousands of files, renames, catnap checked out, and built
# needs: debian-tools virtiofsd checkout
# drives: debian-tools ext4=1024M
# processors: 1
# limit: 3000
# long: 14400
# memory: 3072
# Its parts are fio, files and build; /lab/parts, if it is there, names those that are wanted. The long form makes 10,000
# files and builds all of catnap, the short one a tenth of the files and a program.
needs_option --fs
# shellcheck source=tests/lab/debian.sh
. /lab/debian.sh
share=/tmp/share
mkdir $share
mount -t ext4 "$(drive 1)" $share
count=1000 megabytes=4
[ "$LAB_LONG" != 1 ] || count=10000 megabytes=16

wanted() # PART
{
	[ ! -e /lab/parts ] || grep -q -w -e "$1" /lab/parts
}

tar -x -C $share -f /guest/checkout.tar
head -c 8388608 /dev/urandom >$share/data

cat >$share/files.py <<'END'
import os, sys
count = int(sys.argv[1])
os.chdir("/mnt")
os.mkdir("one")
os.mkdir("two")
for i in range(count):
    with open(f"one/{i}", "w") as f:
        f.write(f"file {i}\n")
print("made", len(os.listdir("one")), flush=True)
for i in range(count):
    os.rename(f"one/{i}", f"two/to-{i}")
print("renamed", len(os.listdir("one")), len(os.listdir("two")))
END
cat >$share/moves.sh <<'END'
cd /mnt/two
mv -T to-1 to-2 && cat to-2
ln to-3 linked && stat -c %h to-3
ln -s to-4 soft && cat soft
mkdir -p deep/er && mv deep ../one/ && mv ../one/deep/er . && rmdir er ../one/deep && echo folders
exec 5<to-5 && rm to-5 && cat <&5
mv to-6 /tmp/ && cat /tmp/to-6 && mv /tmp/to-6 .
END
cat >$share/build.sh <<'END'
set -e
cd /mnt
begin=$(cut -d . -f 1 /proc/uptime)
git clone -q /mnt/catnap.git work
cd work
git fsck --strict >/dev/null 2>&1
[ -z "$(git status --porcelain)" ]
echo $(($(cut -d . -f 1 /proc/uptime) - begin)) >/mnt/checked-out
mkdir /mnt/build
if [ "$1" = 1 ]; then
	meson setup /mnt/build -Dtests=false --buildtype=plain >/mnt/build.log 2>&1
	ninja -C /mnt/build >>/mnt/build.log 2>&1
	/mnt/build/src/cli/catnap --version | grep -o '^catnap'
else
	for f in guest-images/disk/*.c; do
		gcc -O1 -D_GNU_SOURCE -c -o /mnt/build/$(basename $f .c).o $f
	done
	gcc -o /mnt/build/catnap-disk /mnt/build/*.o
	/mnt/build/catnap-disk --help | grep -o 'catnap-disk check'
fi
[ -z "$(git status --porcelain)" ]
echo all is as it was checked out
END

debian 2900 -k /guest/debian-tools/vmlinuz -i /guest/debian-tools/initrd.img -d "path=$(drive 0)" -m 1G --fs tag=share,path=$share \
	-c "root=/dev/vda console=ttyS0 quiet"
is "it is mounted" "$(ask mount 60 'mount -t virtiofs share /mnt && findmnt -n -o FSTYPE /mnt')" virtiofs
is "what the host has written" "$(ask data 90 'md5sum </mnt/data')" "$(md5sum <$share/data)"

if wanted fio; then
	begin=$(now)
	is "fio's verification of random writes" \
		"$(ask fio 900 "fio --name=verify --directory=/mnt --size=${megabytes}M --rw=randwrite --bsrange=4k-64k --verify=crc32c \
		--verify_fatal=1 --numjobs=2 --ioengine=psync --fsync=32 --output=/mnt/fio.log; echo \$?")" 0 ||
		sed 's/^/# fio: /' $share/fio.log
	took "fio, written and verified" $((2 * megabytes))
	begin=$(now)
	is "and of what is there already, by direct I/O" \
		"$(ask direct 900 "fio --name=direct --directory=/mnt --size=$((megabytes / 2))M --rw=randrw --bs=4k --direct=1 --verify=crc32c \
		--verify_fatal=1 --ioengine=psync --output=/mnt/direct.log; echo \$?")" 0 || sed 's/^/# fio: /' $share/direct.log
	took "fio, by direct I/O" $((megabytes / 2))
fi

if wanted files; then
	last=$((count - 1))
	begin=$(now)
	is "$count files are made, and renamed" "$(ask files 1500 "echo \$(python3 /mnt/files.py $count 2>&1)")" \
		"made $count renamed 0 $count"
	note "in $(awk "BEGIN { print $(now) - $begin }") s"
	is "the host sees them" "$(ls $share/two | wc -l) $(cat $share/two/to-0 $share/two/to-$last | tr '\n' ' ')" \
		"$count file 0 file $last "
	is "each with what is in it" "$(cd $share/two && for i in $(seq 0 $last); do echo to-$i; done | xargs cat | md5sum)" \
		"$(for i in $(seq 0 $last); do echo "file $i"; done | md5sum)"
	is "a rename over a file, links, folders, a file that is open and gone, to another disk and back" \
		"$(ask moves 120 'echo $(sh /mnt/moves.sh 2>&1)')" "file 1 2 file 4 folders file 5 file 6"
	is "the host's files are in the guest" "$(cd $share/two && rm to-7 && mv to-8 to-host && echo here >to-new; ask seen 60 \
		'sleep 2; cd /mnt/two; echo $(ls to-7 to-8 2>/dev/null; cat to-host to-new)')" "file 8 here"
fi

if wanted build; then
	begin=$(now)
	built="catnap-disk check" patience=900
	[ "$LAB_LONG" != 1 ] || built=catnap patience=12000
	is "catnap is checked out and built there" "$(ask build $patience "echo \$(sh /mnt/build.sh $LAB_LONG 2>&1)")" \
		"$built all is as it was checked out" || sed 's/^/# build: /' $share/build.log 2>/dev/null | tail -n 20
	note "in $(awk "BEGIN { print $(now) - $begin }") s; $(find $share/work -type f | wc -l) files;" \
		"checked out after $(cat $share/checked-out 2>/dev/null) s of the guest's"
fi
debian_off "the guest"
is "virtiofsd is gone" "$(pidof virtiofsd)" ""
umount $share
e2fsck -fn "$(drive 1)" >/tmp/fsck 2>&1
is "the host's file system is clean" $? 0
