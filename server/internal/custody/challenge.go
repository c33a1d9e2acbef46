package custody

import "io"

const challengeLabel = "tokenvault/challenge/v1"

// SealChallenge seals what a browser brings back within some minutes to finish signing
// in, or to prove something: what it is for is part of it, so that one challenge never
// passes for another. Whoever opens it limits its age, and that it counts once.
func (k *Keyring) SealChallenge(random io.Reader, purpose string, state []byte) (string, error) {
	return k.sealState(random, challengeLabel, state, []byte(purpose))
}

// OpenChallenge opens what SealChallenge sealed for the same purpose. Every failure is
// ErrOpen.
func (k *Keyring) OpenChallenge(purpose, text string) ([]byte, error) {
	return k.openState(challengeLabel, text, []byte(purpose))
}
