package custody

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/rand"
	"encoding/base64"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

const testSeed = "S1pQ9xw2LrT7vB4nKz8mYc3hJd6fGa5e"

func derive(t testing.TB, seed string) *Keys {
	t.Helper()
	k, err := Derive([]byte(seed))
	if err != nil {
		t.Fatalf("deriving keys: %v", err)
	}
	return k
}

func TestDeriveGivesTheSameKeysForTheSameSeed(t *testing.T) {
	t.Parallel()
	a, b := derive(t, testSeed), derive(t, "\n "+testSeed+" \r\n")
	if a.WebhookID() != b.WebhookID() || a.SignKey() != b.SignKey() || *a.SealKey() != *b.SealKey() {
		t.Errorf("keys of one seed differ: %s and %s", a.WebhookID(), b.WebhookID())
	}
	other := derive(t, strings.ToLower(testSeed))
	if a.WebhookID() == other.WebhookID() || a.SignKey() == other.SignKey() || a.SealKey().Key == other.SealKey().Key {
		t.Errorf("keys of two seeds are alike: %s", a.WebhookID())
	}
	blob, err := a.SealBlob("x", []byte("state"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := b.OpenBlob("x", blob); err != nil || string(got) != "state" {
		t.Errorf("the same seed opens %q, %v; want state", got, err)
	}
	if got, err := other.OpenBlob("x", blob); !errors.Is(err, ErrOpen) {
		t.Errorf("another seed opens %q, %v; want ErrOpen", got, err)
	}
}

func TestDeriveRefusesWeakSeeds(t *testing.T) {
	t.Parallel()
	for name, seed := range map[string]string{
		"empty":                    "",
		"31 bytes":                 testSeed[1:],
		"32 bytes with the spaces": testSeed[2:] + "  ",
		"one character":            strings.Repeat("a", 64),
		"seven characters":         strings.Repeat("abcdefg", 9),
	} {
		k, err := Derive([]byte(seed))
		if !errors.Is(err, ErrSeed) || k != nil {
			t.Errorf("%s: got %v, want ErrSeed", name, err)
			continue
		}
		if !strings.Contains(err.Error(), "openssl rand") {
			t.Errorf("%s: %q does not say what to do", name, err)
		}
		if seed != "" && strings.Contains(err.Error(), seed) {
			t.Errorf("%s: the error shows the seed: %v", name, err)
		}
	}
}

func TestSealKeyIsTheKeyThatOpens(t *testing.T) {
	t.Parallel()
	k := derive(t, testSeed)
	public := k.SealKey()
	if public.KEM != "MLKEM768-X25519" || len(public.ID) != 16 {
		t.Errorf("seal key = %s, %s; want MLKEM768-X25519 and 16 hex digits", public.KEM, public.ID)
	}
	raw, err := base64.StdEncoding.DecodeString(public.Key)
	if err != nil {
		t.Fatal(err)
	}
	to, err := hpke.MLKEM768X25519().NewPublicKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := hpke.Seal(to, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte("info"), []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := hpke.Open(k.seal, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte("info"), sealed)
	if err != nil || string(got) != "hello" {
		t.Errorf("opens to %q, %v; want hello", got, err)
	}
}

func TestSignKeyIsTheKeyThatSigns(t *testing.T) {
	t.Parallel()
	k := derive(t, testSeed)
	public, err := base64.StdEncoding.DecodeString(k.SignKey())
	if err != nil {
		t.Fatal(err)
	}
	signature := ed25519.Sign(k.sign, []byte("message"))
	if !ed25519.Verify(public, []byte("message"), signature) {
		t.Errorf("a signature does not verify under SignKey %s", k.SignKey())
	}
}

func TestKeysNeverShow(t *testing.T) {
	t.Parallel()
	k := derive(t, testSeed)
	private, err := k.seal.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	shown := []string{k.String(), k.GoString(), k.LogValue().String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		shown = append(shown, fmt.Sprintf(verb, k), fmt.Sprintf(verb, *k), fmt.Sprintf(verb, struct{ K *Keys }{k}))
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "keys", k, "copy", *k)
	shown = append(shown, log.String())
	for _, text := range shown {
		for _, secret := range []string{string(k.sign.Seed()), fmt.Sprintf("%x", k.sign.Seed()), fmt.Sprint([]byte(k.sign)),
			string(private), fmt.Sprintf("%x", private), k.id} {
			if strings.Contains(text, secret) {
				t.Errorf("printed keys show %q: %s", secret, text)
			}
		}
	}
	if text := fmt.Sprintf("%v", k); text != "[redacted]" {
		t.Errorf("%%v prints %q, want [redacted]", text)
	}
	if out, err := json.Marshal(map[string]any{"k": k}); err == nil {
		t.Errorf("keys marshal to JSON: %s", out)
	}
	if err := gob.NewEncoder(&log).Encode(k); err == nil {
		t.Error("keys marshal to gob, want an error")
	}
	if out, err := k.MarshalText(); err == nil {
		t.Errorf("keys marshal to text: %s", out)
	}
}

func TestBlobOpensOnlyUnderItsLabel(t *testing.T) {
	t.Parallel()
	k := derive(t, testSeed)
	secret := make([]byte, 32)
	rand.Read(secret)
	blob, err := k.SealBlob("binding/current", secret)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k.OpenBlob("binding/current", blob); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("opens to %x, %v; want %x", got, err, secret)
	}
	for _, label := range []string{"", "binding/previous", "binding/current ", "binding/curren"} {
		if got, err := k.OpenBlob(label, blob); !errors.Is(err, ErrOpen) {
			t.Errorf("label %q opens to %x, %v; want ErrOpen", label, got, err)
		}
	}
	for i := range len(blob) {
		if got, err := k.OpenBlob("binding/current", blob[:i]); !errors.Is(err, ErrOpen) {
			t.Errorf("cut to %d bytes it opens to %x, %v; want ErrOpen", i, got, err)
		}
		for bit := range 8 {
			altered := bytes.Clone(blob)
			altered[i] ^= 1 << bit
			if got, err := k.OpenBlob("binding/current", altered); !errors.Is(err, ErrOpen) {
				t.Errorf("bit %d of byte %d flipped: %x, %v; want ErrOpen", bit, i, got, err)
			}
		}
	}
}

func TestBlobAndFieldKeysAreDifferent(t *testing.T) {
	t.Parallel()
	k := derive(t, testSeed)
	sealed := k.data.Seal([]byte{blobVersion}, nil, []byte("x"), context(labelBlobData, "l"))
	if got, err := k.OpenBlob("l", sealed); !errors.Is(err, ErrOpen) {
		t.Errorf("what the data key sealed opens as a blob: %q, %v", got, err)
	}
}

func TestContextsOfDifferentFieldsDiffer(t *testing.T) {
	t.Parallel()
	lists := [][]string{{}, {""}, {"", ""}, {"a"}, {"a", ""}, {"", "a"}, {"ab"}, {"a", "b"}, {"b", "a"}, {"a\x00\x00\x00\x01b"}}
	seen := map[string][]string{}
	for _, fields := range lists {
		got := string(context("label", fields...))
		if other, ok := seen[got]; ok {
			t.Errorf("%q and %q have the same context", other, fields)
		}
		seen[got] = fields
	}
	if got, want := string(context("l", "ab", "")), "l\x00\x00\x00\x02ab\x00\x00\x00\x00"; got != want {
		t.Errorf("context = %q, want %q", got, want)
	}
}
