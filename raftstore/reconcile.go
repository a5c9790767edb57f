package raftstore

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

const keyCurrentTerm = "CurrentTerm" // raft's own key

// reconcile makes the log fit the state before raft sees either. A crash can leave the log behind the state (an
// installed snapshot whose old log was not dropped yet): then it is void. A log that begins too late, or is gone, can't
// come from a crash; going on would lose entries or votes, so the node refuses to start.
func reconcile(logs *logStore, state stateMeta) error {
	first, err := logs.FirstIndex()
	if err != nil {
		return fmt.Errorf("read raft log: %w", err)
	}
	last, err := logs.LastIndex()
	if err != nil {
		return fmt.Errorf("read raft log: %w", err)
	}
	if err := checkTerm(logs, state); err != nil {
		return err
	}
	switch {
	case last == 0:
		return nil
	case first > state.index+1:
		return fmt.Errorf("the raft log begins at entry %d, the state ends at %d: the entries between are lost; %w", first, state.index, ErrDamaged)
	case last < state.index:
		return void(logs, first, last)
	case state.index >= first:
		var at raft.Log
		if err := logs.GetLog(state.index, &at); err != nil {
			return fmt.Errorf("%w; %w", err, ErrDamaged)
		}
		if at.Term != state.term {
			return void(logs, first, last)
		}
	}
	return checkTail(logs, state.index+1, last)
}

// ErrDamaged is in errors of Open when the data can't be what this node had written: it must not go on under its id, as it may have
// forgotten votes or entries that it has confirmed.
var ErrDamaged = errors.New("remove this node from the cluster and let it join anew, or (a single node) restore a backup")

// checkTerm sees that the file with term and vote is at least as new as the state.
func checkTerm(logs *logStore, state stateMeta) error {
	term, err := logs.GetUint64([]byte(keyCurrentTerm))
	if err != nil && err.Error() != "not found" {
		return fmt.Errorf("read raft's term: %w", err)
	}
	if term < state.term {
		return fmt.Errorf("%s knows term %d, but the state was written in term %d: the log was lost or is an old copy; %w",
			logName, term, state.term, ErrDamaged)
	}
	return nil
}

func void(logs *logStore, first, last uint64) error {
	if err := logs.delete(first, last); err != nil {
		return fmt.Errorf("void the log that an installed snapshot replaced: %w", err)
	}
	return nil
}

// checkTail reads the entries that are to be executed: raft would panic on a missing or damaged one.
func checkTail(logs *logStore, from, last uint64) error {
	for i := from; i <= last; i++ {
		var l raft.Log
		if err := logs.GetLog(i, &l); err != nil {
			return fmt.Errorf("entry %d of the raft log (which ends at %d): %w; %w", i, last, err, ErrDamaged)
		}
		switch l.Type {
		case raft.LogCommand:
			if _, err := decodeEntry(l.Data); err != nil {
				return entryError(i, err)
			}
		case raft.LogConfiguration:
			if _, err := decodeConfiguration(l.Data); err != nil {
				return entryError(i, err)
			}
		}
	}
	return nil
}

func entryError(index uint64, err error) error {
	if errors.Is(err, errNewerEntry) {
		return fmt.Errorf("log entry %d was written by a newer version of the program (%w): run the newer version on this node", index, err)
	}
	return fmt.Errorf("log entry %d is damaged (%w); %w", index, err, ErrDamaged)
}

// bootstrap writes the first configuration into an empty node. Doing it again after a crash in between is harmless.
func bootstrap(logs *logStore, state stateMeta, members []Member) error {
	last, err := logs.LastIndex()
	if err != nil {
		return fmt.Errorf("read raft log: %w", err)
	}
	term, err := logs.GetUint64([]byte(keyCurrentTerm))
	if err != nil && err.Error() != "not found" {
		return fmt.Errorf("read raft's term: %w", err)
	}
	if len(members) == 0 || last > 0 || state.index > 0 || term > 1 {
		return nil
	}
	var conf raft.Configuration
	for _, m := range members {
		conf.Servers = append(conf.Servers, raft.Server{ID: raft.ServerID(m.ID), Address: raft.ServerAddress(m.Address)})
	}
	if err := logs.SetUint64([]byte(keyCurrentTerm), 1); err != nil {
		return err
	}
	return logs.StoreLog(&raft.Log{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(conf)})
}

// latestConfiguration is the one raft will start with.
func latestConfiguration(logs *logStore, state stateMeta) (raft.Configuration, error) {
	conf := state.conf
	last, err := logs.LastIndex()
	if err != nil {
		return conf, fmt.Errorf("read raft log: %w", err)
	}
	for i := state.index + 1; i <= last; i++ {
		var l raft.Log
		if err := logs.GetLog(i, &l); err != nil {
			return conf, err
		}
		if l.Type == raft.LogConfiguration {
			if conf, err = decodeConfiguration(l.Data); err != nil {
				return conf, err
			}
		}
	}
	return conf, nil
}
