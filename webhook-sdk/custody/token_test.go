package custody

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const testService = "github"

func testMeta() map[string]any {
	return map[string]any{
		"serviceName": testService, "tokenType": "OAuth", "provider": "github", "creationId": "c-1",
		"allowedHosts": []string{"https://api.github.com:443"}, "scopes": []any{"repo"},
		"expiryTime": int64(1767323045000), "displayName": "Work", "tags": []string{"a"},
	}
}

func testSecrets() map[string]string {
	return map[string]string{"accessToken": "gho_secret", "refreshToken": "ghr_secret"}
}

func sealed(t testing.TB, k *Keys, service string, meta map[string]any) Document {
	t.Helper()
	d, err := k.SealToken(service, testSecrets(), meta)
	if err != nil {
		t.Fatalf("sealing: %v", err)
	}
	return d
}

func parse(t testing.TB, text []byte) Document {
	t.Helper()
	d, err := ParseDocument(text)
	if err != nil {
		t.Fatalf("parsing a document: %v", err)
	}
	return d
}

// stored is the document as it comes back from storage.
func stored(t testing.TB, d Document) Document {
	t.Helper()
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, text)
}

func TestTokenOpensToWhatWasSealed(t *testing.T) {
	t.Parallel()
	k := derive(t, testSeed)
	meta := testMeta()
	d := sealed(t, k, testService, meta)
	if d.V != 2 || d.Alg != "AES-256-GCM" || d.CreationID() != "c-1" || !d.Has("accessToken") || d.Has("password") {
		t.Errorf("document = version %d, %s, creation %s, fields %v", d.V, d.Alg, d.CreationID(), d.Fields)
	}
	meta["tokenType"] = "changed after sealing"
	meta["scopes"].([]any)[0] = "changed after sealing"
	for name, d := range map[string]Document{"as sealed": d, "as stored": stored(t, d)} {
		got, err := k.OpenToken(testService, d)
		if err != nil || !maps.Equal(got, testSecrets()) {
			t.Errorf("%s: opens to %v, %v; want %v", name, got, err, testSecrets())
		}
	}
	text, err := json.Marshal(d)
	if err != nil || bytes.Contains(text, []byte("gho_secret")) {
		t.Errorf("the document shows the secret: %s, %v", text, err)
	}
}

func TestTwoSealingsDiffer(t *testing.T) {
	t.Parallel()
	k := derive(t, testSeed)
	a, b := sealed(t, k, testService, testMeta()), sealed(t, k, testService, testMeta())
	if a.Fields["accessToken"] == b.Fields["accessToken"] {
		t.Error("the same token sealed twice has the same ciphertext: a nonce was used twice")
	}
}

func TestSomeFieldsOpenWithoutTheOthers(t *testing.T) {
	t.Parallel()
	k := derive(t, testSeed)
	d := sealed(t, k, testService, testMeta())
	d.Fields["refreshToken"] = "damaged"
	got, err := k.OpenFields(testService, d, "accessToken", "password")
	if err != nil || !maps.Equal(got, map[string]string{"accessToken": "gho_secret"}) {
		t.Errorf("got %v, %v; want the access token alone", got, err)
	}
	if got, err := k.OpenToken(testService, d); !errors.Is(err, ErrDocument) || got != nil {
		t.Errorf("all fields: %v, %v; want ErrDocument and none of them", got, err)
	}
}

func TestTokenWithoutACreationIsNotSealed(t *testing.T) {
	t.Parallel()
	k := derive(t, testSeed)
	for name, meta := range map[string]map[string]any{
		"no metadata":     nil,
		"none":            {"tokenType": "OAuth"},
		"empty":           {"creationId": ""},
		"not a string":    {"creationId": 7},
		"not JSON at all": {"creationId": "c", "f": func() {}},
	} {
		if d, err := k.SealToken(testService, testSecrets(), meta); err == nil {
			t.Errorf("%s: sealed as %v, want an error", name, d)
		}
	}
}

