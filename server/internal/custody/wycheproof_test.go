package custody_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/tvzero/tokenvault/server/internal/custody"
)

// Project Wycheproof's vectors (testdata/wycheproof), against the calls through
// which this package uses each primitive.

type wycheproof[T any] struct{ Tests []T }

type verdict struct {
	TcID    int
	Comment string
	Result  string // valid, invalid, acceptable
}

// count fails unless both outcomes occurred: vectors that prove nothing.
func count(t *testing.T, good, bad int) {
	t.Helper()
	if good == 0 || bad == 0 {
		t.Errorf("%d vectors were taken and %d refused, want some of both", good, bad)
	}
}

func TestKeyWrapAgainstWycheproof(t *testing.T) {
	t.Parallel()
	good, bad := 0, 0
	for _, v := range known[wycheproof[struct {
		verdict
		Key, Msg, CT hexBytes
	}]](t, "wycheproof/aes_wrap").Tests {
		key, err := custody.Unwrap(v.Key, v.CT)
		if v.Result != "valid" || len(v.Msg) != 32 { // only keys of 32 bytes are wrapped here
			bad++
			if !errors.Is(err, custody.ErrOpen) || key != nil {
				t.Errorf("%d (%s, %s): unwrapped to %d bytes, %v; want ErrOpen", v.TcID, v.Comment, v.Result, len(key), err)
			}
			continue
		}
		good++
		if err != nil || !bytes.Equal(key, v.Msg) {
			t.Errorf("%d (%s): unwrapped to %x, %v; want %x", v.TcID, v.Comment, key, err, v.Msg)
		}
		if wrapped, err := custody.Wrap(v.Key, v.Msg); err != nil || !bytes.Equal(wrapped, v.CT) {
			t.Errorf("%d (%s): wrapped to %x, %v; want %x", v.TcID, v.Comment, wrapped, err, v.CT)
		}
	}
	count(t, good, bad)
}

func TestGCMAgainstWycheproof(t *testing.T) {
	t.Parallel()
	good, bad := 0, 0
	for _, v := range known[wycheproof[struct {
		verdict
		Key, IV, AAD, Msg, CT, Tag hexBytes
	}]](t, "wycheproof/aes_gcm").Tests {
		sealed := bytes.Join([][]byte{v.IV, v.CT, v.Tag}, nil)
		plain, err := custody.Open(v.Key, sealed, v.AAD)
		if v.Result != "valid" {
			bad++
			if !errors.Is(err, custody.ErrOpen) || plain != nil {
				t.Errorf("%d (%s): opened to %x, %v; want ErrOpen", v.TcID, v.Comment, plain, err)
			}
			continue
		}
		good++
		if err != nil || !bytes.Equal(plain, v.Msg) {
			t.Errorf("%d (%s): opened to %x, %v; want %x", v.TcID, v.Comment, plain, err, v.Msg)
		}
		if got, err := custody.Seal(bytes.NewReader(v.IV), v.Key, v.Msg, v.AAD); err != nil || !bytes.Equal(got, sealed) {
			t.Errorf("%d (%s): sealed to %x, %v; want %x", v.TcID, v.Comment, got, err, sealed)
		}
	}
	count(t, good, bad)
}

func TestHKDFAgainstWycheproof(t *testing.T) {
	t.Parallel()
	tests := known[wycheproof[struct {
		verdict
		IKM, Salt, Info, OKM hexBytes
	}]](t, "wycheproof/hkdf_sha256").Tests
	if len(tests) < 80 {
		t.Fatalf("%d vectors, want 83", len(tests))
	}
	for _, v := range tests {
		key, err := custody.Derive(v.IKM, v.Salt, string(v.Info))
		if err != nil || len(key) != 32 {
			t.Fatalf("%d (%s): %d bytes, %v", v.TcID, v.Comment, len(key), err)
		}
		// HKDF's shorter outputs are the beginnings of its longer ones.
		n := min(len(key), len(v.OKM))
		if !bytes.Equal(key[:n], v.OKM[:n]) {
			t.Errorf("%d (%s): derived %x, want %x", v.TcID, v.Comment, key[:n], v.OKM[:n])
		}
	}
}

func TestX25519AgainstWycheproof(t *testing.T) {
	t.Parallel()
	good, bad := 0, 0
	for _, v := range known[wycheproof[struct {
		verdict
		Public, Private, Shared hexBytes
	}]](t, "wycheproof/x25519").Tests {
		shared, err := custody.Agree(v.Private, v.Public)
		if bytes.Equal(v.Shared, make([]byte, 32)) { // a point of low order: RFC 7748, section 6.1
			bad++
			if !errors.Is(err, custody.ErrOpen) || shared != nil {
				t.Errorf("%d (%s): agreed on %x, %v; want ErrOpen", v.TcID, v.Comment, shared, err)
			}
			continue
		}
		good++
		if err != nil || !bytes.Equal(shared, v.Shared) {
			t.Errorf("%d (%s): agreed on %x, %v; want %x", v.TcID, v.Comment, shared, err, v.Shared)
		}
	}
	count(t, good, bad)
}
