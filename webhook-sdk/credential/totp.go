package credential

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/tvzero/tokenvault/totp"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// TOTPCode makes the code that is current at now. Its error is a *wire.Error:
// not_totp for a credential of another type, totp_failed.
func TOTPCode(c Credential, now time.Time) (totp.Code, error) {
	if c.Type != wire.TypeTOTP {
		return totp.Code{}, refuse(wire.CodeNotTOTP, "the token is not a TOTP secret")
	}
	failed := refuse(wire.CodeTOTPFailed, "the stored TOTP secret makes no code; store it again")
	key, err := totpKey(c.Secrets[wire.FieldTOTPSecret], c.Meta)
	if err != nil {
		return totp.Code{}, fmt.Errorf("%w (%w)", failed, err)
	}
	code, err := key.At(now)
	if err != nil {
		return totp.Code{}, fmt.Errorf("%w (%w)", failed, err)
	}
	return code, nil
}

// checkTOTP replaces the secret by the canonical otpauth URI of its key, so that
// the parameters are sealed with it.
func (c *Credential) checkTOTP() error {
	key, err := totpKey(c.Secrets[wire.FieldTOTPSecret], c.Meta)
	if err == nil {
		err = agree(c.Meta, key)
	}
	if err != nil {
		return invalid(wire.FieldTOTPSecret, "makes no codes: %s", err) // names the field, never the secret
	}
	c.Secrets[wire.FieldTOTPSecret] = key.URI()
	return nil
}

// totpKey reads a TOTP secret: an otpauth URI, or Base32 with the parameters
// algorithm, digits and period beside it.
func totpKey(secret string, meta map[string]any) (totp.Key, error) {
	if strings.Contains(secret, ":") {
		return totp.ParseURI(secret)
	}
	opts, err := totpOptions(meta)
	if err != nil {
		return totp.Key{}, err
	}
	return totp.New(secret, opts)
}

// agree reports what metadata says otherwise than a key: when one is stored, to
// believe one of the two would be a guess, and a wrong one makes wrong codes.
func agree(meta map[string]any, key totp.Key) error {
	beside, err := totpOptions(meta)
	if err != nil {
		return err
	}
	var field string
	switch {
	case beside.Algorithm != "" && beside.Algorithm != key.Algorithm():
		field = "algorithm"
	case beside.Digits != 0 && beside.Digits != key.Digits():
		field = "digits"
	case beside.Period != 0 && beside.Period != key.Period():
		field = "period"
	default:
		return nil
	}
	return &totp.FieldError{Field: field, Problem: "is another than in the otpauth URI"}
}

func totpOptions(meta map[string]any) (opts totp.Options, err error) {
	if given, present := meta["algorithm"]; present {
		name, _ := given.(string)
		if name == "" {
			return opts, &totp.FieldError{Field: "algorithm", Problem: "is none of SHA1, SHA256 and SHA512"}
		}
		opts.Algorithm = totp.Algorithm(strings.ToUpper(strings.ReplaceAll(name, "-", "")))
	}
	number := func(name string) (int, error) {
		given, present := meta[name]
		if !present {
			return 0, nil
		}
		digits, _ := given.(json.Number)
		n, err := digits.Int64()
		if err != nil || n < 1 || n > 1000 {
			return 0, &totp.FieldError{Field: name, Problem: "is not a whole number in range"}
		}
		return int(n), nil
	}
	if opts.Digits, err = number("digits"); err != nil {
		return opts, err
	}
	seconds, err := number("period")
	opts.Period = time.Duration(seconds) * time.Second
	return opts, err
}
