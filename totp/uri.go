package totp

import (
	"net/url"
	"strconv"
	"strings"
	"time"
)

// ParseURI reads otpauth://totp/<issuer>:<account>?secret=…, with the optional
// parameters issuer, algorithm, digits and period, as authenticators read them
// from a QR code. Other parameters (such as image) are ignored, but for encoder,
// which would change the codes. Every error is a *FieldError.
func ParseURI(text string) (Key, error) {
	u, err := parseOTPAuth(strings.TrimSpace(text))
	if err != nil {
		return Key{}, err
	}
	params, err := parameters(u.RawQuery)
	if err != nil {
		return Key{}, err
	}
	opts := Options{Algorithm: Algorithm(strings.ToUpper(params["algorithm"]))}
	if opts.Digits, err = number(params, "digits"); err != nil {
		return Key{}, err
	}
	seconds, err := number(params, "period")
	if err != nil {
		return Key{}, err
	}
	opts.Period = time.Duration(seconds) * time.Second
	opts.Issuer, opts.Account = label(strings.TrimPrefix(u.Path, "/"), params["issuer"])
	return New(params["secret"], opts)
}

// URI is the otpauth:// URI of the key, secret included, with every parameter
// written out. ParseURI of it gives an equal key. The zero Key has none.
func (k Key) URI() string {
	if k.IsZero() {
		return ""
	}
	var b strings.Builder
	b.WriteString("otpauth://totp/")
	if k.issuer != "" {
		b.WriteString(url.PathEscape(k.issuer) + ":")
	}
	b.WriteString(url.PathEscape(k.account))
	b.WriteString("?secret=" + k.Secret())
	if k.issuer != "" {
		// Authenticators disagree on + for a space; all read %20.
		b.WriteString("&issuer=" + strings.ReplaceAll(url.QueryEscape(k.issuer), "+", "%20"))
	}
	b.WriteString("&algorithm=" + string(k.algorithm))
	b.WriteString("&digits=" + strconv.Itoa(k.digits))
	b.WriteString("&period=" + strconv.FormatInt(k.seconds(), 10))
	return b.String()
}

// parseOTPAuth checks everything before the question mark. Errors of net/url are
// not wrapped: they quote their input.
func parseOTPAuth(text string) (*url.URL, error) {
	if len(text) > maxInput {
		return nil, fieldError("uri", "is longer than %d bytes", maxInput)
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, fieldError("uri", "is not a URI")
	case strings.EqualFold(u.Scheme, "otpauth-migration"):
		return nil, fieldError("uri", "is an export of several keys; export or show the one key as otpauth://")
	case !strings.EqualFold(u.Scheme, "otpauth"):
		return nil, fieldError("uri", "does not begin with otpauth://")
	case u.Opaque != "" || u.User != nil || u.Fragment != "":
		return nil, fieldError("uri", "is not of the form otpauth://totp/label?secret=…")
	case strings.EqualFold(u.Host, "hotp"):
		return nil, fieldError("type", "is hotp; counter-based codes are not supported, only time-based ones")
	case !strings.EqualFold(u.Host, "totp"):
		return nil, fieldError("type", "is not totp")
	}
	return u, nil
}

// parameters reads a query into its parameters by lower-case name: one value
// each, and none empty of those that would otherwise get a default.
func parameters(query string) (map[string]string, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, fieldError("query", "is malformed")
	}
	params := make(map[string]string, len(values))
	for name, list := range values {
		name = strings.ToLower(name)
		if _, seen := params[name]; seen || len(list) != 1 {
			return nil, doubled(name)
		}
		params[name] = list[0]
	}
	for _, name := range []string{"secret", "algorithm", "digits", "period"} {
		if value, given := params[name]; given && value == "" {
			return nil, fieldError(name, "is empty")
		}
	}
	if encoder := params["encoder"]; encoder != "" {
		return nil, fieldError("encoder", "is not supported; only decimal codes are")
	}
	if _, given := params["secret"]; !given {
		return nil, fieldError("secret", "is missing")
	}
	return params, nil
}

// doubled names a parameter that stands twice, if it is one of ours: the name of
// another is input, and may be a secret gone astray.
func doubled(name string) error {
	switch name {
	case "secret", "issuer", "algorithm", "digits", "period", "encoder":
		return fieldError(name, "is given more than once")
	}
	return fieldError("query", "has a parameter more than once")
}

// number reads a parameter that is a whole number; absent is 0.
func number(params map[string]string, name string) (int, error) {
	text, given := params[name]
	if !given {
		return 0, nil
	}
	n, ok := parseNumber(text)
	if !ok {
		return 0, fieldError(name, "is not a whole number in range")
	}
	return n, nil
}

// label splits "issuer:account" (or "account"). An issuer parameter goes before
// the label's, as authenticators have it.
func label(text, issuer string) (string, string) {
	before, account, both := strings.Cut(text, ":")
	if !both {
		before, account = "", text
	}
	if strings.TrimSpace(issuer) == "" {
		issuer = before
	}
	return strings.TrimSpace(issuer), strings.TrimSpace(account)
}
