package accounts_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/accounts"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/cache"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

// toldVaults note what they are told, and fail when a test wants it.
type toldVaults struct {
	mu   sync.Mutex
	told []string
	fail error
}

func (v *toldVaults) tell(what string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.told = append(v.told, what)
	return v.fail
}

func (v *toldVaults) Opened(_ context.Context, h *custody.Holder) error {
	return v.tell("opened " + h.Grant().ID.String())
}

func (v *toldVaults) Ended(_ context.Context, g models.Grant) error {
	return v.tell("ended " + g.ID.String())
}

func (v *toldVaults) Copied(context.Context, *custody.Holder, *custody.Holder) error {
	return v.tell("copied")
}

func (v *toldVaults) NewPair(context.Context, *custody.Holder, models.Grant) error {
	return v.tell("new pair")
}

func (v *toldVaults) Settle(context.Context, *custody.Holder) error { return v.tell("settle") }

// withVaults is a world whose sessions come and go with vaults.
func withVaults(t *testing.T, s *store.Store) (*world, *toldVaults) {
	t.Helper()
	w, v := newWorld(t, s, true), &toldVaults{}
	gate := cache.NewGate(time.Now)
	gate.Open()
	s.OnChange(gate.Changed)
	w.grants = grants.New(grants.Deps{
		Store: s, Rows: s, Slots: s, VaultRows: s, Vaults: v, Audit: w.audit, Keys: w.keys, Gate: gate,
		Now: time.Now, Random: rand.Reader, Logger: slog.New(slog.NewTextHandler(w.log, nil)),
	})
	w.Service = w.service(accounts.Deps{Store: s, Grants: w.grants, Audit: w.audit, OpenRegistration: true})
	return w, v
}

func TestASessionBeginsAndEndsWithItsVault(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w, v := withVaults(t, s)
		first := w.register("ann@example.com")
		second, err := w.Login(t.Context(), accounts.LoginInput{Email: "ann@example.com", Password: password}, client)
		if err != nil {
			t.Fatalf("Login: %v", err)
		}
		for range 2 {
			if err := w.Logout(t.Context(), w.principal(first), client); err != nil {
				t.Fatalf("Logout: %v", err)
			}
		}
		want := []string{"opened " + first.GrantID.String(), "opened " + second.GrantID.String(), "ended " + first.GrantID.String()}
		if !slices.Equal(v.told, want) {
			t.Errorf("vaults were told %q, want %q", v.told, want)
		}
		w.signedIn(second)
	})
}

// principal is whom a sign-in speaks for, good or not.
func (w *world) principal(in accounts.SignIn) grants.Principal {
	return grants.Principal{AccountID: in.AccountID, GrantID: in.GrantID, Kind: models.GrantSession, Token: in.Token}
}

func TestNobodyIsSignedInOrOutWhenTheVaultFails(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w, v := withVaults(t, s)
		in := w.register("ann@example.com")
		v.fail = errors.New("broken")
		if got, err := w.Login(t.Context(), accounts.LoginInput{Email: "ann@example.com", Password: password}, client); !errors.Is(err, v.fail) || got.Token.Reveal() != "" {
			t.Errorf("Login: %v, want the vaults' error and no token", err)
		}
		if got, err := w.Register(t.Context(), accounts.RegisterInput{Email: "bob@example.com", Password: password}, client); !errors.Is(err, v.fail) || got.Token.Reveal() != "" {
			t.Errorf("Register: %v, want the vaults' error and no token", err)
		}
		if _, err := s.AccountByEmail(t.Context(), "bob@example.com"); !errors.Is(err, models.ErrNotFound) {
			t.Errorf("the account without a session: %v, want none", err)
		}
		if err := w.Logout(t.Context(), w.principal(in), client); !errors.Is(err, v.fail) {
			t.Errorf("Logout: %v, want the vaults' error", err)
		}
		if got := w.sessions(in.AccountID); got != 1 {
			t.Errorf("%d sessions, want the first one alone", got)
		}
		w.signedIn(in)
		internal := string(fault.Internal)
		want := []string{"sign_in ok registered", "sign_in ok ", "sign_in " + internal + " ", "sign_in ok signed out", "sign_in " + internal + " signed out"}
		if got := w.events(in.AccountID); !slices.Equal(got, want) {
			t.Errorf("on record is %q, want %q", got, want)
		}
	})
}

func TestASessionIsNamedAndLastsLongerThanItsToken(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s, false)
		const firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
		in, err := w.Register(t.Context(), accounts.RegisterInput{Email: "a@example.com", Password: password}, audit.Client{UserAgent: firefox, Address: "192.0.2.7"})
		if err != nil {
			t.Fatal(err)
		}
		g, err := s.Grant(t.Context(), in.AccountID, in.GrantID)
		if err != nil {
			t.Fatal(err)
		}
		if g.Label != "Firefox on Linux" || g.Client != firefox || g.Address != "192.0.2.7" {
			t.Errorf("the session is %q of %q at %q", g.Label, g.Client, g.Address)
		}
		if got := g.ExpiresAt.Sub(in.ExpiresAt); got != grants.SessionLife-grants.SessionTokenLife {
			t.Errorf("the session outlives its token by %v, want %v", got, grants.SessionLife-grants.SessionTokenLife)
		}
	})
}
