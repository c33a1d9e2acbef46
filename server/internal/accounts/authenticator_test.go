package accounts_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/tvzero/tokenvault/server/internal/accounts"
)

const (
	relyingParty = "vault.example"
	origin       = "https://vault.example"
)

// Flags of authenticator data (WebAuthn §6.1).
const (
	userPresent    = 0x01
	userVerified   = 0x04
	backupEligible = 0x08
	withCredential = 0x40
)

// A device is an authenticator with one discoverable passkey, written from WebAuthn §6:
// it knows the product only by what that sends it.
type device struct {
	t      *testing.T
	key    *ecdsa.PrivateKey
	id     []byte
	handle []byte // of the account that it was registered for
	count  uint32
	counts bool // it counts; synced passkeys do not

	origin string // what the browser says
	party  string
	flags  byte
}

func newDevice(t *testing.T) *device {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id := make([]byte, 16)
	_, _ = rand.Read(id)
	return &device{t: t, key: key, id: id, counts: true, origin: origin, party: relyingParty, flags: userPresent | userVerified}
}

type options struct {
	Challenge string
	RP        struct{ ID string }
	RPID      string `json:"rpId"`
	User      struct{ ID string }
	Exclude   []struct{ ID string } `json:"excludeCredentials"`
	Selection struct {
		ResidentKey      string
		UserVerification string
	} `json:"authenticatorSelection"`
	UserVerification string
}

func (d *device) read(r accounts.PasskeyRequest) (o options) {
	d.t.Helper()
	if err := json.Unmarshal(r.Options, &o); err != nil {
		d.t.Fatalf("options %s: %v", r.Options, err)
	}
	return o
}

func b64(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }

func (d *device) client(kind, challenge string) []byte {
	return fmt.Appendf(nil, `{"type":%q,"challenge":%q,"origin":%q,"crossOrigin":false}`, kind, challenge, d.origin)
}

func (d *device) data(flags byte) []byte {
	party := sha256.Sum256([]byte(d.party))
	if d.counts {
		d.count++
	}
	return binary.BigEndian.AppendUint32(append(party[:], flags), d.count)
}

// make answers navigator.credentials.create.
func (d *device) make(r accounts.PasskeyRequest) accounts.PasskeyAnswer {
	d.t.Helper()
	o := d.read(r)
	handle, err := base64.RawURLEncoding.DecodeString(o.User.ID)
	if err != nil || o.RP.ID != relyingParty || o.Selection.ResidentKey != "required" || o.Selection.UserVerification != "required" {
		d.t.Fatalf("asked for a passkey with %s: %v", r.Options, err)
	}
	d.handle = handle
	point, err := d.key.PublicKey.Bytes() // 4 ‖ x ‖ y
	if err != nil {
		d.t.Fatal(err)
	}
	cose := append([]byte{0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 0x20}, point[1:33]...)
	cose = append(append(cose, 0x22, 0x58, 0x20), point[33:]...)
	data := append(d.data(d.flags|withCredential), make([]byte, 16)...)
	data = append(append(binary.BigEndian.AppendUint16(data, uint16(len(d.id))), d.id...), cose...) // #nosec G115 -- 16
	object := append([]byte("\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x59"), byte(len(data)>>8), byte(len(data)))
	return d.answer(r, map[string]any{
		"clientDataJSON": b64(d.client("webauthn.create", o.Challenge)), "attestationObject": b64(append(object, data...)), "transports": []string{"internal"},
	})
}

// get answers navigator.credentials.get.
func (d *device) get(r accounts.PasskeyRequest) accounts.PasskeyAnswer {
	d.t.Helper()
	o := d.read(r)
	if o.RPID != relyingParty || o.UserVerification != "required" {
		d.t.Fatalf("asked for an answer with %s", r.Options)
	}
	return d.sign(r, "webauthn.get", o.Challenge)
}

func (d *device) sign(r accounts.PasskeyRequest, kind, challenge string) accounts.PasskeyAnswer {
	d.t.Helper()
	client, data := d.client(kind, challenge), d.data(d.flags)
	hash := sha256.Sum256(client)
	digest := sha256.Sum256(append(append([]byte{}, data...), hash[:]...))
	signature, err := ecdsa.SignASN1(rand.Reader, d.key, digest[:])
	if err != nil {
		d.t.Fatal(err)
	}
	return d.answer(r, map[string]any{
		"clientDataJSON": b64(client), "authenticatorData": b64(data), "signature": b64(signature), "userHandle": b64(d.handle),
	})
}

func (d *device) answer(r accounts.PasskeyRequest, response map[string]any) accounts.PasskeyAnswer {
	d.t.Helper()
	text, err := json.Marshal(map[string]any{
		"id": b64(d.id), "rawId": b64(d.id), "type": "public-key", "response": response, "clientExtensionResults": map[string]any{}, "authenticatorAttachment": "platform",
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return accounts.PasskeyAnswer{Challenge: r.Challenge, Credential: string(text)}
}
