package accounts_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/accounts"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

func TestOneRegistersSignsInAndSignsOut(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s, false)
		first := w.register(" Ann@Example.COM ")
		p := w.signedIn(first)
		if life := time.Until(first.ExpiresAt); life > grants.SessionTokenLife || life < grants.SessionTokenLife-time.Minute {
			t.Errorf("the session lasts %v, want %v", life, grants.SessionTokenLife)
		}
		account, err := w.Account(t.Context(), p)
		if err != nil || account.Email != "ann@example.com" || account.DisplayName != "A" || account.ID != first.AccountID {
			t.Errorf("Account = %+v, %v", account, err)
		}
		second, err := w.Login(t.Context(), accounts.LoginInput{Email: "ANN@example.com", Password: password}, client)
		if err != nil {
			t.Fatalf("Login: %v", err)
		}
		if w.signedIn(second); second.AccountID != first.AccountID || second.GrantID == first.GrantID {
			t.Errorf("login gave %+v after %+v, want another session of the same account", second, first)
		}
		for range 2 { // signing out twice is no mistake
			if err := w.Logout(t.Context(), p, client); err != nil {
				t.Fatalf("Logout: %v", err)
			}
		}
		if _, err := w.grants.Authenticate(t.Context(), first.Token.Reveal(), models.GrantSession); fault.CodeOf(err) != fault.InvalidKey {
			t.Errorf("after signing out: %v, want INVALID_KEY", err)
		}
		w.signedIn(second)
		want := []string{"sign_in ok registered", "sign_in ok ", "sign_in ok signed out", "sign_in ok signed out"}
		if got := w.events(first.AccountID); !slices.Equal(got, want) {
			t.Errorf("on record is %q, want %q", got, want)
		}
		if got := w.sessions(first.AccountID); got != 1 {
			t.Errorf("%d sessions, want 1", got)
		}
	})
}

func TestAWrongEmailAndAWrongPasswordAnswerAlikeForTheSameWork(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s, false)
		known := w.register("ann@example.com")
		var answers []error
		for _, c := range []struct {
			name, email, password string
			account               uuid.UUID // whose record tells
		}{
			{"wrong password", "ann@example.com", "wrong horse battery", known.AccountID},
			{"wrong e-mail", "bob@example.com", password, uuid.Nil},
			{"no e-mail address", "ann", password, uuid.Nil},
			{"an e-mail that no database keeps", "ann\x00@example.com\xff", password, uuid.Nil},
		} {
			derived, recorded := w.derived.Load(), len(w.events(c.account))
			in, err := w.Login(t.Context(), accounts.LoginInput{Email: c.email, Password: c.password}, client)
			refused(t, c.name, in, err, fault.LoginFailed, "")
			answers = append(answers, err)
			if got := w.derived.Load() - derived; got != 1 {
				t.Errorf("%s: %d derivations, want 1", c.name, got)
			}
			events := w.events(c.account)
			if len(events)-recorded != 1 || events[len(events)-1] != "sign_in LOGIN_FAILED " {
				t.Errorf("%s: on record is %q, want one refusal more than %d events", c.name, events, recorded)
			}
		}
		for _, err := range answers[1:] {
			if err.Error() != answers[0].Error() {
				t.Errorf("answers differ: %v and %v", answers[0], err)
			}
		}
		if got := w.sessions(known.AccountID); got != 1 {
			t.Errorf("%d sessions, want that of the registration alone", got)
		}
	})
}

func TestOfFiftyWhoRegisterAtOnceOnAClosedServerOneSucceeds(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s, false)
		var mu sync.Mutex
		codes := map[fault.Code]int{}
		var winner accounts.SignIn
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				in, err := w.Register(t.Context(), accounts.RegisterInput{Email: models.NewID().String() + "@example.com", Password: password}, client)
				mu.Lock()
				defer mu.Unlock()
				codes[fault.CodeOf(err)]++
				if err == nil {
					winner = in
				}
			})
		}
		wg.Wait()
		if len(codes) != 2 || codes[""] != 1 || codes[fault.RegistrationClosed] != 49 {
			t.Fatalf("answers %v, want one success and 49 REGISTRATION_CLOSED", codes)
		}
		w.signedIn(winner)
		if open, err := w.RegistrationOpen(t.Context()); open || err != nil {
			t.Errorf("registration is open: %v, %v; want closed", open, err)
		}
	})
}

