package totp_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tvzero/tokenvault/totp"
)

const sampleSecret = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP" // 20 bytes

func TestASecretIsReadAsPeoplePasteIt(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"canonical":              sampleSecret,
		"lower case":             "jbswy3dpehpk3pxpjbswy3dpehpk3pxp",
		"spaces":                 "JBSW Y3DP EHPK 3PXP JBSW Y3DP EHPK 3PXP",
		"dashes":                 "jbsw-y3dp-ehpk-3pxp-jbsw-y3dp-ehpk-3pxp",
		"lines and tabs":         "\tJBSWY3DPEHPK3PXP\r\nJBSWY3DPEHPK3PXP\n",
		"a no-break space":       "JBSWY3DPEHPK3PXP\u00a0JBSWY3DPEHPK3PXP",
		"a dash of a word proc.": "JBSWY3DPEHPK3PXP\u2013JBSWY3DPEHPK3PXP",
	} {
		k, err := totp.Parse(text)
		if err != nil || k.Secret() != sampleSecret {
			t.Errorf("%s: got %q, %v, want %q", name, k.Secret(), err, sampleSecret)
			continue
		}
		if k.Algorithm() != totp.SHA1 || k.Digits() != 6 || k.Period() != 30*time.Second || k.Issuer() != "" || k.Account() != "" {
			t.Errorf("%s: got %v, want the defaults SHA1, 6, 30s", name, k)
		}
	}
}

func TestPaddingMayBeThereOrNot(t *testing.T) {
	t.Parallel()
	// RFC 4648: 11 bytes leave 6 =, 12 leave 4, 13 leave 3, 14 leave 1.
	for bare, padding := range map[string]string{
		"JBSWY3DPEHPK3PXPJA": "======", "JBSWY3DPEHPK3PXPJBSQ": "====",
		"JBSWY3DPEHPK3PXPJBSWY": "===", "JBSWY3DPEHPK3PXPJBSWY3A": "=",
	} {
		for _, text := range []string{bare, bare + padding, bare + " " + padding} {
			k, err := totp.ParseSecret(text)
			if err != nil || k.Secret() != bare {
				t.Errorf("ParseSecret(%q): got %q, %v, want %q", text, k.Secret(), err, bare)
			}
		}
	}
}

func TestBitsLeftOverDoNotMakeAnotherSecret(t *testing.T) {
	t.Parallel()
	k, err := totp.ParseSecret("JBSWY3DPEHPK3PXPJB") // the last character bears 2 bits too many
	if want := "JBSWY3DPEHPK3PXPJA"; err != nil || k.Secret() != want {
		t.Errorf("got %q, %v, want %q", k.Secret(), err, want)
	}
}

// refuse checks that every text is refused for the field, in words that hold
// nothing of the text.
func refuse(t *testing.T, parse func(string) (totp.Key, error), cases map[string][2]string) {
	t.Helper()
	for name, c := range cases {
		k, err := parse(c[0])
		var field *totp.FieldError
		if !errors.As(err, &field) || field.Field != c[1] {
			t.Errorf("%s: got %v, want a FieldError for %s", name, err, c[1])
			continue
		}
		if !k.IsZero() {
			t.Errorf("%s: got a key besides the error, want none", name)
		}
		for _, part := range []string{"JBSWY", "jbswy", "3PXP", "QUJD"} {
			if strings.Contains(err.Error(), part) {
				t.Errorf("%s: the error holds a part of the secret: %v", name, err)
			}
		}
	}
}

