package wire_test

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

const sampleBody = `{"requestId":"req-1","operation":"list","collection":"tokens"}`

// Made without this package:
//
//	printf '1700000000.{"requestId":"req-1","operation":"list","collection":"tokens"}' |
//	  openssl dgst -sha256 -mac HMAC -macopt hexkey:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
const sampleSignature = "sha256=7b21c522dcabb706b5da3441f7a82a8f3b85ff437067b00135df74b52e13aa22"

func signed(t testing.TB) http.Header {
	t.Helper()
	h := http.Header{}
	wire.Sign(h, secretFrom(t, 0), []byte(sampleBody), "req-1", issued())
	return h
}

func TestASignatureIsThatOfTheKnownAnswer(t *testing.T) {
	t.Parallel()
	h := signed(t)
	for name, want := range map[string]string{
		"X-TokenVault-Timestamp": "1700000000", "X-TokenVault-Request-Id": "req-1", "X-TokenVault-Signature": sampleSignature,
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	got, index, err := wire.Verify(h, []wire.Secret{secretFrom(t, 0)}, []byte(sampleBody), issued())
	if err != nil || index != 0 || got.RequestID != "req-1" || !got.Time.Equal(issued()) {
		t.Errorf("Verify: got %+v, %d, %v, want req-1 at %v under secret 0", got, index, err, issued())
	}
	if got.MAC[0] != 0x7b || got.MAC[31] != 0x22 {
		t.Errorf("MAC: got %x, want that of the header", got.MAC)
	}
}

func TestSignReplacesWhatAnAttemptBeforeLeft(t *testing.T) {
	t.Parallel()
	h := signed(t)
	later := issued().Add(3 * time.Second)
	wire.Sign(h, secretFrom(t, 0), []byte(sampleBody), "req-2", later)
	got, _, err := wire.Verify(h, []wire.Secret{secretFrom(t, 0)}, []byte(sampleBody), later)
	if err != nil || got.RequestID != "req-2" || !got.Time.Equal(later) {
		t.Errorf("got %+v, %v, want req-2 at %v", got, err, later)
	}
}

func TestHeadersThatAreMissingDoubledOrMalformedAreRefused(t *testing.T) {
	t.Parallel()
	type change struct {
		name   string
		values []string
	}
	hex := strings.TrimPrefix(sampleSignature, "sha256=")
	for name, c := range map[string]change{
		"no timestamp":                   {wire.HeaderTimestamp, nil},
		"an empty timestamp":             {wire.HeaderTimestamp, []string{""}},
		"two timestamps":                 {wire.HeaderTimestamp, []string{"1700000000", "1700000000"}},
		"a timestamp in words":           {wire.HeaderTimestamp, []string{"now"}},
		"a timestamp with a sign":        {wire.HeaderTimestamp, []string{"+1700000000"}},
		"a negative timestamp":           {wire.HeaderTimestamp, []string{"-1700000000"}},
		"a timestamp with a zero before": {wire.HeaderTimestamp, []string{"01700000000"}},
		"a timestamp with a space":       {wire.HeaderTimestamp, []string{" 1700000000"}},
		"a timestamp with a fraction":    {wire.HeaderTimestamp, []string{"1700000000.0"}},
		"a timestamp in hex":             {wire.HeaderTimestamp, []string{"0x6553f100"}},
		"a timestamp with underscores":   {wire.HeaderTimestamp, []string{"1_700_000_000"}},
		"a timestamp with an exponent":   {wire.HeaderTimestamp, []string{"17e8"}},
		"a timestamp beyond int64":       {wire.HeaderTimestamp, []string{"99999999999999999999"}},
		"a date":                         {wire.HeaderTimestamp, []string{"2023-11-14T22:13:20Z"}},
		"a zero timestamp":               {wire.HeaderTimestamp, []string{"0"}},
		"no request id":                  {wire.HeaderRequestID, nil},
		"an empty request id":            {wire.HeaderRequestID, []string{""}},
		"two request ids":                {wire.HeaderRequestID, []string{"req-1", "req-2"}},
		"a request id with a space":      {wire.HeaderRequestID, []string{"req 1"}},
		"a request id with a newline":    {wire.HeaderRequestID, []string{"req\n1"}},
		"a request id with a NUL":        {wire.HeaderRequestID, []string{"req\x00"}},
		"a request id not in ASCII":      {wire.HeaderRequestID, []string{"réq"}},
		"a long request id":              {wire.HeaderRequestID, []string{strings.Repeat("r", 129)}},
		"no signature":                   {wire.HeaderSignature, nil},
		"an empty signature":             {wire.HeaderSignature, []string{""}},
		"two signatures":                 {wire.HeaderSignature, []string{sampleSignature, sampleSignature}},
		"no prefix":                      {wire.HeaderSignature, []string{hex}},
		"the prefix alone":               {wire.HeaderSignature, []string{"sha256="}},
		"another hash":                   {wire.HeaderSignature, []string{"sha1=" + hex}},
		"the prefix in upper case":       {wire.HeaderSignature, []string{"SHA256=" + hex}},
		"hex in upper case":              {wire.HeaderSignature, []string{"sha256=" + strings.ToUpper(hex)}},
		"hex cut":                        {wire.HeaderSignature, []string{"sha256=" + hex[:63]}},
		"hex with more":                  {wire.HeaderSignature, []string{sampleSignature + "0"}},
		"hex that is none":               {wire.HeaderSignature, []string{"sha256=" + hex[:63] + "g"}},
		"two in one":                     {wire.HeaderSignature, []string{sampleSignature + ", " + sampleSignature}},
	} {
		h := signed(t)
		h.Del(c.name)
		for _, value := range c.values {
			h.Add(c.name, value)
		}
		got, index, err := wire.Verify(h, []wire.Secret{secretFrom(t, 0)}, []byte(sampleBody), issued())
		if !errors.Is(err, wire.ErrSignatureHeaders) || index != -1 || got != (wire.Signature{}) {
			t.Errorf("%s: got %+v, %d, %v, want nothing, -1, ErrSignatureHeaders", name, got, index, err)
		}
	}
}

func TestARequestIDMayHaveAnyVisibleCharacter(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"a", strings.Repeat("r", 128), "0198c5f0-7d3a-7abc-8def-0123456789ab", "!~,;=/"} {
		h := http.Header{}
		wire.Sign(h, secretFrom(t, 0), nil, id, issued())
		if got, _, err := wire.Verify(h, []wire.Secret{secretFrom(t, 0)}, nil, issued()); err != nil || got.RequestID != id {
			t.Errorf("%q: got %q, %v, want it accepted", id, got.RequestID, err)
		}
	}
}

