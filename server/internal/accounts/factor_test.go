package accounts_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/accounts"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/totp"
)

// A guarded is a world with an account that has a second factor.
type guarded struct {
	*world
	in  accounts.SignIn
	key totp.Key
}

func newGuarded(t *testing.T, s *store.Store) *guarded {
	t.Helper()
	g := &guarded{world: newWorld(t, s, true)}
	g.in = g.register("ann@example.com")
	var err error
	if g.key, err = g.BeginSecondFactor(t.Context(), g.principal(g.in), client, password); err != nil {
		t.Fatalf("begin: %v", err)
	}
	codes, err := g.ConfirmSecondFactor(t.Context(), g.principal(g.in), client, g.code())
	if err != nil {
		t.Fatalf("confirm: %v", err)
	}
	g.codes = codes.Reveal()
	return g
}

// code is the current one.
func (g *guarded) code() string {
	g.t.Helper()
	code, err := g.key.At(g.now())
	if err != nil {
		g.t.Fatal(err)
	}
	return code.Value
}

// next waits, in the service's mind, until there is another code, and returns it.
func (g *guarded) next() string {
	g.t.Helper()
	g.later.Add(int64(g.key.Period()))
	return g.code()
}

// wrong is a code that is not current.
func (g *guarded) wrong() string {
	g.t.Helper()
	for n := 0; ; n++ {
		if code := fmt.Sprintf("%06d", n); !g.key.Verify(code, g.now(), 2) {
			return code
		}
	}
}

// challenge is what the first step answers.
func (g *guarded) challenge() string {
	g.t.Helper()
	in, err := g.login("ann@example.com", password, "")
	if err != nil || in.Challenge == "" || in.Token.Reveal() != "" {
		g.t.Fatalf("the first step: %+v, %v, want a challenge and no session", in, err)
	}
	return in.Challenge
}

func (g *guarded) answer(challenge, code string) (accounts.SignIn, error) {
	return g.LoginCode(g.t.Context(), accounts.CodeInput{Challenge: challenge, Code: code}, client)
}

func TestASecondFactorCountsOnceItIsConfirmed(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s, true)
		in := w.register("ann@example.com")
		p := w.principal(in)
		begin := func(password string) func() error {
			return func() error { _, err := w.BeginSecondFactor(t.Context(), p, client, password); return err }
		}
		confirm := func(code string) func() error {
			return func() error { _, err := w.ConfirmSecondFactor(t.Context(), p, client, code); return err }
		}
		w.refuses(in, "beginning with a wrong password", fault.InvalidRequest, "password", begin("not the password"))
		w.refuses(in, "confirming nothing", fault.Conflict, "", confirm("123456"))
		key, err := w.BeginSecondFactor(t.Context(), p, client, password)
		if err != nil || key.Issuer() != "Token Vault" || key.Account() != "ann@example.com" || len(key.Secret()) != 32 {
			t.Fatalf("begin: %v, %v, want a key of 160 bits for the account", key, err)
		}
		g := &guarded{world: w, in: in, key: key}
		w.refuses(in, "a wrong code", fault.InvalidRequest, "code", confirm(g.wrong()))
		if got, err := w.login("ann@example.com", password, ""); err != nil || got.Token.Reveal() == "" {
			t.Errorf("signing in before it counts: %+v, %v, want no code asked for", got, err)
		}
		code := g.code()
		codes, err := w.ConfirmSecondFactor(t.Context(), p, client, code)
		if err != nil {
			t.Fatalf("confirm: %v", err)
		}
		if list := codes.Reveal(); len(list) != 10 || len(list[0]) != 19 || strings.Count(list[0], "-") != 3 || len(slices.Compact(slices.Sorted(slices.Values(list)))) != 10 {
			t.Errorf("recovery codes %q, want ten of four groups", list)
		}
		if _, err := json.Marshal(codes); err == nil || strings.Contains(fmt.Sprintf("%+v %#v %s", codes, codes, codes), codes.Reveal()[0]) {
			t.Error("recovery codes show themselves")
		}
		w.refuses(in, "confirming twice", fault.Conflict, "", confirm(g.next()))
		w.refuses(in, "beginning another", fault.Conflict, "", begin(password))
		// The code that confirmed it is used up.
		if _, err := w.login("ann@example.com", password, code); fault.CodeOf(err) != fault.LoginFailed {
			t.Errorf("the code that confirmed it: %v, want LOGIN_FAILED", err)
		}
		if got := w.events(in.AccountID); !slices.Contains(got, "key_changed ok turned the second factor on") {
			t.Errorf("on record is %q", got)
		}
	})
}

