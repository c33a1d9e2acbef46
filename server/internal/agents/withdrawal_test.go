package agents_test

import (
	"context"
	"testing"

	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/agents"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
)

// A record during which something else happens, once.
type interruptedRecord struct {
	*recorder
	meanwhile *func()
}

func (r interruptedRecord) Record(ctx context.Context, e audit.Event) error {
	err := r.recorder.Record(ctx, e)
	if do := *r.meanwhile; do != nil && e.Type == audit.Release {
		*r.meanwhile = nil
		do()
	}
	return err
}

func TestWhatIsWithdrawnWhileARowIsWrittenIsNotReleased(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		id, key := w.agent("ci", "github")
		var meanwhile func()
		w.deps.Audit = interruptedRecord{w.audit, &meanwhile}
		w.Service = agents.New(w.deps)
		w.released(key, "github")

		meanwhile = func() {
			w.vaults.set(func(v *vault) { v.custody.Locked = true })
			w.deps.Gate.Changed(w.owner.AccountID)
		}
		w.refused("locked meanwhile", key, "github", fault.VaultLocked)
		if got, want := w.last(), "refusal VAULT_LOCKED github"; got != want {
			t.Errorf("the last event is %q, want %q", got, want)
		}
		w.vaults.set(func(v *vault) { v.custody.Locked = false })

		meanwhile = func() { w.check(w.Revoke(t.Context(), w.owner, audit.Client{}, id, "github")) }
		w.refused("revoked meanwhile", key, "github", fault.NoGrant)
		if got, want := w.last(), "refusal NO_GRANT github"; got != want {
			t.Errorf("the last event is %q, want %q", got, want)
		}
		w.grant(id, "github")

		meanwhile = func() {
			_, err := w.Delete(t.Context(), w.owner, audit.Client{}, id)
			w.check(err)
		}
		w.refused("deleted meanwhile", key, "github", fault.InvalidKey)
	})
}
