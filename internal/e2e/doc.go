// Package e2e tests the server through its front door: the real executable, real sockets, a real disk.
//
// It has three parts that tests of other packages may use. Server starts, kills, stops and restarts a teamtalkd on ephemeral ports and
// runs operator commands against it. Client is a connection that speaks PDUs. Runner plays scripts. A package whose tests start a
// server calls Prepare in its TestMain; the executable is built once per test process, with the race detector if the tests have it.
//
// # How to write a script
//
// A script in testdata/scripts is a conversation, one statement a line:
//
//	# Windows sends a message again after 5 s without an ack: it is the same message [TT-MSG-6].
//	server --users 4 --password 123456
//	ignore CID_BUDDY_LIST_STATUS_NOTIFY
//	login u1-pc user1 windows
//	login u2-pc user2 mac
//
//	u1-pc > CID_MSG_DATA seq=5 { from_user_id: 1 to_session_id: 2 msg_id: 0 create_time: 0 msg_type: MSG_TYPE_SINGLE_TEXT msg_data: @text("hi") }
//	u1-pc < CID_MSG_DATA_ACK seq=5 { user_id: 1 session_id: 2 msg_id: $id session_type: SESSION_TYPE_SINGLE }
//	u2-pc < CID_MSG_DATA seq=0 { msg_id: $id create_time: * msg_data: @text("hi") ... }
//
// What happens:
//
//	server ARGS              start `teamtalkd dev ARGS` on an empty directory; `server serve ARGS` starts the other mode
//	kill, restart, stop      as a power cut; start again on the same data; SIGTERM
//	ctl ARGS                 an operator's command, which must succeed (`ctl!`: must fail); `ctl group add … -> $g` keeps the id of what it made
//	http GET /path           one plain request
//	| text                   below ctl and http: a line of the output, * for any text, ${name} for a variable
//	connect NAME [to login]  a new connection; `via wss` chooses what it goes by: tcp, tls, ws, wss, lp, lps, lp3 or quic; `to $host:$port`, which the server
//	                         has named, is the port for files
//	login NAME USER CLIENT   the same, and logged in (windows, mac, ios, android; web, terminal); `device D` says HELLO first, and keeps what to resume
//	                         with as $NAME_token and $NAME_cursor
//	close NAME               the client closes
//	ignore CID_…             PDUs of these commands are not looked at in the rest of the script
//	NAME > CID_… seq=1 { … } send a PDU; version= flag= service= reserved= length= change its header, body=ff00 its body
//	NAME > hex 0000…         send bytes
//
// What must come of it:
//
//	NAME < CID_… seq=1 { … } this PDU, with exactly these fields; `...` allows others
//	NAME < closed            the server closes the connection
//	NAME < nothing           the same as no line, for the reader
//
// Actions and the expectations below them are a step. It ends when all that is expected has come, whatever the order between connections
// and between commands; PDUs of one command on one connection come in the order written (presence, 0x0203, in any). Then a
// request for the time on every connection (before login a heartbeat) proves that nothing else has come: everything that is received must be
// expected. Nothing in a script waits for a time.
//
// A value is a number, the name of an enum's value, a "string" with \xNN escapes, or bytes made by @text("…") (encrypted as clients do),
// @repeat("x", 1000), @file(0, 32768) (a part of the file that was recorded) or @hex(00ff), several of which may follow one another. * accepts any value (and any number of repeated ones).
// $name is bound by the first value it meets and must be the same from then on; $tcp_port, $http_port and $login_port are the server's.
//
// Cite the rule that is checked, [TT-MSG-6], in a comment. `go test ./internal/e2e -run Scripts/resend -update` rewrites the expectations from
// what the server says and keeps variables and wildcards: read the diff. -wire logs every PDU.
//
// Recordings of other servers, in testdata/scripts/legacy, begin with `recorded`. Their lines may be marked: `-` was recorded and is not so
// here, `+` is so here instead; both cite the difference. An update of a recording keeps what was recorded and marks it
// [TT-DIFF-?], which does not parse until the key is filled in.
package e2e
