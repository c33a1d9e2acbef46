package accounts_test

import (
	"errors"
	"testing"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/accounts"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

func TestAnAccountIsDeletedWithAllItsSessions(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		g := newGuarded(t, s)
		other := g.register("bob@example.com")
		second, err := g.login("ann@example.com", password, g.next())
		if err != nil {
			t.Fatal(err)
		}
		p := g.principal(g.in)
		remove := func(by grants.Principal, email, password string) func() error {
			return func() error {
				return g.DeleteAccount(t.Context(), by, client, accounts.DeletionInput{Email: email, Password: password})
			}
		}
		key := p
		key.Kind, key.Scopes = models.GrantAPIKey, grants.Scopes()
		g.refuses(g.in, "another's address", fault.InvalidRequest, "email", remove(p, "bob@example.com", password))
		g.refuses(g.in, "no address", fault.InvalidRequest, "email", remove(p, "", password))
		g.refuses(g.in, "a wrong password", fault.InvalidRequest, "password", remove(p, "ann@example.com", "not the password"))
		g.refuses(g.in, "no password", fault.InvalidRequest, "password", remove(p, "ann@example.com", ""))
		g.refuses(g.in, "by a key", fault.ScopeDenied, "", remove(key, "ann@example.com", password))
		g.signedIn(g.in) // and so is in the cache
		if err := remove(p, " Ann@Example.com ", password)(); err != nil {
			t.Fatalf("DeleteAccount: %v", err)
		}
		for name, in := range map[string]accounts.SignIn{"the session": g.in, "the other session": second} {
			if _, err := g.grants.Authenticate(t.Context(), in.Token.Reveal(), models.GrantSession); fault.CodeOf(err) != fault.InvalidKey {
				t.Errorf("%s: %v, want INVALID_KEY", name, err)
			}
		}
		if _, err := s.Account(t.Context(), g.in.AccountID); !errors.Is(err, models.ErrNotFound) {
			t.Errorf("the account: %v, want none", err)
		}
		in, err := g.login("ann@example.com", password, g.next())
		refused(t, "signing in", in, err, fault.LoginFailed, "")
		g.signedIn(other)
		if got := g.events(g.in.AccountID); got[len(got)-1] != "key_changed ok deleted the account" {
			t.Errorf("last on record is %q", got[len(got)-1])
		}
		again := g.register("ann@example.com")
		if again.AccountID == g.in.AccountID {
			t.Error("the address got the same account again")
		}
	})
}

func TestAFreshPasskeyDeletesAnAccountInPlaceOfThePassword(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s, true)
		in, other := w.register("ann@example.com"), w.register("bob@example.com")
		mine, theirs := newDevice(t), newDevice(t)
		w.enrol(in, mine)
		w.enrol(other, theirs)
		ask := func() accounts.PasskeyRequest {
			t.Helper()
			r, err := w.BeginDeletion(t.Context(), w.principal(in))
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		remove := func(answer accounts.PasskeyAnswer) func() error {
			return func() error {
				return w.DeleteAccount(t.Context(), w.principal(in), client, accounts.DeletionInput{Email: "ann@example.com", Passkey: answer})
			}
		}
		w.refuses(in, "another's passkey", fault.LoginFailed, "", remove(theirs.get(ask())))
		w.refuses(in, "an answer to sign in", fault.LoginFailed, "", remove(mine.get(w.askToSignIn())))
		if err := remove(mine.get(ask()))(); err != nil {
			t.Fatalf("DeleteAccount: %v", err)
		}
		if _, err := s.Account(t.Context(), in.AccountID); !errors.Is(err, models.ErrNotFound) {
			t.Errorf("the account: %v, want none", err)
		}
		w.signedIn(other)
	})
}

func TestAServerWhoseOnlyAccountWasDeletedStaysClosed(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s, false)
		in := w.register("ann@example.com")
		if err := w.DeleteAccount(t.Context(), w.principal(in), client, accounts.DeletionInput{Email: "ann@example.com", Password: password}); err != nil {
			t.Fatal(err)
		}
		if open, err := w.RegistrationOpen(t.Context()); open || err != nil {
			t.Errorf("registration is open: %v, %v, want closed", open, err)
		}
		got, err := w.Register(t.Context(), accounts.RegisterInput{Email: "eve@example.com", Password: password}, client)
		refused(t, "whoever comes next", got, err, fault.RegistrationClosed, "")
	})
}
