package custody_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/custody"
)

func seal(t *testing.T, ring *custody.Keyring, c custody.Claims) (custody.Claims, string) {
	t.Helper()
	text, _, err := ring.SealToken(rand.Reader, &c)
	if err != nil {
		t.Fatal(err)
	}
	return c, text
}

func refusedToken(t *testing.T, ring *custody.Keyring, what, text string) {
	t.Helper()
	if c, err := ring.OpenToken(text); !errors.Is(err, custody.ErrToken) || !reflect.DeepEqual(c, custody.Claims{}) {
		t.Fatalf("%s: OpenToken(%q) = %+v, %v; want ErrToken and nothing", what, text, c, err)
	}
}

func TestEveryFlippedBitOfATokenIsARefusal(t *testing.T) {
	t.Parallel()
	ring := keyring(t)
	for _, k := range knownTokens(t) {
		name, encoded, _ := strings.Cut(k.Token, "_")
		payload, err := base64.RawURLEncoding.DecodeString(encoded)
		if err != nil {
			t.Fatal(err)
		}
		for bit := range len(payload) * 8 {
			flipped := slices.Clone(payload)
			flipped[bit/8] ^= 1 << (bit % 8)
			refusedToken(t, ring, "a flipped bit", name+"_"+base64.RawURLEncoding.EncodeToString(flipped))
		}
		for bit := range len(k.Token) * 8 {
			flipped := []byte(k.Token)
			flipped[bit/8] ^= 1 << (bit % 8)
			refusedToken(t, ring, "a flipped bit of the text", string(flipped))
		}
	}
}

func TestOnlyTheCanonicalTextOfATokenOpens(t *testing.T) {
	t.Parallel()
	ring := keyring(t)
	for _, k := range knownTokens(t) {
		name, encoded, _ := strings.Cut(k.Token, "_")
		for n := range len(k.Token) {
			refusedToken(t, ring, "cut short", k.Token[:n])
			for _, extra := range []string{"\n", "\r", "\r\n", " ", "\t", "=", "A", "\x00", "_", "."} {
				refusedToken(t, ring, "with something put in", k.Token[:n]+extra+k.Token[n:])
				if text := k.Token[:n] + extra + k.Token[min(n+len(extra), len(k.Token)):]; text != k.Token {
					refusedToken(t, ring, "with something in place", text)
				}
			}
		}
		for _, extra := range []string{"\n", "\r\n\r\n", " ", "=", "==", "A", "AAAA", "_"} {
			refusedToken(t, ring, "with something behind", k.Token+extra)
		}
		for _, last := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" {
			if text := k.Token[:len(k.Token)-1] + string(last); text != k.Token {
				refusedToken(t, ring, "with other trailing bits", text)
			}
		}
		refusedToken(t, ring, "in standard base64", name+"_"+strings.NewReplacer("-", "+", "_", "/").Replace(encoded)+"+")
		for _, prefix := range []string{"", "tcs", "tvagent", "TCS", "tck", "tca", "tcr", "tcz", "tc", "x" + name, name + "_" + name} {
			if prefix != name {
				refusedToken(t, ring, "under another prefix", prefix+"_"+encoded)
			}
		}
		refusedToken(t, ring, "without a prefix", encoded)
	}
	refusedToken(t, ring, "empty", "")
	refusedToken(t, ring, "long", "tcs_"+strings.Repeat("A", 1<<20))
}

