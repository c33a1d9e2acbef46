package credential_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/webhook-sdk/credential"
)

// part is a text behind its length, as it is encoded.
func part(text string) string {
	return fmt.Sprintf("%c%c%c%c", 0, 0, len(text)>>8, len(text)&0xff) + text
}

const encodedMeta = `{"allowedHosts":["https://api.example.com"],"provider":"github","scopes":[1.50,null]}`

// The encoding is at rest in databases: this text is never to change.
func encodedOAuth() string {
	return "\x01" + part("OAuth") + part(encodedMeta) + part("accessToken") + part("a") + part("refreshToken") + part("r")
}

func TestTheEncodingIsThatOfVersion1(t *testing.T) {
	t.Parallel()
	c := parsed(t, platform, map[string]any{
		"tokenType": "OAuth", "accessToken": "a", "refreshToken": "r", "provider": "github", "allowedHosts": []string{"API.example.com"}, "scopes": []any{1.5, nil},
	})
	text, err := c.Encode()
	want := strings.Replace(encodedOAuth(), part(encodedMeta), part(strings.Replace(encodedMeta, "1.50", "1.5", 1)), 1)
	if err != nil || string(text) != want {
		t.Errorf("Encode: got %q, %v, want %q", text, err, want)
	}
	again, err := credential.Decode([]byte(encodedOAuth()))
	if err != nil {
		t.Fatalf("Decode: got %v, want the credential", err)
	}
	if !reflect.DeepEqual(again.Secrets, c.Secrets) || again.Type != c.Type {
		t.Errorf("Decode gives other secrets, or type %s", again.Type)
	}
	// Numbers stay as they are written, so that metadata is the same after any number of turns.
	if text, err = again.Encode(); err != nil || string(text) != encodedOAuth() {
		t.Errorf("encoded again: got %q, %v, want %q", text, err, encodedOAuth())
	}
}

func TestDecodeReadsNothingElse(t *testing.T) {
	t.Parallel()
	whole := encodedOAuth()
	for name, text := range map[string]string{
		"nothing":          "",
		"version alone":    "\x01",
		"half":             whole[:40],
		"more":             whole + "\x00",
		"a field more":     whole + part("idToken"),
		"another version":  "\x02" + whole[1:],
		"unknown type":     strings.Replace(whole, part("OAuth"), part("canary"), 1),
		"a length beyond":  "\x01\xff\xff\xff\xff" + whole[5:],
		"no secret":        strings.Replace(whole, part("accessToken")+part("a"), part("accessToken")+part(""), 1),
		"secret elsewhere": strings.Replace(whole, part("OAuth"), part("TOTP"), 1),
		"out of order":     "\x01" + part("OAuth") + part("{}") + part("refreshToken") + part("r") + part("accessToken") + part("a"),
		"twice":            "\x01" + part("OAuth") + part("{}") + part("accessToken") + part("a") + part("accessToken") + part("b"),
		"metadata: none":   "\x01" + part("OAuth") + part("") + part("accessToken") + part("a"),
		"metadata: null":   "\x01" + part("OAuth") + part("null") + part("accessToken") + part("a"),
		"metadata: list":   "\x01" + part("OAuth") + part(`["canary"]`) + part("accessToken") + part("a"),
		"metadata: more":   "\x01" + part("OAuth") + part(`{}{}`) + part("accessToken") + part("a"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := credential.Decode([]byte(text))
			if !errors.Is(err, credential.ErrEncoding) || got.Secrets != nil {
				t.Errorf("got %v, %v, want ErrEncoding", got, err)
			}
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Errorf("the error quotes the text: %v", err)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(encodedOAuth()))
	f.Add([]byte("\x01" + part("TOTP") + part("{}") + part("totpSecret") + part("x")))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := credential.Decode(text)
		if err != nil {
			if !errors.Is(err, credential.ErrEncoding) {
				t.Fatalf("got %v, want ErrEncoding", err)
			}
			return
		}
		again, err := c.Encode()
		if err != nil {
			t.Fatalf("Encode: %v", err)
		}
		same, err := credential.Decode(again)
		delete(c.Meta, "serviceName") // whoever keeps the credential knows it
		if err != nil || !reflect.DeepEqual(same.Secrets, c.Secrets) || same.Type != c.Type || len(same.Meta) != len(c.Meta) {
			t.Fatalf("encoded and decoded again: %v", err)
		}
	})
}