func TestTheClockMayDifferByFiveMinutes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		ahead time.Duration // of this machine
		want  error
	}{
		{0, nil}, {300 * time.Second, nil}, {-300 * time.Second, nil},
		{300*time.Second + 1, wire.ErrSignatureSkew}, {-300*time.Second - 1, wire.ErrSignatureSkew},
		{301 * time.Second, wire.ErrSignatureSkew}, {-301 * time.Second, wire.ErrSignatureSkew},
		{math.MaxInt64, wire.ErrSignatureSkew}, {math.MinInt64, wire.ErrSignatureSkew},
	} {
		if _, _, err := wire.Verify(signed(t), []wire.Secret{secretFrom(t, 0)}, []byte(sampleBody), issued().Add(c.ahead)); !errors.Is(err, c.want) {
			t.Errorf("a clock that is ahead by %v: got %v, want %v", c.ahead, err, c.want)
		}
	}
}

func TestATimestampFarAwayIsASkewAndNoOverflow(t *testing.T) {
	t.Parallel()
	for _, seconds := range []int64{1, 999999999999} {
		h := signed(t)
		h.Set(wire.HeaderTimestamp, strconv.FormatInt(seconds, 10))
		if _, _, err := wire.Verify(h, []wire.Secret{secretFrom(t, 0)}, []byte(sampleBody), issued()); !errors.Is(err, wire.ErrSignatureSkew) {
			t.Errorf("timestamp %d: got %v, want ErrSignatureSkew", seconds, err)
		}
	}
}

func TestTheClockIsCheckedBeforeTheSignature(t *testing.T) {
	t.Parallel()
	_, _, err := wire.Verify(signed(t), []wire.Secret{secretFrom(t, 1)}, []byte("another"), issued().Add(time.Hour))
	if !errors.Is(err, wire.ErrSignatureSkew) {
		t.Errorf("both wrong: got %v, want ErrSignatureSkew", err)
	}
}

