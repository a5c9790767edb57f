package protocol

// LiveSession is a connection that has logged in, somewhere in the cluster.
type LiveSession struct {
	User   UserID
	Conn   ConnID // unique on its node
	Client ClientType
	Device DeviceID // empty: a legacy client
	Node   NodeID
	Since  Time // of the login; raised above what was known of the user's other sessions, so that of two the later login has the later time
	Active Time // about when it last asked for something
}

// IsExtended tells sessions of extended clients from legacy ones.
func (s *LiveSession) IsExtended() bool { return s.Device != "" }

// Displacement says why a session must go. The values are fit for logs.
type Displacement string

// Reasons for which a session must go.
const (
	DisplacedByNewer Displacement = "newer_login" // legacy: another one of its class logged in later [TT-KICK-1]
	DisplacedByOwn   Displacement = "replaced"    // its device has a later session [TT-SESS-8]
	DisplacedByMany  Displacement = "too_many"    // the user has too many devices, and this one has been idle longest [TT-SESS-8]
)

// DisplacedSession is a session of this node that must go because of others, which may be on other nodes.
type DisplacedSession struct {
	Session LiveSession
	Why     Displacement
	By      LiveSession // the later login; if the user has too many: his latest one
}
