package agents_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/agents"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/cache"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

func TestAReleaseIsOnRecordAndBearsATicketForThatServiceAlone(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		const service = "a b.c_d:e@f-g"
		id, key := w.agent("ci", service)
		seen := map[string]bool{}
		for range 3 {
			before := w.clock.now().Unix()
			ticket := w.released(key, service)
			if ticket.IssuedAt < before || ticket.IssuedAt > w.clock.now().Unix() || ticket.ExpiresAt != ticket.IssuedAt+15 {
				t.Errorf("the ticket lives from %d to %d, want 15 s from %d", ticket.IssuedAt, ticket.ExpiresAt, before)
			}
			if len(ticket.Nonce) != 32 || seen[ticket.Nonce] {
				t.Errorf("nonce %q, want 128 new bits in hex", ticket.Nonce)
			}
			seen[ticket.Nonce] = true
			ticket.IssuedAt, ticket.ExpiresAt, ticket.Nonce = 0, 0, ""
			want := wire.Ticket{
				Subject: w.owner.AccountID.String(), Service: service, Purpose: wire.PurposeAgentCredential, AgentID: id.String(),
			}
			if ticket != want {
				t.Errorf("ticket %+v, want %+v", ticket, want)
			}
		}
		page, err := w.audit.List(t.Context(), w.owner.AccountID, audit.Filter{Type: audit.Release})
		if err != nil || len(page.Events) != 3 {
			t.Fatalf("%d releases on record, %v; want 3", len(page.Events), err)
		}
		agent, err := s.Agent(t.Context(), w.owner.AccountID, id)
		if err != nil {
			t.Fatal(err)
		}
		e := page.Events[0]
		if e.Outcome != "ok" || e.Source != "agent" || e.ServiceName != service || e.AgentID == nil || *e.AgentID != id ||
			e.GrantID == nil || *e.GrantID != agent.GrantID || e.Client != client.UserAgent || e.Address != client.Address || e.RequestID != client.RequestID {
			t.Errorf("on record is %+v", e)
		}
	})
}

// A slow record: a ticket's life begins when it is handed out.
type slowRecord struct {
	*recorder
	clock *clock
	ended time.Time
}

func (r *slowRecord) Record(ctx context.Context, e audit.Event) error {
	err := r.recorder.Record(ctx, e)
	r.clock.set(time.Hour)
	r.ended = r.clock.now()
	return err
}

func TestATicketsLifeBeginsAfterTheRecord(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		_, key := w.agent("ci", "github")
		record := &slowRecord{recorder: w.audit, clock: w.clock}
		w.deps.Audit = record
		w.Service = agents.New(w.deps)
		ticket := w.released(key, "github")
		if ticket.IssuedAt < record.ended.Unix() || ticket.ExpiresAt-ticket.IssuedAt != 15 {
			t.Errorf("the ticket goes from %d to %d, want 15 s, which begin when the record has ended, at %d", ticket.IssuedAt, ticket.ExpiresAt, record.ended.Unix())
		}
	})
}

