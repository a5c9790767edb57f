package obs

import (
	"fmt"
	"runtime/debug"
	"strings"
)

// Version is what a binary was built from.
type Version struct {
	Version  string `json:"version"`            // release, or "dev"
	Revision string `json:"revision,omitempty"` // commit; "+changes" is appended for a modified tree
	Time     string `json:"time,omitempty"`     // of the commit
	Go       string `json:"go"`
}

// BuildVersion reads what the Go tool noted in the running binary.
func BuildVersion() Version {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return Version{Version: "dev", Go: "unknown"}
	}
	return versionOf(info)
}

func versionOf(info *debug.BuildInfo) Version {
	v := Version{Version: info.Main.Version, Go: info.GoVersion}
	if v.Version == "" || v.Version == "(devel)" {
		v.Version = "dev"
	}
	changed := false
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.time":
			v.Time = s.Value
		case "vcs.modified":
			changed = s.Value == "true"
		}
	}
	if v.Revision != "" && changed {
		v.Revision += "+changes"
	}
	return v
}

// String is one line for people.
func (v Version) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "teamtalk %s", v.Version)
	if v.Revision != "" {
		fmt.Fprintf(&b, " (%s, %s)", v.Revision, v.Time)
	}
	fmt.Fprintf(&b, " %s", v.Go)
	return b.String()
}
