package grants_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/cache"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errAway = errors.New("the database is away")

// A shelf is a store in memory that counts what it is asked.
type shelf struct {
	mu      sync.Mutex
	gate    *cache.Gate
	grants  map[uuid.UUID]models.Grant
	keys    map[slot]models.GrantKey
	asked   int
	away    error
	agents  []models.AgentUse // what TouchAgents got
	touched [][]models.GrantUse
}

type slot struct {
	account, grant uuid.UUID
	slot           int64
}

func (s *shelf) CreateGrant(_ context.Context, g *models.Grant, k *models.GrantKey) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away != nil {
		return s.away
	}
	s.grants[g.ID] = *g
	s.keys[slot{k.AccountID, k.GrantID, k.Slot}] = *k
	return nil
}

func (s *shelf) GrantWithKey(_ context.Context, account, grant uuid.UUID, number uint32) (models.Grant, models.GrantKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.away != nil {
		return models.Grant{}, models.GrantKey{}, s.away
	}
	k, ok := s.keys[slot{account, grant, int64(number)}]
	if !ok {
		return models.Grant{}, models.GrantKey{}, models.ErrNotFound
	}
	return s.grants[grant], k, nil
}

func (s *shelf) EndGrant(_ context.Context, account, grant uuid.UUID, at time.Time) error {
	s.mu.Lock()
	g, ok := s.grants[grant]
	if !ok || g.AccountID != account || g.EndedAt != nil {
		s.mu.Unlock()
		return models.ErrNotFound
	}
	g.EndedAt = &at
	s.grants[grant] = g
	for k := range s.keys {
		if k.grant == grant {
			delete(s.keys, k)
		}
	}
	s.mu.Unlock()
	s.gate.Changed(account) // as the real store does, before it returns
	return nil
}

func (s *shelf) TouchGrants(_ context.Context, used []models.GrantUse) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.touched = append(s.touched, used)
	return s.away
}

func (s *shelf) TouchAgents(_ context.Context, used []models.AgentUse) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.agents = append(s.agents, used...)
	return s.away
}

func (s *shelf) set(change func(s *shelf)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *shelf) questions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *shelf) uses() [][]models.GrantUse {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.touched
}

// A world is a service with all that it stands on, at a time that tests set.
type world struct {
	*grants.Service
	t     *testing.T
	shelf *shelf
	gate  *cache.Gate
	keys  *custody.Keyring
	log   *bytes.Buffer
	now   time.Time
}

func ring(t testing.TB) *custody.Keyring {
	t.Helper()
	text, err := custody.GenerateKeyring(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := custody.ParseKeyring(text)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, keys: ring(t), log: &bytes.Buffer{}, now: time.Date(2025, 11, 22, 12, 0, 0, 123456789, time.UTC)}
	clock := func() time.Time { return w.now }
	w.gate = cache.NewGate(clock)
	w.gate.Open()
	w.shelf = &shelf{gate: w.gate, grants: map[uuid.UUID]models.Grant{}, keys: map[slot]models.GrantKey{}}
	w.Service = w.service(w.keys)
	return w
}

// service is a replica with an empty memory, and with other keys if those
// differ.
func (w *world) service(keys *custody.Keyring) *grants.Service {
	return grants.New(grants.Deps{
		Store: w.shelf, Keys: keys, Gate: w.gate, Now: func() time.Time { return w.now }, Random: rand.Reader,
		Logger: slog.New(slog.NewTextHandler(w.log, nil)),
	})
}

func (w *world) issue(in grants.IssueInput) grants.Issued {
	w.t.Helper()
	if in.AccountID == uuid.Nil {
		in.AccountID = models.NewID()
	}
	issued, err := w.Issue(w.t.Context(), in)
	if err != nil {
		w.t.Fatalf("Issue: %v", err)
	}
	return issued
}

func (w *world) session() grants.Issued {
	w.t.Helper()
	return w.issue(grants.IssueInput{Kind: models.GrantSession, Life: time.Hour})
}

// good authenticates a token that must be good.
func (w *world) good(token string, kinds ...models.GrantKind) grants.Principal {
	w.t.Helper()
	p, err := w.Authenticate(w.t.Context(), token, kinds...)
	if err != nil {
		w.t.Fatalf("a good token: %v", err)
	}
	return p
}

// named is a principal without its token, which is compared by itself.
func named(p grants.Principal) grants.Principal {
	p.Token = grants.Token{}
	return p
}

// refused demands the one refusal of every bad token.
func refused(t *testing.T, what string, p grants.Principal, err error) {
	t.Helper()
	if want := grants.InvalidKey(); err == nil || err.Error() != want.Error() || *fault.From(err) != *fault.From(want) {
		t.Errorf("%s: got %v, want %v", what, err, want)
	}
	if !reflect.DeepEqual(p, grants.Principal{}) {
		t.Errorf("%s: the refusal names %+v", what, p)
	}
}

// asks demands how often do asks the store.
func (w *world) asks(want int, what string, do func()) {
	w.t.Helper()
	before := w.shelf.questions()
	do()
	if got := w.shelf.questions() - before; got != want {
		w.t.Errorf("%s: the store was asked %d times, want %d", what, got, want)
	}
}
