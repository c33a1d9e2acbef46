package custody

import (
	"crypto/hpke"
	"fmt"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// OpenSealed opens what TV sealed to SealKey for the token stored under service. What
// was sealed to another key, for another token or for another place in its sequence is
// ErrOpen.
func (k *Keys) OpenSealed(service string, s wire.Sealed) ([]byte, error) {
	if s.KeyID != k.sealID {
		return nil, fmt.Errorf("%w: sealed to another key than this webhook's", ErrOpen)
	}
	enc, errEnc := decodeField(s.Enc)
	ct, errCT := decodeField(s.CT)
	if errEnc != nil || errCT != nil || len(s.Enc) > wire.MaxSealedEnc || len(s.CT) > wire.MaxSealedText {
		return nil, fmt.Errorf("%w: not canonical base64, or too long", ErrOpen)
	}
	recipient, err := hpke.NewRecipient(enc, k.seal, hpke.HKDFSHA256(), hpke.AES256GCM(), s.Info(k.id, service))
	if err != nil {
		return nil, fmt.Errorf("%w: the outbox entry", ErrOpen)
	}
	plain, err := recipient.Open(nil, ct)
	if err != nil {
		return nil, fmt.Errorf("%w: the outbox entry", ErrOpen)
	}
	return plain, nil
}