func TestOfTenWhoRegisterOneEmailAtOnceOneSucceeds(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s, true)
		var mu sync.Mutex
		codes := map[fault.Code]int{}
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				_, err := w.Register(t.Context(), accounts.RegisterInput{Email: "ann@example.com", Password: password}, client)
				mu.Lock()
				defer mu.Unlock()
				codes[fault.CodeOf(err)]++
			})
		}
		wg.Wait()
		if len(codes) != 2 || codes[""] != 1 || codes[fault.Conflict] != 9 {
			t.Errorf("answers %v, want one success and 9 CONFLICT", codes)
		}
	})
}

func TestARefusedRegistrationLeavesNothing(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s, false)
		if open, err := w.RegistrationOpen(t.Context()); !open || err != nil {
			t.Fatalf("registration for the first account is open: %v, %v", open, err)
		}
		// The first account's grant cannot be stored: nothing of it stays, and the
		// next one is still the first.
		broken := w.service(accounts.Deps{Store: s, Grants: brokenGrants{}, Audit: w.audit})
		in, err := broken.Register(t.Context(), accounts.RegisterInput{Email: "ann@example.com", Password: password}, client)
		refused(t, "without a grant", in, err, fault.Internal, "")
		if has, err := s.HasAccounts(t.Context()); has || err != nil {
			t.Fatalf("there are accounts: %v, %v", has, err)
		}
		ann := w.register("ann@example.com")

		in, err = w.Register(t.Context(), accounts.RegisterInput{Email: "bob@example.com", Password: password}, client)
		refused(t, "on a closed server", in, err, fault.RegistrationClosed, "")
		if _, err := s.AccountByEmail(t.Context(), "bob@example.com"); !errors.Is(err, models.ErrNotFound) {
			t.Errorf("the refused account: %v, want ErrNotFound", err)
		}

		open := w.service(accounts.Deps{Store: s, Grants: w.grants, Audit: w.audit, OpenRegistration: true})
		derived := w.derived.Load()
		in, err = open.Register(t.Context(), accounts.RegisterInput{Email: "Ann@example.com", Password: "another password"}, client)
		refused(t, "a taken e-mail", in, err, fault.Conflict, "")
		if got := w.derived.Load() - derived; got != 0 {
			t.Errorf("a taken e-mail cost %d derivations, want none", got)
		}
		if _, err := w.Login(t.Context(), accounts.LoginInput{Email: "ann@example.com", Password: password}, client); err != nil {
			t.Errorf("the first owner's password: %v", err)
		}
		if got := w.sessions(ann.AccountID); got != 2 {
			t.Errorf("%d sessions, want 2", got)
		}
	})
}

type brokenGrants struct{}

func (brokenGrants) Issue(context.Context, grants.IssueInput) (grants.Issued, error) {
	return grants.Issued{}, errors.New("broken")
}
func (brokenGrants) End(context.Context, uuid.UUID, uuid.UUID) error { return errors.New("broken") }

// A record that refuses everything.
type noRecord struct{}

func (noRecord) Record(context.Context, audit.Event) error {
	return fault.New(fault.Unavailable, "The audit record cannot be written.")
}

func (r noRecord) Do(ctx context.Context, e audit.Event, _ func(context.Context) error) error {
	return r.Record(ctx, e)
}

func TestWithoutARecordNobodySignsInOrOut(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s, true)
		ann := w.register("ann@example.com")
		silent := w.service(accounts.Deps{Store: s, Grants: w.grants, Audit: noRecord{}, OpenRegistration: true})
		in, err := silent.Register(t.Context(), accounts.RegisterInput{Email: "bob@example.com", Password: password}, client)
		refused(t, "register", in, err, fault.Unavailable, "")
		in, err = silent.Login(t.Context(), accounts.LoginInput{Email: "ann@example.com", Password: password}, client)
		refused(t, "login", in, err, fault.Unavailable, "")
		in, err = silent.Login(t.Context(), accounts.LoginInput{Email: "ann@example.com", Password: "wrong password"}, client)
		refused(t, "a wrong login", in, err, fault.Unavailable, "")
		if err := silent.Logout(t.Context(), w.signedIn(ann), client); fault.CodeOf(err) != fault.Unavailable {
			t.Errorf("logout: %v, want UNAVAILABLE", err)
		}
		w.signedIn(ann)
		if got := w.sessions(ann.AccountID); got != 1 {
			t.Errorf("%d sessions, want 1", got)
		}
		if _, err := s.AccountByEmail(t.Context(), "bob@example.com"); !errors.Is(err, models.ErrNotFound) {
			t.Errorf("the unrecorded account: %v, want ErrNotFound", err)
		}
	})
}