func TestABadSecretIsRefused(t *testing.T) {
	t.Parallel()
	refuse(t, totp.Parse, map[string][2]string{
		"empty":                   {"", "secret"},
		"blank":                   {" - \n", "secret"},
		"padding alone":           {"========", "secret"},
		"under 80 bits":           {"JBSWY3DPEHPK3PX", "secret"},
		"a digit of no alphabet":  {"JBSWY3DPEHPK3PX1", "secret"},
		"a zero for an O":         {"JBSWY3DPEHPK3PX0", "secret"},
		"an eight":                {"JBSWY3DPEHPK3PX8", "secret"},
		"punctuation":             {"JBSWY3DPEHPK3PXP!", "secret"},
		"hex-like text":           {"0f3a9b1c0f3a9b1c", "secret"},
		"letters that fold":       {"JBSWY3DPEHPK3PX\u017f", "secret"},
		"not UTF-8":               {"JBSWY3DPEHPK3PX\xff", "secret"},
		"a NUL":                   {"JBSWY3DPEHPK3PXP\x00", "secret"},
		"length 1 mod 8":          {"JBSWY3DPEHPK3PXPJ", "secret"},
		"length 3 mod 8":          {"JBSWY3DPEHPK3PXPJBS", "secret"},
		"length 6 mod 8":          {"JBSWY3DPEHPK3PXPJBSWY3", "secret"},
		"padding in the middle":   {"JBSWY3DP====EHPK3PXP", "secret"},
		"too little padding":      {"JBSWY3DPEHPK3PXPJA==", "secret"},
		"too much padding":        {"JBSWY3DPEHPK3PXP========", "secret"},
		"padding on a full group": {"JBSWY3DPEHPK3PXP=", "secret"},
		"more than 128 bytes":     {strings.Repeat("JBSWY3DP", 26), "secret"},
		"very long":               {strings.Repeat("J", 1<<20), "secret"},
		"very long and blank":     {strings.Repeat(" ", 1<<20), "secret"},
	})
}

func TestTheLongestAndTheShortestSecretAreAccepted(t *testing.T) {
	t.Parallel()
	longest := strings.Repeat("JBSWY3DP", 25) + "JBSWY" // 128 bytes
	for _, text := range []string{"JBSWY3DPEHPK3PXP", longest} {
		if k, err := totp.ParseSecret(text); err != nil || k.Secret() != text {
			t.Errorf("a secret of %d characters: got %v, want it accepted", len(text), err)
		}
	}
}

func TestAURIIsReadWithEveryParameter(t *testing.T) {
	t.Parallel()
	type want struct {
		issuer, account string
		algorithm       totp.Algorithm
		digits          int
		period          time.Duration
	}
	secret := "?secret=" + sampleSecret
	for text, w := range map[string]want{
		"otpauth://totp/Example:alice@example.com" + secret + "&issuer=Example":   {"Example", "alice@example.com", totp.SHA1, 6, 30 * time.Second},
		"otpauth://totp/Example%3Aalice" + secret:                                 {"Example", "alice", totp.SHA1, 6, 30 * time.Second},
		"otpauth://totp/Example:%20alice" + secret:                                {"Example", "alice", totp.SHA1, 6, 30 * time.Second},
		"otpauth://totp/alice" + secret + "&issuer=Big%20Corp":                    {"Big Corp", "alice", totp.SHA1, 6, 30 * time.Second},
		"otpauth://totp/alice" + secret + "&issuer=Big+Corp":                      {"Big Corp", "alice", totp.SHA1, 6, 30 * time.Second},
		"otpauth://totp/Old:alice" + secret + "&issuer=New":                       {"New", "alice", totp.SHA1, 6, 30 * time.Second},
		"otpauth://totp/Old:alice" + secret + "&issuer=":                          {"Old", "alice", totp.SHA1, 6, 30 * time.Second},
		"otpauth://totp/I:a:b" + secret:                                           {"I", "a:b", totp.SHA1, 6, 30 * time.Second},
		"otpauth://totp/a%2Fb%3Fc" + secret:                                       {"", "a/b?c", totp.SHA1, 6, 30 * time.Second},
		"otpauth://totp" + secret:                                                 {"", "", totp.SHA1, 6, 30 * time.Second},
		"otpauth://totp/" + secret + "&algorithm=SHA256&digits=7&period=15":       {"", "", totp.SHA256, 7, 15 * time.Second},
		"OTPAUTH://TOTP/" + secret + "&algorithm=sha512&digits=8&period=120":      {"", "", totp.SHA512, 8, 120 * time.Second},
		"  otpauth://totp/a" + secret + "&image=https%3A%2F%2Fexample.com%2Fi\n":  {"", "a", totp.SHA1, 6, 30 * time.Second},
		"otpauth://totp/a?Secret=jbsw%20y3dp-ehpk3pxpjbswy3dpehpk3pxp&Digits=8":   {"", "a", totp.SHA1, 8, 30 * time.Second},
		"otpauth://totp/a?secret=jbsw+y3dp+ehpk3pxpjbswy3dpehpk3pxp&encoder=":     {"", "a", totp.SHA1, 6, 30 * time.Second},
		"otpauth://totp/M%C3%BCller:j%C3%BCrgen" + secret + "&issuer=M%C3%BCller": {"Müller", "jürgen", totp.SHA1, 6, 30 * time.Second},
	} {
		k, err := totp.Parse(text)
		if err != nil {
			t.Errorf("%s: got %v, want a key", text, err)
			continue
		}
		got := want{k.Issuer(), k.Account(), k.Algorithm(), k.Digits(), k.Period()}
		if got != w || k.Secret() != sampleSecret {
			t.Errorf("%s: got %+v, want %+v", text, got, w)
		}
	}
}

