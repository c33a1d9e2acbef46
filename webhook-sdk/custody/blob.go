package custody

import "fmt"

const (
	labelBlobData = "tokenvault/webhook/blob/v1"
	blobVersion   = 1
)

// SealBlob seals state of the webhook's own, such as the secrets of bindings. It
// opens only under the same label, which says what it is and whose: give each place
// in the storage a label of its own.
func (k *Keys) SealBlob(label string, plaintext []byte) ([]byte, error) {
	return k.blob.Seal([]byte{blobVersion}, nil, plaintext, context(labelBlobData, label)), nil
}

// OpenBlob opens what SealBlob made under the same label; anything else is ErrOpen.
func (k *Keys) OpenBlob(label string, sealed []byte) ([]byte, error) {
	if len(sealed) == 0 || sealed[0] != blobVersion {
		return nil, fmt.Errorf("%w: %q is not a sealed blob of version %d", ErrOpen, label, blobVersion)
	}
	plain, err := k.blob.Open(nil, nil, sealed[1:], context(labelBlobData, label))
	if err != nil {
		return nil, fmt.Errorf("%w: %q", ErrOpen, label)
	}
	return plain, nil
}
