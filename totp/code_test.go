package totp_test

import (
	"encoding/base32"
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tvzero/tokenvault/totp"
)

// The seeds of RFC 6238 Appendix B: "1234567890" repeated to the length of the
// hash, as its erratum 2866 has it.
func vectorKey(t *testing.T, algorithm totp.Algorithm, size int) totp.Key {
	t.Helper()
	seed := strings.Repeat("1234567890", 7)[:size]
	k, err := totp.New(base32.StdEncoding.EncodeToString([]byte(seed)), totp.Options{Algorithm: algorithm, Digits: 8})
	if err != nil {
		t.Fatalf("New(%s): got %v, want a key", algorithm, err)
	}
	return k
}

func TestCodesAreThoseOfRFC6238AppendixB(t *testing.T) {
	t.Parallel()
	keys := map[totp.Algorithm]totp.Key{
		totp.SHA1:   vectorKey(t, totp.SHA1, 20),
		totp.SHA256: vectorKey(t, totp.SHA256, 32),
		totp.SHA512: vectorKey(t, totp.SHA512, 64),
	}
	for _, v := range []struct {
		at   int64
		want map[totp.Algorithm]string
	}{
		{59, map[totp.Algorithm]string{totp.SHA1: "94287082", totp.SHA256: "46119246", totp.SHA512: "90693936"}},
		{1111111109, map[totp.Algorithm]string{totp.SHA1: "07081804", totp.SHA256: "68084774", totp.SHA512: "25091201"}},
		{1111111111, map[totp.Algorithm]string{totp.SHA1: "14050471", totp.SHA256: "67062674", totp.SHA512: "99943326"}},
		{1234567890, map[totp.Algorithm]string{totp.SHA1: "89005924", totp.SHA256: "91819424", totp.SHA512: "93441116"}},
		{2000000000, map[totp.Algorithm]string{totp.SHA1: "69279037", totp.SHA256: "90698825", totp.SHA512: "38618901"}},
		{20000000000, map[totp.Algorithm]string{totp.SHA1: "65353130", totp.SHA256: "77737706", totp.SHA512: "47863826"}},
	} {
		for algorithm, want := range v.want {
			code, err := keys[algorithm].At(time.Unix(v.at, 0))
			if err != nil || code.Value != want {
				t.Errorf("%s at %d: got %q, %v, want %q", algorithm, v.at, code.Value, err, want)
			}
		}
	}
}

func TestRemainingSecondsCountFromThePeriodDownToOne(t *testing.T) {
	t.Parallel()
	k := vectorKey(t, totp.SHA1, 20)
	for _, c := range []struct {
		at   time.Time
		want int
	}{
		{time.Unix(0, 0), 30},
		{time.Unix(0, 1), 30},
		{time.Unix(1, 0), 29},
		{time.Unix(29, 0), 1},
		{time.Unix(29, 999999999), 1},
		{time.Unix(30, 0), 30},
		{time.Unix(1111111109, 0), 1},
	} {
		code, err := k.At(c.at)
		if got := code.RemainingSeconds(); err != nil || got != c.want {
			t.Errorf("at %v: got %d seconds, %v, want %d", c.at.UTC(), got, err, c.want)
		}
		if code.Period != 30*time.Second || code.Digits != 8 {
			t.Errorf("at %v: got period %v and %d digits, want 30s and 8", c.at.UTC(), code.Period, code.Digits)
		}
	}
}

func TestACodeLivesExactlyAsLongAsItSays(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		k := rapidKey(t)
		at := time.Unix(rapid.Int64Range(0, 1<<40).Draw(t, "seconds"), rapid.Int64Range(0, 1e9-1).Draw(t, "nanoseconds"))
		code, err := k.At(at)
		if err != nil {
			t.Fatalf("At(%v): got %v, want a code", at, err)
		}
		if len(code.Value) != k.Digits() || strings.Trim(code.Value, "0123456789") != "" {
			t.Fatalf("At(%v): got %q, want %d digits", at, code.Value, k.Digits())
		}
		if code.Remaining <= 0 || code.Remaining > k.Period() {
			t.Fatalf("At(%v): got %v left, want more than 0 and at most %v", at, code.Remaining, k.Period())
		}
		if s := code.RemainingSeconds(); s < 1 || s > int(k.Period()/time.Second) {
			t.Fatalf("At(%v): got %d s left, want 1 to %v", at, s, k.Period())
		}
		last, err := k.At(at.Add(code.Remaining - 1))
		if err != nil || last.Value != code.Value || last.Remaining != 1 {
			t.Fatalf("just before its end: got %q with %v left, %v, want %q with 1ns", last.Value, last.Remaining, err, code.Value)
		}
		next, err := k.At(at.Add(code.Remaining))
		if err != nil || next.Remaining != k.Period() {
			t.Fatalf("at its end: got %v left, %v, want a new code with %v", next.Remaining, err, k.Period())
		}
	})
}

