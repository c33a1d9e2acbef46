package accounts_test

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/accounts"
	"github.com/tvzero/tokenvault/server/internal/fault"
)

// ask begins to add a passkey.
func (w *world) ask(in accounts.SignIn) accounts.PasskeyRequest {
	w.t.Helper()
	r, err := w.BeginPasskey(w.t.Context(), w.principal(in), client, "phone", password, w.more(in))
	if err != nil {
		w.t.Fatalf("BeginPasskey: %v", err)
	}
	return r
}

// more is a recovery code of an account that has a second factor, or "": what adding a
// passkey takes besides the password.
func (w *world) more(in accounts.SignIn) string {
	w.t.Helper()
	view, err := w.Security(w.t.Context(), w.principal(in))
	if err != nil {
		w.t.Fatal(err)
	}
	if !view.SecondFactor {
		return ""
	}
	code := w.codes[0]
	w.codes = w.codes[1:]
	return code
}

// enrol gives an account a passkey.
func (w *world) enrol(in accounts.SignIn, d *device) {
	w.t.Helper()
	if err := w.AddPasskey(w.t.Context(), w.principal(in), client, "phone", d.make(w.ask(in))); err != nil {
		w.t.Fatalf("AddPasskey: %v", err)
	}
}

func (w *world) askToSignIn() accounts.PasskeyRequest {
	w.t.Helper()
	r, err := w.BeginPasskeyLogin(w.t.Context())
	if err != nil {
		w.t.Fatalf("BeginPasskeyLogin: %v", err)
	}
	return r
}

func (w *world) withPasskey(answer accounts.PasskeyAnswer) (accounts.SignIn, error) {
	return w.LoginPasskey(w.t.Context(), answer, client)
}

// only is the one passkey of an account.
func (w *world) only(in accounts.SignIn) models.Passkey {
	w.t.Helper()
	rows, err := w.store.Passkeys(w.t.Context(), in.AccountID)
	if err != nil || len(rows) != 1 {
		w.t.Fatalf("%d passkeys, %v, want one", len(rows), err)
	}
	return rows[0]
}

func TestAPasskeySignsInByItself(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		g := newGuarded(t, s) // a passkey counts as both factors
		d := newDevice(t)
		g.enrol(g.in, d)
		r := g.askToSignIn()
		answer := d.get(r)
		in, err := g.withPasskey(answer)
		if err != nil || in.AccountID != g.in.AccountID || in.Challenge != "" {
			t.Fatalf("signing in: %+v, %v", in, err)
		}
		g.signedIn(in)
		if k := g.only(g.in); k.Name != "phone" || k.SignCount != int64(d.count) || k.LastUsedAt == nil || !slices.Equal(k.Transports, []string{"internal"}) {
			t.Errorf("the passkey is %+v, want its use noted", k)
		}
		again, err := g.withPasskey(answer)
		refused(t, "the same answer again", again, err, fault.LoginFailed, "")
		if view, err := g.Security(t.Context(), g.principal(g.in)); err != nil || len(view.Passkeys) != 1 || view.Passkeys[0].Name != "phone" || view.Passkeys[0].LastUsedAt == nil {
			t.Errorf("security: %+v, %v", view, err)
		}
		if got := g.events(g.in.AccountID); !slices.Contains(got, "key_changed ok added the passkey phone") || !slices.Contains(got, "sign_in ok with a passkey") {
			t.Errorf("on record is %q", got)
		}
	})
}

func TestASyncedPasskeyThatDoesNotCountSignsInAgainAndAgain(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s, true)
		in := w.register("ann@example.com")
		d := newDevice(t)
		d.counts, d.flags = false, userPresent|userVerified|backupEligible
		w.enrol(in, d)
		for range 3 {
			if got, err := w.withPasskey(d.get(w.askToSignIn())); err != nil || got.AccountID != in.AccountID {
				t.Fatalf("signing in: %v", err)
			}
		}
		if view, err := w.Security(t.Context(), w.principal(in)); err != nil || !view.Passkeys[0].Synced {
			t.Errorf("security: %+v, %v, want a synced passkey", view, err)
		}
	})
}

func TestAnAnswerOfADeviceCountsOnceForAllReplicas(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s, true)
		in := w.register("ann@example.com")
		d := newDevice(t)
		w.enrol(in, d)
		answer, before := d.get(w.askToSignIn()), w.sessions(in.AccountID)
		errs := make([]error, 4)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { _, errs[i] = w.withPasskey(answer) })
		}
		wg.Wait()
		n := 0
		for _, err := range errs {
			if err == nil {
				n++
			} else if fault.CodeOf(err) != fault.LoginFailed {
				t.Errorf("got %v, want LOGIN_FAILED", err)
			}
		}
		if got := w.sessions(in.AccountID) - before; n != 1 || got != 1 {
			t.Errorf("%d signed in, with %d sessions, want one", n, got)
		}
	})
}

