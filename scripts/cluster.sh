#!/usr/bin/env bash
# Three nodes on loopback, with their data in $1 (default ./cluster): starts them, lets the second and the third join, prints what to try and what to
# kill, and stops all at Ctrl-C. A second start takes the data up again.
set -euo pipefail
dir=${1:-cluster}
bin=$(cd "$(dirname "$0")/.." && pwd)/bin
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
pids=()
trap '((${#pids[@]})) && kill "${pids[@]}" 2>/dev/null; wait' EXIT

start() { # number, further flags
	local n=$1
	shift
	"$bin/teamtalkd" dev --data "$dir/n$n" --node-name "n$n" --tcp "127.0.0.1:$((7999 + n))" --tls "127.0.0.1:$((8442 + n))" --quic "127.0.0.1:$((8442 + n))" \
		--http "127.0.0.1:$((8079 + n))" --files "127.0.0.1:$((8599 + n))" --node "127.0.0.1:$((6999 + n))" --ops "127.0.0.1:$((8089 + n))" --log-level info "$@" >>"$dir/n$n.log" 2>&1 &
	pids+=($!)
	echo $! >"$dir/n$n.pid"
}

ready() { # number
	for ((i = 0; i < 600; i++)); do
		[[ -e $dir/n$1/addresses.json ]] && return
		kill -0 "${pids[-1]}" 2>/dev/null || break
		sleep 0.1
	done
	tail -n 3 "$dir/n$1.log" >&2
	echo "node $1 did not start: $dir/n$1.log has more" >&2
	exit 1
}

rm -f "$dir"/n[123]/addresses.json
if [[ -d $dir/n3/node ]]; then # they know each other: two of them make a leader
	for n in 1 2 3; do start $n; done
	for n in 1 2 3; do ready $n; done
else
	start 1
	ready 1
	for n in 2 3; do
		# Clients trust one authority: the first node's.
		mkdir -p "$dir/n$n"
		cp -r "$dir/n1/tls" "$dir/n$n/"
		start $n --join "$("$bin/teamtalkd" cluster token --data "$dir/n1" 2>/dev/null)"
		ready $n
	done
fi
until (($("$bin/teamtalkd" cluster status --data "$dir/n1" | grep -cE ' (leader|voter) +up ') == 3)); do sleep 0.2; done

"$bin/teamtalkd" cluster status --data "$dir/n1"
cat <<END

Three nodes are up, users user1 … user20, password 12345. Their data and logs are in $dir. Open http://127.0.0.1:8080/ as user1 and
http://127.0.0.1:8081/ as user2, each on a node of its own; or try, in other terminals:
  $bin/teamtalk login --server 127.0.0.1:8443 --server 127.0.0.1:8444 --server 127.0.0.1:8445 --ca $dir/n1/tls/ca.pem --profile $dir/ann user1
  $bin/teamtalk chat --profile $dir/ann
  $bin/teamtalk login --server 127.0.0.1:8445 --server 127.0.0.1:8444 --server 127.0.0.1:8443 --ca $dir/n1/tls/ca.pem --profile $dir/bo user2
  $bin/teamtalk chat --profile $dir/bo
  kill -9 \$(cat $dir/n1.pid)                                   # any one of the three: both chats go on
  $bin/teamtalkd cluster status --data $dir/n2
  $bin/teamtalkd dev --data $dir/n1 --tcp 127.0.0.1:8000 --tls 127.0.0.1:8443 --quic 127.0.0.1:8443 --http 127.0.0.1:8080 --node 127.0.0.1:7000 --ops 127.0.0.1:8090   # it comes back
  $bin/teamtalkd cluster drain --data $dir/n2                   # clients of a node go to the others; then it may be stopped
  $bin/teamtalkd backup --data $dir/n2 $dir/backup.tt
Ctrl-C stops them; the data stays.
END
wait
