package custody_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"

	"github.com/tvzero/tokenvault/server/internal/custody"
)

func TestACloneOutlivesItsKeyAndIsClearedByItself(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	first := s.cek(t)
	token, row := s.credential(0)
	if err := first.Seal(rand.Reader, token, row, []byte("secret")); err != nil {
		t.Fatal(err)
	}
	second := first.Clone()
	third := second.Clone()
	first.Clear()
	if _, err := first.Open(token, row); !errors.Is(err, custody.ErrOpen) {
		t.Errorf("a cleared key: %v, want ErrOpen", err)
	}
	for range 2 {
		if got, err := second.Open(token, row); err != nil || !bytes.Equal(got, []byte("secret")) {
			t.Errorf("a clone of it opens %q, %v", got, err)
		}
		third.Clear()
	}
	second.Clear()
	for what, key := range map[string]custody.CEK{"a cleared clone": second, "a clone of a cleared key": first.Clone(), "a clone of no key": custody.CEK{}.Clone()} {
		if _, err := key.Open(token, row); !errors.Is(err, custody.ErrOpen) {
			t.Errorf("%s: %v, want ErrOpen", what, err)
		}
	}
	if first.Epoch() != second.Epoch() || second.Epoch() != row.Epoch {
		t.Errorf("epochs %d, %d of a credential of %d", first.Epoch(), second.Epoch(), row.Epoch)
	}
}
