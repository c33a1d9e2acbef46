package totp

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"
)

// maxSkew bounds how many periods to each side Verify looks at.
const maxSkew = 10

var errZeroKey = errors.New("totp: the zero Key makes no codes")

// A Code is a one-time code, with how long it is current. It prints without its
// value; take Value.
type Code struct {
	Value     string        // decimal digits, with leading zeros
	Remaining time.Duration // until the next code; more than 0, at most Period
	Period    time.Duration
	Digits    int
}

// RemainingSeconds is Remaining rounded up to whole seconds: 1 to the period.
func (c Code) RemainingSeconds() int {
	return int((c.Remaining + time.Second - 1) / time.Second)
}

// Format writes a code without its value, under every verb.
func (c Code) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.redacted()) }

// LogValue is a code without its value.
func (c Code) LogValue() slog.Value { return slog.StringValue(c.redacted()) }

func (c Code) redacted() string {
	return fmt.Sprintf("totp.Code{[redacted], %d s left}", c.RemainingSeconds())
}

// At returns the code that is current at t (RFC 6238 §4.2, counted from the Unix
// epoch). A time before the epoch is a *FieldError for "time".
func (k Key) At(t time.Time) (Code, error) {
	if k.IsZero() {
		return Code{}, errZeroKey
	}
	if t.Unix() < 0 {
		return Code{}, fieldError("time", "is before 1970")
	}
	value, err := k.codeOf(k.step(t))
	if err != nil {
		return Code{}, err
	}
	sinceStep := time.Duration(t.Unix()%k.seconds())*time.Second + time.Duration(t.Nanosecond())
	return Code{Value: value, Remaining: k.period - sinceStep, Period: k.period, Digits: k.digits}, nil
}

// Verify reports whether code is current at t, or was or will be within skew
// periods (0 to 10). It takes as long for a wrong code as for a right one. A code
// that is to work once needs Match and a memory.
func (k Key) Verify(code string, t time.Time, skew int) bool {
	_, ok := k.Match(code, t, skew)
	return ok
}

// Match is Verify that also says to which time step a code belongs: a code is
// accepted once only by whoever remembers the last step and refuses that and
// earlier ones (RFC 6238 §5.2).
func (k Key) Match(code string, t time.Time, skew int) (step int64, ok bool) {
	code = strings.ReplaceAll(strings.TrimSpace(code), " ", "")
	if k.IsZero() || t.Unix() < 0 || len(code) != k.digits {
		return 0, false
	}
	skew = min(max(skew, 0), maxSkew)
	first, index, found := k.step(t)-int64(skew), 0, 0
	for i := range 2*skew + 1 {
		if first+int64(i) < 0 {
			continue
		}
		want, err := k.codeOf(first + int64(i))
		if err != nil {
			return 0, false
		}
		equal := subtle.ConstantTimeCompare([]byte(want), []byte(code))
		index = subtle.ConstantTimeSelect(equal, i, index)
		found |= equal
	}
	if found == 0 {
		return 0, false
	}
	return first + int64(index), true
}

func (k Key) seconds() int64 { return int64(k.period / time.Second) }

// step is the counter of RFC 6238 §4.2 at t.
func (k Key) step(t time.Time) int64 { return t.Unix() / k.seconds() }

func (k Key) codeOf(step int64) (string, error) {
	opts := hotp.ValidateOpts{Digits: otp.Digits(k.digits), Algorithm: otp.AlgorithmSHA1}
	switch k.algorithm {
	case SHA256:
		opts.Algorithm = otp.AlgorithmSHA256
	case SHA512:
		opts.Algorithm = otp.AlgorithmSHA512
	}
	value, err := hotp.GenerateCodeCustom(k.secret(), uint64(step), opts)
	if err != nil {
		// Cannot be for a validated secret; the cause is not wrapped, lest it quote one.
		return "", errors.New("totp: no code could be made")
	}
	return value, nil
}
