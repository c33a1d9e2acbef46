package accounts

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"strings"

	"golang.org/x/crypto/argon2"

	"github.com/tvzero/tokenvault/models"
)

// Parameters of argon2id (RFC 9106): 19 MiB, two passes, one lane, as OWASP's
// password storage cheat sheet gives as its minimum. They stand in each hash,
// so that they can be raised without breaking older ones.
const (
	argonMemory  = 19 * 1024 // KiB
	argonTime    = 2
	argonThreads = 1
	argonSalt    = 16
	argonKey     = 32
	// What a hash may ask for, lest a writer of the database ask for all memory.
	maxArgonMemory = 1 << 20 // KiB
	maxArgonTime   = 16
	// hashesAtOnce bounds the memory of concurrent sign-ins; others wait.
	hashesAtOnce = 2
)

type passwords struct {
	random io.Reader
	turn   chan struct{} // holds a value for each hash being computed
	decoy  models.Opaque // of no account: a wrong e-mail costs the same time
	argon  func(password, salt []byte, passes, memory uint32, threads uint8, size uint32) []byte
}

func newPasswords(random io.Reader) (*passwords, error) {
	p := &passwords{random: random, turn: make(chan struct{}, hashesAtOnce), argon: argon2.IDKey}
	salt := make([]byte, argonSalt+argonKey)
	if _, err := io.ReadFull(random, salt); err != nil {
		return nil, fmt.Errorf("accounts: no randomness: %w", err)
	}
	p.decoy = phc(salt[:argonSalt], salt[argonSalt:])
	return p, nil
}

// hash makes the PHC string of a password with a new salt.
func (p *passwords) hash(ctx context.Context, password string) (models.Opaque, error) {
	salt := make([]byte, argonSalt)
	if _, err := io.ReadFull(p.random, salt); err != nil {
		return nil, fmt.Errorf("accounts: no randomness: %w", err)
	}
	key, err := p.derive(ctx, password, salt, argonTime, argonMemory, argonThreads)
	if err != nil {
		return nil, err
	}
	return phc(salt, key), nil
}

// matches compares in constant time. It takes the same time for a hash that is
// nil, which nothing matches.
func (p *passwords) matches(ctx context.Context, password string, hash models.Opaque) (bool, error) {
	exists := hash != nil
	if !exists {
		hash = p.decoy
	}
	var memory, passes uint32
	var threads uint8
	parts := strings.Split(string(hash), "$")
	if len(parts) != 6 || parts[1] != "argon2id" || parts[2] != "v=19" {
		return false, fmt.Errorf("accounts: a password hash is malformed")
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &passes, &threads); err != nil {
		return false, fmt.Errorf("accounts: a password hash is malformed: %w", err)
	}
	if memory > maxArgonMemory || passes < 1 || passes > maxArgonTime || threads < 1 {
		return false, fmt.Errorf("accounts: a password hash has parameters that no server of ours gave it")
	}
	salt, errSalt := base64.RawStdEncoding.DecodeString(parts[4])
	want, errKey := base64.RawStdEncoding.DecodeString(parts[5])
	if errSalt != nil || errKey != nil || len(want) != argonKey {
		return false, fmt.Errorf("accounts: a password hash is malformed")
	}
	got, err := p.derive(ctx, password, salt, passes, memory, threads)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(got, want) == 1 && exists, nil
}

func (p *passwords) derive(ctx context.Context, password string, salt []byte, passes, memory uint32, threads uint8) ([]byte, error) {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return p.argon([]byte(password), salt, passes, memory, threads, argonKey), nil
}

func phc(salt, key []byte) models.Opaque {
	return models.Opaque(fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonThreads,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key)))
}
