package credential_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/webhook-sdk/credential"
)

func TestAWebhookTakesWhatPlatformModeKept(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ input, want map[string]any }{
		"OAuth": {
			map[string]any{"tokenType": "OAuth", "accessToken": "a", "refreshToken": "r", "provider": "github", "hasCertificate": true},
			map[string]any{"tokenType": "OAuth", "accessToken": "a", "refreshToken": "r", "provider": "github"},
		},
		"Bearer": {
			map[string]any{"tokenType": "Bearer", "accessToken": "a"},
			map[string]any{"tokenType": "PlainText", "accessToken": "a"},
		},
		"Basic": {
			map[string]any{"tokenType": "Basic", "username": "u", "password": "p"},
			map[string]any{"tokenType": "PlainText", "username": "u", "password": "p", "accessToken": "p"},
		},
		"OpenIDConnect": {
			map[string]any{"tokenType": "OpenIDConnect", "accessToken": "a", "refreshToken": "r", "issuer": "https://id.example.com"},
			map[string]any{"tokenType": "OAuth", "accessToken": "a", "refreshToken": "r", "issuer": "https://id.example.com"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kept := parsed(t, platform, c.input)
			kept.Describe("s", "id", time.Now())
			got, err := kept.TokenData()
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Fatalf("got %v, %v, want %v", got, err, c.want)
			}
			if _, err := credential.Parse(fields(t, got), credential.Options{}); err != nil {
				t.Errorf("a webhook refuses it: %v", err)
			}
		})
	}
}

func TestWhatAWebhookWouldShowIsNotGivenToIt(t *testing.T) {
	t.Parallel()
	kept := parsed(t, platform, map[string]any{"tokenType": "OpenIDConnect", "accessToken": "a", "idToken": "i"})
	got, err := kept.TokenData()
	var bad *credential.Error
	if got != nil || !errors.As(err, &bad) || bad.Field != credential.FieldIDToken {
		t.Errorf("got %v, %v, want nothing and an error of field idToken", got, err)
	}
}