func TestATimeBeforeTheEpochIsAnError(t *testing.T) {
	t.Parallel()
	k := vectorKey(t, totp.SHA1, 20)
	_, err := k.At(time.Unix(-1, 0))
	var field *totp.FieldError
	if !errors.As(err, &field) || field.Field != "time" {
		t.Errorf("At before 1970: got %v, want a FieldError for time", err)
	}
	if k.Verify("00000000", time.Unix(-1, 0), 1) {
		t.Error("Verify before 1970: got true, want false")
	}
}

func TestTheZeroKeyMakesAndAcceptsNothing(t *testing.T) {
	t.Parallel()
	var k totp.Key
	if code, err := k.At(time.Unix(59, 0)); err == nil {
		t.Errorf("At of the zero key: got %q, want an error", code.Value)
	}
	if k.Verify("", time.Unix(59, 0), 1) || k.URI() != "" || k.Secret() != "" || !k.IsZero() {
		t.Errorf("the zero key: got URI %q, secret %q, IsZero %v, want none, none, true", k.URI(), k.Secret(), k.IsZero())
	}
}

func TestVerifyAcceptsTheCodesWithinTheSkewAndNoOthers(t *testing.T) {
	t.Parallel()
	k := vectorKey(t, totp.SHA1, 20)
	now := time.Unix(1111111111, 0)
	codeAt := func(periods int) string {
		code, err := k.At(now.Add(time.Duration(periods) * 30 * time.Second))
		if err != nil {
			t.Fatal(err)
		}
		return code.Value
	}
	for _, c := range []struct {
		periods, skew int
		want          bool
	}{
		{0, 0, true}, {-1, 0, false}, {1, 0, false},
		{-1, 1, true}, {1, 1, true}, {-2, 1, false}, {2, 1, false},
		{0, -5, true}, {1, -5, false},
		{10, 10, true}, {11, 10, false}, {11, 1000000, false},
	} {
		if got := k.Verify(codeAt(c.periods), now, c.skew); got != c.want {
			t.Errorf("the code of %+d periods with skew %d: got %v, want %v", c.periods, c.skew, got, c.want)
		}
	}
}

func TestVerifyReadsACodeAsPeopleTypeIt(t *testing.T) {
	t.Parallel()
	k := vectorKey(t, totp.SHA1, 20)
	now := time.Unix(1111111109, 0) // 07081804
	for code, want := range map[string]bool{
		"07081804": true, "0708 1804": true, " 07081804\n": true,
		"7081804": false, "007081804": false, "": false, "0708180x": false, "07081805": false,
		strings.Repeat("0", 1000): false,
	} {
		if got := k.Verify(code, now, 0); got != want {
			t.Errorf("Verify(%q): got %v, want %v", code, got, want)
		}
	}
}

func TestMatchSaysWhichStepSoThatACodeCanWorkOnce(t *testing.T) {
	t.Parallel()
	k := vectorKey(t, totp.SHA1, 20)
	now := time.Unix(1111111111, 0)
	for _, periods := range []int64{-1, 0, 1} {
		code, err := k.At(now.Add(time.Duration(periods) * 30 * time.Second))
		if err != nil {
			t.Fatal(err)
		}
		step, ok := k.Match(code.Value, now, 1)
		if want := 1111111111/30 + periods; !ok || step != want {
			t.Errorf("the code of %+d periods: got step %d, %v, want %d, true", periods, step, ok, want)
		}
	}
}

func TestVerifyAtTheEpochDoesNotLookBeforeIt(t *testing.T) {
	t.Parallel()
	k := vectorKey(t, totp.SHA1, 20)
	first, err := k.At(time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	if step, ok := k.Match(first.Value, time.Unix(0, 0), 5); !ok || step != 0 {
		t.Errorf("the first code at the epoch: got step %d, %v, want 0, true", step, ok)
	}
}

// rapidKey draws any valid key.
func rapidKey(t *rapid.T) totp.Key {
	raw := rapid.SliceOfN(rapid.Byte(), totp.MinSecretSize, totp.MaxSecretSize).Draw(t, "secret")
	k, err := totp.New(base32.StdEncoding.EncodeToString(raw), totp.Options{
		Algorithm: rapid.SampledFrom([]totp.Algorithm{totp.SHA1, totp.SHA256, totp.SHA512}).Draw(t, "algorithm"),
		Digits:    rapid.IntRange(totp.MinDigits, totp.MaxDigits).Draw(t, "digits"),
		Period:    time.Duration(rapid.IntRange(15, 120).Draw(t, "period")) * time.Second,
		Issuer:    rapid.StringMatching(`[A-Za-z0-9äß&=/?#%+;@]([A-Za-z 0-9äß&=/?#%+;@]{0,20}[A-Za-z0-9äß&=/?#%+;@])?`).Draw(t, "issuer"),
		Account:   rapid.StringMatching(`([A-Za-z0-9äß&=/?#%+;@:]([A-Za-z 0-9äß&=/?#%+;@:]{0,20}[A-Za-z0-9äß&=/?#%+;@:])?)?`).Draw(t, "account"),
	})
	if err != nil {
		t.Fatalf("New: got %v, want a key", err)
	}
	return k
}