func TestOfSeveralReasonsToRefuseTheFirstRuleDecides(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		id, key := w.agent("ci")
		token := w.token("github")
		status := func(to models.AgentStatus) {
			_, err := w.Update(t.Context(), w.owner, client, id, agents.UpdateInput{Status: &to})
			w.check(err)
		}
		status(models.AgentSuspended)
		w.vaults.set(func(v *vault) { v.custody = vaults.Custody{Mode: models.ModePlatform, Locked: true} })

		// Everything is wrong. One thing after the other is put right.
		w.refused("all is wrong", key, "github", fault.AgentInactive)
		status(models.AgentActive)
		w.refused("the agent is active", key, "github", fault.VaultLocked)
		w.vaults.set(func(v *vault) { v.custody.Locked = false })
		w.refused("the vault is open", key, "github", fault.NoGrant)

		_, err := w.Grant(t.Context(), w.owner, client, id, agents.GrantInput{ServiceName: "github", ExpiresIn: time.Hour})
		w.check(err)
		w.check(s.DeleteToken(t.Context(), w.owner.AccountID, w.vaults.id, "github"))
		w.clock.set(time.Hour)
		w.refused("a grant that has run out was given", key, "github", fault.GrantExpired)
		w.clock.set(0)
		w.refused("the grant is current", key, "github", fault.TokenNotFound)
		w.check(s.PutToken(t.Context(), &token))
		w.refused("the token is there", key, "github", fault.WebhookNotConfigured)
		w.vaults.set(func(v *vault) { v.custody.Mode = models.ModeWebhook })
		w.refused("the mode is webhook, but there is no secret", key, "github", fault.WebhookNotConfigured)
		w.vaults.set(func(v *vault) { v.custody = vaults.Custody{Mode: models.ModePlatform, Secret: w.secret} })
		w.refused("there is a secret, but the mode is platform", key, "github", fault.WebhookNotConfigured)
		w.bind()
		w.released(key, "github")
	})
}

func TestWithoutARecordThereIsNoRelease(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		_, key := w.agent("ci", "github")
		w.released(key, "github")
		events := len(w.events())
		w.audit.set(true)
		for _, service := range []string{"github", "not-granted"} {
			r, err := w.Release(t.Context(), key, client, service, nil)
			mustBe(t, service, err, fault.Unavailable)
			if r.Location != "" {
				t.Errorf("%s: released without a record", service)
			}
		}
		if got := len(w.events()); got != events {
			t.Errorf("%d events, want %d as before", got, events)
		}
		w.audit.set(false)
		w.released(key, "github")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := w.Release(t.Context(), key, client, "github", nil)
		mustBe(t, "with the database closed", err, fault.Unavailable)
		if r.Location != "" {
			t.Error("released with the database closed")
		}
	})
}

func TestWithoutRandomnessThereIsNoTicket(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		_, key := w.agent("ci", "github")
		w.deps.Random = bytes.NewReader(make([]byte, 15))
		r, err := agents.New(w.deps).Release(t.Context(), key, client, "github", nil)
		if !errors.Is(err, io.ErrUnexpectedEOF) || r.Location != "" {
			t.Errorf("got %q, %v; want the reader's error", r.Location, err)
		}
	})
}

func TestOnlyAnAgentsOwnGoodKeyReleases(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		id, key := w.agent("ci", "github")
		_, poor := w.agent("poor")
		session, err := w.grants.Issue(t.Context(), grants.IssueInput{AccountID: w.owner.AccountID, Kind: models.GrantSession})
		w.check(err)
		for what, bad := range map[string]string{
			"nothing": "", "nonsense": "tvagent_x", "a session": session.Token.Reveal(), "a cut key": key[:len(key)-1],
			"the agent's id": id.String(), "the key as a session": "tcs" + strings.TrimPrefix(key, "tvagent"),
		} {
			w.refused(what, bad, "github", fault.InvalidKey)
			_, err := w.Granted(t.Context(), bad)
			mustBe(t, "Granted with "+what, err, fault.InvalidKey)
			_, err = w.Whoami(t.Context(), bad)
			mustBe(t, "Whoami with "+what, err, fault.InvalidKey)
		}
		// Without a grant the answer does not tell whether there is such a token.
		w.refused("another agent", poor, "github", fault.NoGrant)
		w.refused("no such token", poor, "no-such-token", fault.NoGrant)
		events := len(w.events())
		for _, name := range []string{"", " ", "-x", "bulk", "audit-log", "a/b", "a\x00", "ü", "a\nb", strings.Repeat("a", 129)} {
			w.refused("a bad name", key, name, fault.InvalidRequest)
			_, err := w.Release(t.Context(), key, client, name, nil)
			if f := fault.From(err); f.Field != "service" {
				t.Errorf("%q: the field is %q, want service", name, f.Field)
			}
		}
		if got := len(w.events()); got != events {
			t.Errorf("%d events, want %d as before", got, events)
		}
	})
}

