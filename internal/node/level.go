package node

import (
	"errors"
	"fmt"

	"teamtalk/internal/obs"
	"teamtalk/protocol"
	"teamtalk/raftstore/state"
)

// highestLevel is the level of features that this node may use.
func (c *Config) highestLevel() protocol.Level {
	return state.HighestLevel(protocol.Level(c.Cluster.HighestLevel))
}

// knownLevel refuses levels that this program does not know: to be held at one holds nobody, which whoever wrote it does not mean.
func knownLevel(v value) value {
	set := v.set
	v.set = func(c *Config, s string) error {
		if err := set(c, s); err != nil {
			return err
		}
		if c.Cluster.HighestLevel <= int(state.Level) {
			return nil
		}
		return fmt.Errorf("%s is a level that version %q does not know: the highest that it knows is %d; write a level up to that, or 0 for all that it knows",
			s, obs.BuildVersion().Version, state.Level)
	}
	return v
}

// explainLevel leaves of an error that is about levels what is to be done: nothing is wrong with the data.
func (c *Config) explainLevel(err error) error {
	var level *state.LevelError
	switch {
	case !errors.As(err, &level):
		return err
	case level.Held():
		return fmt.Errorf("the data in %s: %w: cluster.highest_level is %d, remove it (what a cluster uses once, it uses for ever)", c.Data, level, c.Cluster.HighestLevel)
	}
	return fmt.Errorf("the data in %s: %w", c.Data, level)
}