func TestWhatPeopleTypeIsLimited(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s, true)
		long := func(n int) string { return strings.Repeat("a", n) }
		local := long(accounts.MaxEmail - len("@example.com"))
		for _, c := range []struct{ name, email, password, display, field string }{
			{"the longest e-mail", local + "@example.com", password, "", ""},
			{"a longer e-mail", local + "a@example.com", password, "", "email"},
			{"no e-mail", "", password, "", "email"},
			{"spaces for an e-mail", "   ", password, "", "email"},
			{"no at", "ann.example.com", password, "", "email"},
			{"a name with the e-mail", "Ann <ann@example.com>", password, "", "email"},
			{"two e-mails", "ann@example.com, bob@example.com", password, "", "email"},
			{"a comment in the e-mail", "ann(x)@example.com", password, "", "email"},
			{"a line break in the e-mail", "ann@exam\nple.com", password, "", "email"},
			{"a zero byte in the e-mail", "ann\x00@example.com", password, "", "email"},
			{"broken UTF-8 in the e-mail", "ann\xff@example.com", password, "", "email"},
			{"what JSON makes of broken UTF-8 in the e-mail", "ann\ufffd@example.com", password, "", "email"},
			{"an invisible character in the e-mail", "an\u200bn@example.com", password, "", "email"},
			{"the shortest password", "b@example.com", long(accounts.MinPassword), "", ""},
			{"the shortest password, in two bytes a character", "c@example.com", strings.Repeat("ü", accounts.MinPassword), "", ""},
			{"a shorter password", "x@example.com", long(accounts.MinPassword - 1), "", "password"},
			{"a shorter one that has bytes enough", "x@example.com", strings.Repeat("☂", accounts.MinPassword-1), "", "password"},
			{"the longest password", "d@example.com", long(accounts.MaxPassword), "", ""},
			{"a longer password", "x@example.com", long(accounts.MaxPassword + 1), "", "password"},
			{"a huge password", "x@example.com", long(1 << 20), "", "password"},
			{"broken UTF-8 in the password", "x@example.com", long(12) + "\xff", "", "password"},
			{"the longest display name", "e@example.com", password, strings.Repeat("☂", accounts.MaxDisplayName), ""},
			{"a longer display name", "x@example.com", password, strings.Repeat("☂", accounts.MaxDisplayName+1), "displayName"},
			{"a display name with a line break", "x@example.com", password, "a\nb", "displayName"},
			{"a display name with a zero byte", "x@example.com", password, "a\x00b", "displayName"},
			{"a display name with broken UTF-8", "x@example.com", password, "a\xff", "displayName"},
			{"a display name that turns the text around", "x@example.com", password, "a\u202eb", "displayName"},
		} {
			in, err := w.Register(t.Context(), accounts.RegisterInput{Email: c.email, Password: c.password, DisplayName: c.display}, client)
			if c.field == "" {
				if err != nil {
					t.Errorf("%s: %v", c.name, err)
					continue
				}
				w.signedIn(in)
				if _, err := w.Login(t.Context(), accounts.LoginInput{Email: c.email, Password: c.password}, client); err != nil {
					t.Errorf("%s: login: %v", c.name, err)
				}
				continue
			}
			refused(t, c.name, in, err, fault.InvalidRequest, c.field)
			if _, err := s.AccountByEmail(t.Context(), "x@example.com"); !errors.Is(err, models.ErrNotFound) {
				t.Fatalf("%s: the account: %v, want ErrNotFound", c.name, err)
			}
		}
		derived := w.derived.Load()
		for _, c := range []struct{ name, email, password, field string }{
			{"no e-mail", "", password, "email"},
			{"a long e-mail", long(accounts.MaxEmail + 1), password, "email"},
			{"no password", "b@example.com", "", "password"},
			{"a long password", "b@example.com", long(accounts.MaxPassword + 1), "password"},
		} {
			in, err := w.Login(t.Context(), accounts.LoginInput{Email: c.email, Password: c.password}, client)
			refused(t, "login with "+c.name, in, err, fault.InvalidRequest, c.field)
		}
		if got := w.derived.Load() - derived; got != 0 {
			t.Errorf("refused input cost %d derivations, want none", got)
		}
	})
}

