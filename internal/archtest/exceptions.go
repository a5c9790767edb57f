package archtest

// Exceptions are the problems that are meant to be there, each with its reason. One that is not needed any more fails.
func Exceptions() []Exception {
	const (
		ownTable = "a mistake in a table of this program, which the first test meets"
		bubble   = "called in synctest bubbles only, where time is virtual"
		passedOn = "passes on a panic that it did not catch for its own sake"
	)
	return []Exception{
		{Check: "panic", Where: "internal/node.Default", Why: ownTable},
		{Check: "panic", Where: "raftstore/state.newCBORModes", Why: ownTable},
		{Check: "panic", Where: "protocol/fed.newCBORModes", Why: ownTable},
		{Check: "panic", Where: "federation.newCallCodec", Why: ownTable},
		{Check: "panic", Where: "federation.encodeRecord", Why: "a type without an encoding, which the first test meets"},
		{Check: "panic", Where: "protocol/fed.encode", Why: "a type without an encoding, which the first test meets"},
		{Check: "panic", Where: "raftstore.damages.ending", Why: passedOn},
		{Check: "panic", Where: "raftstore.damages.reading", Why: passedOn},
		{Check: "sleep", Where: "raftstore.fakeLog.submit", Why: bubble},
		{Check: "sleep", Where: "internal/node.TestEvacuation", Why: bubble},
		{Check: "sleep", Where: "internal/node.TestEvacuationNowhere", Why: bubble},
		{Check: "sleep", Where: "internal/node.TestEvacuationAndOperator", Why: bubble},
	}
}