func TestACopiedPasskeyIsRefusedAndRecorded(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s, true)
		in := w.register("ann@example.com")
		d := newDevice(t)
		w.enrol(in, d)
		twin := *d
		for range 2 {
			if _, err := w.withPasskey(d.get(w.askToSignIn())); err != nil {
				t.Fatal(err)
			}
		}
		w.refuses(in, "the copy", fault.LoginFailed, "", func() error { _, err := w.withPasskey(twin.get(w.askToSignIn())); return err })
		want := "sign_in LOGIN_FAILED the counter of the passkey phone went back: it may have been copied"
		if got := w.events(in.AccountID); got[len(got)-1] != want {
			t.Errorf("last on record is %q, want %q", got[len(got)-1], want)
		}
	})
}

func TestAnAnswerThatIsNotRightSignsNobodyIn(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s, true)
		in, other := w.register("ann@example.com"), w.register("bob@example.com")
		d := newDevice(t)
		w.enrol(in, d)
		for name, change := range map[string]func(d *device, r *accounts.PasskeyRequest){
			"another site":                 func(d *device, _ *accounts.PasskeyRequest) { d.origin = "https://evil.example" },
			"plain http":                   func(d *device, _ *accounts.PasskeyRequest) { d.origin = "http://vault.example" },
			"another party":                func(d *device, _ *accounts.PasskeyRequest) { d.party = "evil.example" },
			"without verification":         func(d *device, _ *accounts.PasskeyRequest) { d.flags = userPresent },
			"another account":              func(d *device, _ *accounts.PasskeyRequest) { d.handle = other.AccountID[:] },
			"no account":                   func(d *device, _ *accounts.PasskeyRequest) { id := models.NewID(); d.handle = id[:] },
			"a broken handle":              func(d *device, _ *accounts.PasskeyRequest) { d.handle = []byte{1} },
			"another key":                  func(d *device, _ *accounts.PasskeyRequest) { d.key = newDevice(t).key },
			"another credential":           func(d *device, _ *accounts.PasskeyRequest) { d.id = []byte("another") },
			"no challenge":                 func(_ *device, r *accounts.PasskeyRequest) { r.Challenge = "" },
			"a challenge for registration": func(_ *device, r *accounts.PasskeyRequest) { r.Challenge = w.ask(in).Challenge },
			"another's challenge":          func(_ *device, r *accounts.PasskeyRequest) { r.Challenge = w.askToSignIn().Challenge },
		} {
			r, changed := w.askToSignIn(), *d
			answer := r
			change(&changed, &answer)
			credential := changed.get(r)
			credential.Challenge = answer.Challenge
			got, err := w.withPasskey(credential)
			refused(t, name, got, err, fault.LoginFailed, "")
		}
		r := w.askToSignIn()
		wrongKind := d.sign(r, "webauthn.create", d.read(r).Challenge)
		for name, answer := range map[string]accounts.PasskeyAnswer{
			"no JSON": {Challenge: r.Challenge, Credential: "{"}, "nothing": {Challenge: r.Challenge}, "for registration": wrongKind,
			"too much": {Challenge: r.Challenge, Credential: strings.Repeat(" ", 17<<10) + d.get(r).Credential},
		} {
			got, err := w.withPasskey(answer)
			refused(t, name, got, err, fault.LoginFailed, "")
		}
		r = w.askToSignIn()
		w.later.Add(int64(accounts.ChallengeLife))
		got, err := w.withPasskey(d.get(r))
		refused(t, "after five minutes", got, err, fault.LoginFailed, "")
		if n := w.sessions(in.AccountID) + w.sessions(other.AccountID); n != 2 {
			t.Errorf("%d sessions, want the two of before", n)
		}
	})
}

func TestAPasskeyThatAWriterOfTheDatabaseBroughtDoesNotCount(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s, true)
		ann, eve := w.register("ann@example.com"), w.register("eve@example.com")
		d := newDevice(t)
		w.enrol(eve, d)
		moved := w.only(eve)
		moved.AccountID, moved.ID = ann.AccountID, models.NewID()
		if err := s.CreatePasskey(t.Context(), &moved); err != nil {
			t.Fatal(err)
		}
		d.handle = ann.AccountID[:]
		got, err := w.withPasskey(d.get(w.askToSignIn()))
		refused(t, "a passkey moved to another account", got, err, fault.LoginFailed, "")
		if !strings.Contains(w.log.String(), "a passkey is not authentic") {
			t.Error("the log does not say so")
		}
	})
}

