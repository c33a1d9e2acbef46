package accounts_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/accounts"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

// state is what is stored of an account's guards, to show that nothing changed.
func (w *world) state(in accounts.SignIn) string {
	w.t.Helper()
	ctx := w.t.Context()
	a, err := w.store.Account(ctx, in.AccountID)
	if err != nil {
		return err.Error()
	}
	f, err := w.store.SecondFactor(ctx, in.AccountID)
	left, errLeft := w.store.RecoveryCodesLeft(ctx, in.AccountID)
	keys, errKeys := w.store.Passkeys(ctx, in.AccountID)
	return fmt.Sprintf("%s %s %x; %s %x %d %v %v; %d %v; %+v %v; %d sessions", a.Email, a.DisplayName, []byte(a.PasswordHash),
		f.ID, []byte(f.Sealed), f.LastStep, f.ConfirmedAt, err, left, errLeft, keys, errKeys, w.sessions(in.AccountID))
}

// refuses demands that do fails with code and field, and changes nothing.
func (w *world) refuses(in accounts.SignIn, what string, code fault.Code, field string, do func() error) {
	w.t.Helper()
	before := w.state(in)
	err := do()
	if f := fault.From(err); f == nil || f.Code != code || f.Field != field {
		w.t.Errorf("%s: got %v, want %s %s", what, err, code, field)
	}
	if after := w.state(in); after != before {
		w.t.Errorf("%s: it was refused, and changed\n%s\nto\n%s", what, before, after)
	}
}

// login signs in with e-mail and password, and a code if there is one.
func (w *world) login(email, password, code string) (accounts.SignIn, error) {
	w.t.Helper()
	return w.Login(w.t.Context(), accounts.LoginInput{Email: email, Password: password, Code: code}, client)
}

func TestAProfileIsChangedByItsOwner(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s, true)
		in, other := w.register("ann@example.com"), w.register("bob@example.com")
		p := w.principal(in)
		update := func(by grants.Principal, name, email *string, password string) (models.Account, error) {
			return w.UpdateProfile(t.Context(), by, client, accounts.ProfileInput{DisplayName: name, Email: email, CurrentPassword: password})
		}
		text := func(s string) *string { return &s }
		a, err := update(p, text("  Ann B. "), nil, "")
		if err != nil || a.DisplayName != "Ann B." || a.Email != "ann@example.com" {
			t.Fatalf("the name: %+v, %v", a, err)
		}
		a, err = update(p, nil, text(" Ann@New.example "), password)
		if err != nil || a.DisplayName != "Ann B." || a.Email != "ann@new.example" {
			t.Fatalf("the address: %+v, %v", a, err)
		}
		if _, err := w.login("ann@new.example", password, ""); err != nil {
			t.Errorf("signing in with the new address: %v", err)
		}
		if _, err := update(p, text("Ann B."), text("ann@new.example"), ""); err != nil {
			t.Errorf("what is as it was: %v, want no password asked for", err)
		}
		key := p
		key.Kind, key.Scopes = models.GrantAPIKey, grants.Scopes()
		for _, tt := range []struct {
			what, field string
			code        fault.Code
			by          grants.Principal
			name, email *string
			password    string
		}{
			{"no address", "email", fault.InvalidRequest, p, nil, text("ann"), password},
			{"an empty address", "email", fault.InvalidRequest, p, nil, text(""), password},
			{"another's address", "email", fault.Conflict, p, nil, text("BOB@example.com"), password},
			{"an address without the password", "currentPassword", fault.InvalidRequest, p, text("Eve"), text("eve@example.com"), ""},
			{"an address with a wrong password", "currentPassword", fault.InvalidRequest, p, nil, text("eve@example.com"), "not the password"},
			{"a long name", "displayName", fault.InvalidRequest, p, text(strings.Repeat("x", accounts.MaxDisplayName+1)), nil, ""},
			{"a name with a line break", "displayName", fault.InvalidRequest, p, text("a\nb"), nil, ""},
			{"an API key", "", fault.ScopeDenied, key, text("Eve"), nil, ""},
		} {
			w.refuses(in, tt.what, tt.code, tt.field, func() error { _, err := update(tt.by, tt.name, tt.email, tt.password); return err })
		}
		if got := w.state(other); !strings.HasPrefix(got, "bob@example.com A ") {
			t.Errorf("the other account is %s", got)
		}
		if got := w.events(in.AccountID); !slices.Contains(got, "key_changed ok changed the e-mail address") ||
			!slices.Contains(got, "key_changed LOGIN_FAILED changed the e-mail address") || !slices.Contains(got, "key_changed CONFLICT changed the e-mail address") {
			t.Errorf("on record is %q", got)
		}
	})
}

