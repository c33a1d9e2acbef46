package custody

// Clone is a credential's key that outlives c: each is cleared by itself. Of a cleared
// one it is as cleared.
func (c CEK) Clone() CEK {
	secret := blankSecret()
	within(func() {
		if from := c.bytes(); from != nil {
			var k key
			copy(k[:], from)
			secret.fill(&k)
		}
	})
	return CEK{secret, c.credentialID, c.epoch}
}

// Epoch is that of the credential which the key opens.
func (c CEK) Epoch() int64 { return c.epoch }
