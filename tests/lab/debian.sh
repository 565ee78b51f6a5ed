# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2016
# A Debian guest that the cases type commands into.

# debian SECONDS ARGUMENT ...: starts it as guest_start does, to a shell for say and ask. Without one the case ends.
debian()
{
	begin=$(now)
	guest_start "$@"
	if ! wait_for 900 'debian login: '; then
		not_ok "a login"
		show
		kill -9 $pid
		guest_end
		exit 0
	fi
	note "a login after $(awk "BEGIN { print $(now) - $begin }") s"
	echo root >&3
	wait_for 90 'root@debian' || not_ok "a shell"
	echo 'exec sh' >&3
	sleep 2
	echo 'stty -echo; PS1=' >&3
	is "it is Debian with its cloud kernel" \
		"$(ask system 60 '. /etc/os-release; echo $ID $VERSION_ID $(uname -r | grep -c cloud-amd64)')" "debian 12 1"
}

# debian_off TEXT: by its own poweroff; no unit has failed, and catnap has nothing to say (its helpers may have)
debian_off()
{
	is "$1: no unit has failed" "$(ask failed 60 'systemctl --failed --no-legend --plain')" ""
	echo 'systemctl poweroff' >&3
	guest_end
	is "$1: poweroff: its status" $status 0
	is "$1: nothing to say for catnap" "$(grep '^catnap' $err)" ""
}