func TestAddingAPasskeyTakesThePasswordAndAnAnswer(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s, true)
		in, other := w.register("ann@example.com"), w.register("bob@example.com")
		p, d := w.principal(in), newDevice(t)
		begin := func(name, password string) func() error {
			return func() error { _, err := w.BeginPasskey(t.Context(), p, client, name, password, ""); return err }
		}
		add := func(name string, answer accounts.PasskeyAnswer) func() error {
			return func() error { return w.AddPasskey(t.Context(), p, client, name, answer) }
		}
		w.refuses(in, "a wrong password", fault.InvalidRequest, "password", begin("phone", "not the password"))
		for _, bad := range []string{"", "  ", "a\nb", strings.Repeat("x", 101)} {
			w.refuses(in, "a bad name", fault.InvalidRequest, "name", begin(bad, password))
			w.refuses(in, "a bad name, later", fault.InvalidRequest, "name", add(bad, d.make(w.ask(in))))
		}
		w.refuses(in, "no answer", fault.LoginFailed, "", add("phone", accounts.PasskeyAnswer{Challenge: w.ask(in).Challenge}))
		w.refuses(in, "another's challenge", fault.LoginFailed, "", add("phone", d.make(w.ask(other))))
		evil := newDevice(t)
		evil.origin = "https://evil.example"
		w.refuses(in, "from another site", fault.LoginFailed, "", add("phone", evil.make(w.ask(in))))
		careless := newDevice(t)
		careless.flags = userPresent
		w.refuses(in, "without verification", fault.LoginFailed, "", add("phone", careless.make(w.ask(in))))
		r := w.ask(in)
		if err := add("phone", d.make(r))(); err != nil {
			t.Fatalf("AddPasskey: %v", err)
		}
		w.refuses(in, "the answer again", fault.LoginFailed, "", add("phone", d.make(r)))
		next := w.ask(in)
		if o := d.read(next); len(o.Exclude) != 1 || o.Exclude[0].ID != b64(d.id) {
			t.Errorf("excluded are %+v, want the passkey that there is", o.Exclude)
		}
		w.refuses(in, "the same passkey", fault.Conflict, "", add("phone", d.make(next)))
		for range 19 {
			w.enrol(in, newDevice(t))
		}
		w.refuses(in, "one too many", fault.Conflict, "", begin("phone", password))
	})
}

// A passkey counts as both factors: who has but one of them, and a session, must not
// get the other by adding a passkey.
func TestAddingAPasskeyTakesBothFactorsOfWhoHasTwo(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		g := newGuarded(t, s)
		p := g.principal(g.in)
		begin := func(password, code string) func() error {
			return func() error { _, err := g.BeginPasskey(t.Context(), p, client, "phone", password, code); return err }
		}
		g.refuses(g.in, "the password alone", fault.InvalidRequest, "code", begin(password, ""))
		g.refuses(g.in, "a wrong code", fault.InvalidRequest, "code", begin(password, g.wrong()))
		g.refuses(g.in, "the code that was used before", fault.InvalidRequest, "code", begin(password, g.code()))
		g.refuses(g.in, "a recovery code that is none", fault.InvalidRequest, "code", begin(password, "aaaa-aaaa-aaaa-aaaa"))
		if got := g.events(g.in.AccountID); got[len(got)-1] != "key_changed LOGIN_FAILED began to add a passkey, with a recovery code" {
			t.Errorf("last on record is %q", got[len(got)-1])
		}
		code := g.next()
		g.refuses(g.in, "a code without the password", fault.InvalidRequest, "password", begin("not the password", code))
		if err := begin(password, code)(); err != nil {
			t.Errorf("password and code: %v", err)
		}
		g.refuses(g.in, "the same code again", fault.InvalidRequest, "code", begin(password, code))
		if err := begin(password, g.codes[0])(); err != nil {
			t.Errorf("password and a recovery code: %v", err)
		}
		g.refuses(g.in, "the same recovery code again", fault.InvalidRequest, "code", begin(password, g.codes[0]))
	})
}

func TestAPasskeyThatWasBegunEndsWithThePassword(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s, true)
		in := w.register("ann@example.com")
		r := w.ask(in)
		change := accounts.PasswordInput{CurrentPassword: password, NewPassword: "another password"}
		if err := w.ChangePassword(t.Context(), w.principal(in), client, change); err != nil {
			t.Fatal(err)
		}
		w.refuses(in, "begun with the password of before", fault.LoginFailed, "", func() error {
			return w.AddPasskey(t.Context(), w.principal(in), client, "phone", newDevice(t).make(r))
		})
	})
}

func TestNoMorePasskeysAreAddedThanAreAskedFor(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s, true)
		in := w.register("ann@example.com")
		early := w.ask(in)
		for range 20 {
			w.enrol(in, newDevice(t))
		}
		w.refuses(in, "one that was begun before there were as many", fault.Conflict, "", func() error {
			return w.AddPasskey(t.Context(), w.principal(in), client, "phone", newDevice(t).make(early))
		})
	})
}

