//go:build goexperiment.runtimesecret

package custody_test

import (
	"bytes"
	"crypto/rand"
	"runtime/secret"
	"testing"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/custody"
)

// A witness is randomness that notes where it was asked for: in the midst of work
// with keys.
type witness struct{ asked, within int }

func (w *witness) Read(p []byte) (int, error) {
	w.asked++
	if secret.Enabled() {
		w.within++
	}
	return rand.Read(p)
}

func TestWorkWithKeysIsErased(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	d, c := s.dek(t), s.cek(t)
	token, row := s.credential(0)
	e, _ := s.escrow()
	claims := custody.Claims{Kind: models.GrantSession, AccountID: models.NewID(), GrantID: models.NewID()}
	for what, work := range map[string]func(w *witness) error{
		"NewDEK":        func(w *witness) error { _, err := custody.NewDEK(w, s.Vault, 1); return err },
		"ShareDEK":      func(w *witness) error { _, err := s.session.ShareDEK(w, d, s.apiKey.Grant()); return err },
		"ShareCEK":      func(w *witness) error { _, err := s.session.ShareCEK(w, c, s.agent.Grant()); return err },
		"HandOver":      func(w *witness) error { _, err := s.session.HandOver(w, d); return err },
		"SealSuccessor": func(w *witness) error { _, err := s.session.SealSuccessor(w, 3, "x"); return err },
		"Seal":          func(w *witness) error { return c.Seal(w, token, row, []byte("{}")) },
		"Offer":         func(w *witness) error { return s.session.Offer(w, e, d, s.apiKey.Grant()) },
		"SealToken":     func(w *witness) error { _, _, err := s.ring.SealToken(w, &claims); return err },
	} {
		var w witness
		if err := work(&w); err != nil || w.asked == 0 || w.within != w.asked {
			t.Errorf("%s: %v; asked for randomness %d times, of these %d in work to be erased; want all", what, err, w.asked, w.within)
		}
	}
	var w witness
	if _, _, err := claims.NewGrantKey(&w); err != nil || w.asked == 0 || w.within != w.asked {
		t.Errorf("NewGrantKey: %v; asked for randomness %d times, of these %d in work to be erased; want all", err, w.asked, w.within)
	}
	if secret.Enabled() {
		t.Error("what follows work with keys is still taken for it")
	}
	if got, err := c.Open(token, row); err != nil || !bytes.Equal(got, []byte("{}")) {
		t.Errorf("what is returned did not outlive the work: %q, %v", got, err)
	}
}
