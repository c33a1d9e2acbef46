package audit

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"
)

// A ChainState is what is known of the whole record's chains: those of all accounts,
// since a stream holds the events of all.
type ChainState struct {
	Streams int
	Entries int64
	Pending int       // streams that no visit has come to the end of yet
	UpTo    time.Time // entries until then were verified; zero: not all yet
	Breaks  []Break
}

// A Break is what does not fit in a stream.
type Break struct {
	StreamID uuid.UUID
	Problems []string // the first ones tell
}

// State tells what the verification of all replicas has found.
func (v *Verifier) State(ctx context.Context) (ChainState, error) {
	all, err := v.deps.Verifications.Verifications(ctx)
	if err != nil {
		return ChainState{}, err
	}
	var state ChainState
	for _, one := range all {
		if one.Problem != "" {
			state.Breaks = append(state.Breaks, Break{one.StreamID, strings.Split(one.Problem, problemMark)})
		}
		if one.StreamID == uuid.Nil { // of which there is nothing, if all is well
			continue
		}
		state.Streams++
		state.Entries += one.Through
		switch {
		case one.CheckedAt == nil:
			state.Pending++
		case state.UpTo.IsZero() || one.CheckedAt.Before(state.UpTo):
			state.UpTo = *one.CheckedAt
		}
	}
	if state.Pending > 0 {
		state.UpTo = time.Time{}
	}
	return state, nil
}