// Whoever is nobody must not fill the record: unlike a password, an answer costs next to
// nothing to check.
func TestAnAnswerThatNamesNoAccountIsNotOnRecord(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s, true)
		in := w.register("ann@example.com")
		d := newDevice(t)
		w.enrol(in, d)
		stranger := newDevice(t)
		stranger.handle = uuid.Max[:]
		r := w.askToSignIn()
		for name, answer := range map[string]accounts.PasskeyAnswer{"no JSON": {Challenge: r.Challenge, Credential: "{"}, "no account": stranger.get(r)} {
			got, err := w.withPasskey(answer)
			refused(t, name, got, err, fault.LoginFailed, "")
		}
		if got := w.events(uuid.Nil); len(got) > 0 {
			t.Errorf("on record is %q, want nothing", got)
		}
		d.key = stranger.key
		got, err := w.withPasskey(d.get(w.askToSignIn()))
		refused(t, "a wrong answer for an account", got, err, fault.LoginFailed, "")
		if got := w.events(in.AccountID); got[len(got)-1] != "sign_in LOGIN_FAILED a passkey that is unknown, or answered wrongly" {
			t.Errorf("last on record is %q, want the wrong answer", got[len(got)-1])
		}
	})
}

func TestPasskeysAreRenamedAndDeletedByTheirOwner(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s, true)
		in, other := w.register("ann@example.com"), w.register("bob@example.com")
		p, d := w.principal(in), newDevice(t)
		w.enrol(in, d)
		id := w.only(in).ID
		if err := w.RenamePasskey(t.Context(), p, client, id, " laptop "); err != nil || w.only(in).Name != "laptop" {
			t.Fatalf("renamed to %q, %v", w.only(in).Name, err)
		}
		w.refuses(in, "a bad name", fault.InvalidRequest, "name", func() error { return w.RenamePasskey(t.Context(), p, client, id, "\x00") })
		w.refuses(in, "renamed by another", fault.NotFound, "", func() error { return w.RenamePasskey(t.Context(), w.principal(other), client, id, "x") })
		w.refuses(in, "deleted by another", fault.NotFound, "", func() error { return w.DeletePasskey(t.Context(), w.principal(other), client, id) })
		key := p
		key.Kind = models.GrantAPIKey
		w.refuses(in, "deleted by a key", fault.ScopeDenied, "", func() error { return w.DeletePasskey(t.Context(), key, client, id) })
		if err := w.DeletePasskey(t.Context(), p, client, id); err != nil {
			t.Fatal(err)
		}
		got, err := w.withPasskey(d.get(w.askToSignIn()))
		refused(t, "a deleted passkey", got, err, fault.LoginFailed, "")
		w.refuses(in, "deleting it again", fault.NotFound, "", func() error { return w.DeletePasskey(t.Context(), p, client, id) })
	})
}

func TestPasskeysNeedANameAndHTTPS(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s, true)
		in := w.register("ann@example.com")
		for address, want := range map[string]string{
			"http://127.0.0.1:8000": "http://localhost:8000", "https://[::1]": "http://localhost:443", "http://vault.example": "https",
			"http://localhost:8000": "", "https://vault.example:8443": "",
		} {
			public, err := url.Parse(address)
			if err != nil {
				t.Fatal(err)
			}
			service := w.service(accounts.Deps{Store: s, Grants: w.grants, Audit: w.audit, PublicURL: public})
			host, why := service.PasskeyHost()
			_, err = service.BeginPasskeyLogin(t.Context())
			if want == "" {
				if host != public.Hostname() || why != "" || err != nil {
					t.Errorf("%s: host %q, %q, %v, want passkeys of the host", address, host, why, err)
				}
				continue
			}
			if host != "" || !strings.Contains(why, want) || fault.CodeOf(err) != fault.Conflict {
				t.Errorf("%s: host %q, %q, %v, want none, and how to mend it", address, host, why, err)
			}
			for name, do := range map[string]func(context.Context) error{
				"adding": func(ctx context.Context) error {
					_, err := service.BeginPasskey(ctx, w.principal(in), client, "phone", password, "")
					return err
				},
				"added": func(ctx context.Context) error {
					return service.AddPasskey(ctx, w.principal(in), client, "phone", accounts.PasskeyAnswer{})
				},
				"signing in": func(ctx context.Context) error {
					_, err := service.LoginPasskey(ctx, accounts.PasskeyAnswer{}, client)
					return err
				},
			} {
				if err := do(t.Context()); fault.CodeOf(err) != fault.Conflict {
					t.Errorf("%s: %s: %v, want CONFLICT", address, name, err)
				}
			}
		}
	})
}
