# SPDX-License-Identifier: Apache-2.0
# title: a stock Debian disk that starts with its own kernel, as its grub.cfg says: the newest, the other one, and as the guest has it then
# needs: debian-grub grub
# drives: debian-grub
# processors: 1
# limit: 2400
# memory: 2048
needs_option --list-boot-entries
# shellcheck source=tests/lab/debian.sh
. /lab/debian.sh
disk=$(drive 0)

entries() # PATTERN: the lines of the list that have it
{
	catnap run -d "path=$disk" --list-boot-entries 2>/tmp/list.err | grep -e "$1"
}

release() # KEY: of the kernel that runs, without what changes with updates
{
	ask "$1" 60 'uname -r | cut -d . -f 1-2'
}

# What grub-mkconfig has made on the host: an entry, and a menu with one for each kernel, normal and to mend things.
entries . | sed 's/^/# /'
is "the first is the default" "$(entries '^\*' | cut -c 1-7)" "* 0    "
is "each kernel has an entry, and one to mend things" "$(entries '^  1>[0-9]' | grep -c 'with Linux 6')" 4
is "nothing is wrong with any of them" "$(cat /tmp/list.err)" ""

debian 700 -d "path=$disk" -m 512M
is "by default the newest kernel runs" "$(release newest)" 6.12
is "with the command line of its entry" "$(ask line 60 'cat /proc/cmdline' | grep -c '^BOOT_IMAGE=.*root=/dev/vda ro console=ttyS0 quiet\|^root=/dev/vda ro console=ttyS0 quiet')" 1
debian_off "the newest"

old=$(entries 'with Linux 6\.1\.' | grep -v recovery | sed 's/^ *1>[0-9]* *//')
debian 700 -d "path=$disk" -m 512M --boot-entry "$old"
is "\"$old\": that kernel runs" "$(release old)" 6.1
is "the guest makes the menu anew" "$(ask update 300 'update-grub >/root/log 2>&1; echo $?')" 0
uuid=$(ask uuid 60 'findmnt -n -o UUID /')
is "and chooses another" "$(ask choose 60 'echo GRUB_DEFAULT=\"1\>2\" >/etc/default/grub.d/z.cfg; update-grub >>/root/log 2>&1; sync; echo $?')" 0
debian_off "the older"

entries . | sed 's/^/# /'
is "the menu is the guest's" "$(entries "cmdline.*root=UUID=$uuid ro" | wc -l)" 5
debian 700 -d "path=$disk" -m 512M
is "what it has chosen runs" "$(release chosen)" 6.1
debian_off "the chosen"
e2fsck -fn "$disk" >/tmp/fsck 2>&1
is "its file system is clean" $? 0 || sed 's/^/# fsck: /' /tmp/fsck
