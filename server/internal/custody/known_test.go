package custody_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/custody"
)

// The known answers of testdata were computed by testdata/vectors.py.

// hexBytes reads hexadecimal from JSON.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

type knownToken struct {
	Name, Token     string
	KID             int
	Kind            models.GrantKind
	Slot            uint32
	Issued, Expires int64
	Account, Grant  uuid.UUID
	Random, Private hexBytes
	Public, Wrapped hexBytes
	KEKs            struct{ X25519, DEK, CEK hexBytes }
}

func known[T any](t testing.TB, name string) T {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var v T
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return v
}

func knownTokens(t testing.TB) []knownToken { return known[[]knownToken](t, "tokens") }

// keyring is the ring of the known answers: key 7 is current, 255 and 0 are
// older.
func keyring(t testing.TB) *custody.Keyring {
	t.Helper()
	return parse(t, keyringText(t))
}

func keyringText(t testing.TB) string {
	t.Helper()
	return known[struct{ Keyring string }](t, "keyring").Keyring
}

// keyringWith is the ring of the known answers with another current key.
func keyringWith(t testing.TB, current string) *custody.Keyring {
	t.Helper()
	var first, rest []string
	for entry := range strings.SplitSeq(keyringText(t), ",") {
		if strings.HasPrefix(entry, current+":") {
			first = append(first, entry)
		} else {
			rest = append(rest, entry)
		}
	}
	return parse(t, strings.Join(append(first, rest...), ","))
}

func parse(t testing.TB, text string) *custody.Keyring {
	t.Helper()
	ring, err := custody.ParseKeyring(text)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func (k *knownToken) claims() custody.Claims {
	c := custody.Claims{Kind: k.Kind, AccountID: k.Account, GrantID: k.Grant, Slot: k.Slot, IssuedAt: time.Unix(k.Issued, 0).UTC()}
	if k.Expires != 0 {
		c.ExpiresAt = time.Unix(k.Expires, 0).UTC()
	}
	return c
}

func same(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s is %x, want %x", what, got, want)
	}
}

func TestTokensAndTheirKeysAreAsAnotherImplementationMakesThem(t *testing.T) {
	t.Parallel()
	for _, k := range knownTokens(t) {
		t.Run(k.Name, func(t *testing.T) {
			t.Parallel()
			ring := keyringWith(t, strconv.Itoa(k.KID))
			claims := k.claims()
			text, keyID, err := ring.SealToken(bytes.NewReader(k.Random), &claims)
			if err != nil || text != k.Token || keyID != k.KID {
				t.Fatalf("SealToken = %q, key %d, %v; want %q, key %d", text, keyID, err, k.Token, k.KID)
			}
			opened, err := keyring(t).OpenToken(k.Token)
			if err != nil {
				t.Fatalf("OpenToken: %v", err)
			}
			public, wrapped, err := opened.NewGrantKey(bytes.NewReader(k.Private))
			if err != nil {
				t.Fatal(err)
			}
			same(t, "the public key", public, k.Public)
			same(t, "the wrapped private key", wrapped, k.Wrapped)
			if err := opened.Unlock(models.Opaque(k.Wrapped)); err != nil {
				t.Errorf("Unlock of the known wrap: %v", err)
			}
			if got, want := opened.Said(), claims.Said(); !reflect.DeepEqual(got, want) {
				t.Errorf("the token says %+v, want %+v", got, want)
			}
		})
	}
}