// What an attacker who can write to the storage may try: every exchange of a
// ciphertext, or of the rules beside it, must be refused.
func TestNothingCanBeExchanged(t *testing.T) {
	t.Parallel()
	k := derive(t, testSeed)
	alter := func(name string, value any) func(*Document) {
		return func(d *Document) { d.Meta[name] = value }
	}
	tests := map[string]struct {
		service string
		change  func(*Document)
	}{
		"another service":         {"gitlab", func(*Document) {}},
		"service with other case": {"GitHub", func(*Document) {}},
		"fields swapped": {"", func(d *Document) {
			f := d.Fields
			f["accessToken"], f["refreshToken"] = f["refreshToken"], f["accessToken"]
		}},
		"field renamed": {"", func(d *Document) { d.Fields["password"] = d.Fields["accessToken"] }},
		"field of an old creation": {"", func(d *Document) {
			meta := testMeta()
			meta["creationId"] = "c-0"
			d.Fields["accessToken"] = sealed(t, k, testService, meta).Fields["accessToken"]
		}},
		"field of another service": {"", func(d *Document) {
			d.Fields["accessToken"] = sealed(t, k, "gitlab", testMeta()).Fields["accessToken"]
		}},
		"field under other rules": {"", func(d *Document) {
			meta := testMeta()
			meta["allowedHosts"] = []string{"https://evil.example:443"}
			d.Fields["accessToken"] = sealed(t, k, testService, meta).Fields["accessToken"]
		}},
		"creation altered":      {"", alter("creationId", "c-2")},
		"creation removed":      {"", alter("creationId", nil)},
		"allowedHosts altered":  {"", alter("allowedHosts", []any{"https://evil.example:443"})},
		"allowedHosts extended": {"", alter("allowedHosts", []any{"https://api.github.com:443", "https://evil.example:443"})},
		"allowedHosts removed":  {"", func(d *Document) { delete(d.Meta, "allowedHosts") }},
		"provider altered":      {"", alter("provider", "evil")},
		"tokenType altered":     {"", alter("tokenType", "RawCredential")},
		"scopes altered":        {"", alter("scopes", []any{"repo", "admin"})},
		"expiry altered":        {"", alter("expiryTime", json.Number("1767323045001"))},
		"expiry spelled anew":   {"", alter("expiryTime", json.Number("1767323045e3"))},
		"setting added":         {"", alter("tokenUri", "https://evil.example")},
		"called version 1":      {"", func(d *Document) { d.V = 1 }},
		"called version 3":      {"", func(d *Document) { d.V = 3 }},
		"called version 0":      {"", func(d *Document) { d.V = 0 }},
		"another algorithm":     {"", func(d *Document) { d.Alg = "none" }},
		"empty field":           {"", func(d *Document) { d.Fields["accessToken"] = "" }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := stored(t, sealed(t, k, testService, testMeta()))
			service := test.service
			if service == "" {
				service = testService
			}
			test.change(&d)
			got, err := k.OpenToken(service, d)
			if !errors.Is(err, ErrOpen) && !errors.Is(err, ErrDocument) {
				t.Errorf("opens to %v, %v; want ErrOpen or ErrDocument", got, err)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
}

func TestNotesMayChangeWithoutSealingAgain(t *testing.T) {
	t.Parallel()
	k := derive(t, testSeed)
	d := stored(t, sealed(t, k, testService, testMeta()))
	d.Meta["displayName"], d.Meta["notes"] = "Other", "new"
	delete(d.Meta, "tags")
	d.Meta["absent"] = nil
	if got, err := k.OpenToken(testService, stored(t, d)); err != nil || !maps.Equal(got, testSecrets()) {
		t.Errorf("opens to %v, %v; want %v", got, err, testSecrets())
	}
}

func TestEveryAlteredBitOfAFieldIsAnError(t *testing.T) {
	t.Parallel()
	k := derive(t, testSeed)
	d := sealed(t, k, testService, testMeta())
	raw, err := base64.StdEncoding.DecodeString(d.Fields["accessToken"])
	if err != nil {
		t.Fatal(err)
	}
	check := func(what, text string) {
		d.Fields["accessToken"] = text
		if got, err := k.OpenFields(testService, d, "accessToken"); err == nil {
			t.Errorf("%s: opens to %v, want an error", what, got)
		}
	}
	for i := range raw {
		for bit := range 8 {
			altered := bytes.Clone(raw)
			altered[i] ^= 1 << bit
			check(fmt.Sprintf("bit %d of byte %d", bit, i), base64.StdEncoding.EncodeToString(altered))
		}
		check(fmt.Sprintf("cut to %d bytes", i), base64.StdEncoding.EncodeToString(raw[:i]))
	}
	text := base64.StdEncoding.EncodeToString(raw)
	for i := range len(text) {
		for bit := range 8 {
			altered := []byte(text)
			altered[i] ^= 1 << bit
			check(fmt.Sprintf("bit %d of character %d", bit, i), string(altered))
		}
		check(fmt.Sprintf("a line end before character %d", i), text[:i]+"\n"+text[i:])
	}
	check("a line end behind", text+"\r\n")
}

func TestVersion1BecomesVersion2AtTheNextWrite(t *testing.T) {
	t.Parallel()
	v := readVectors(t)
	k := derive(t, v.Seed)
	d := parse(t, v.V1)
	secrets, err := k.OpenToken(v.Service, d)
	if err != nil {
		t.Fatal(err)
	}
	next, err := k.SealToken(v.Service, secrets, d.Meta)
	if err != nil || next.V != 2 {
		t.Fatalf("next document: version %d, %v; want 2", next.V, err)
	}
	if _, err := k.OpenToken("another", next); !errors.Is(err, ErrOpen) {
		t.Errorf("the next document opens for another service: %v, want ErrOpen", err)
	}
}

func TestWhatIsNotADocumentIsRefused(t *testing.T) {
	t.Parallel()
	good := `{"v":2,"alg":"AES-256-GCM","fields":{},"meta":{"creationId":"c"}}`
	parse(t, []byte(good))
	for name, text := range map[string]string{
		"nothing":           "",
		"null":              "null",
		"array":             "[]",
		"text":              `"x"`,
		"truncated":         good[:len(good)-1],
		"something behind":  good + "{}",
		"version missing":   `{"alg":"AES-256-GCM","fields":{},"meta":{"creationId":"c"}}`,
		"version 3":         strings.Replace(good, "2", "3", 1),
		"version as text":   strings.Replace(good, "2", `"2"`, 1),
		"algorithm":         strings.Replace(good, "GCM", "CBC", 1),
		"no creation":       strings.Replace(good, "creationId", "x", 1),
		"field not text":    strings.Replace(good, `"fields":{}`, `"fields":{"a":1}`, 1),
		"metadata not data": strings.Replace(good, `{"creationId":"c"}`, `"secret-looking"`, 1),
	} {
		d, err := ParseDocument([]byte(text))
		if !errors.Is(err, ErrDocument) {
			t.Errorf("%s: %v, %v; want ErrDocument", name, d, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret-looking") {
			t.Errorf("%s: the error quotes the document: %v", name, err)
		}
	}
}

func TestAnyTokenSurvivesStorage(t *testing.T) {
	t.Parallel()
	k := derive(t, testSeed)
	value := rapid.OneOf(
		rapid.Map(rapid.String(), func(s string) any { return s }),
		rapid.Map(rapid.Int64(), func(n int64) any { return n }),
		rapid.Map(rapid.Float64Range(-1e300, 1e300), func(n float64) any { return n }),
		rapid.Map(rapid.Bool(), func(b bool) any { return b }),
		rapid.Map(rapid.SliceOf(rapid.String()), func(s []string) any { return s }),
		rapid.Just[any](nil),
		rapid.Map(rapid.MapOf(rapid.String(), rapid.Int()), func(m map[string]int) any { return m }),
	)
	rapid.Check(t, func(t *rapid.T) {
		service := rapid.String().Draw(t, "service")
		secrets := rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "secrets")
		meta := rapid.MapOf(rapid.String(), value).Draw(t, "meta")
		meta["creationId"] = rapid.StringN(1, -1, -1).Draw(t, "creation")
		d, err := k.SealToken(service, secrets, meta)
		if err != nil {
			t.Fatalf("sealing: %v", err)
		}
		text, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		d, err = ParseDocument(text)
		if err != nil {
			t.Fatalf("parsing: %v", err)
		}
		got, err := k.OpenToken(service, d)
		if err != nil || !maps.Equal(got, secrets) {
			t.Fatalf("opens to %v, %v; want %v", got, err, secrets)
		}
		if len(secrets) > 0 {
			if got, err := k.OpenToken(service+"x", d); err == nil {
				t.Fatalf("another service opens to %v", got)
			}
		}
	})
}

func FuzzParseDocument(f *testing.F) {
	k := derive(f, testSeed)
	d := sealed(f, k, testService, testMeta())
	text, err := json.Marshal(d)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"v":1,"alg":"AES-256-GCM","fields":{"a":""},"meta":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := ParseDocument(text)
		if err != nil {
			if !errors.Is(err, ErrDocument) {
				t.Fatalf("error %v is not ErrDocument", err)
			}
			return
		}
		got, err := k.OpenToken(testService, d)
		for name, secret := range got {
			if testSecrets()[name] != secret {
				t.Fatalf("opened %q to %q, which was never sealed there", name, secret)
			}
		}
		if err != nil && !errors.Is(err, ErrOpen) && !errors.Is(err, ErrDocument) {
			t.Fatalf("error %v is neither ErrOpen nor ErrDocument", err)
		}
	})
}

func BenchmarkOpenField(b *testing.B) {
	k := derive(b, testSeed)
	text, err := json.Marshal(sealed(b, k, testService, testMeta()))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		d, err := ParseDocument(text)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := k.OpenFields(testService, d, "accessToken"); err != nil {
			b.Fatal(err)
		}
	}
}
