package protocol

// UserStatus is the employment status of a user.
type UserStatus uint8

// Employment statuses. Someone who left can't log in and is hidden by clients.
const (
	StatusActive    UserStatus = 0
	StatusProbation UserStatus = 1
	StatusRegular   UserStatus = 2
	StatusLeft      UserStatus = 3
	StatusIntern    UserStatus = 4
)

// User is a person's entry in the directory.
type User struct {
	ID         UserID     `cbor:"1,keyasint"`
	Name       string     `cbor:"2,keyasint"` // login name, unique
	Nick       string     `cbor:"3,keyasint,omitempty"`
	Gender     uint8      `cbor:"4,keyasint,omitempty"` // 0 unknown, 1 male, 2 female
	Avatar     string     `cbor:"5,keyasint,omitempty"`
	Department DeptID     `cbor:"6,keyasint,omitempty"`
	Email      string     `cbor:"7,keyasint,omitempty"`
	Phone      string     `cbor:"8,keyasint,omitempty"`
	Domain     string     `cbor:"9,keyasint,omitempty"` // pinyin, for search
	Status     UserStatus `cbor:"10,keyasint,omitempty"`
	Sign       string     `cbor:"11,keyasint,omitempty"`
	PushShield bool       `cbor:"12,keyasint,omitempty"` // no pushes at night
	Created    Time       `cbor:"13,keyasint,omitempty"`
	Updated    Time       `cbor:"14,keyasint,omitempty"` // moves whenever a directory listing has to show the user again
	Revoked    Cursor     `cbor:"15,keyasint,omitempty"` // log index of the last command that ended all sessions of the user
	Remote     bool       `cbor:"16,keyasint,omitempty"` // of another cluster; the id is an alias
	Address    string     `cbor:"17,keyasint,omitempty"` // user@domain; only of remote ones
}

// Department is a node of the company's tree.
type Department struct {
	ID       DeptID `cbor:"1,keyasint"`
	Name     string `cbor:"2,keyasint"`
	Parent   DeptID `cbor:"3,keyasint,omitempty"`
	Priority uint32 `cbor:"4,keyasint,omitempty"` // order of display
	Deleted  bool   `cbor:"5,keyasint,omitempty"`
	Updated  Time   `cbor:"6,keyasint,omitempty"`
}

// DeviceToken is where pushes for a user's mobile go.
type DeviceToken struct {
	User   UserID     `cbor:"1,keyasint"`
	Client ClientType `cbor:"2,keyasint"`
	Token  string     `cbor:"3,keyasint"`
}

// OfflineFile is a file that waits for its receiver.
type OfflineFile struct {
	From   UserID `cbor:"1,keyasint"`
	To     UserID `cbor:"2,keyasint"`
	TaskID string `cbor:"3,keyasint"`
	Name   string `cbor:"4,keyasint"`
	Size   uint32 `cbor:"5,keyasint"` // bytes
	Added  Time   `cbor:"6,keyasint,omitempty"`
	Blob   BlobID `cbor:"7,keyasint,omitzero"` // its content; zero: another server has it
}