// knownRows are the rows whose MACs testdata knows, by name.
func knownRows(t *testing.T) (rows map[string]any, macs map[string]hexBytes) {
	t.Helper()
	k := known[struct {
		Public, Wrapped              hexBytes
		Created, Expires             int64
		Account, Grant, Agent, Token uuid.UUID
		Rows                         []struct {
			Name string
			MAC  hexBytes
		}
	}](t, "rows")
	created, expires := time.UnixMicro(k.Created).UTC(), time.UnixMicro(k.Expires).UTC()
	macs = map[string]hexBytes{}
	for _, r := range k.Rows {
		macs[r.Name] = r.MAC
	}
	return map[string]any{
		"session": &models.Grant{
			AccountID: k.Account, ID: k.Grant, Kind: models.GrantSession, PublicKey: k.Public, CreatedAt: created, ExpiresAt: &expires,
		},
		"agent key": &models.Grant{
			AccountID: k.Account, ID: k.Grant, Kind: models.GrantAgentKey, AgentID: &k.Agent, VaultID: &k.Token,
			PublicKey: k.Public, CreatedAt: created,
		},
		"slot": &models.GrantKey{
			AccountID: k.Account, GrantID: k.Grant, Slot: 4294967295, TokenKeyID: 255, WrappedPrivateKey: models.Opaque(k.Wrapped),
			IssuedAt: created,
		},
		"API key": &models.Grant{
			AccountID: k.Account, ID: k.Grant, Kind: models.GrantAPIKey, VaultID: &k.Token, Scopes: []string{"tokens:read", "vault:manage"},
			PublicKey: k.Public, CreatedAt: created, ExpiresAt: &expires,
		},
		"webhook vault":  &models.Vault{AccountID: k.Account, ID: k.Token, Mode: models.ModeWebhook, CreatedAt: created, Generation: 1},
		"platform vault": &models.Vault{AccountID: k.Account, ID: k.Token, Mode: models.ModePlatform, CreatedAt: created, Generation: 7},
		"vault key of a slot": &models.VaultKey{
			AccountID: k.Account, GrantID: k.Grant, VaultID: k.Token, Generation: 7, Slot: 3, Form: models.FormSlot,
			Wrapped: models.Opaque(k.Wrapped), CreatedAt: created,
		},
		"shared vault key": &models.VaultKey{
			AccountID: k.Account, GrantID: k.Grant, VaultID: k.Token, Generation: 7, Slot: models.WholeGrant, Form: models.FormShared,
			SenderID: &k.Agent, Wrapped: models.Opaque(k.Wrapped), CreatedAt: created,
		},
		"credential key of a slot": &models.CredentialKey{
			AccountID: k.Account, CredentialID: k.Token, GrantID: k.Grant, Slot: 3, Epoch: 2, Form: models.FormSlot,
			Wrapped: models.Opaque(k.Wrapped), CreatedAt: created,
		},
		"shared credential key": &models.CredentialKey{
			AccountID: k.Account, CredentialID: k.Token, GrantID: k.Grant, Slot: models.WholeGrant, Epoch: 2, Form: models.FormShared,
			SenderID: &k.Agent, Wrapped: models.Opaque(k.Wrapped), CreatedAt: created,
		},
		"pending escrow": &models.Escrow{
			AccountID: k.Account, ID: k.Agent, VaultID: k.Token, Generation: 7, FromID: k.Grant, ToID: k.Agent,
			Wrapped: models.Opaque(k.Wrapped), State: models.EscrowPending, CreatedAt: created, ExpiresAt: expires,
		},
		"accepted escrow": &models.Escrow{
			AccountID: k.Account, ID: k.Agent, VaultID: k.Token, Generation: 7, FromID: k.Grant, ToID: k.Agent,
			State: models.EscrowAccepted, CreatedAt: created, ExpiresAt: expires, EndedAt: &expires,
		},
		"credential grant": &models.CredentialGrant{
			AccountID: k.Account, AgentID: k.Agent, ServiceName: "github", TokenID: k.Token, RefreshPolicy: models.RefreshAuto,
			ExpiresAt: &expires, CreatedAt: created,
		},
	}, macs
}

func TestRowMACsAreAsAnotherImplementationMakesThem(t *testing.T) {
	t.Parallel()
	rows, macs := knownRows(t)
	if len(rows) != len(macs) {
		t.Fatalf("%d rows and %d known answers", len(rows), len(macs))
	}
	for name, row := range rows {
		sign(keyring(t), row)
		same(t, name, macOf(row), macs[name])
	}
}

func TestSealedBindingSecretsOfAnotherImplementationOpen(t *testing.T) {
	t.Parallel()
	k := known[struct {
		Account, Binding                              uuid.UUID
		URL, WebhookID, Fingerprint, SealKey, SignKey string
		Secret                                        hexBytes
		Cases                                         []struct {
			KID    int
			Sealed hexBytes
		}
	}](t, "webhooksecret")
	for _, c := range k.Cases {
		secret, err := keyring(t).OpenWebhookSecret(&models.Binding{
			AccountID: k.Account, ID: k.Binding, SecretKeyID: c.KID, SealedSecret: models.Opaque(c.Sealed),
			URL: k.URL, WebhookID: k.WebhookID, Fingerprint: k.Fingerprint, SealKey: k.SealKey, SignKey: k.SignKey,
		})
		if err != nil {
			t.Fatalf("key %d: %v", c.KID, err)
		}
		same(t, "the secret", secret, k.Secret)
	}
}

func TestCheckpointSignaturesAreAsAnotherImplementationMakesThem(t *testing.T) {
	t.Parallel()
	for _, k := range known[[]struct {
		Stream          uuid.UUID
		Seq, At         int64
		Hash, Signature hexBytes
		Final           bool
	}](t, "checkpoints") {
		c := models.AuditCheckpoint{StreamID: k.Stream, Seq: k.Seq, At: time.UnixMicro(k.At), Hash: k.Hash, Final: k.Final}
		keyring(t).SignCheckpoint(&c)
		same(t, "the signature", c.Signature, k.Signature)
		if c.KeyID != 7 {
			t.Errorf("signed under key %d, want 7", c.KeyID)
		}
	}
}
