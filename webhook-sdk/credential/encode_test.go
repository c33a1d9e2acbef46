package credential_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/webhook-sdk/credential"
)

// The encoding is at rest in databases: this text is never to change.
const encodedOAuth = `{"v":1,"type":"OAuth","secrets":{"accessToken":"a","refreshToken":"r"},` +
	`"meta":{"allowedHosts":["https://api.example.com"],"provider":"github","scopes":[1.50,null],"tokenType":"OAuth"}}`

func TestTheEncodingIsThatOfVersion1(t *testing.T) {
	t.Parallel()
	c := parsed(t, platform, map[string]any{
		"tokenType": "OAuth", "accessToken": "a", "refreshToken": "r", "provider": "github", "allowedHosts": []string{"API.example.com"}, "scopes": []any{1.5, nil},
	})
	text, err := c.Encode()
	if want := strings.Replace(encodedOAuth, "1.50", "1.5", 1); err != nil || string(text) != want {
		t.Errorf("Encode: got %s, %v, want %s", text, err, want)
	}
	again, err := credential.Decode([]byte(encodedOAuth))
	if err != nil {
		t.Fatalf("Decode: got %v, want the credential", err)
	}
	if !reflect.DeepEqual(again.Secrets, c.Secrets) || again.Type != c.Type {
		t.Errorf("Decode gives other secrets, or type %s", again.Type)
	}
	// Numbers stay as they are written, so that metadata is the same after any number of turns.
	if text, err = again.Encode(); err != nil || string(text) != encodedOAuth {
		t.Errorf("encoded again: got %s, %v, want %s", text, err, encodedOAuth)
	}
}

func TestDecodeReadsNothingElse(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"nothing":          ``,
		"no object":        `[]`,
		"half":             encodedOAuth[:40],
		"more":             encodedOAuth + `{}`,
		"another version":  strings.Replace(encodedOAuth, `"v":1`, `"v":2`, 1),
		"no version":       strings.Replace(encodedOAuth, `"v":1,`, ``, 1),
		"unknown field":    strings.Replace(encodedOAuth, `"v":1`, `"v":1,"w":1`, 1),
		"unknown type":     strings.Replace(encodedOAuth, `"type":"OAuth"`, `"type":"canary"`, 1),
		"secret not text":  strings.Replace(encodedOAuth, `"a"`, `7`, 1),
		"no secret":        strings.Replace(encodedOAuth, `"accessToken":"a"`, `"accessToken":""`, 1),
		"secret elsewhere": strings.Replace(encodedOAuth, `"type":"OAuth"`, `"type":"TOTP"`, 1),
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
