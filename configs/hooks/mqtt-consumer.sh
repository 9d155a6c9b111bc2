#!/bin/sh
# Sample consumer of an mqtt hook: hears commands, answers them, and runs a program once for each key.
# It needs mosquitto-clients and jq. docs/hooks-mqtt.md says what a command holds and what the
# answers mean.
#
#   mqtt-consumer.sh NAME TOPIC STATE PROGRAM [ARGUMENT...]
#
# NAME is one of the hook's consumers; STATE a directory that outlives a restart: it holds what became
# of each key. PROGRAM gets the command on standard input; exit 0 is done. Options of mosquitto_sub
# and mosquitto_pub, such as host and credentials, stand in MQTT_OPTS.
set -u
[ $# -ge 4 ] || { echo "usage: $0 NAME TOPIC STATE PROGRAM [ARGUMENT...]" >&2; exit 2; }
name=$1 topic=$2 state=$3
shift 3
version=1
mkdir -p "$state" || exit 1

# answer KEY REPLY_TO ANSWER DETAIL: is tried until a broker has it, for a minute.
answer() {
	text=$(jq -cn --arg k "$1" --arg a "$3" --arg d "$4" --arg c "$name" --arg v "$version" '{key: $k, answer: $a, consumer: $c, detail: $d, version: $v}')
	tries=0
	# shellcheck disable=SC2086
	until mosquitto_pub $MQTT_OPTS -q 1 -t "$2" -m "$text" 2>/dev/null; do
		tries=$((tries + 1))
		[ $tries -lt 60 ] || return 1
		sleep 1
	done
}

# work KEY REPLY_TO MARK COMMAND DIR PROGRAM...: what takes time, beside the loop.
work() {
	key=$1 reply=$2 mark=$3 command=$4 dir=$5
	shift 5
	if [ "$mark" != real ]; then
		echo "$name: $key: would run: $*" # a drill: say so, do nothing
		echo done >"$dir/end"
	elif printf '%s\n' "$command" | "$@" >"$dir/output" 2>&1; then
		echo done >"$dir/end"
	else
		echo "failed with $?" >"$dir/end" # no answer says so: the plan's evidence does not come
	fi
	[ "$(cat "$dir/end")" != done ] || answer "$key" "$reply" "done" "$mark"
}

# take COMMAND PROGRAM...: one message.
take() {
	command=$1
	shift
	key=$(printf '%s' "$command" | jq -r '.key // empty' 2>/dev/null)
	reply=$(printf '%s' "$command" | jq -r '.reply_to // empty' 2>/dev/null)
	mark=$(printf '%s' "$command" | jq -r '.mark // empty' 2>/dev/null)
	probe=$(printf '%s' "$command" | jq -r '.probe // empty' 2>/dev/null)
	[ -n "$key" ] && [ -n "$reply" ] || { echo "$name: not understood: $command" >&2; return; }
	if [ "$probe" = true ]; then
		answer "$key" "$reply" probe ""
		return
	fi
	case $mark in real | drill) ;; *) echo "$name: mark \"$mark\" is not acted on: $key" >&2; return ;; esac
	answer "$key" "$reply" receipt ""
	dir=$state/$(printf '%s' "$key" | tr / _)
	if [ -e "$state/off" ]; then
		answer "$key" "$reply" decline "switched off at $name"
		return
	fi
	if mkdir "$dir" 2>/dev/null; then # the first who makes it does the work, whoever else may run
		answer "$key" "$reply" accept ""
		work "$key" "$reply" "$mark" "$command" "$dir" "$@" &
		return
	fi
	if [ ! -d "$dir" ]; then
		answer "$key" "$reply" decline "cannot keep the key in $state"
		return
	fi
	# Of a key whose work died with this machine nobody knows how far it came: it is never done again.
	answer "$key" "$reply" accept "known" # sent again: answered again, done once
	[ ! -e "$dir/end" ] || [ "$(cat "$dir/end")" != done ] || answer "$key" "$reply" "done" "known"
}

MQTT_OPTS=${MQTT_OPTS:-}
while :; do
	# A clean session, so that no broker keeps commands for hours (ttl_s); -R: none that is retained.
	# shellcheck disable=SC2086
	mosquitto_sub $MQTT_OPTS -q 1 -R -t "$topic" | while IFS= read -r line; do take "$line" "$@"; done
	sleep 1
done
