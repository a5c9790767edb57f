#!/usr/bin/env bash
# Three offices on loopback, Hangzhou, Beijing and Singapore, a cluster of one node each, with their data in $1 (default ./federation-demo): starts them, lets
# them get to know each other, makes a group with people of all, prints what to open, how to cut a link and how to heal it, and stops all at Ctrl-C. A second
# start takes the data up again.
set -euo pipefail
dir=${1:-federation-demo}
bin=$(cd "$(dirname "$0")/.." && pwd)/bin
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
offices=(hangzhou beijing singapore)
pids=()
trap '((${#pids[@]})) && { kill -CONT "${pids[@]}"; kill "${pids[@]}"; } 2>/dev/null; wait' EXIT

ctl() { # office, command of federation, its arguments
	local office=$1
	shift
	"$bin/teamtalkd" federation "$@" --data "$dir/$office"
}

start() { # office, number
	local n=$2
	"$bin/teamtalkd" dev --data "$dir/$1" --node-name "$1" --users 5 --tcp "127.0.0.1:$((8000 + n))" --tls "127.0.0.1:$((8443 + n))" --quic "127.0.0.1:$((8443 + n))" \
		--http "127.0.0.1:$((8080 + n))" --files "127.0.0.1:$((8600 + n))" --node off --ops "127.0.0.1:$((8090 + n))" --log-level info >>"$dir/$1.log" 2>&1 &
	pids+=($!)
	echo $! >"$dir/$1.pid"
}

ready() { # office, its process
	for ((i = 0; i < 600; i++)); do
		[[ -e $dir/$1/addresses.json ]] && return
		kill -0 "$2" 2>/dev/null || break
		sleep 0.1
	done
	tail -n 3 "$dir/$1.log" >&2
	echo "$1 did not start: $dir/$1.log has more" >&2
	exit 1
}

fingerprint() { ctl "$1" show | sed -n 's/^fingerprint *//p'; } # office

link() { # office that invites, office that accepts
	ctl "$1" invite 2>/dev/null | ctl "$2" accept - >/dev/null
	# Where people do this, they tell each other the fingerprints by telephone.
	ctl "$1" confirm "$2.example" --fingerprint "$(fingerprint "$2")" --allow all >/dev/null
	ctl "$2" confirm "$1.example" --fingerprint "$(fingerprint "$1")" --allow all >/dev/null
}

linked() {
	for ((i = 0; i < 600; i++)); do
		local up=0
		for o in "${offices[@]}"; do ctl "$o" status --fail >/dev/null 2>&1 && up=$((up + 1)); done
		((up == ${#offices[@]})) && return
		sleep 0.1
	done
	for o in "${offices[@]}"; do ctl "$o" status >&2; done
	echo "the offices are not linked: $dir/*.log have more" >&2
	exit 1
}

for i in "${!offices[@]}"; do
	rm -f "$dir/${offices[i]}/addresses.json"
	start "${offices[i]}" $((100 * i))
done
for i in "${!offices[@]}"; do ready "${offices[i]}" "${pids[i]}"; done

if ! ctl singapore show >/dev/null 2>&1; then
	for o in "${offices[@]}"; do ctl "$o" init --domain "$o.example" --office "${o^}" >/dev/null 2>&1; done
	link hangzhou beijing
	link hangzhou singapore
	link beijing singapore
	linked
	# Whom a search finds gets a place in the directory, and can be put into groups.
	others=$(ctl hangzhou find user | sed -n 's/^\([0-9][0-9]*\) .*/\1/p')
	"$bin/teamtalkd" group add --data "$dir/hangzhou" "All offices" user1 user2 $others >/dev/null
else
	linked
fi

ctl hangzhou status
cat <<END

Three offices are linked. Each has users user1 … user5, password 12345; user1 and user2 of Hangzhou and those of the others are in the group "All offices", which is
Hangzhou's. Data and logs are in $dir. Open in the browser, as user1 each, or in three other terminals:
END
for i in "${!offices[@]}"; do
	echo "  http://127.0.0.1:$((8080 + 100 * i))/   ${offices[i]^}"
done
for i in "${!offices[@]}"; do
	o=${offices[i]}
	echo "  $bin/teamtalk login --server 127.0.0.1:$((8443 + 100 * i)) --ca $dir/$o/tls/ca.pem --profile $dir/$o.user1 user1 && $bin/teamtalk chat --profile $dir/$o.user1"
done
cat <<END
Cut a link, in a fourth, and write on: what can't go over yet waits. Then heal it.
  $bin/teamtalkd federation pause --data $dir/hangzhou beijing.example
  $bin/teamtalkd federation status --data $dir/hangzhou
  $bin/teamtalkd federation resume --data $dir/hangzhou beijing.example
A real one: Beijing falls silent, which the others notice after 45 s; its own people wait, too.
  kill -STOP \$(cat $dir/beijing.pid)
  kill -CONT \$(cat $dir/beijing.pid)
Or Hangzhou, which orders the group, is gone: the others see their own posts as pending until it is back.
  kill \$(cat $dir/hangzhou.pid)
  $bin/teamtalkd dev --data $dir/hangzhou --tcp 127.0.0.1:8000 --tls 127.0.0.1:8443 --quic 127.0.0.1:8443 --http 127.0.0.1:8080 --node off --ops 127.0.0.1:8090
Also: $bin/teamtalkd federation --help
Ctrl-C stops them; the data stays.
END
wait
