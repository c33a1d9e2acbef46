package custody_test

import (
	"bytes"
	"crypto/aes"
	"crypto/hkdf"
	"crypto/sha256"
	"testing"

	josecipher "github.com/go-jose/go-jose/v4/cipher"
	"pgregory.net/rapid"

	"github.com/tvzero/tokenvault/server/internal/custody"
)

// Our AES-KW beside another one (Wycheproof's vectors are in wycheproof_test.go).
func TestKeyWrapAgreesWithGoJose(t *testing.T) {
	t.Parallel()
	key := rapid.SliceOfN(rapid.Byte(), 32, 32)
	rapid.Check(t, func(t *rapid.T) {
		kek, secret := key.Draw(t, "kek"), key.Draw(t, "key")
		block, err := aes.NewCipher(kek)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := josecipher.KeyWrap(block, secret)
		if err != nil {
			t.Fatal(err)
		}
		ours, err := custody.Wrap(kek, secret)
		if err != nil || !bytes.Equal(ours, theirs) {
			t.Fatalf("wrapped: got %x, %v, want %x", ours, err, theirs)
		}
		if got, err := custody.Unwrap(kek, theirs); err != nil || !bytes.Equal(got, secret) {
			t.Fatalf("unwrapped: got %x, %v, want %x", got, err, secret)
		}
		flip := rapid.IntRange(0, len(theirs)*8-1).Draw(t, "bit")
		theirs[flip/8] ^= 1 << (flip % 8)
		if got, err := custody.Unwrap(kek, theirs); err == nil {
			t.Fatalf("with bit %d flipped it unwraps to %x", flip, got)
		}
	})
}

// Our HKDF beside the standard library's, for secrets, salts and infos of all lengths
// in use and beyond.
func TestDerivationAgreesWithTheStandardLibrary(t *testing.T) {
	t.Parallel()
	text := func(least int) *rapid.Generator[[]byte] { return rapid.SliceOfN(rapid.Byte(), least, 300) }
	rapid.Check(t, func(t *rapid.T) {
		secret, salt, info := text(1).Draw(t, "secret"), text(0).Draw(t, "salt"), string(text(0).Draw(t, "info"))
		want, err := hkdf.Key(sha256.New, secret, salt, info, 32)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := custody.Derive(secret, salt, info); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("got %x, %v, want %x", got, err, want)
		}
	})
}

func TestARecalledTokenIsTheOneThatWasRemembered(t *testing.T) {
	t.Parallel()
	r := newRelease(t)
	claims, err := r.ring.OpenToken(r.Tokens.Agent.Token)
	if err != nil {
		t.Fatal(err)
	}
	h, err := r.ring.Hold(claims, r.grant, r.slot, nil)
	if err != nil {
		t.Fatal(err)
	}
	known := h.Remember()
	h.Clear()
	if secret, err := r.again(&known, r.remembered(t), nil); err != nil || len(secret) != 1024 {
		t.Errorf("recalled: %d bytes, %v, want the credential", len(secret), err)
	}
	for what, text := range map[string]string{
		"another token": r.Tokens.Session.Token, "no token": "", "a token of which a letter differs": changed(r.Tokens.Agent.Token),
	} {
		if _, err := r.ring.Recall(text, &known, nil); err == nil {
			t.Errorf("%s was recalled", what)
		}
	}
	other, text := seal(t, r.ring, custody.Claims{Kind: claims.Kind, AccountID: claims.AccountID, GrantID: claims.GrantID, Slot: claims.Slot})
	if _, err := r.ring.Recall(text, &known, nil); err == nil {
		t.Errorf("another token of the same grant and slot (%v) was recalled", other.Slot)
	}
}

// changed is a token with another letter in its midst.
func changed(token string) string {
	middle := len(token) / 2
	letter := "A"
	if token[middle] == 'A' {
		letter = "B"
	}
	return token[:middle] + letter + token[middle+1:]
}
