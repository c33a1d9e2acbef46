package totp

import (
	"encoding/base32"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Parse reads what people paste: an otpauth:// URI, or a Base32 secret (then
// SHA-1, 6 digits, 30 s). Every error is a *FieldError.
func Parse(text string) (Key, error) {
	// A secret has no colon, so that one in the text tells which was meant.
	if strings.Contains(text, ":") {
		return ParseURI(text)
	}
	return ParseSecret(text)
}

// ParseSecret reads a Base32 secret and gives it the defaults. Every error is a
// *FieldError.
func ParseSecret(text string) (Key, error) { return New(text, Options{}) }

// canonicalSecret returns a secret in upper case without padding, or what is
// wrong with it.
func canonicalSecret(text string) (string, error) {
	if len(text) > maxInput {
		return "", fieldError("secret", "is longer than %d bytes", MaxSecretSize)
	}
	digits := strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || unicode.Is(unicode.Pd, r) {
			return -1
		}
		return r
	}, text)
	body := strings.TrimRight(digits, "=")
	switch padding := len(digits) - len(body); {
	case body == "":
		return "", fieldError("secret", "is missing")
	case padding > 0 && (padding > 6 || len(digits)%8 != 0):
		return "", fieldError("secret", "has the wrong number of = at its end")
	}
	for _, r := range body {
		if !(r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r >= '2' && r <= '7') {
			return "", fieldError("secret", "has a character that is not Base32 (A to Z, 2 to 7)")
		}
	}
	if rest := len(body) % 8; rest == 1 || rest == 3 || rest == 6 {
		return "", fieldError("secret", "has a length that Base32 cannot have: a character is missing or too many")
	}
	encoding := base32.StdEncoding.WithPadding(base32.NoPadding)
	raw, err := encoding.DecodeString(strings.ToUpper(body))
	switch {
	case err != nil:
		return "", fieldError("secret", "is not Base32")
	case len(raw) < MinSecretSize:
		return "", fieldError("secret", "has %d bits, and at least %d are needed", 8*len(raw), 8*MinSecretSize)
	case len(raw) > MaxSecretSize:
		return "", fieldError("secret", "is longer than %d bytes", MaxSecretSize)
	}
	// Encoded again, so that bits left over in the last character are zero and one
	// secret has one spelling.
	return encoding.EncodeToString(raw), nil
}

// validate checks every field but the secret.
func (k Key) validate() error {
	switch k.algorithm {
	case SHA1, SHA256, SHA512:
	default:
		return fieldError("algorithm", "is none of SHA1, SHA256 and SHA512")
	}
	if k.digits < MinDigits || k.digits > MaxDigits {
		return fieldError("digits", "is not %d to %d", MinDigits, MaxDigits)
	}
	if k.period < MinPeriod || k.period > MaxPeriod || k.period%time.Second != 0 {
		return fieldError("period", "is not %d to %d whole seconds", MinPeriod/time.Second, MaxPeriod/time.Second)
	}
	if err := checkName("issuer", k.issuer); err != nil {
		return err
	}
	if err := checkName("account", k.account); err != nil {
		return err
	}
	// A label is issuer:account, so that only an account after an issuer may have a colon.
	if strings.Contains(k.issuer, ":") {
		return fieldError("issuer", "has a colon")
	}
	if k.issuer == "" && strings.Contains(k.account, ":") {
		return fieldError("account", "has a colon, but there is no issuer")
	}
	return nil
}

func checkName(field, name string) error {
	switch {
	case len(name) > maxName:
		return fieldError(field, "is longer than %d bytes", maxName)
	case !utf8.ValidString(name):
		return fieldError(field, "is not UTF-8")
	case strings.ContainsFunc(name, unicode.IsControl):
		return fieldError(field, "has a control character")
	case strings.TrimSpace(name) != name:
		return fieldError(field, "begins or ends with a space")
	}
	return nil
}

// parseNumber reads 1 to 3 decimal digits without sign or leading zero.
func parseNumber(text string) (int, bool) {
	if text == "" || len(text) > 3 || text[0] == '0' || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	return n, err == nil
}
