package custody

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

func TestWhatTVSealedOpensForItsPlaceAlone(t *testing.T) {
	t.Parallel()
	k, other := derive(t, testSeed), derive(t, testSeed+"x")
	tokens := wire.RefreshTokens{AccessToken: "access-canary", RefreshToken: "refresh-canary", ExpiryTime: 1767225600000}
	sealed, err := wire.Seal(*k.SealKey(), k.WebhookID(), "github", "c-1", 7, tokens)
	if err != nil {
		t.Fatal(err)
	}
	text, err := k.OpenSealed("github", sealed)
	var got wire.RefreshTokens
	if err != nil || json.Unmarshal(text, &got) != nil || !reflect.DeepEqual(got, tokens) {
		t.Fatalf("opens to %s, %v, want the tokens", text, err)
	}
	for name, change := range map[string]func(*wire.Sealed, *string){
		"another service":   func(_ *wire.Sealed, service *string) { *service = "gitlab" },
		"another creation":  func(s *wire.Sealed, _ *string) { s.CreationID = "c-2" },
		"another sequence":  func(s *wire.Sealed, _ *string) { s.Sequence++ },
		"another key id":    func(s *wire.Sealed, _ *string) { s.KeyID = other.SealKey().ID },
		"no ciphertext":     func(s *wire.Sealed, _ *string) { s.CT = "" },
		"ciphertext cut":    func(s *wire.Sealed, _ *string) { s.CT = s.CT[:len(s.CT)-4] },
		"ciphertext longer": func(s *wire.Sealed, _ *string) { s.CT = strings.Repeat("AAAA", wire.MaxSealedText/4+1) },
		"a line end":        func(s *wire.Sealed, _ *string) { s.CT += "\n" },
		"no enc":            func(s *wire.Sealed, _ *string) { s.Enc = "" },
		"enc not base64":    func(s *wire.Sealed, _ *string) { s.Enc = "*" },
		"enc of zeros":      func(s *wire.Sealed, _ *string) { s.Enc = strings.Repeat("A", len(s.Enc)) },
	} {
		changed, service := sealed, "github"
		change(&changed, &service)
		if got, err := k.OpenSealed(service, changed); !errors.Is(err, ErrOpen) || got != nil {
			t.Errorf("%s: opens to %q, %v, want ErrOpen", name, got, err)
		}
	}
	if got, err := other.OpenSealed("github", sealed); !errors.Is(err, ErrOpen) {
		t.Errorf("another webhook opens it to %q, %v, want ErrOpen", got, err)
	}
}
