package grants_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

// A forger has a server key and knows how tokens are made.
type forger struct {
	key     []byte
	kid     byte
	version byte
	prefix  string
}

// forge seals a token by the description of its format alone.
func (f forger) forge(t *testing.T, account, grant uuid.UUID, slot uint32, secret []byte) string {
	t.Helper()
	payload := make([]byte, 1+16+12)
	_, _ = rand.Read(payload[1:])
	payload[0] = f.kid
	salt, nonce := payload[1:17], payload[17:]
	plain := append([]byte{f.version}, account[:]...)
	plain = append(plain, grant[:]...)
	plain = binary.BigEndian.AppendUint32(plain, slot)
	plain = binary.BigEndian.AppendUint64(plain, uint64(time.Now().Unix()))
	plain = append(binary.BigEndian.AppendUint64(plain, 0), secret...)
	key, err := hkdf.Key(sha256.New, f.key, salt, "tokenvault/token/v1", 32)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	aad := []byte("tokenvault/token/v1")
	for _, field := range [][]byte{[]byte(f.prefix), {f.kid}, salt} {
		aad = append(binary.BigEndian.AppendUint32(aad, uint32(len(field))), field...)
	}
	return f.prefix + "_" + base64.RawURLEncoding.EncodeToString(aead.Seal(payload, nonce, plain, aad))
}

// serverKey is the key of the only entry of a keyring's text.
func serverKey(t *testing.T) (key []byte, ring *custody.Keyring) {
	t.Helper()
	text, err := custody.GenerateKeyring(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if ring, err = custody.ParseKeyring(text); err != nil {
		t.Fatal(err)
	}
	if key, err = base64.StdEncoding.DecodeString(strings.TrimPrefix(text, "0:")); err != nil {
		t.Fatal(err)
	}
	return key, ring
}

func TestEveryBadTokenOfARealStoreIsRefusedAlikeAndHasNoKeys(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := newHouse(t, s)
		key, keys := serverKey(t)
		h.keys, h.vaults.keys = keys, keys
		h.Service = h.replica(h.gate)
		p := h.session()
		apiKey, agent := h.key(p, grants.TokensRead), h.agentKey()
		ended := h.session()
		h.ok(h.End(t.Context(), h.account, ended.GrantID))
		expired, err := h.Issue(t.Context(), grants.IssueInput{AccountID: h.account, Kind: models.GrantAPIKey, Life: time.Hour})
		h.ok(err)
		gone := h.who(expired.Token)
		h.pass(time.Hour)
		other := h.newAccount()

		secret := make([]byte, 32)
		_, _ = rand.Read(secret)
		thief := forger{key: key, version: 1, prefix: "tcs"}
		if c, err := keys.OpenToken(thief.forge(t, h.account, p.GrantID, 0, secret)); err != nil || c.GrantID != p.GrantID {
			t.Fatalf("the forger knows not how tokens are made: %v", err)
		}
		with := func(change func(f *forger)) forger { f := thief; change(&f); return f }
		bad := map[string]string{
			"with the server key, another secret": thief.forge(t, h.account, p.GrantID, 0, secret),
			"no secret at all":                    thief.forge(t, h.account, p.GrantID, 0, make([]byte, 32)),
			"of a later slot":                     thief.forge(t, h.account, p.GrantID, 1, secret),
			"of no grant":                         thief.forge(t, h.account, models.NewID(), 0, secret),
			"of another account":                  thief.forge(t, other, p.GrantID, 0, secret),
			"of no account":                       thief.forge(t, uuid.Nil, uuid.Nil, 0, secret),
			"of version 0":                        with(func(f *forger) { f.version = 0 }).forge(t, h.account, p.GrantID, 0, secret),
			"of a future version":                 with(func(f *forger) { f.version = 2 }).forge(t, h.account, p.GrantID, 0, secret),
			"under an unknown server key":         with(func(f *forger) { f.kid = 7 }).forge(t, h.account, p.GrantID, 0, secret),
			"with an unknown prefix":              with(func(f *forger) { f.prefix = "tcx" }).forge(t, h.account, p.GrantID, 0, secret),
			"under another kind's prefix":         with(func(f *forger) { f.prefix = "tck" }).forge(t, h.account, p.GrantID, 0, secret),
			"with a longer secret":                thief.forge(t, h.account, p.GrantID, 0, append(slices.Clone(secret), 0)),
			"with a shorter secret":               thief.forge(t, h.account, p.GrantID, 0, secret[1:]),
		}
		for name, good := range map[string]grants.Principal{"a session": p, "an API key": apiKey, "an agent's key": agent} {
			text := good.Token.Reveal()
			for i := range text {
				b := []byte(text)
				b[i] ^= 1
				bad[fmt.Sprintf("%s with character %d altered", name, i)] = string(b)
			}
			for _, n := range []int{0, 1, 3, 4, len(text) / 2, len(text) - 1} {
				bad[fmt.Sprintf("%s cut to %d characters", name, n)] = text[:n]
			}
			_, encoded, _ := strings.Cut(text, "_")
			for _, prefix := range []string{"tcs", "tck", "tvagent", "tca", "tcr", "tcz", "TCS", ""} {
				if changed := prefix + "_" + encoded; changed != text {
					bad[name+" as "+prefix] = changed
				}
			}
			bad[name+" twice"], bad[name+" padded"], bad[name+" longer"] = text+text, text+"=", text+"A"
		}
		for name, text := range bad {
			got, err := h.Authenticate(t.Context(), text, allKinds...)
			refused(t, name, got, err)
			p := p
			p.Token = grants.TokenOf(text)
			if holder, err := h.Keys(t.Context(), p); holder != nil {
				t.Errorf("%s: there are keys", name)
			} else {
				refused(t, name+", for its keys", grants.Principal{}, err)
			}
		}
		h.bad("a revoked one", ended)
		h.bad("an expired one", gone)
		for name, text := range bad {
			if len(text) > 60 && strings.Contains(h.log.String(), text[20:60]) {
				t.Errorf("%s: the log shows the token", name)
			}
		}
		for _, good := range []grants.Principal{p, apiKey, agent} {
			h.who(good.Token)
		}
	})
}