func TestABadURIIsRefused(t *testing.T) {
	t.Parallel()
	base := "otpauth://totp/Example:alice?secret=" + sampleSecret
	refuse(t, totp.Parse, map[string][2]string{
		"another scheme":              {"https://totp/a?secret=" + sampleSecret, "uri"},
		"an export":                   {"otpauth-migration://offline?data=QUJD", "uri"},
		"no slashes":                  {"otpauth:totp/a?secret=" + sampleSecret, "uri"},
		"user information":            {"otpauth://me@totp/a?secret=" + sampleSecret, "uri"},
		"a fragment":                  {base + "#x", "uri"},
		"a bad escape in the label":   {"otpauth://totp/%zz?secret=" + sampleSecret, "uri"},
		"a label before the secret":   {"secret: " + sampleSecret, "uri"},
		"too long":                    {base + "&image=" + strings.Repeat("x", 5000), "uri"},
		"counter-based":               {"otpauth://hotp/a?counter=1&secret=" + sampleSecret, "type"},
		"an unknown type":             {"otpauth://xotp/a?secret=" + sampleSecret, "type"},
		"no type":                     {"otpauth:///a?secret=" + sampleSecret, "type"},
		"a type with a port":          {"otpauth://totp:1/a?secret=" + sampleSecret, "type"},
		"no query":                    {"otpauth://totp/a", "secret"},
		"no secret":                   {"otpauth://totp/a?digits=6", "secret"},
		"an empty secret":             {"otpauth://totp/a?secret=", "secret"},
		"a short secret":              {"otpauth://totp/a?secret=JBSWY3DP", "secret"},
		"two secrets":                 {base + "&secret=" + sampleSecret, "secret"},
		"two secrets in two spelling": {base + "&SECRET=" + sampleSecret, "secret"},
		"two issuers":                 {base + "&issuer=A&issuer=A", "issuer"},
		"two algorithms":              {base + "&algorithm=SHA1&algorithm=SHA256", "algorithm"},
		"two digits":                  {base + "&digits=6&digits=8", "digits"},
		"two digits in two spellings": {base + "&digits=6&Digits=8", "digits"},
		"two periods":                 {base + "&period=30&period=30", "period"},
		"two of something else":       {base + "&image=a&image=b", "query"},
		"two secrets without names":   {base + "&JBSWY=1&JBSWY=2", "query"},
		"a semicolon":                 {base + ";digits=8", "query"},
		"a bad escape in the query":   {base + "&issuer=%zz", "query"},
		"MD5":                         {base + "&algorithm=MD5", "algorithm"},
		"SHA-256 with a dash":         {base + "&algorithm=SHA-256", "algorithm"},
		"an empty algorithm":          {base + "&algorithm=", "algorithm"},
		"5 digits":                    {base + "&digits=5", "digits"},
		"9 digits":                    {base + "&digits=9", "digits"},
		"0 digits":                    {base + "&digits=0", "digits"},
		"digits in words":             {base + "&digits=six", "digits"},
		"digits with a sign":          {base + "&digits=%2B6", "digits"},
		"digits with a zero before":   {base + "&digits=06", "digits"},
		"digits with a fraction":      {base + "&digits=6.0", "digits"},
		"digits beyond an int":        {base + "&digits=99999999999999999999", "digits"},
		"empty digits":                {base + "&digits=", "digits"},
		"a period of 14 s":            {base + "&period=14", "period"},
		"a period of 121 s":           {base + "&period=121", "period"},
		"a period of 0":               {base + "&period=0", "period"},
		"a negative period":           {base + "&period=-30", "period"},
		"a period with a unit":        {base + "&period=30s", "period"},
		"an empty period":             {base + "&period=", "period"},
		"another encoder":             {base + "&encoder=steam", "encoder"},
		"an issuer with a colon":      {base + "&issuer=a%3Ab", "issuer"},
		"an issuer of 257 bytes":      {base + "&issuer=" + strings.Repeat("i", 257), "issuer"},
		"a control character":         {base + "&issuer=a%0Ab", "issuer"},
		"an issuer not in UTF-8":      {base + "&issuer=%FF", "issuer"},
		"an account of 257 bytes":     {"otpauth://totp/" + strings.Repeat("a", 257) + "?secret=" + sampleSecret, "account"},
		"an account with a NUL":       {"otpauth://totp/a%00b?secret=" + sampleSecret, "account"},
		"an empty issuer in a label":  {"otpauth://totp/:a:b?secret=" + sampleSecret, "account"},
	})
}

func TestBadOptionsAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		opts  totp.Options
		field string
	}{
		"algorithm":             {totp.Options{Algorithm: "sha1"}, "algorithm"},
		"digits":                {totp.Options{Digits: -6}, "digits"},
		"short period":          {totp.Options{Period: 14 * time.Second}, "period"},
		"fraction of a second":  {totp.Options{Period: 30*time.Second + 1}, "period"},
		"long period":           {totp.Options{Period: 121 * time.Second}, "period"},
		"issuer with a space":   {totp.Options{Issuer: " a"}, "issuer"},
		"issuer with a colon":   {totp.Options{Issuer: "a:b", Account: "c"}, "issuer"},
		"account with a colon":  {totp.Options{Account: "a:b"}, "account"},
		"account with a return": {totp.Options{Issuer: "i", Account: "a\rb"}, "account"},
	} {
		_, err := totp.New(sampleSecret, c.opts)
		var field *totp.FieldError
		if !errors.As(err, &field) || field.Field != c.field {
			t.Errorf("%s: got %v, want a FieldError for %s", name, err, c.field)
		}
	}
}

func TestEveryKeyComesBackFromItsURI(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) { comesBack(t, rapidKey(t)) })
}

// comesBack checks that the URI of a key gives a key with the same everything.
func comesBack(t interface {
	Helper()
	Fatalf(string, ...any)
}, k totp.Key) {
	t.Helper()
	again, err := totp.ParseURI(k.URI())
	if err != nil {
		t.Fatalf("ParseURI of %s: got %v, want the key back", k.URI(), err)
	}
	if again.URI() != k.URI() || again.Secret() != k.Secret() || again.Issuer() != k.Issuer() || again.Account() != k.Account() ||
		again.Algorithm() != k.Algorithm() || again.Digits() != k.Digits() || again.Period() != k.Period() {
		t.Fatalf("ParseURI of %s: got %s, want the same", k.URI(), again.URI())
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		sampleSecret, "jbsw y3dp-ehpk3pxp", "", "====", "JBSWY3DPEHPK3PXPJA======",
		"otpauth://totp/Example:alice?secret=" + sampleSecret + "&issuer=Example&algorithm=SHA512&digits=8&period=60",
		"otpauth://totp/%C3%BC%3A%20b?secret=" + sampleSecret, "otpauth://hotp/a?secret=" + sampleSecret,
		"otpauth://totp/a?secret=" + sampleSecret + "&secret=x", "otpauth-migration://offline?data=x", "otpauth:totp",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		k, err := totp.Parse(text)
		if err != nil {
			var field *totp.FieldError
			if !errors.As(err, &field) || field.Field == "" || field.Problem == "" || !k.IsZero() {
				t.Fatalf("Parse(%q): got %v, %v, want no key and a FieldError that says what is wrong", text, k, err)
			}
			return
		}
		comesBack(t, k)
		if code, err := k.At(time.Unix(1111111111, 0)); err != nil || len(code.Value) != k.Digits() {
			t.Fatalf("Parse(%q).At: got %d digits, %v, want %d", text, len(code.Value), err, k.Digits())
		}
	})
}
