package wire_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// keyBytes are 32 bytes that count up from first.
func keyBytes(first byte) []byte {
	key := make([]byte, wire.SecretSize)
	for i := range key {
		key[i] = first + byte(i)
	}
	return key
}

func secretFrom(t testing.TB, first byte) wire.Secret {
	t.Helper()
	s, err := wire.NewSecret(keyBytes(first))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// issued is when sampleTicket was issued.
func issued() time.Time { return time.Unix(1700000000, 0) }

func sampleTicket() wire.Ticket {
	return wire.Ticket{
		Subject: "acc-1", Service: "github", Purpose: wire.PurposeAgentCredential,
		IssuedAt: 1700000000, ExpiresAt: 1700000015, Nonce: "00112233445566778899aabbccddeeff",
		AgentID: "agent-1", CreationID: "c-1",
	}
}

// Made by this program and no code of this package:
//
//	import hmac, hashlib, base64
//	k = bytes(range(32))
//	p = b'{"sub":"acc-1","svc":"github","pur":"agent_credential","iat":1700000000,"exp":1700000015,' \
//	    b'"nonce":"00112233445566778899aabbccddeeff","aid":"agent-1","cid":"c-1"}'
//	t = base64.urlsafe_b64encode(p).rstrip(b'=')
//	print((t + b'.' + hmac.new(k, t, hashlib.sha256).hexdigest().encode()).decode())
const sampleTicketText = "eyJzdWIiOiJhY2MtMSIsInN2YyI6ImdpdGh1YiIsInB1ciI6ImFnZW50X2NyZWRlbnRpYWwiLCJpYXQiOjE3MDAwMDAwMDAsImV4cCI6MTcwMDAwMDAxNSwibm9uY2UiOiIwMDExMjIzMzQ0NTU2Njc3ODg5OWFhYmJjY2RkZWVmZiIsImFpZCI6ImFnZW50LTEiLCJjaWQiOiJjLTEifQ" +
	".4c4a07a8adcafd6ac21e83f2f0a4fee44ebd826814a773add6856de5ad796bf3"

// seal makes a ticket of any payload, by the letter of the protocol.
func seal(key, payload []byte) string {
	text := base64.RawURLEncoding.EncodeToString(payload)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return text + "." + hex.EncodeToString(mac.Sum(nil))
}

func TestATicketIsThatOfTheKnownAnswer(t *testing.T) {
	t.Parallel()
	secret := secretFrom(t, 0)
	if got := wire.SignTicket(secret, sampleTicket()); got != sampleTicketText {
		t.Errorf("SignTicket: got\n%s, want\n%s", got, sampleTicketText)
	}
	got, index, err := wire.OpenTicket([]wire.Secret{secret}, sampleTicketText, issued())
	if err != nil || index != 0 || got != sampleTicket() {
		t.Errorf("OpenTicket: got %+v, %d, %v, want %+v, 0, nil", got, index, err, sampleTicket())
	}
}

func TestEveryTicketOpensAsItWasSigned(t *testing.T) {
	t.Parallel()
	text := rapid.StringN(0, 40, 128)
	full := rapid.StringN(1, 40, 128)
	rapid.Check(t, func(rt *rapid.T) {
		secret, err := wire.NewSecret(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(rt, "secret"))
		if err != nil {
			rt.Fatal(err)
		}
		want := wire.Ticket{
			Subject: full.Draw(rt, "sub"), Service: text.Draw(rt, "svc"), Purpose: wire.Purpose(text.Draw(rt, "pur")),
			IssuedAt: rapid.Int64().Draw(rt, "iat"), ExpiresAt: rapid.Int64Range(issued().Unix()+1, 1<<60).Draw(rt, "exp"),
			Nonce: full.Draw(rt, "nonce"), AgentID: text.Draw(rt, "aid"), ProxyConfigID: text.Draw(rt, "pid"),
			CreationID: text.Draw(rt, "cid"), Mode: text.Draw(rt, "mode"),
		}
		got, index, err := wire.OpenTicket([]wire.Secret{secret}, wire.SignTicket(secret, want), issued())
		if err != nil || index != 0 || got != want {
			rt.Fatalf("got %+v, %d, %v, want %+v, 0, nil", got, index, err, want)
		}
	})
}

func TestATicketWithAnyBitFlippedIsInvalid(t *testing.T) {
	t.Parallel()
	secrets := []wire.Secret{secretFrom(t, 0)}
	for i := range len(sampleTicketText) {
		for bit := range 8 {
			changed := []byte(sampleTicketText)
			changed[i] ^= 1 << bit
			if got, _, err := wire.OpenTicket(secrets, string(changed), issued()); !errors.Is(err, wire.ErrTicketInvalid) {
				t.Fatalf("bit %d of byte %d: got %+v, %v, want ErrTicketInvalid", bit, i, got, err)
			}
		}
	}
}

func TestAMalformedTicketIsInvalid(t *testing.T) {
	t.Parallel()
	key, payload := keyBytes(0), `{"sub":"a","svc":"s","pur":"store","iat":1,"exp":9999999999,"nonce":"n"}`
	encoded, tag, _ := strings.Cut(sampleTicketText, ".")
	padded := strings.Replace(seal(key, []byte(payload+" ")), ".", "=.", 1)
	for name, text := range map[string]string{
		"empty":                     "",
		"a dot":                     ".",
		"no signature":              encoded,
		"an empty signature":        encoded + ".",
		"no payload":                "." + tag,
		"an empty payload, signed":  seal(key, nil),
		"an extra dot":              sampleTicketText + ".",
		"a dot between":             encoded + ".." + tag,
		"three parts":               encoded + "." + encoded + "." + tag,
		"upper-case hex":            encoded + "." + strings.ToUpper(tag),
		"a signature cut":           encoded + "." + tag[:62],
		"a signature with more":     encoded + "." + tag + "00",
		"a signature in base64":     encoded + "." + base64.RawURLEncoding.EncodeToString(key),
		"a space before":            " " + sampleTicketText,
		"a line after":              sampleTicketText + "\n",
		"padding":                   padded,
		"padding, signed":           sealText(key, base64.URLEncoding.EncodeToString([]byte(payload+" "))),
		"standard base64, signed":   sealText(key, base64.RawStdEncoding.EncodeToString([]byte(payload+"\u00ff\u00fe?>"))),
		"spare bits, signed":        sealText(key, encoded[:len(encoded)-1]+"R"),
		"a line break, signed":      sealText(key, encoded[:4]+"!\n"+encoded[4:]),
		"bytes after, signed":       seal(key, []byte(payload+"x")),
		"a bracket after, signed":   seal(key, []byte(payload+"}")),
		"two payloads, signed":      seal(key, []byte(payload+payload)),
		"not JSON, signed":          seal(key, []byte("hello")),
		"null, signed":              seal(key, []byte("null")),
		"a list, signed":            seal(key, []byte("["+payload+"]")),
		"no nonce, signed":          seal(key, []byte(`{"sub":"a","svc":"s","pur":"store","exp":9999999999}`)),
		"an empty nonce, signed":    seal(key, []byte(`{"sub":"a","svc":"s","pur":"store","exp":9999999999,"nonce":""}`)),
		"no subject, signed":        seal(key, []byte(`{"svc":"s","pur":"store","exp":9999999999,"nonce":"n"}`)),
		"a fraction in exp, signed": seal(key, []byte(`{"sub":"a","exp":9999999999.5,"nonce":"n"}`)),
		"exp as text, signed":       seal(key, []byte(`{"sub":"a","exp":"9999999999","nonce":"n"}`)),
		"a longer text, signed":     seal(key, []byte(`{"sub":"`+strings.Repeat("a", 4096)+`","exp":9999999999,"nonce":"n"}`)),
		"very long":                 strings.Repeat("a", 10<<20),
		"deep, signed":              seal(key, []byte(strings.Repeat("[", 2000))),
	} {
		got, index, err := wire.OpenTicket([]wire.Secret{secretFrom(t, 0)}, text, issued())
		if !errors.Is(err, wire.ErrTicketInvalid) || index != -1 || got != (wire.Ticket{}) {
			t.Errorf("%s: got %+v, %d, %v, want nothing, -1, ErrTicketInvalid", name, got, index, err)
		}
	}
	// The payload that these cases spoil is good by itself.
	if _, _, err := wire.OpenTicket([]wire.Secret{secretFrom(t, 0)}, seal(key, []byte(payload)), issued()); err != nil {
		t.Errorf("the payload unspoilt: got %v, want it open", err)
	}
}

// sealText signs a text that need not be base64url.
func sealText(key []byte, text string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return text + "." + hex.EncodeToString(mac.Sum(nil))
}

func TestATicketExpiresOnItsSecond(t *testing.T) {
	t.Parallel()
	secrets := []wire.Secret{secretFrom(t, 0)}
	for _, c := range []struct {
		after time.Duration
		want  error
	}{
		{-time.Hour, nil}, {0, nil}, {14 * time.Second, nil}, {15*time.Second - 1, nil},
		{15 * time.Second, wire.ErrTicketExpired}, {time.Hour, wire.ErrTicketExpired},
	} {
		got, index, err := wire.OpenTicket(secrets, sampleTicketText, issued().Add(c.after))
		if !errors.Is(err, c.want) || index != 0 || got != sampleTicket() {
			t.Errorf("%v after: got %+v, %d, %v, want the ticket, 0, %v", c.after, got, index, err, c.want)
		}
	}
}

func TestATicketWithoutExpiryCountsAsExpired(t *testing.T) {
	t.Parallel()
	for name, payload := range map[string]string{
		"missing":  `{"sub":"a","svc":"s","pur":"store","iat":1700000000,"nonce":"n"}`,
		"null":     `{"sub":"a","svc":"s","pur":"store","iat":1700000000,"exp":null,"nonce":"n"}`,
		"zero":     `{"sub":"a","svc":"s","pur":"store","iat":1700000000,"exp":0,"nonce":"n"}`,
		"negative": `{"sub":"a","svc":"s","pur":"store","iat":1700000000,"exp":-1,"nonce":"n"}`,
	} {
		_, _, err := wire.OpenTicket([]wire.Secret{secretFrom(t, 0)}, seal(keyBytes(0), []byte(payload)), issued())
		if !errors.Is(err, wire.ErrTicketExpired) {
			t.Errorf("%s: got %v, want ErrTicketExpired", name, err)
		}
	}
}

func TestUnknownFieldsOfATicketAreIgnored(t *testing.T) {
	t.Parallel()
	payload := `{"sub":"a","svc":"s","pur":"store","iat":1,"exp":9999999999,"nonce":"n","future":{"x":[1]}}`
	got, _, err := wire.OpenTicket([]wire.Secret{secretFrom(t, 0)}, seal(keyBytes(0), []byte(payload)), issued())
	if want := (wire.Ticket{Subject: "a", Service: "s", Purpose: "store", IssuedAt: 1, ExpiresAt: 9999999999, Nonce: "n"}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestATicketOpensUnderTheSecretThatSignedIt(t *testing.T) {
	t.Parallel()
	signer, other := secretFrom(t, 0), secretFrom(t, 1)
	for name, c := range map[string]struct {
		secrets []wire.Secret
		index   int
		err     error
	}{
		"first of two":    {[]wire.Secret{signer, other}, 0, nil},
		"second of two":   {[]wire.Secret{other, signer}, 1, nil},
		"after an empty":  {[]wire.Secret{{}, signer}, 1, nil},
		"another secret":  {[]wire.Secret{other}, -1, wire.ErrTicketInvalid},
		"an empty secret": {[]wire.Secret{{}}, -1, wire.ErrTicketInvalid},
		"no secret":       {nil, -1, wire.ErrTicketInvalid},
	} {
		_, index, err := wire.OpenTicket(c.secrets, sampleTicketText, issued())
		if index != c.index || !errors.Is(err, c.err) {
			t.Errorf("%s: got %d, %v, want %d, %v", name, index, err, c.index, c.err)
		}
	}
}

func TestWhatNoSecretSignedNoSecretOpens(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"SignTicket with the zero secret": wire.SignTicket(wire.Secret{}, sampleTicket()),
		"32 zero bytes":                   seal(make([]byte, 32), []byte(`{"sub":"a","exp":9999999999,"nonce":"n"}`)),
		"an empty key":                    seal(nil, []byte(`{"sub":"a","exp":9999999999,"nonce":"n"}`)),
	} {
		if _, _, err := wire.OpenTicket([]wire.Secret{{}}, text, issued()); !errors.Is(err, wire.ErrTicketInvalid) {
			t.Errorf("%s: got %v, want ErrTicketInvalid", name, err)
		}
	}
}

func TestATicketPermitsItsPurposeAndServiceAlone(t *testing.T) {
	t.Parallel()
	ticket := sampleTicket()
	for name, c := range map[string]struct {
		service  string
		purposes []wire.Purpose
		want     error
	}{
		"its own":             {"github", []wire.Purpose{wire.PurposeAgentCredential}, nil},
		"one of several":      {"github", []wire.Purpose{wire.PurposeTOTPCode, wire.PurposeAgentCredential, wire.PurposeUserReveal}, nil},
		"another purpose":     {"github", []wire.Purpose{wire.PurposeStore}, wire.ErrTicketInvalid},
		"no purpose":          {"github", nil, wire.ErrTicketInvalid},
		"another service":     {"gitlab", []wire.Purpose{wire.PurposeAgentCredential}, wire.ErrTicketInvalid},
		"another case":        {"GitHub", []wire.Purpose{wire.PurposeAgentCredential}, wire.ErrTicketInvalid},
		"a service with more": {"github ", []wire.Purpose{wire.PurposeAgentCredential}, wire.ErrTicketInvalid},
		"no service":          {"", []wire.Purpose{wire.PurposeAgentCredential}, wire.ErrTicketInvalid},
	} {
		if err := ticket.Permits(c.service, c.purposes...); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

func FuzzOpenTicket(f *testing.F) {
	f.Add(sampleTicketText, []byte(`{"sub":"a","svc":"s","pur":"store","iat":1,"exp":9999999999,"nonce":"n"}`))
	f.Add("a.b", []byte(`{"sub":"a","exp":1e9,"nonce":"\ud800"}`))
	f.Add(strings.Repeat(".", 66), []byte(`{"SUB":"a","Exp":9999999999,"nonce":"n","nonce":"m"}`))
	f.Fuzz(func(t *testing.T, text string, payload []byte) {
		secret := secretFrom(t, 0)
		now := issued()
		// A text from outside opens only if it bears the MAC of its payload.
		if _, _, err := wire.OpenTicket([]wire.Secret{secret}, text, now); !errors.Is(err, wire.ErrTicketInvalid) {
			encoded, _, _ := strings.Cut(text, ".")
			if text != sealText(keyBytes(0), encoded) {
				t.Fatalf("OpenTicket(%q): got %v, want ErrTicketInvalid", text, err)
			}
		}
		// A payload that the secret signed, but nobody checked.
		got, index, err := wire.OpenTicket([]wire.Secret{secret}, seal(keyBytes(0), payload), now)
		if err != nil {
			if !errors.Is(err, wire.ErrTicketInvalid) && !errors.Is(err, wire.ErrTicketExpired) {
				t.Fatalf("payload %q: got %v, want one of the sentinels", payload, err)
			}
			return
		}
		if index != 0 || got.Subject == "" || got.Nonce == "" || got.ExpiresAt <= now.Unix() {
			t.Fatalf("payload %q: got %+v, %d, want a ticket with subject, nonce and a future expiry", payload, got, index)
		}
		if again := wire.SignTicket(secret, got); len(again) <= 4096 {
			if reopened, _, err := wire.OpenTicket([]wire.Secret{secret}, again, now); err != nil || reopened != got {
				t.Fatalf("payload %q: signed again got %+v, %v, want %+v", payload, reopened, err, got)
			}
		}
	})
}

func BenchmarkSignTicket(b *testing.B) {
	secret, ticket := secretFrom(b, 0), sampleTicket()
	b.ReportAllocs()
	for b.Loop() {
		wire.SignTicket(secret, ticket)
	}
}

func BenchmarkOpenTicket(b *testing.B) {
	secrets := []wire.Secret{secretFrom(b, 0)}
	now := issued()
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := wire.OpenTicket(secrets, sampleTicketText, now); err != nil {
			b.Fatal(err)
		}
	}
}