func TestEveryWithdrawalHoldsAtTheVeryNextCall(t *testing.T) {
	t.Parallel()
	for name, withdraw := range map[string]func(w *world, id uuid.UUID) fault.Code{
		"revoked": func(w *world, id uuid.UUID) fault.Code {
			w.check(w.Revoke(w.t.Context(), w.owner, client, id, "github"))
			return fault.NoGrant
		},
		"suspended": func(w *world, id uuid.UUID) fault.Code {
			_, err := w.Update(w.t.Context(), w.owner, client, id, agents.UpdateInput{Status: ptr(models.AgentSuspended)})
			w.check(err)
			return fault.AgentInactive
		},
		"deleted": func(w *world, id uuid.UUID) fault.Code {
			_, err := w.Delete(w.t.Context(), w.owner, client, id)
			w.check(err)
			return fault.InvalidKey
		},
		"its key rotated": func(w *world, id uuid.UUID) fault.Code {
			created, err := w.RotateKey(w.t.Context(), w.owner, client, id)
			w.check(err)
			w.released(created.Key.Reveal(), "github")
			return fault.InvalidKey
		},
		"its token deleted": func(w *world, _ uuid.UUID) fault.Code {
			w.check(w.store.DeleteToken(w.t.Context(), w.owner.AccountID, w.vaults.id, "github"))
			return fault.TokenNotFound
		},
		"its token stored anew": func(w *world, _ uuid.UUID) fault.Code {
			w.check(w.store.DeleteToken(w.t.Context(), w.owner.AccountID, w.vaults.id, "github"))
			w.token("github") // another token, though of the same name
			return fault.TokenNotFound
		},
		"its grant replaced by one that has run out": func(w *world, id uuid.UUID) fault.Code {
			_, err := w.Grant(w.t.Context(), w.owner, client, id, agents.GrantInput{ServiceName: "github", ExpiresIn: time.Hour})
			w.check(err)
			w.clock.set(time.Hour)
			return fault.GrantExpired
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Each(t, func(t *testing.T, s *store.Store) {
				w := newWorld(t, s)
				id, key := w.agent("ci", "github")
				_, other := w.agent("other", "gitlab")
				for range 2 {
					w.released(key, "github")
				}
				code := withdraw(w, id)
				w.refused(name, key, "github", code)
				w.released(other, "gitlab")
			})
		})
	}
}

func TestATokenStoredAnewIsReleasedOnceItIsGrantedAnew(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		id, key := w.agent("ci", "github")
		w.check(s.DeleteToken(t.Context(), w.owner.AccountID, w.vaults.id, "github"))
		w.token("github")
		w.refused("stored anew", key, "github", fault.TokenNotFound)
		w.grant(id, "github")
		w.released(key, "github")
		if detail, err := w.Get(t.Context(), w.owner, id); err != nil || len(detail.Grants) != 1 {
			t.Errorf("%+v, %v; want the one grant, replaced", detail.Grants, err)
		}
	})
}

