package custody_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/custody"
)

// otherKey is a key that no known answer uses.
const otherKey = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

func TestKeyringsAreReadStrictly(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		current int
		ids     []int
	}{
		"0:" + otherKey: {0, []int{0}},
		"255:" + otherKey + ", 3:" + otherKey + " ,4:" + otherKey: {255, []int{3, 4, 255}},
		"  9:" + otherKey + "\n":                                  {9, []int{9}},
	} {
		ring, err := custody.ParseKeyring(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if ring.Current() != want.current || !slices.Equal(ring.IDs(), want.ids) {
			t.Errorf("%q: current %d of %v, want %d of %v", text, ring.Current(), ring.IDs(), want.current, want.ids)
		}
	}
	for text, want := range map[string]string{
		"":                          "server key 1 ",
		",":                         "server key 1 ",
		otherKey:                    "server key 1 ",
		":" + otherKey:              "server key 1 ",
		"256:" + otherKey:           "server key 1 ",
		"-1:" + otherKey:            "server key 1 ",
		"+1:" + otherKey:            "server key 1 ",
		"01:" + otherKey:            "server key 1 ",
		"1 :" + otherKey:            "server key 1 ",
		"x:" + otherKey:             "server key 1 ",
		"1":                         "server key 1 ",
		"1:":                        "(id 1)",
		"1: " + otherKey:            "(id 1)",
		"1:" + otherKey + "AAAA":    "(id 1)",
		"1:" + otherKey[:40]:        "(id 1)",
		"1:" + otherKey[:43]:        "(id 1)", // padding missing
		"1:" + otherKey[:42] + "9=": "(id 1)", // trailing bits
		"1:" + otherKey[:20] + "\n" + otherKey[20:]: "(id 1)",
		"1:" + strings.Repeat("_", 43) + "=":        "(id 1)", // base64url
		"1:" + otherKey + ",":                       "server key 2 ",
		"1:" + otherKey + ",1:" + otherKey:          "stands twice",
		"1:" + otherKey + ",2:short":                "server key 2 of the list (id 2)",
	} {
		ring, err := custody.ParseKeyring(text)
		if err == nil || ring != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want an error with %q", text, err, want)
			continue
		}
		if strings.Contains(err.Error(), otherKey[:8]) {
			t.Errorf("%q: the error shows the key: %v", text, err)
		}
	}
}

func TestAGeneratedKeyringIsOneNewKey(t *testing.T) {
	t.Parallel()
	text, err := custody.GenerateKeyring(bytes.NewReader([]byte("0123456789abcdef0123456789abcdef")))
	if want := "0:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="; err != nil || text != want {
		t.Fatalf("got %q, %v; want %q", text, err, want)
	}
	if ring := parse(t, text); ring.Current() != 0 || !slices.Equal(ring.IDs(), []int{0}) {
		t.Errorf("current %d of %v, want 0 of [0]", ring.Current(), ring.IDs())
	}
	one, _ := custody.GenerateKeyring(rand.Reader)
	two, _ := custody.GenerateKeyring(rand.Reader)
	if one == two {
		t.Error("two keyrings are the same")
	}
}

// needles are what would give a key away, in the forms that printers have.
func needles(key []byte) map[string]string {
	part := key[:6]
	return map[string]string{
		"raw":     string(part),
		"hex":     hex.EncodeToString(part),
		"HEX":     strings.ToUpper(hex.EncodeToString(part)),
		"base64":  base64.StdEncoding.EncodeToString(part),
		"decimal": strings.Trim(fmt.Sprint(part), "[]"),
		"Go":      strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", part), "[]byte{"), "}"),
		"octal":   strings.Trim(fmt.Sprintf("%o", part), "[]"),
		"binary":  strings.Trim(fmt.Sprintf("%b", part), "[]"),
		"quoted":  strings.Trim(fmt.Sprintf("%q", part), `"`),
	}
}

// What holds keys inside someone's unexported field, where fmt calls no method.
type holder struct {
	claims custody.Claims
	secret custody.Secret
	ring   *custody.Keyring
	copied custody.Keyring
}

func TestWhatHoldsKeysPrintsNothingInAnyFormat(t *testing.T) {
	t.Parallel()
	k := knownTokens(t)[0]
	ring := keyring(t)
	claims, err := ring.OpenToken(k.Token)
	if err != nil {
		t.Fatal(err)
	}
	entry, _, _ := strings.Cut(keyringText(t), ",")
	master, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(entry, "7:"))
	if err != nil {
		t.Fatal(err)
	}
	secret := k.Random[28:]
	clean := func(how, text string) {
		t.Helper()
		for _, key := range [][]byte{master, secret} {
			for form, needle := range needles(key) {
				if strings.Contains(text, needle) {
					t.Errorf("%s shows a key (%s): %.200q", how, form, text)
				}
			}
		}
	}
	for _, v := range []any{
		ring, *ring, claims, &claims, claims.Secret, &claims.Secret,
		holder{claims, claims.Secret, ring, *ring}, &holder{claims, claims.Secret, ring, *ring},
		[]custody.Claims{claims}, map[string]custody.Secret{"k": claims.Secret}, struct{ Ring custody.Keyring }{*ring},
	} {
		for _, verb := range "vsqxXdobcUeEfFgGtTpOw" {
			for _, flag := range []string{"", "+", "#", " ", "0", "-9", "# ", "#08"} {
				format := "%" + flag + string(verb)
				clean(fmt.Sprintf("%T as %s", v, format), fmt.Sprintf(format, v))
			}
		}
		clean(fmt.Sprintf("%T printed", v), fmt.Sprintln(v))
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("m", "v", v, slog.Group("g", slog.Any("v", v)))
		slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "v", v, slog.Group("g", slog.Any("v", v)))
		clean(fmt.Sprintf("%T logged", v), log.String())
	}
	for _, v := range []any{ring, *ring, claims.Secret, claims} {
		if text, err := json.Marshal(v); err == nil {
			t.Errorf("%T was marshalled to JSON: %s", v, text)
		}
		if err := gob.NewEncoder(new(bytes.Buffer)).Encode(v); err == nil {
			t.Errorf("%T was marshalled by gob", v)
		}
	}
	for _, v := range []any{ring, *ring, claims.Secret} {
		if text, err := xml.Marshal(v); err == nil {
			t.Errorf("%T was marshalled to XML: %s", v, text)
		}
		for _, format := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
			if got := fmt.Sprintf(format, v); got != "[redacted]" {
				t.Errorf("%T as %s is %q, want [redacted]", v, format, got)
			}
		}
	}
	if got := fmt.Sprintf("%v", claims); !strings.Contains(got, string(models.GrantSession)) {
		t.Errorf("claims print as %q, which tells nothing at all", got)
	}
}
