package credential_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
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

// A text in JSON reads as encoding/json has it, and no copy of it is left behind.
func FuzzAppendString(f *testing.F) {
	for _, text := range []string{"", "plain", "a\"b\\c\n\r\t\x00\x1f\x7f", "<&>", "é\u2028😀", "\xff\xfe<", "-----BEGIN KEY-----\nAAAA\n"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		room := make([]byte, 1, 1+6*len(text)+2)
		room[0] = '['
		got := credential.AppendString(room, text)
		var want, read string
		quoted, err := json.Marshal(text)
		if err != nil || json.Unmarshal(quoted, &want) != nil {
			t.Fatal(err)
		}
		if got[0] != '[' || json.Unmarshal(got[1:], &read) != nil || read != want {
			t.Errorf("%q became %s, which reads %q, want %q", text, got, read, want)
		}
		if bytes.ContainsAny(got, "<>&\n\x00") {
			t.Errorf("%q became %q, with something unescaped", text, got)
		}
		if &got[0] != &room[0] {
			t.Error("it outgrew room for the longest form")
		}
		if again := credential.AppendString([]byte("["), []byte(text)); !bytes.Equal(again, got) {
			t.Errorf("%q became %s as bytes, and %s as a string", text, again, got)
		}
	})
}

// What does not fit into its room is written once, to room that is large enough.
func TestAnAnswerOutgrowsItsRoomAtMostOnce(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{"x", "<", "a\n", "é"} {
		for _, n := range []int{1, 100, 2000, 9000} {
			c := parsed(t, platform, map[string]any{"tokenType": "Basic", "username": "u", "password": strings.Repeat(secret, n)})
			c.Describe("github", "c1", time.Now())
			text, err := c.Encode()
			if err != nil {
				t.Fatal(err)
			}
			room := make([]byte, 0, 4096)
			answer, err := credential.AppendRelease(t.Context(), room, text, credential.ReleaseOptions{Service: "github"})
			if err != nil {
				t.Fatal(err)
			}
			inside := &answer[0] == &room[:1][0]
			if left := bytes.Trim(room[:cap(room)], "\x00"); !inside && len(left) > 0 {
				t.Errorf("%d × %q: its room has %d bytes of it, and was too small", n, secret, len(left))
			}
			if inside != (len(answer) <= cap(room)) && len(answer) < cap(room)-200 {
				t.Errorf("%d × %q: %d bytes were written elsewhere, though there was room", n, secret, len(answer))
			}
		}
	}
}
