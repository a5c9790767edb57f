package archtest

// Exceptions are the problems that are meant to be there, each with its reason. One that is not needed any more fails.
func Exceptions() []Exception {
	const (
		ownTable = "a mistake in a table of this program, which the first test meets"
		bubble   = "called in synctest bubbles only, where time is virtual"
	)
	return []Exception{
		{Check: "panic", Where: "internal/node.Default", Why: ownTable},
		{Check: "panic", Where: "raftstore/state.newCBORModes", Why: ownTable},
		{Check: "panic", Where: "protocol/fed.newCBORModes", Why: ownTable},
		{Check: "panic", Where: "federation.newCallCodec", Why: ownTable},
		{Check: "panic", Where: "federation.encodeRecord", Why: "a type without an encoding, which the first test meets"},
		{Check: "panic", Where: "protocol/fed.encode", Why: "a type without an encoding, which the first test meets"},
		{Check: "sleep", Where: "raftstore.fakeLog.submit", Why: bubble},
	}
}
