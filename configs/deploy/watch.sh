#!/bin/sh
# Follows the agents of a site with mosquitto_sub and jq: for a bad day, and to show what a consumer must
# look at. It verifies no signature and finds no gap: firebreak watch does.
#
#   watch.sh SITE [option of mosquitto_sub...]
#   watch.sh pangyo -h hub.b1.example -p 8883 --cafile ca.pem --cert me.pem --key me.key
#
# One line a state, ACT behind what may be acted on: real, not replayed, of the instance that said hello last.
# SILENT is an agent of which no hello came for 12 s. Nothing here says that all is well.
set -eu
[ $# -ge 1 ] || { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p;}' "$0" >&2; exit 2; }
site=$1
shift

{
	mosquitto_sub "$@" -q 1 -F %j -t "firebreak/1/alarm/$site/#" -t "firebreak/1/plan/$site/#" -t "firebreak/1/hello/$site/#" &
	sub=$!
	trap 'kill $sub 2>/dev/null' EXIT INT TERM
	while kill -0 $sub 2>/dev/null && echo '{}'; do sleep 1; done # so that silence is seen
} | jq -rn --unbuffered '
	def told($p; $live): [$p.agent, $p.hazard // $p.plan,
		(if $p.hazard then "P\($p.priority) \($p.state)" else "stage \($p.stage)" end), $p.cause // "",
		(if $p.mark == "real" and $p.origin == "real" and ($p.replayed | not) and $live then "ACT" else "" end)] | join(" ");
	foreach inputs as $in ({hello: {}, last: {}, say: []};
		.say = [] | now as $now | ($in.payload // "" | fromjson? // {}) as $p
		| if $in.topic == null then
			reduce (.hello | to_entries[] | select(.value.at < $now - 12 and (.value.silent | not)) | .key) as $a (.;
				.hello[$a].silent = true | .say += [$a + " SILENT: after stage 1 or higher take it as stage 2"])
		  elif $in.topic | endswith("/_echo") then .
		  elif $in.payload == null or $in.payload == "" then .say = [$in.topic + " WIPED: keep what you know"]
		  elif $in.topic | startswith("firebreak/1/hello/") then
			if $in.retain == 0 and $p.epoch >= (.hello[$p.agent].epoch // 0) then
				.hello[$p.agent] = {epoch: $p.epoch, instance: $p.instance, at: $now, silent: false}
				| .held as $held | .say = [$held // [] | .[] | select(.agent == $p.agent and .instance == $p.instance) | told(.; true)]
				| .held = [$held // [] | .[] | select(.agent != $p.agent)]
			else . end
		  elif [$p.epoch, $p.seq] > (.last[$in.topic] // [0, 0]) then
			.last[$in.topic] = [$p.epoch, $p.seq]
			| if .hello[$p.agent].instance == $p.instance then .say = [told($p; true)] else .held += [$p] end
		  else . end;
		.say[])'
