package credential_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/webhook-sdk/credential"
)

// What is answered from the encoding is what is answered from the credential.
func TestReleasingTheEncodingIsReleasing(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for name, input := range map[string]map[string]any{
		"an API key":    {"tokenType": "PlainText", "accessToken": "a <secret> \"quoted\" \u2028 \x01 é"},
		"with metadata": {"tokenType": "OAuth", "accessToken": "a", "refreshToken": "r", "provider": "github", "scopes": []any{1.5, nil}, "serviceName": "another's"},
		"a code":        {"tokenType": "TOTP", "totpSecret": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"},
		"basic":         {"tokenType": "Basic", "username": "u", "password": "p"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := parsed(t, platform, input)
			c.Describe("old name", "c1", now)
			text, err := c.Encode()
			if err != nil {
				t.Fatal(err)
			}
			for _, owner := range []bool{false, true} {
				o := credential.ReleaseOptions{Service: "new name", Now: now, RefreshToken: owner}
				released, err := credential.Release(t.Context(), c, o)
				if err != nil {
					t.Fatal(err)
				}
				want := decoded(t, released)
				body, err := credential.AppendRelease(t.Context(), nil, text, o)
				var got map[string]any
				if err != nil || json.Unmarshal(body, &got) != nil || !reflect.DeepEqual(got, want) {
					t.Errorf("owner %t: got %s, %v, want %v", owner, body, err, want)
				}
			}
		})
	}
	if body, err := credential.AppendRelease(t.Context(), nil, []byte("\x02"), credential.ReleaseOptions{}); !errors.Is(err, credential.ErrEncoding) || body != nil {
		t.Errorf("of another version: got %s, %v, want ErrEncoding", body, err)
	}
}

// decoded is a value as JSON has it.
func decoded(t *testing.T, v any) (out map[string]any) {
	t.Helper()
	text, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}