func TestACredentialGrantThatThisServerDidNotGiveCountsForNothing(t *testing.T) {
	t.Parallel()
	for name, forge := range map[string]func(w *world, mine, other models.CredentialGrant) models.CredentialGrant{
		"another token": func(w *world, mine, _ models.CredentialGrant) models.CredentialGrant {
			mine.TokenID = w.token("bank").ID
			return mine
		},
		"a longer life": func(w *world, mine, _ models.CredentialGrant) models.CredentialGrant {
			mine.ExpiresAt = ptr(w.clock.now().Add(time.Hour))
			return mine
		},
		"another agent's row": func(_ *world, mine, other models.CredentialGrant) models.CredentialGrant {
			other.AgentID = mine.AgentID
			return other
		},
		"no signature": func(_ *world, mine, _ models.CredentialGrant) models.CredentialGrant { mine.MAC = nil; return mine },
		"a key that is not there": func(_ *world, mine, _ models.CredentialGrant) models.CredentialGrant {
			mine.KeyID = 77
			return mine
		},
		"a service that was never granted": func(w *world, mine, _ models.CredentialGrant) models.CredentialGrant {
			bank := w.token("bank")
			mine.ServiceName, mine.TokenID = "bank", bank.ID
			return mine
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Each(t, func(t *testing.T, s *store.Store) {
				w := newWorld(t, s)
				id, key := w.agent("ci", "github", "gitlab")
				otherID, _ := w.agent("other", "github")
				read := func(id uuid.UUID) models.CredentialGrant {
					all, err := s.CredentialGrants(t.Context(), w.owner.AccountID, id)
					w.check(err)
					return all[0]
				}
				forged := forge(w, read(id), read(otherID))
				w.check(s.PutCredentialGrant(t.Context(), &forged))
				w.refused(name, key, forged.ServiceName, fault.Internal)
				w.released(key, "gitlab") // what is not damaged serves on
				list, err := w.Granted(t.Context(), key)
				w.check(err)
				for _, view := range list {
					if view.Grant.ServiceName == forged.ServiceName {
						t.Errorf("the agent is told of %q", forged.ServiceName)
					}
				}
				// The owner can repair it, as the answer says.
				w.check(w.Revoke(t.Context(), w.owner, client, id, forged.ServiceName))
				w.grant(id, forged.ServiceName)
				w.released(key, forged.ServiceName)
			})
		})
	}
}

func TestAnAgentSeesWhatItWasGranted(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		id, key := w.agent("ci", "github", "aws", "gone")
		w.check(s.DeleteToken(t.Context(), w.owner.AccountID, w.vaults.id, "gone"))
		list, err := w.Granted(t.Context(), key)
		w.check(err)
		var got []string
		for _, view := range list {
			got = append(got, fmt.Sprintf("%s %s %s", view.Grant.ServiceName, view.Token.Token.ServiceName, view.Token.Trust))
		}
		if want := "aws aws tv-zero, github github tv-zero, gone  "; strings.Join(got, ", ") != want {
			t.Errorf("granted %q, want %q", strings.Join(got, ", "), want)
		}
		// A token that goes while the list is made is as one that had gone before.
		w.vaults.set(func(v *vault) { v.away = fault.New(fault.TokenNotFound, "gone") })
		if list, err := w.Granted(t.Context(), key); err != nil || len(list) != 3 {
			t.Errorf("%d grants, %v; want 3", len(list), err)
		}
		w.vaults.set(func(v *vault) { v.away = fault.New(fault.Unavailable, "away") })
		_, err = w.Granted(t.Context(), key)
		mustBe(t, "when the index is away", err, fault.Unavailable)

		who, err := w.Whoami(t.Context(), key)
		if err != nil || who.Agent.ID != id || who.Agent.Name != "ci" || who.AccountID != w.owner.AccountID || !who.ExpiresAt.IsZero() {
			t.Errorf("Whoami = %+v, %v", who, err)
		}
		_, err = w.Delete(t.Context(), w.owner, client, id)
		w.check(err)
		_, err = w.Granted(t.Context(), key)
		mustBe(t, "a deleted agent's list", err, fault.InvalidKey)
		_, err = w.Whoami(t.Context(), key)
		mustBe(t, "a deleted agent", err, fault.InvalidKey)
	})
}

// Keys that are good for agents that the store does not know, as between the
// check of a key and the deletion of its agent.
type anyKey struct{ agents.Grants }

func (anyKey) Authenticate(context.Context, string, ...models.GrantKind) (grants.Principal, error) {
	return grants.Principal{AccountID: models.NewID(), GrantID: models.NewID(), Kind: models.GrantAgentKey, AgentID: models.NewID()}, nil
}