func TestATokenOpensUnderItsOwnServerKeyAlone(t *testing.T) {
	t.Parallel()
	claims, text := seal(t, keyring(t), custody.Claims{Kind: models.GrantSession, AccountID: models.NewID(), GrantID: models.NewID()})
	refusedToken(t, parse(t, "7:"+otherKey), "another key of that id", text)
	refusedToken(t, parse(t, "0:"+otherKey), "no key of that id", text)
	got, err := keyringWith(t, "0").OpenToken(text)
	if err != nil {
		t.Fatalf("when another key is current: %v", err)
	}
	if got, want := got.Said(), claims.Said(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestTwoTokensOfTheSameClaimsAreUnlike(t *testing.T) {
	t.Parallel()
	ring := keyring(t)
	c := custody.Claims{Kind: models.GrantSession, AccountID: models.NewID(), GrantID: models.NewID()}
	first, one := seal(t, ring, c)
	second, two := seal(t, ring, c)
	if one == two {
		t.Fatal("two tokens are the same")
	}
	_, wrapped, err := first.NewGrantKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Unlock(wrapped); !errors.Is(err, custody.ErrOpen) {
		t.Errorf("one token unlocks the other's wrap: got %v, want ErrOpen", err)
	}
}

func TestAWrapUnlocksForItsOwnSecretGrantSlotAndKindAlone(t *testing.T) {
	t.Parallel()
	c, _ := seal(t, keyring(t), custody.Claims{Kind: models.GrantAgentKey, AccountID: models.NewID(), GrantID: models.NewID(), Slot: 5})
	_, wrapped, err := c.NewGrantKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Unlock(wrapped); err != nil {
		t.Fatalf("the token's own wrap: %v", err)
	}
	for what, change := range map[string]func(c *custody.Claims){
		"another grant": func(c *custody.Claims) { c.GrantID = models.NewID() },
		"another slot":  func(c *custody.Claims) { c.Slot++ },
		"another kind":  func(c *custody.Claims) { c.Kind = models.GrantAPIKey },
		// Who stole the server key can seal a token for any grant, but draws its
		// secret anew.
		"sealed with a stolen server key": func(c *custody.Claims) { *c, _ = seal(t, keyring(t), *c) },
	} {
		other := c
		change(&other)
		if err := other.Unlock(wrapped); !errors.Is(err, custody.ErrOpen) {
			t.Errorf("%s: got %v, want ErrOpen", what, err)
		}
	}
	for bit := range len(wrapped) * 8 {
		flipped := slices.Clone(wrapped)
		flipped[bit/8] ^= 1 << (bit % 8)
		if err := c.Unlock(flipped); !errors.Is(err, custody.ErrOpen) {
			t.Fatalf("bit %d of the wrap flipped: got %v, want ErrOpen", bit, err)
		}
	}
	for _, n := range []int{0, 1, 8, 16, 39} {
		if err := c.Unlock(wrapped[:n]); !errors.Is(err, custody.ErrOpen) {
			t.Errorf("%d bytes of the wrap: got %v, want ErrOpen", n, err)
		}
	}
	if err := c.Unlock(append(slices.Clone(wrapped), wrapped...)); !errors.Is(err, custody.ErrOpen) {
		t.Errorf("a doubled wrap: got %v, want ErrOpen", err)
	}
	c.Secret.Clear()
	if err := c.Unlock(wrapped); !errors.Is(err, custody.ErrOpen) {
		t.Errorf("a cleared secret: got %v, want ErrOpen", err)
	}
}

func TestWhatLacksASecretOrAKindMakesNoKeys(t *testing.T) {
	t.Parallel()
	ring := keyring(t)
	if text, _, err := ring.SealToken(rand.Reader, &custody.Claims{Kind: "webhook"}); err == nil {
		t.Errorf("a token of an unknown kind was sealed: %q", text)
	}
	for what, c := range map[string]custody.Claims{
		"claims without a secret": {Kind: models.GrantSession, GrantID: models.NewID()},
		"an unknown kind":         {Kind: "webhook", GrantID: models.NewID()},
	} {
		if _, wrapped, err := c.NewGrantKey(rand.Reader); err == nil {
			t.Errorf("%s: a key was wrapped in %d bytes", what, len(wrapped))
		}
		if err := c.Unlock(make(models.Opaque, 40)); err == nil {
			t.Errorf("%s: something unlocked", what)
		}
	}
}

func TestNothingIsMadeWithoutRandomness(t *testing.T) {
	t.Parallel()
	ring := keyring(t)
	for n := range 16 + 12 + 32 {
		c := custody.Claims{Kind: models.GrantSession, IssuedAt: time.Unix(1, 0)}
		if text, _, err := ring.SealToken(bytes.NewReader(make([]byte, n)), &c); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("with %d random bytes: %q, %v; want the reader's error", n, text, err)
		}
	}
	c, _ := seal(t, ring, custody.Claims{Kind: models.GrantSession})
	if _, _, err := c.NewGrantKey(bytes.NewReader(make([]byte, 31))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a grant key of 31 random bytes: %v, want the reader's error", err)
	}
	if _, err := custody.GenerateKeyring(bytes.NewReader(nil)); !errors.Is(err, io.EOF) {
		t.Errorf("a keyring of no random bytes: %v, want the reader's error", err)
	}
}

// FuzzOpenToken: whatever the text, nothing panics, and only what was sealed,
// in its one encoding, opens.
func FuzzOpenToken(f *testing.F) {
	sealed := map[string]bool{}
	for _, k := range knownTokens(f) {
		sealed[k.Token] = true
		f.Add(k.Token)
		f.Add(k.Token + "\n")
		f.Add(strings.ToUpper(k.Token))
		f.Add(k.Token[:60] + "\r\n" + k.Token[62:])
	}
	f.Add("")
	f.Add("tcs_")
	f.Add("tvagent__")
	ring := keyring(f)
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ring.OpenToken(text)
		if (err == nil) != sealed[text] {
			t.Fatalf("OpenToken(%q) = %+v, %v", text, c, err)
		}
		if err != nil && (!errors.Is(err, custody.ErrToken) || !reflect.DeepEqual(c, custody.Claims{})) {
			t.Fatalf("a refusal says %+v, %v; want ErrToken and nothing", c, err)
		}
	})
}