func TestAClientsWordsAreCutBeforeTheyAreStored(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s, false)
		in, err := w.Register(t.Context(), accounts.RegisterInput{Email: "ann@example.com", Password: password},
			audit.Client{UserAgent: "a\x00\xff\n\u202e" + strings.Repeat("☂", 1000), Address: "192.0.2.1"})
		if err != nil {
			t.Fatal(err)
		}
		all, err := s.Grants(t.Context(), in.AccountID)
		if err != nil || len(all) != 1 {
			t.Fatalf("%d grants, %v", len(all), err)
		}
		if got, want := all[0].Client, "a"+strings.Repeat("☂", 66); got != want || all[0].Address != "192.0.2.1" {
			t.Errorf("stored %q from %q, want %q", got, all[0].Address, want)
		}
	})
}

func TestNoPasswordIsInLogsErrorsOrTheDatabase(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s, false)
		const canary = "canary-password-7261"
		var said strings.Builder
		say := func(err error) {
			if err != nil {
				said.WriteString(err.Error())
			}
		}
		ann, err := w.Register(t.Context(), accounts.RegisterInput{Email: "ann@example.com", Password: canary}, client)
		say(err)
		for _, in := range []accounts.RegisterInput{
			{Email: canary, Password: canary}, {Email: "x@example.com", Password: canary + "\xff"},
			{Email: "bob@example.com", Password: canary}, {Email: "x@example.com", Password: strings.Repeat(canary, 100)},
		} {
			_, err := w.Register(t.Context(), in, client)
			say(err)
		}
		for _, in := range []accounts.LoginInput{
			{Email: "ann@example.com", Password: canary + "x"}, {Email: canary, Password: canary},
			{Email: "ann@example.com", Password: strings.Repeat(canary, 100)},
		} {
			_, err := w.Login(t.Context(), in, client)
			say(err)
		}
		account, err := s.Account(t.Context(), ann.AccountID)
		if err != nil || !strings.HasPrefix(string(account.PasswordHash), "$argon2id$v=19$m=19456,t=2,p=1,keyid=AA$") {
			t.Fatalf("stored hash %.40q, %v", string(account.PasswordHash), err)
		}
		said.WriteString(string(account.PasswordHash))
		for _, id := range []uuid.UUID{ann.AccountID, uuid.Nil} {
			said.WriteString(strings.Join(w.events(id), "\n"))
		}
		if text := said.String() + w.log.String(); strings.Contains(text, "canary") {
			t.Errorf("the password is in: %s", text)
		}
	})
}

func TestSigningInBringsAPasswordUnderTheNewServerKey(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s, false)
		const old, fresh = "1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "2:HxwdHhscGRoXGBUWExQREg8QDQ4LDAkKBwgFBgMEAQI="
		under := func(ring string) *accounts.Service {
			return w.service(accounts.Deps{Store: s, Keys: parse(t, ring), Grants: w.grants, Audit: w.audit})
		}
		hash := func() string {
			account, err := s.AccountByEmail(t.Context(), "ann@example.com")
			if err != nil {
				t.Fatal(err)
			}
			return string(account.PasswordHash)
		}
		if _, err := under(old).Register(t.Context(), accounts.RegisterInput{Email: "ann@example.com", Password: password}, client); err != nil {
			t.Fatal(err)
		}
		before := hash()
		if err := login(t, under(fresh+","+old), "ann@example.com", "wrong password"); fault.CodeOf(err) != fault.LoginFailed || hash() != before {
			t.Errorf("a wrong password: %v, and the hash changed: %v; want LOGIN_FAILED and not", err, hash() != before)
		}
		if err := login(t, under(fresh+","+old), "ann@example.com", password); err != nil {
			t.Fatal(err)
		}
		if got := hash(); !strings.Contains(got, "keyid=Ag$") {
			t.Errorf("the hash after the sign-in is %.50q, want it under key 2", got)
		}
		if err := login(t, under(fresh), "ann@example.com", password); err != nil {
			t.Errorf("without the old key: %v", err)
		}
		if err := login(t, under(old), "ann@example.com", password); fault.CodeOf(err) != fault.Internal {
			t.Errorf("without the key of the hash: %v, want INTERNAL", err)
		}
	})
}