func TestKeysAreOfThePrincipalsOwnGrantOnly(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := newHouse(t, s)
		p, other := h.session(), h.session()
		for what, mixed := range map[string]func(m *grants.Principal){
			"another grant's token": func(m *grants.Principal) { m.Token = other.Token },
			"another account":       func(m *grants.Principal) { m.AccountID = models.NewID() },
			"no token":              func(m *grants.Principal) { m.Token = grants.Token{} },
			"a token too long":      func(m *grants.Principal) { m.Token = grants.TokenOf(p.Token.Reveal() + strings.Repeat("A", 1<<20)) },
		} {
			m := p
			mixed(&m)
			holder, err := h.Keys(t.Context(), m)
			if holder != nil {
				t.Errorf("%s: there are keys", what)
			}
			refused(t, what, grants.Principal{}, err)
		}
		h.opens(p, p.VaultID)
	})
}

func TestKeysSeeARevocationThatThisReplicaHasNotHeardOf(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := newHouse(t, s)
		p := h.session()
		deaf := newDeafGate(h)
		elsewhere := h.replica(deaf)
		if _, err := elsewhere.Authenticate(t.Context(), p.Token.Reveal(), models.GrantSession); err != nil {
			t.Fatal(err)
		}
		h.ok(h.End(t.Context(), h.account, p.GrantID))
		if _, err := elsewhere.Authenticate(t.Context(), p.Token.Reveal(), models.GrantSession); err != nil {
			t.Fatalf("the other replica forgot by itself (%v), and this test shows nothing", err)
		}
		holder, err := elsewhere.Keys(t.Context(), p)
		if holder != nil {
			t.Error("there are keys")
		}
		refused(t, "keys of a session that ended elsewhere", grants.Principal{}, err)
	})
}
