package node

import (
	"errors"
	"fmt"

	"teamtalk/protocol"
	"teamtalk/raftstore/state"
)

// highestLevel is the level of features that this node may use.
func (c *Config) highestLevel() protocol.Level {
	return state.HighestLevel(protocol.Level(c.Cluster.HighestLevel))
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
