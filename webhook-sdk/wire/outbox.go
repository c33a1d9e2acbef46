package wire

import (
	"crypto/ecdh"
	"crypto/hpke"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// Names of the key encapsulations that a SealKey may have.
const (
	KEMHybrid = "MLKEM768-X25519"
	KEMX25519 = "X25519"
)

const labelOutbox = "tokenvault/outbox/v1"

// Limits of a Sealed, in bytes of its base64.
const (
	MaxSealedEnc  = 4 << 10
	MaxSealedText = 512 << 10
)

// ErrSeal: tokens cannot be sealed to a webhook's key. Its text holds no token.
var ErrSeal = errors.New("wire: the webhook's seal key cannot be used")

// Sealed are RefreshTokens that only the webhook opens (capability outbox): HPKE (RFC
// 9180) in base mode with HKDF-SHA256 and AES-256-GCM, without associated data, of their
// JSON. TV keeps it while the webhook is away.
type Sealed struct {
	KeyID      string `json:"keyId"`
	CreationID string `json:"creationId"`
	Sequence   int64  `json:"sequence"` // greater than the token's MetaRefreshSequence
	Enc        string `json:"enc"`      // standard base64
	CT         string `json:"ct"`       // standard base64
}

// Info is the HPKE info of s: a label, and then webhookId, keyId, service,
// creationId and sequence (decimal), each behind its length (4 bytes, big-endian).
func (s Sealed) Info(webhookID, service string) []byte {
	out := []byte(labelOutbox)
	for _, field := range [...]string{webhookID, s.KeyID, service, s.CreationID, strconv.FormatInt(s.Sequence, 10)} {
		out = binary.BigEndian.AppendUint32(out, uint32(len(field))) // #nosec G115 -- names of tokens and keys
		out = append(out, field...)
	}
	return out
}

// Seal seals tokens to a webhook's key, for one token of its vault and one place in
// the sequence of its changes. The error is ErrSeal.
func Seal(to SealKey, webhookID, service, creationID string, sequence int64, tokens RefreshTokens) (Sealed, error) {
	s := Sealed{KeyID: to.ID, CreationID: creationID, Sequence: sequence}
	raw, err := base64.StdEncoding.Strict().DecodeString(to.Key)
	if err != nil {
		return Sealed{}, fmt.Errorf("%w: it is not standard base64", ErrSeal)
	}
	var kem hpke.KEM
	switch to.KEM {
	case KEMHybrid:
		kem = hpke.MLKEM768X25519()
	case KEMX25519:
		kem = hpke.DHKEM(ecdh.X25519())
	default:
		return Sealed{}, fmt.Errorf("%w: its kem is unknown", ErrSeal)
	}
	key, err := kem.NewPublicKey(raw)
	if err != nil {
		return Sealed{}, fmt.Errorf("%w: it is no public key of its kem", ErrSeal)
	}
	text, err := json.Marshal(tokens)
	if err != nil {
		return Sealed{}, fmt.Errorf("%w: the tokens have no JSON form", ErrSeal) // the cause may quote them
	}
	defer clear(text)
	enc, sender, err := hpke.NewSender(key, hpke.HKDFSHA256(), hpke.AES256GCM(), s.Info(webhookID, service))
	if err != nil {
		return Sealed{}, fmt.Errorf("%w: %w", ErrSeal, err)
	}
	ct, err := sender.Seal(nil, text)
	if err != nil {
		return Sealed{}, fmt.Errorf("%w: %w", ErrSeal, err)
	}
	s.Enc, s.CT = base64.StdEncoding.EncodeToString(enc), base64.StdEncoding.EncodeToString(ct)
	return s, nil
}