func TestAnUnconfirmedSecondFactorIsForgotten(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s, true)
		in := w.register("ann@example.com")
		key, err := w.BeginSecondFactor(t.Context(), w.principal(in), client, password)
		if err != nil {
			t.Fatal(err)
		}
		w.later.Add(int64(15 * time.Minute))
		g := &guarded{world: w, in: in, key: key}
		w.refuses(in, "a quarter of an hour later", fault.Conflict, "", func() error {
			_, err := w.ConfirmSecondFactor(t.Context(), w.principal(in), client, g.code())
			return err
		})
	})
}

func TestSigningInTakesACodeInASecondStep(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		g := newGuarded(t, s)
		challenge := g.challenge()
		in, err := g.answer(challenge, g.wrong())
		refused(t, "a wrong code", in, err, fault.LoginFailed, "code")
		in, err = g.answer(challenge, "")
		refused(t, "no code", in, err, fault.InvalidRequest, "code")
		code := g.next()
		in, err = g.answer(challenge, code[:3]+" "+code[3:])
		if err != nil {
			t.Fatalf("the right code: %v", err)
		}
		g.signedIn(in)
		in, err = g.answer(challenge, g.next())
		refused(t, "the challenge again", in, err, fault.LoginFailed, "")
		in, err = g.answer(g.challenge(), code)
		refused(t, "the code again", in, err, fault.LoginFailed, "code")
		for name, bad := range map[string]string{"no challenge": "", "an invented one": "abc", "a changed one": challenge[:len(challenge)-2] + "AA"} {
			in, err = g.answer(bad, g.next())
			refused(t, name, in, err, fault.LoginFailed, "")
		}
		stale := g.challenge()
		g.later.Add(int64(accounts.ChallengeLife))
		in, err = g.answer(stale, g.code())
		refused(t, "after five minutes", in, err, fault.LoginFailed, "")
		stale = g.challenge()
		if err := g.ChangePassword(t.Context(), g.principal(g.in), client, accounts.PasswordInput{CurrentPassword: password, NewPassword: "another correct horse"}); err != nil {
			t.Fatal(err)
		}
		in, err = g.answer(stale, g.next())
		refused(t, "of a password that was changed since", in, err, fault.LoginFailed, "")
		if got := g.events(g.in.AccountID); !slices.Contains(got, "sign_in ok with a second factor") || !slices.Contains(got, "sign_in LOGIN_FAILED wrong code of the second factor") {
			t.Errorf("on record is %q", got)
		}
	})
}

func TestACodeSignsInOneOfManyAtOnce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		g := newGuarded(t, s)
		before, code := g.sessions(g.in.AccountID), g.next()
		errs := make([]error, 4)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { _, errs[i] = g.login("ann@example.com", password, code) })
		}
		wg.Wait()
		in := 0
		for _, err := range errs {
			if err == nil {
				in++
			} else if fault.CodeOf(err) != fault.LoginFailed {
				t.Errorf("got %v, want LOGIN_FAILED", err)
			}
		}
		if got := g.sessions(g.in.AccountID) - before; in != 1 || got != 1 {
			t.Errorf("%d signed in, with %d sessions, want one", in, got)
		}
	})
}

