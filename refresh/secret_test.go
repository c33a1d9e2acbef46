package refresh_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/refresh"
)

func TestNothingThatHoldsASecretShowsIt(t *testing.T) {
	t.Parallel()
	const secret = refresh.Secret("the-secret-canary")
	var logged bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&logged, nil))
	for name, value := range map[string]any{
		"secret":   secret,
		"tokens":   refresh.Tokens{AccessToken: secret, RefreshToken: secret, IDToken: secret},
		"provider": refresh.Provider{ClientSecret: secret},
		"exchange": refresh.CodeExchange{Code: secret, Verifier: secret},
		"state":    &refresh.State{Tokens: refresh.Tokens{AccessToken: secret}, Provider: refresh.Provider{ClientSecret: secret}},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			if got := fmt.Sprintf(verb, value); strings.Contains(got, "canary") || strings.Contains(got, fmt.Sprintf("%x", "canary")) {
				t.Errorf("%s with %s: got %s", name, verb, got)
			}
		}
		logger.Info("x", name, value)
		if text, err := json.Marshal(value); err == nil || strings.Contains(string(text), "canary") {
			t.Errorf("%s as JSON: got %s (%v), want an error", name, text, err)
		}
	}
	if got := secret.String() + secret.GoString(); strings.Contains(got, "canary") {
		t.Errorf("as a string: got %s", got)
	}
	if strings.Contains(logged.String(), "canary") {
		t.Errorf("logged: %s", logged.String())
	}
	if text, err := json.Marshal(struct{ T *refresh.Secret }{new(secret)}); !errors.Is(err, refresh.ErrRedacted) {
		t.Errorf("a pointer as JSON: got %s (%v), want ErrRedacted", text, err)
	}
	var read struct{ Token refresh.Secret }
	if err := json.Unmarshal([]byte(`{"token":"x"}`), &read); err != nil || string(read.Token) != "x" {
		t.Errorf("read from JSON: got %q (%v), want x", string(read.Token), err)
	}
}

func TestSecretsAreEqualByValue(t *testing.T) {
	t.Parallel()
	if !refresh.Secret("a").Equal("a") || refresh.Secret("a").Equal("b") || refresh.Secret("a").Equal("") {
		t.Error("Equal is not equality")
	}
}
