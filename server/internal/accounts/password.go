package accounts

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/crypto/argon2"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/fault"
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
	// hashesInAll bounds those that are computed or wait, about two seconds of
	// work: who would wait longer is better told so.
	hashesInAll = 100
)

type passwords struct {
	keys   Keys
	random io.Reader
	place  chan struct{} // holds a value for each hash being computed or waiting
	turn   chan struct{} // holds a value for each hash being computed
	decoy  models.Opaque // of no account: a wrong e-mail costs the same time
	argon  func(password, salt []byte, passes, memory uint32, threads uint8, size uint32) []byte
}

func newPasswords(keys Keys, random io.Reader) (*passwords, error) {
	p := &passwords{
		keys: keys, random: random, place: make(chan struct{}, hashesInAll), turn: make(chan struct{}, hashesAtOnce), argon: argon2.IDKey,
	}
	salt := make([]byte, argonSalt+argonKey)
	if _, err := io.ReadFull(random, salt); err != nil {
		return nil, fmt.Errorf("accounts: no randomness: %w", err)
	}
	p.decoy = phc(keys.Current(), salt[:argonSalt], salt[argonSalt:])
	return p, nil
}

// hash makes the PHC string of an account's password under the current server
// key, with a new salt.
func (p *passwords) hash(ctx context.Context, account uuid.UUID, password string) (models.Opaque, error) {
	salt := make([]byte, argonSalt)
	if _, err := io.ReadFull(p.random, salt); err != nil {
		return nil, fmt.Errorf("accounts: no randomness: %w", err)
	}
	c := cost{keyID: p.keys.Current(), memory: argonMemory, passes: argonTime, threads: argonThreads}
	key, err := p.derive(ctx, account, password, salt, c)
	if err != nil {
		return nil, err
	}
	return phc(c.keyID, salt, key), nil
}

// stale reports whether a hash should be made anew: it is under an older server
// key, which then need not be kept for it.
func (p *passwords) stale(hash models.Opaque) bool {
	parts := strings.Split(string(hash), "$")
	c, err := parseCost(parts[3])
	return err == nil && c.keyID != p.keys.Current()
}

// A cost is what a hash was made with.
type cost struct {
	keyID          int
	memory, passes uint32
	threads        uint8
}

// String is the cost as it stands in a PHC string.
func (c cost) String() string {
	return fmt.Sprintf("m=%d,t=%d,p=%d,keyid=%s", c.memory, c.passes, c.threads, base64.RawStdEncoding.EncodeToString([]byte{byte(c.keyID)})) // #nosec G115 -- 0–255
}

func parseCost(text string) (c cost, err error) {
	var keyText string
	if _, err := fmt.Sscanf(text, "m=%d,t=%d,p=%d,keyid=%s", &c.memory, &c.passes, &c.threads, &keyText); err != nil {
		return c, fmt.Errorf("accounts: a password hash is malformed: %w", err)
	}
	key, err := base64.RawStdEncoding.DecodeString(keyText)
	if err != nil || len(key) != 1 {
		return c, fmt.Errorf("accounts: a password hash names no server key")
	}
	c.keyID = int(key[0])
	if c.memory > maxArgonMemory || c.passes < 1 || c.passes > maxArgonTime || c.threads < 1 {
		return c, fmt.Errorf("accounts: a password hash has parameters that no server of ours gave it")
	}
	return c, nil
}

// matches compares in constant time. It takes the same time for a hash that is
// nil, which nothing matches.
func (p *passwords) matches(ctx context.Context, account uuid.UUID, password string, hash models.Opaque) (bool, error) {
	exists := hash != nil
	if !exists {
		hash = p.decoy
	}
	parts := strings.Split(string(hash), "$")
	if len(parts) != 6 || parts[1] != "argon2id" || parts[2] != "v=19" {
		return false, fmt.Errorf("accounts: a password hash is malformed")
	}
	c, err := parseCost(parts[3])
	if err != nil {
		return false, err
	}
	salt, errSalt := base64.RawStdEncoding.DecodeString(parts[4])
	want, errKey := base64.RawStdEncoding.DecodeString(parts[5])
	if errSalt != nil || errKey != nil || len(want) != argonKey {
		return false, fmt.Errorf("accounts: a password hash is malformed")
	}
	got, err := p.derive(ctx, account, password, salt, c)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(got, want) == 1 && exists, nil
}

func (p *passwords) derive(ctx context.Context, account uuid.UUID, password string, salt []byte, c cost) ([]byte, error) {
	peppered, err := p.keys.PepperPassword(c.keyID, account, password)
	if err != nil {
		return nil, fmt.Errorf("accounts: a password was stored under a server key that is missing: %w", err)
	}
	defer clear(peppered)
	select {
	case p.place <- struct{}{}:
		defer func() { <-p.place }()
	default:
		return nil, fault.New(fault.Unavailable, "Too many people are signing in at this moment. Try again in a few seconds.")
	}
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return p.argon(peppered, salt, c.passes, c.memory, c.threads, argonKey), nil
}

func phc(keyID int, salt, key []byte) models.Opaque {
	made := cost{keyID: keyID, memory: argonMemory, passes: argonTime, threads: argonThreads}
	return models.Opaque(fmt.Sprintf("$argon2id$v=%d$%s$%s$%s", argon2.Version, made,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key)))
}
