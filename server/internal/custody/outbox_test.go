package custody_test

import (
	"errors"
	"testing"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/custody"
)

func TestWhatWaitsForAWebhookIsWhatWasPutThere(t *testing.T) {
	t.Parallel()
	ring := keyring(t)
	e := models.OutboxEntry{AccountID: models.NewID(), TokenID: models.NewID(), CreationID: "c", Sequence: 3, KeyID: "k"}
	id, mac := ring.SignOutbox(&e, []byte("sealed"))
	if err := ring.CheckOutbox(&e, []byte("sealed"), id, mac); err != nil || id != ring.Current() {
		t.Fatalf("as it was put: %v under key %d", err, id)
	}
	for name, change := range map[string]func(e *models.OutboxEntry){
		"account":  func(e *models.OutboxEntry) { e.AccountID = models.NewID() },
		"token":    func(e *models.OutboxEntry) { e.TokenID = models.NewID() },
		"creation": func(e *models.OutboxEntry) { e.CreationID = "d" },
		"sequence": func(e *models.OutboxEntry) { e.Sequence++ },
		"key":      func(e *models.OutboxEntry) { e.KeyID = "l" },
	} {
		other := e
		change(&other)
		if err := ring.CheckOutbox(&other, []byte("sealed"), id, mac); !errors.Is(err, custody.ErrRow) {
			t.Errorf("another %s: %v, want ErrRow", name, err)
		}
	}
	mac[0] ^= 1
	if err := ring.CheckOutbox(&e, []byte("sealed"), id, mac); !errors.Is(err, custody.ErrRow) {
		t.Errorf("another MAC: %v, want ErrRow", err)
	}
	mac[0] ^= 1
	if err := ring.CheckOutbox(&e, []byte("other"), id, mac); !errors.Is(err, custody.ErrRow) {
		t.Errorf("other tokens: %v, want ErrRow", err)
	}
	if err := ring.CheckOutbox(&e, []byte("sealed"), 77, mac); !errors.Is(err, custody.ErrKeyID) {
		t.Errorf("a key that is gone: %v, want ErrKeyID", err)
	}
}
