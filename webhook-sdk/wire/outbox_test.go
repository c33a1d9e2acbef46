package wire_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hpke"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

func TestTheInfoOfSealedTokensIsThatOfTheProtocol(t *testing.T) {
	t.Parallel()
	s := wire.Sealed{KeyID: "k1", CreationID: "c-1", Sequence: 12}
	want := "tokenvault/outbox/v1" + "\x00\x00\x00\x04wh_1" + "\x00\x00\x00\x02k1" + "\x00\x00\x00\x06github" + "\x00\x00\x00\x03c-1" + "\x00\x00\x00\x0212"
	if got := string(s.Info("wh_1", "github")); got != want {
		t.Errorf("info: got %q, want %q", got, want)
	}
}

func TestSealedTokensOpenWithTheWebhooksKeyAlone(t *testing.T) {
	t.Parallel()
	tokens := wire.RefreshTokens{AccessToken: "access-canary", RefreshToken: "refresh-canary", ExpiryTime: 5}
	for name, kem := range map[string]hpke.KEM{wire.KEMHybrid: hpke.MLKEM768X25519(), wire.KEMX25519: hpke.DHKEM(ecdh.X25519())} {
		key, err := kem.GenerateKey()
		if err != nil {
			t.Fatal(err)
		}
		to := wire.SealKey{ID: "k1", KEM: name, Key: base64.StdEncoding.EncodeToString(key.PublicKey().Bytes())}
		sealed, err := wire.Seal(to, "wh_1", "github", "c-1", 3, tokens)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if text, _ := json.Marshal(sealed); bytes.Contains(text, []byte("canary")) {
			t.Errorf("%s: the sealed form shows the tokens: %s", name, text)
		}
		enc, _ := base64.StdEncoding.DecodeString(sealed.Enc)
		ct, _ := base64.StdEncoding.DecodeString(sealed.CT)
		recipient, err := hpke.NewRecipient(enc, key, hpke.HKDFSHA256(), hpke.AES256GCM(), sealed.Info("wh_1", "github"))
		if err != nil {
			t.Fatal(err)
		}
		text, err := recipient.Open(nil, ct)
		var got wire.RefreshTokens
		if err != nil || json.Unmarshal(text, &got) != nil || !reflect.DeepEqual(got, tokens) {
			t.Errorf("%s: opens to %s, %v, want the tokens", name, text, err)
		}
	}
}

func TestAKeyThatIsNoneSealsNothing(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]wire.SealKey{
		"none": {}, "no base64": {KEM: wire.KEMX25519, Key: "*"}, "too short": {KEM: wire.KEMX25519, Key: "AAAA"},
		"another kem": {KEM: wire.KEMHybrid, Key: base64.StdEncoding.EncodeToString(make([]byte, 32))},
		"unknown":     {KEM: "RSA", Key: base64.StdEncoding.EncodeToString(make([]byte, 32))},
		"low order":   {KEM: wire.KEMX25519, Key: base64.StdEncoding.EncodeToString(make([]byte, 32))},
	} {
		if s, err := wire.Seal(key, "wh", "s", "c", 1, wire.RefreshTokens{AccessToken: "canary"}); !errors.Is(err, wire.ErrSeal) || s.CT != "" {
			t.Errorf("%s: got %v, %v, want ErrSeal", name, s, err)
		} else if strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: the error shows the token: %v", name, err)
		}
	}
}

func TestTokensOfARefreshDoNotPrint(t *testing.T) {
	t.Parallel()
	tokens := wire.RefreshTokens{AccessToken: "canary", RefreshToken: "canary"}
	answer := wire.RefreshResponse{Status: "ok", RefreshToken: "canary"}
	request := wire.RefreshRequest{Tokens: &tokens}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "tokens", tokens, "token", answer.RefreshToken)
	for _, verb := range []string{"%v", "%+v", "%s", "%q"} {
		fmt.Fprintf(&log, verb+verb+verb+verb, tokens, &tokens, answer, request)
	}
	if strings.Contains(log.String(), "canary") {
		t.Errorf("printed: %s", log.String())
	}
}
