package webhook

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/refresh/refreshtest"
	"github.com/tvzero/tokenvault/webhook-sdk/credential"
	"github.com/tvzero/tokenvault/webhook-sdk/custody"
	"github.com/tvzero/tokenvault/webhook-sdk/storage"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// A placeStage is a webhook of one stored token, with a clock that is moved by hand.
type placeStage struct {
	w  *Webhook
	mu sync.Mutex
	at time.Time
}

func (s *placeStage) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}

func (s *placeStage) advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = s.at.Add(d)
}

const placeService = "github"

func newPlaceStage(t *testing.T) *placeStage {
	t.Helper()
	return placeStageOf(t, "uZ3yT0kqS1mWc8vXb5nR7dLpA2fGh4Jj")
}

func placeStageOf(t *testing.T, seed string) *placeStage {
	t.Helper()
	s := &placeStage{at: time.Now()}
	keys, err := custody.Derive([]byte(seed))
	if err != nil {
		t.Fatal(err)
	}
	files, err := storage.OpenFile(filepath.Join(t.TempDir(), "data"), storage.FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = files.Close() })
	s.w, err = New(Config{
		Keys: keys, Storage: files, ExternalURL: "http://127.0.0.1:1", LoopbackListener: true, Now: s.now,
		Providers: []Provider{{Provider: refresh.Provider{ID: "test", TokenURL: "https://provider.example/token", ClientID: "c", ClientSecret: "s"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// store puts tokens there as /v1/store does, as a new creation.
func (s *placeStage) store(t *testing.T, tokens refresh.Tokens) {
	t.Helper()
	id, err := s.w.newID()
	if err != nil {
		t.Fatal(err)
	}
	c := credential.Credential{
		Type: wire.TypeOAuth,
		Secrets: map[string]string{
			wire.FieldAccessToken: string(tokens.AccessToken), wire.FieldRefreshToken: string(tokens.RefreshToken),
		},
		Meta: map[string]any{"provider": "test", "scopes": tokens.Scopes, "expiryTime": tokens.ExpiresAt.UnixMilli(), "notes": "n"},
	}
	c.Describe(placeService, id, s.now())
	document, err := s.w.keys.SealToken(placeService, c.Secrets, c.Meta)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.w.saveToken(t.Context(), placeService, document, storage.Condition{}); err != nil {
		t.Fatal(err)
	}
}

func (s *placeStage) stored(t *testing.T) token {
	t.Helper()
	stored, err := s.w.loadToken(t.Context(), placeService)
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

func (s *placeStage) place() *refreshPlace {
	known := s.w.providers.byID["test"]
	return &refreshPlace{w: s.w, service: placeService, known: known, provider: known.Provider.Provider, address: "192.0.2.1"}
}

func (s *placeStage) tokens(t *testing.T) refresh.Tokens {
	t.Helper()
	meta, secrets, err := s.stored(t).openAll()
	if err != nil {
		t.Fatal(err)
	}
	return stateOf(meta, secrets).Tokens
}

func TestAStoredTokenIsAPlaceForRefreshing(t *testing.T) {
	t.Parallel()
	refreshtest.TestPlace(t, func(t *testing.T) refreshtest.Fixture {
		s := newPlaceStage(t)
		s.store(t, refreshtest.Initial(s.now()))
		return refreshtest.Fixture{
			Place: s.place(), Other: s.place(), Stored: s.tokens, Replace: s.store, Advance: s.advance, Now: s.now,
			Delete: func(t *testing.T) {
				if err := s.w.storage.Delete(t.Context(), storage.CollectionTokens, placeService); err != nil {
					t.Fatal(err)
				}
			},
		}
	})
}

func TestACommitKeepsWhatPeopleWroteMeanwhileAndTheCreation(t *testing.T) {
	t.Parallel()
	s := newPlaceStage(t)
	s.store(t, refreshtest.Initial(s.now()))
	before := s.stored(t)
	lease, err := s.place().Lease(t.Context(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lease.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.w.setNotes(t.Context(), placeService, []byte(`{"notes":"changed while the provider was asked"}`)); err != nil {
		t.Fatal(err)
	}
	expires := s.now().Add(time.Hour).Truncate(time.Second)
	err = lease.Commit(t.Context(), refresh.Tokens{AccessToken: "new-access", RefreshToken: "new-refresh", Scopes: []string{"repo"}, ExpiresAt: expires},
		refresh.Outcome{Kind: refresh.Rotated, At: expires})
	if err != nil {
		t.Fatalf("commit: %v", err)
	}
	after := s.stored(t)
	if after.meta()["notes"] != "changed while the provider was asked" {
		t.Errorf("notes are %v, want those written meanwhile", after.meta()["notes"])
	}
	if after.creationID() != before.creationID() || after.meta()["createdAt"] != before.meta()["createdAt"] {
		t.Errorf("creation is %v of %v, want %v of %v", after.creationID(), after.meta()["createdAt"], before.creationID(), before.meta()["createdAt"])
	}
	state := stateOf(after.meta(), nil)
	if !state.Tokens.ExpiresAt.Equal(expires) || !state.IssuedAt.Equal(s.now().Truncate(time.Millisecond)) || state.Version != 1 ||
		after.meta()["hasRefreshToken"] != true || len(state.Tokens.Scopes) != 1 {
		t.Errorf("metadata is %v, want expiry, issue, sequence 1 and scopes of the new tokens", after.meta())
	}
	// And both are in the record.
	page, err := s.w.storage.ListAudit(t.Context(), storage.Query{})
	if err != nil || len(page.Items) != 1 || !strings.Contains(string(page.Items[0].Data), `"action":"refresh"`) ||
		strings.Contains(string(page.Items[0].Data), "new-") {
		t.Errorf("the record is %v, %v, want the refresh and no token", page.Items, err)
	}
}

func TestATokenOfVersion1BecomesVersion2WithARefreshAndGetsACreation(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("custody", "testdata", "vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Seed string
		V1   json.RawMessage
	}
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	s := placeStageOf(t, vectors.Seed)
	document, err := custody.ParseDocument(vectors.V1)
	if err != nil {
		t.Fatal(err)
	}
	document.Meta["provider"] = "test"
	delete(document.Meta, "creationId")
	if err := s.w.saveToken(t.Context(), placeService, document, storage.Condition{}); err != nil {
		t.Fatal(err)
	}
	lease, err := s.place().Lease(t.Context(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lease.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := refresh.Tokens{AccessToken: "new-access", RefreshToken: "new-refresh"}
	for range 2 { // the second one as when the first one's answer was lost
		if err := lease.Commit(t.Context(), want, refresh.Outcome{Kind: refresh.Rotated}); err != nil {
			t.Fatalf("commit: %v", err)
		}
	}
	after := s.stored(t)
	if got := s.tokens(t); got.AccessToken != want.AccessToken || got.RefreshToken != want.RefreshToken || sequenceOf(after.meta()) != 1 {
		t.Errorf("stored are other tokens, or sequence %d, want the new ones and 1", sequenceOf(after.meta()))
	}
	if d := after.prepared.Document(); d.V != custody.VersionBound || d.CreationID() == "" {
		t.Errorf("the document has version %d and creation %q, want 2 and one", d.V, d.CreationID())
	}
}

func TestATokenThatBecameAnotherProvidersIsNotSentToTheOldOne(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]map[string]any{
		"another provider": {"provider": "other"}, "another client": {"provider": "test", "clientId": "another"}, "none": {},
	} {
		s := newPlaceStage(t)
		s.store(t, refreshtest.Initial(s.now()))
		lease, err := s.place().Lease(t.Context(), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		stored := s.stored(t)
		meta, secrets, err := stored.openAll()
		if err != nil {
			t.Fatal(err)
		}
		delete(meta, "provider")
		maps.Copy(meta, change)
		if err := s.w.reseal(t.Context(), stored, meta, secrets); err != nil {
			t.Fatal(err)
		}
		if _, err := lease.Read(t.Context()); !errors.Is(err, refresh.ErrGone) {
			t.Errorf("%s: reading it under the lease: got %v, want ErrGone", name, err)
		}
	}
}
