package vaults_test

import (
	"strings"
	"testing"
)

func TestACredentialThatDoesNotOpenIsLeftAndTheOthersMove(t *testing.T) {
	t.Parallel()
	eachMover(t, func(t *testing.T, m *mover) {
		broken := m.keep("broken", plain("1"))
		m.keep("whole", plain("2"))
		was, err := m.db.Credential(t.Context(), broken.AccountID, broken.ID)
		m.must(err)
		now := was
		now.Sealed = append(now.Sealed[:0:0], was.Sealed...)
		now.Sealed[len(now.Sealed)-1] ^= 1
		m.must(m.db.UpdateCredential(t.Context(), &now, was))
		m.webhook()
		done := m.move()
		if strings.Join(done.Moved, " ") != "whole" || len(done.Left) != 1 || done.Left[0].Token.ServiceName != "broken" || !strings.Contains(done.Left[0].Reason, "damaged") {
			t.Errorf("moved %v, left %+v, want the damaged one left", done.Moved, done.Left)
		}
		if got := m.held(); len(got) != 1 {
			t.Errorf("here are %v, want the damaged one", got)
		}
	})
}
