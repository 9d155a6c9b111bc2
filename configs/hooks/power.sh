#!/bin/sh
# Sample program of an exec hook, for the power steps of configs/firebreak.toml. Install a copy as
# /usr/local/libexec/firebreak/power and write your own commands into it. docs/hooks.md says what a
# program is given.
#
# Exit 0: the work is done or handed over. Any other: a known failure, tried again if the step says
# so. So each command must do no harm when it is done twice, and none may switch power on (S1).
# What it leaves running is ended at the step's time-out: hand long work to something else.
set -u

[ -t 0 ] || cat >/dev/null # the JSON of the call; what is needed of it is in the environment too
mark=${FIREBREAK_MARK:-} failed=0
echo "power: ${FIREBREAK_KEY:-no key}, mark ${mark:-missing}"
case $mark in
real | drill | dry) ;;
*)
	echo "power: FIREBREAK_MARK is \"$mark\", want real, drill or dry: nothing is done" >&2
	exit 1
	;;
esac

# run does a command in a real call, and only says it in a drill or a dry run. One that fails does
# not keep the next from being tried.
run() {
	if [ "$mark" != real ]; then
		echo "would run: $*"
	elif ! "$@" </dev/null; then
		echo "power: failed: $*" >&2
		failed=1
	fi
}

# fill_in stands where nothing is written yet: a real call must not look done. Take its line away.
fill_in() {
	echo "would $1"
	if [ "$mark" = real ]; then
		echo "power: no command is written for this yet: edit $0" >&2
		failed=1
	fi
}

# off powers a host off; one that does not answer any more is no failure. Evidence says the rest.
off() {
	ssh -o BatchMode=yes -o ConnectTimeout=3 "$1" systemctl poweroff || ! ping -q -c 1 -W 2 "$1"
}

case ${FIREBREAK_STAGE:-}/${FIREBREAK_STEP:-} in
3/stop-vms)
	fill_in "shut down the virtual machines"
	# vms=$(virsh -c qemu+ssh://host-1/system list --name) || failed=1
	# for vm in $vms; do run virsh -c qemu+ssh://host-1/system shutdown "$vm"; done
	;;
3/hosts-off)
	fill_in "power off the hosts"
	# for host in host-1 host-2 host-3; do run off "$host"; done   # 5 s each at worst: mind the time-out
	;;
4/isolate)
	fill_in "isolate the battery"
	# run ssh -o BatchMode=yes -o ConnectTimeout=3 switchgear open-battery-breaker
	;;
*)
	echo "power: step \"${FIREBREAK_STEP:-}\" of stage \"${FIREBREAK_STAGE:-}\" is not known here: add it, or correct the plan" >&2
	exit 1
	;;
esac
exit "$failed"