func TestAnotherBodySecretOrTimeIsNotWhatWasSigned(t *testing.T) {
	t.Parallel()
	secret := secretFrom(t, 0)
	for name, c := range map[string]struct {
		secrets []wire.Secret
		body    string
		seconds string
	}{
		"another body":      {[]wire.Secret{secret}, sampleBody + " ", "1700000000"},
		"an empty body":     {[]wire.Secret{secret}, "", "1700000000"},
		"a shifted dot":     {[]wire.Secret{secret}, "0." + sampleBody, "170000000"},
		"another time":      {[]wire.Secret{secret}, sampleBody, "1700000001"},
		"another secret":    {[]wire.Secret{secretFrom(t, 1)}, sampleBody, "1700000000"},
		"an empty secret":   {[]wire.Secret{{}}, sampleBody, "1700000000"},
		"no secret":         {nil, sampleBody, "1700000000"},
		"two wrong secrets": {[]wire.Secret{secretFrom(t, 1), secretFrom(t, 2)}, sampleBody, "1700000000"},
	} {
		h := signed(t)
		h.Set(wire.HeaderTimestamp, c.seconds)
		seconds, err := strconv.ParseInt(c.seconds, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		_, index, err := wire.Verify(h, c.secrets, []byte(c.body), time.Unix(seconds, 0))
		if !errors.Is(err, wire.ErrSignature) || index != -1 {
			t.Errorf("%s: got %d, %v, want -1, ErrSignature", name, index, err)
		}
	}
}

func TestAnyFlippedBitOfTheMACIsRefused(t *testing.T) {
	t.Parallel()
	secrets := []wire.Secret{secretFrom(t, 0)}
	for i := range len(sampleSignature) {
		for bit := range 8 {
			changed := []byte(sampleSignature)
			changed[i] ^= 1 << bit
			h := signed(t)
			h.Set(wire.HeaderSignature, string(changed))
			if _, _, err := wire.Verify(h, secrets, []byte(sampleBody), issued()); !errors.Is(err, wire.ErrSignature) && !errors.Is(err, wire.ErrSignatureHeaders) {
				t.Fatalf("bit %d of byte %d: got %v, want it refused", bit, i, err)
			}
		}
	}
}

func TestVerifySaysWhichSecretMatched(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 4).Draw(rt, "secrets")
		signer := rapid.IntRange(0, n-1).Draw(rt, "signer")
		secrets := make([]wire.Secret, n)
		for i := range secrets {
			if i == signer || rapid.Bool().Draw(rt, "present") {
				secrets[i] = secretFrom(t, byte(10*i))
			}
		}
		body := rapid.SliceOf(rapid.Byte()).Draw(rt, "body")
		h := http.Header{}
		wire.Sign(h, secrets[signer], body, "id", issued())
		if _, index, err := wire.Verify(h, secrets, body, issued()); err != nil || index != signer {
			rt.Fatalf("got %d, %v, want %d", index, err, signer)
		}
	})
}

func FuzzVerify(f *testing.F) {
	f.Add("1700000000", "req-1", sampleSignature, []byte(sampleBody))
	f.Add("", "", "", []byte(nil))
	f.Add("01700000000", "req 1", "sha256="+strings.Repeat("A", 64), []byte("."))
	f.Fuzz(func(t *testing.T, timestamp, id, signature string, body []byte) {
		secret := secretFrom(t, 0)
		h := http.Header{wire.HeaderTimestamp: {timestamp}}
		h.Set(wire.HeaderTimestamp, timestamp)
		h.Set(wire.HeaderRequestID, id)
		h.Set(wire.HeaderSignature, signature)
		got, index, err := wire.Verify(h, []wire.Secret{secret}, body, issued())
		if err != nil {
			if index != -1 || got != (wire.Signature{}) {
				t.Fatalf("got %+v, %d besides %v, want nothing, -1", got, index, err)
			}
			return
		}
		again := http.Header{}
		wire.Sign(again, secret, body, got.RequestID, got.Time)
		for name := range again {
			if again.Get(name) != h.Get(name) {
				t.Fatalf("%s: accepted %q, but signing gives %q", name, h.Get(name), again.Get(name))
			}
		}
	})
}