func TestARecoveryCodeSignsInOnce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		g := newGuarded(t, s)
		other := g.register("bob@example.com")
		in, err := g.answer(g.challenge(), strings.ToUpper(strings.ReplaceAll(g.codes[0], "-", " ")))
		if err != nil {
			t.Fatalf("a recovery code: %v", err)
		}
		g.signedIn(in)
		in, err = g.login("ann@example.com", password, g.codes[0])
		refused(t, "the same again", in, err, fault.LoginFailed, "code")
		in, err = g.login("ann@example.com", password, "aaaa-bbbb-cccc-dddd")
		refused(t, "an invented one", in, err, fault.LoginFailed, "code")
		if view, err := g.Security(t.Context(), g.principal(g.in)); err != nil || !view.SecondFactor || view.RecoveryCodes != 9 {
			t.Errorf("security: %+v, %v, want 9 codes left", view, err)
		}
		if view, err := g.Security(t.Context(), g.principal(other)); err != nil || view.SecondFactor || view.RecoveryCodes != 0 {
			t.Errorf("the other account: %+v, %v, want nothing", view, err)
		}
		fresh, err := g.NewRecoveryCodes(t.Context(), g.principal(g.in), client, password, g.next())
		if err != nil {
			t.Fatalf("new ones: %v", err)
		}
		in, err = g.login("ann@example.com", password, g.codes[1])
		refused(t, "an old one", in, err, fault.LoginFailed, "code")
		if _, err := g.login("ann@example.com", password, fresh.Reveal()[9]); err != nil {
			t.Errorf("a new one: %v", err)
		}
	})
}

func TestTurningTheSecondFactorOffTakesPasswordAndCode(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		g := newGuarded(t, s)
		p := g.principal(g.in)
		off := func(password, code string) func() error {
			return func() error { return g.DisableSecondFactor(t.Context(), p, client, password, code) }
		}
		g.refuses(g.in, "a wrong password", fault.InvalidRequest, "password", off("not the password", g.next()))
		g.refuses(g.in, "a wrong code", fault.InvalidRequest, "code", off(password, g.wrong()))
		g.refuses(g.in, "an invented recovery code", fault.InvalidRequest, "code", off(password, "aaaa-bbbb-cccc-dddd"))
		g.refuses(g.in, "no code", fault.InvalidRequest, "code", off(password, ""))
		if err := off(password, g.next())(); err != nil {
			t.Fatalf("turning it off: %v", err)
		}
		if in, err := g.login("ann@example.com", password, ""); err != nil || in.Token.Reveal() == "" {
			t.Errorf("signing in afterwards: %+v, %v, want no code asked for", in, err)
		}
		g.refuses(g.in, "turning it off again", fault.NotFound, "", off(password, g.next()))
		key := p
		key.Kind = models.GrantAPIKey
		p = key
		g.refuses(g.in, "by a key", fault.ScopeDenied, "", off(password, g.code()))
	})
}

func TestCodesCannotBeGuessed(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		g := newGuarded(t, s)
		challenge := g.challenge()
		for range accounts.MaxTries {
			in, err := g.answer(challenge, g.wrong())
			refused(t, "a guess", in, err, fault.LoginFailed, "code")
		}
		in, err := g.answer(challenge, g.next())
		refused(t, "the right one, after too many", in, err, fault.RateLimited, "")
		if f := fault.From(err); f == nil || f.RetryAfter <= 0 {
			t.Errorf("%v says not when to try again", err)
		}
		in, err = g.login("ann@example.com", password, g.codes[0])
		refused(t, "a recovery code, after too many", in, err, fault.RateLimited, "")
		if got := g.events(g.in.AccountID); got[len(got)-1] != "sign_in RATE_LIMITED " {
			t.Errorf("last on record is %q", got[len(got)-1])
		}
	})
}

func TestRightCodesAreNotLimited(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		g := newGuarded(t, s)
		for i := range accounts.MaxTries + 2 {
			if _, err := g.login("ann@example.com", password, g.next()); err != nil {
				t.Fatalf("sign-in %d: %v", i, err)
			}
		}
	})
}