func TestAPasswordIsChangedAndSessionsStay(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s, true)
		in := w.register("ann@example.com")
		p := w.principal(in)
		other, err := w.login("ann@example.com", password, "")
		if err != nil {
			t.Fatal(err)
		}
		const next = "another correct horse"
		change := func(by grants.Principal, current, next string) func() error {
			return func() error {
				return w.ChangePassword(t.Context(), by, client, accounts.PasswordInput{CurrentPassword: current, NewPassword: next})
			}
		}
		key := p
		key.Kind = models.GrantAPIKey
		w.refuses(in, "a wrong password", fault.InvalidRequest, "currentPassword", change(p, "not the password", next))
		w.refuses(in, "no password", fault.InvalidRequest, "currentPassword", change(p, "", next))
		w.refuses(in, "a short one", fault.InvalidRequest, "newPassword", change(p, password, "short"))
		w.refuses(in, "a long one", fault.InvalidRequest, "newPassword", change(p, password, strings.Repeat("x", accounts.MaxPassword+1)))
		w.refuses(in, "the same", fault.InvalidRequest, "newPassword", change(p, password, password))
		w.refuses(in, "by a key", fault.ScopeDenied, "", change(key, password, next))
		if err := change(p, password, next)(); err != nil {
			t.Fatalf("ChangePassword: %v", err)
		}
		w.signedIn(in)
		w.signedIn(other)
		if _, err := w.login("ann@example.com", password, ""); fault.CodeOf(err) != fault.LoginFailed {
			t.Errorf("the old password: %v, want LOGIN_FAILED", err)
		}
		if _, err := w.login("ann@example.com", next, ""); err != nil {
			t.Errorf("the new password: %v", err)
		}
		if got := w.events(in.AccountID); !slices.Contains(got, "key_changed ok changed the password") || !slices.Contains(got, "key_changed LOGIN_FAILED changed the password") {
			t.Errorf("on record is %q", got)
		}
	})
}

func TestTheCurrentPasswordCannotBeGuessedFromAStolenSession(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s, true)
		in := w.register("ann@example.com")
		guess := func(typed string) error {
			return w.ChangePassword(t.Context(), w.principal(in), audit.Client{}, accounts.PasswordInput{CurrentPassword: typed, NewPassword: "another correct horse"})
		}
		for i := range accounts.MaxTries {
			w.refuses(in, fmt.Sprintf("guess %d", i), fault.InvalidRequest, "currentPassword", func() error { return guess("a guess, no more") })
		}
		before := w.derived.Load()
		w.refuses(in, "the right one, after too many", fault.RateLimited, "", func() error {
			err := guess(password)
			if f := fault.From(err); f.RetryAfter <= 0 || f.RetryAfter > accounts.TryWindow {
				t.Errorf("try again after %v, want within %v", f.RetryAfter, accounts.TryWindow)
			}
			return err
		})
		if w.derived.Load() != before {
			t.Error("a refused guess cost a derivation")
		}
		if got := w.events(in.AccountID); got[len(got)-1] != "key_changed RATE_LIMITED changed the password" {
			t.Errorf("last on record is %q", got[len(got)-1])
		}
		if _, err := w.login("ann@example.com", password, ""); err != nil {
			t.Errorf("signing in meanwhile: %v, want it possible", err)
		}
	})
}

// Comparing a password takes a while, and longer when many sign in: whoever has its
// owner's password of before must not come in by being in the middle of that.
func TestAPasswordThatIsChangedWhileItIsComparedSignsNobodyIn(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s, true)
		in := w.register("ann@example.com")
		slow, changed := w.service(accounts.Deps{Store: s, Grants: w.grants, Audit: w.audit}), false
		slow.OnDerivation(true, func(uint32, uint32, uint8) {
			changed = true
			err := w.ChangePassword(t.Context(), w.principal(in), client, accounts.PasswordInput{CurrentPassword: password, NewPassword: "another password"})
			if err != nil {
				t.Error(err)
			}
		})
		before := w.sessions(in.AccountID)
		got, err := slow.Login(t.Context(), accounts.LoginInput{Email: "ann@example.com", Password: password}, client)
		refused(t, "with the password of before", got, err, fault.LoginFailed, "")
		if after := w.sessions(in.AccountID); !changed || after != before {
			t.Errorf("%d sessions, want the %d of before the password was changed", after, before)
		}
	})
}

// A profile is read, the password is compared, and it is written: who changed it in
// between must not be undone.
func TestANameThatIsChangedDoesNotPutTheAddressOfBeforeBack(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s, true)
		in := w.register("ann@example.com")
		address, name := "ann@new.example", "Ann"
		between := &betweenReadAndWrite{Store: s, do: func() {
			if _, err := w.UpdateProfile(t.Context(), w.principal(in), client, accounts.ProfileInput{Email: &address, CurrentPassword: password}); err != nil {
				t.Error(err)
			}
		}}
		slow := w.service(accounts.Deps{Store: between, Grants: w.grants, Audit: w.audit})
		_, err := slow.UpdateProfile(t.Context(), w.principal(in), client, accounts.ProfileInput{DisplayName: &name})
		if fault.CodeOf(err) != fault.Conflict {
			t.Errorf("got %v, want CONFLICT", err)
		}
		if got := w.state(in); !strings.HasPrefix(got, address+" A ") {
			t.Errorf("the account is %.40s, want the address %s", got, address)
		}
	})
}

// betweenReadAndWrite does something once an account was read.
type betweenReadAndWrite struct {
	*store.Store
	do func()
}

func (b *betweenReadAndWrite) Account(ctx context.Context, id uuid.UUID) (models.Account, error) {
	a, err := b.Store.Account(ctx, id)
	if do := b.do; do != nil {
		b.do = nil
		do()
	}
	return a, err
}
