package service

import (
	"slices"

	"teamtalk/protocol"
)

// Limits of one request; what may be stored is limited in package protocol.
const (
	maxIDs     = 100_000
	maxMembers = 10_000
)

// distinct is the ids ascending, each once, without 0; more than most of them are refused.
func distinct[T ~uint32](ids []T, most int) ([]T, error) {
	sorted := slices.Clone(ids)
	slices.Sort(sorted)
	sorted = slices.Compact(sorted)
	if len(sorted) > 0 && sorted[0] == 0 {
		sorted = sorted[1:]
	}
	if len(sorted) > most {
		return nil, protocol.Errorf(protocol.CodeTooLarge, "%d ids: at most %d", len(sorted), most)
	}
	return sorted, nil
}