func TestAnAgentThatIsDeletedMeanwhileIsAnsweredAsWithABadKey(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		w.deps.Grants = anyKey{}
		service := agents.New(w.deps)
		_, release := service.Release(t.Context(), "k", client, "github", nil)
		_, granted := service.Granted(t.Context(), "k")
		_, whoami := service.Whoami(t.Context(), "k")
		for _, err := range []error{release, granted, whoami} {
			if err == nil || err.Error() != grants.InvalidKey().Error() {
				t.Errorf("got %v, want %v", err, grants.InvalidKey())
			}
		}
		w.check(s.Close())
		_, err := service.Granted(t.Context(), "k")
		mustBe(t, "with the database closed", err, fault.Unavailable)
	})
}

func TestInParallelNothingIsReleasedAfterItsRevocation(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		const n = 6
		services, revoked := make([]string, n), make([]atomic.Bool, n)
		for i := range services {
			services[i] = fmt.Sprintf("service-%d", i)
		}
		id, key := w.agent("ci", services...)
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				for round := range 60 {
					i := round % n
					before := revoked[i].Load()
					r, err := w.Release(t.Context(), key, client, services[i], nil)
					switch {
					case err == nil && before:
						t.Errorf("%s was released after its revocation: %t", services[i], r.Location != "")
					case err != nil && fault.CodeOf(err) != fault.NoGrant:
						t.Errorf("%s: %v", services[i], err)
					}
				}
			})
		}
		for i := range n / 2 {
			if err := w.Revoke(t.Context(), w.owner, client, id, services[i]); err != nil {
				t.Error(err)
			}
			revoked[i].Store(true)
		}
		wg.Wait()
		for i, service := range services {
			if i < n/2 {
				w.refused("afterwards", key, service, fault.NoGrant)
			} else {
				w.released(key, service)
			}
		}
	})
}

// An instantRecord takes everything at no cost.
type instantRecord struct{ agents.Recorder }

func (instantRecord) Record(context.Context, audit.Event) error { return nil }

type oneKey struct {
	agents.Grants
	p grants.Principal
}

func (k oneKey) Authenticate(context.Context, string, ...models.GrantKind) (grants.Principal, error) {
	return k.p, nil
}

type oneAgent struct {
	agents.GrantStore
	granted []models.GrantedToken
}

func (s oneAgent) AgentWithGrants(_ context.Context, account, id uuid.UUID) (models.Agent, []models.GrantedToken, error) {
	return models.Agent{AccountID: account, ID: id, Status: models.AgentActive}, s.granted, nil
}

type oneVault struct {
	agents.Vaults
	custody *vaults.Custody
}

func (v oneVault) Custody(context.Context, uuid.UUID) (*vaults.Custody, error) { return v.custody, nil }

// BenchmarkRelease is what a release costs beside its key and its record.
func BenchmarkRelease(b *testing.B) {
	keys := ring(b)
	p := grants.Principal{AccountID: models.NewID(), GrantID: models.NewID(), Kind: models.GrantAgentKey, AgentID: models.NewID()}
	granted := models.CredentialGrant{AccountID: p.AccountID, AgentID: p.AgentID, ServiceName: "github", TokenID: models.NewID(), RefreshPolicy: models.RefreshAuto}
	keys.SignCredentialGrant(&granted)
	secret, err := wire.GenerateSecret(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	gate := cache.NewGate(time.Now)
	gate.Open()
	s := agents.New(agents.Deps{
		GrantStore: oneAgent{granted: []models.GrantedToken{{Grant: granted, TokenExists: true}}}, Grants: oneKey{p: p},
		Vaults: oneVault{custody: &vaults.Custody{Mode: models.ModeWebhook, Binding: models.Binding{URL: webhookURL}, Secret: secret}},
		Audit:  instantRecord{}, Keys: keys, Gate: gate, Now: time.Now, Random: rand.Reader,
	})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Release(b.Context(), "k", client, "github", nil); err != nil {
			b.Fatal(err)
		}
	}
}
