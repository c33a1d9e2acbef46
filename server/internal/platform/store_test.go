package platform_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/platform"
)

func TestWhatIsStoredIsRevealedAndOnlyAsCiphertextInTheDatabase(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p := w.session()
		text := `{"tokenType": "OAuth", "accessToken": "access-1", "refreshToken": "refresh-1", "scope": "repo", "provider": "github",
			"expiresAt": "2031-01-02T03:04:05Z", "displayName": "Mine", "notes": "for work", "tags": ["a", "b"], "allowedHosts": ["api.github.com"]}`
		w.audit.take()
		token, err := w.Store(t.Context(), p, audit.Client{Address: "192.0.2.1"}, ref("github"), fieldsOf(t, text))
		w.must(err)
		if events := w.audit.take(); len(events) != 1 || events[0].Type != audit.Store || events[0].Service != "github" || events[0].Client.Address != "192.0.2.1" {
			t.Errorf("recorded %+v, want one store event", events)
		}
		if token.DisplayName != "Mine" || token.Notes != "for work" || !reflect.DeepEqual(token.Tags, []string{"a", "b"}) || token.Provider != "github" ||
			!token.HasRefreshToken || token.ExpiresAt == nil || !token.ExpiresAt.Equal(time.Date(2031, 1, 2, 3, 4, 5, 0, time.UTC)) || token.TokenType != "OAuth" {
			t.Errorf("the readable part is %+v", token)
		}
		sealed := w.credential(token)
		for _, secret := range []string{"access-1", "refresh-1", "api.github.com"} {
			if strings.Contains(string(sealed.Sealed), secret) {
				t.Errorf("%q stands in the database in the clear", secret)
			}
		}
		got, err := w.Reveal(t.Context(), p, audit.Client{}, ref("github"))
		w.must(err)
		for field, want := range map[string]any{"accessToken": "access-1", "refreshToken": "refresh-1", "scope": "repo", "displayName": "Mine",
			"serviceName": "github", "tokenType": "OAuth", "provider": "github"} {
			if got[field] != want {
				t.Errorf("revealed %s = %v, want %v", field, got[field], want)
			}
		}
		if events := w.audit.take(); len(events) != 1 || events[0].Type != audit.Reveal {
			t.Errorf("recorded %+v, want one reveal event", events)
		}
	})
}

func TestReplacingKeepsIDNotesAndEpochAndRaisesTheVersion(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p := w.session()
		first, err := w.Store(t.Context(), p, audit.Client{}, ref("github"), fieldsOf(t, `{"tokenType": "PlainText", "accessToken": "one", "notes": "kept", "tags": ["x"]}`))
		w.must(err)
		before := w.credential(first)
		second, err := w.Store(t.Context(), p, audit.Client{}, ref("github"), fieldsOf(t, `{"tokenType": "JWT", "accessToken": "two", "tags": ["y"]}`))
		w.must(err)
		after := w.credential(second)
		if second.ID != first.ID || second.Notes != "kept" || !reflect.DeepEqual(second.Tags, []string{"y"}) || second.CreationID == first.CreationID || second.TokenType != "JWT" {
			t.Errorf("got %+v after %+v", second, first)
		}
		if after.Version != before.Version+1 || after.Epoch != before.Epoch || after.Generation != before.Generation {
			t.Errorf("version, epoch, generation went from %d, %d, %d to %d, %d, %d", before.Version, before.Epoch, before.Generation, after.Version, after.Epoch, after.Generation)
		}
		w.reveals(p, "github", "two")
	})
}

func TestCredentialsAreKeyedByOwnerBridgeServiceAndScheme(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p := w.session()
		refs := []platform.Ref{{Service: "api"}, {Service: "api", Scheme: "oauth"}, {Service: "api", Bridge: "b"}, {Owner: "o", Bridge: "b", Service: "api", Scheme: "key"}}
		for i, r := range refs {
			_, err := w.Store(t.Context(), p, audit.Client{}, r, fieldsOf(t, plain(fmt.Sprint("secret-", i))))
			w.must(err)
		}
		for i, r := range refs {
			got, err := w.Reveal(t.Context(), p, audit.Client{}, r)
			if err != nil || got["accessToken"] != fmt.Sprint("secret-", i) {
				t.Errorf("%+v: got %v, %v, want secret-%d", r, got["accessToken"], err, i)
			}
		}
		w.must(w.Delete(t.Context(), p, audit.Client{}, refs[1]))
		if all, err := w.Tokens(t.Context(), p); err != nil || len(all) != 3 {
			t.Errorf("after one of four was deleted there are %d, %v", len(all), err)
		}
		_, err := w.Reveal(t.Context(), p, audit.Client{}, refs[1])
		w.refused(err, fault.TokenNotFound)
	})
}

func TestBadInputIsRefusedAndChangesNothing(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p := w.session()
		token := w.put(p, "github", "kept")
		before := w.credential(token)
		w.audit.take()
		for name, c := range map[string]struct {
			ref   platform.Ref
			text  string
			field string
		}{
			"no service name":   {ref(""), plain("x"), "serviceName"},
			"a reserved name":   {ref("audit-log"), plain("x"), "serviceName"},
			"a long owner":      {platform.Ref{Service: "github", Owner: strings.Repeat("o", 129)}, plain("x"), "owner"},
			"a bridge with NUL": {platform.Ref{Service: "github", Bridge: "b\x00"}, plain("x"), "bridge"},
			"nothing":           {ref("github"), `{}`, "tokenData"},
			"no secret":         {ref("github"), `{"tokenType": "PlainText"}`, "tokenData.accessToken"},
			"an unknown type":   {ref("github"), `{"tokenType": "Magic", "accessToken": "x"}`, "tokenData.tokenType"},
			"a bad host":        {ref("github"), `{"tokenType": "PlainText", "accessToken": "x", "allowedHosts": 7}`, "tokenData.allowedHosts"},
			"no SSH key":        {ref("github"), `{"tokenType": "SSHKey", "sshPrivateKey": "hello"}`, "tokenData.sshPrivateKey"},
			"a bad expiry":      {ref("github"), `{"tokenType": "PlainText", "accessToken": "x", "expiresAt": "tomorrow"}`, "tokenData.expiresAt"},
		} {
			_, err := w.Store(t.Context(), p, audit.Client{}, c.ref, fieldsOf(t, c.text))
			if f := fault.From(err); err == nil || f.Code != fault.InvalidRequest || f.Field != c.field {
				t.Errorf("%s: got %v (field %q), want INVALID_REQUEST of %s", name, err, fault.From(err).Field, c.field)
			}
		}
		if after := w.credential(token); !reflect.DeepEqual(after, before) {
			t.Error("the stored credential has changed")
		}
		if events := w.audit.take(); len(events) != 0 {
			t.Errorf("recorded %+v of what was not done", events)
		}
		w.reveals(p, "github", "kept")
	})
}

func TestACredentialThatIsTooLongIsRefused(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p := w.session()
		big := strings.Repeat("x", 200<<10)
		text := fmt.Sprintf(`{"tokenType": "OAuth", "accessToken": %q, "refreshToken": %q, "password": %q}`, big, big, big)
		_, err := w.Store(t.Context(), p, audit.Client{}, ref("github"), fieldsOf(t, text))
		w.refused(err, fault.TooLarge)
		if all, err := w.Tokens(t.Context(), p); err != nil || len(all) != 0 {
			t.Errorf("stored all the same: %v, %v", all, err)
		}
	})
}

func TestALockedVaultNeitherTakesNorGives(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p, a := w.session(), w.agent("a")
		token := w.put(p, "github", "secret")
		w.grant(p, a, token)
		w.releases(a, token, "secret")
		now := models.Stamp(w.clock.now())
		w.must(w.store.SetAccountLock(t.Context(), w.account, &now))
		_, err := w.Store(t.Context(), p, audit.Client{}, ref("other"), fieldsOf(t, plain("x")))
		w.refused(err, fault.VaultLocked)
		_, err = w.Reveal(t.Context(), p, audit.Client{}, ref("github"))
		w.refused(err, fault.VaultLocked)
		_, err = w.TOTPCode(t.Context(), p, audit.Client{}, ref("github"))
		w.refused(err, fault.VaultLocked)
		w.releaseRefused(a, token, fault.VaultLocked)
		w.must(w.store.SetAccountLock(t.Context(), w.account, nil))
		w.releases(a, token, "secret")
		w.reveals(p, "github", "secret")
	})
}

func TestALockThatComesWhileARevealIsRecordedHolds(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p := w.session()
		w.put(p, "github", "secret")
		now := models.Stamp(w.clock.now())
		w.audit.during = func() { w.must(w.store.SetAccountLock(t.Context(), w.account, &now)) }
		got, err := w.Reveal(t.Context(), p, audit.Client{}, ref("github"))
		w.refused(err, fault.VaultLocked)
		if got != nil {
			t.Errorf("got %v all the same", got)
		}
	})
}

// lastLooks lets something happen right after an account was looked at.
type lastLooks struct {
	*store.Store
	then func()
}

func (l *lastLooks) Account(ctx context.Context, id uuid.UUID) (models.Account, error) {
	account, err := l.Store.Account(ctx, id)
	if then := l.then; then != nil {
		l.then = nil
		then()
	}
	return account, err
}

func TestALockThatComesWhileACredentialIsReadHolds(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		looks := &lastLooks{Store: s}
		w := newWorldWith(t, s, func(d *platform.Deps) { d.Accounts = looks })
		p := w.session()
		w.put(p, "github", "secret")
		now := models.Stamp(w.clock.now())
		w.audit.during = func() {
			looks.then = func() { w.must(s.SetAccountLock(t.Context(), w.account, &now)) }
		}
		got, err := w.Reveal(t.Context(), p, audit.Client{}, ref("github"))
		w.refused(err, fault.VaultLocked)
		if got != nil {
			t.Errorf("got %v all the same", got)
		}
	})
}

func TestWithoutARecordNothingIsStoredNorRevealed(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p := w.session()
		w.put(p, "github", "secret")
		away := errors.New("the record is away")
		w.audit.away = away
		if got, err := w.Reveal(t.Context(), p, audit.Client{}, ref("github")); got != nil || !errors.Is(err, away) {
			t.Errorf("revealed %v, %v", got, err)
		}
		if _, err := w.Store(t.Context(), p, audit.Client{}, ref("github"), fieldsOf(t, plain("other"))); !errors.Is(err, away) {
			t.Errorf("stored: %v", err)
		}
		if err := w.Delete(t.Context(), p, audit.Client{}, ref("github")); !errors.Is(err, away) {
			t.Errorf("deleted: %v", err)
		}
		w.audit.away = nil
		w.reveals(p, "github", "secret")
	})
}

// bind says that the account has a webhook.
func (w *world) bind() {
	w.t.Helper()
	now := models.Stamp(w.clock.now())
	v := models.Vault{AccountID: w.account, ID: models.NewID(), Mode: models.ModeWebhook, CreatedAt: now}
	w.must(w.store.CreateVault(w.t.Context(), &v))
	b := models.Binding{AccountID: w.account, ID: models.NewID(), VaultID: v.ID, State: models.BindingPending, URL: "https://hook.example.com", CreatedAt: now}
	w.must(w.ring.SealWebhookSecret(&b, []byte("secret")))
	w.must(b.Activate(now))
	w.must(w.store.PutBinding(w.t.Context(), &b))
}

func TestWhileAWebhookIsBoundOnlyWhatComesBackIsStoredAndTheRestStaysReadable(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p := w.session()
		w.put(p, "github", "secret")
		w.bind()
		_, err := w.Store(t.Context(), p, audit.Client{}, ref("other"), fieldsOf(t, plain("x")))
		w.refused(err, fault.WrongVaultMode)
		w.reveals(p, "github", "secret")
		back := func(service string) models.Token {
			return models.Token{AccountID: w.account, ID: models.NewID(), ServiceName: service, TokenType: "PlainText", CreationID: "1"}
		}
		_, err = w.TakeBack(t.Context(), p, audit.Client{}, back("back"), fieldsOf(t, plain("from the webhook")))
		w.must(err)
		w.reveals(p, "back", "from the webhook")
		w.must(w.Delete(t.Context(), p, audit.Client{}, ref("github")))

		late := w.session()
		if late.VaultID != (models.Vault{}).ID {
			t.Errorf("a session of webhook mode has the vault %s", late.VaultID)
		}
		if all, err := w.Tokens(t.Context(), late); err != nil || len(all) != 0 {
			t.Errorf("without a vault: %v, %v, want none", all, err)
		}
		_, err = w.Reveal(t.Context(), late, audit.Client{}, ref("back"))
		w.refused(err, fault.TokenNotFound)
		_, err = w.TakeBack(t.Context(), late, audit.Client{}, back("mine"), fieldsOf(t, plain("its own")))
		w.must(err)
		w.reveals(late, "mine", "its own")
	})
}

func TestEachSessionHasAVaultOfItsOwnAndAnAPIKeyThatOfItsSession(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		one, two := w.session(), w.session()
		key := w.apiKey(one)
		w.put(one, "github", "one's")
		w.put(two, "github", "two's")
		w.reveals(one, "github", "one's")
		w.reveals(two, "github", "two's")
		w.reveals(key, "github", "one's")
		w.put(key, "gitlab", "by the key")
		w.reveals(one, "gitlab", "by the key")
		_, err := w.Reveal(t.Context(), two, audit.Client{}, ref("gitlab"))
		w.refused(err, fault.TokenNotFound)
	})
}

func TestAnAgentsKeyDoesNothingToAVault(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p, a := w.session(), w.agent("a")
		w.put(p, "github", "secret")
		ctx, c := t.Context(), audit.Client{}
		for name, do := range map[string]func() error{
			"store":      func() error { _, err := w.Store(ctx, a.Principal, c, ref("x"), fieldsOf(t, plain("x"))); return err },
			"reveal":     func() error { _, err := w.Reveal(ctx, a.Principal, c, ref("github")); return err },
			"code":       func() error { _, err := w.TOTPCode(ctx, a.Principal, c, ref("github")); return err },
			"list":       func() error { _, err := w.Tokens(ctx, a.Principal); return err },
			"look":       func() error { _, err := w.Token(ctx, a.Principal, ref("github")); return err },
			"superseded": func() error { _, err := w.Superseded(ctx, a.Principal); return err },
			"delete":     func() error { return w.Delete(ctx, a.Principal, c, ref("github")) },
			"metadata": func() error {
				_, err := w.UpdateMetadata(ctx, a.Principal, c, ref("github"), platform.MetadataInput{})
				return err
			},
		} {
			if err := do(); fault.CodeOf(err) != fault.ScopeDenied {
				t.Errorf("%s: got %v, want SCOPE_DENIED", name, err)
			}
		}
		w.reveals(p, "github", "secret")
		_, err := w.ReleaseTo(ctx, p, models.NewID())
		w.refused(err, fault.ScopeDenied)
	})
}

func TestWhatHasEndedOpensNothing(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p := w.session()
		w.put(p, "github", "secret")
		key := w.apiKey(p)
		w.must(w.grants.Revoke(t.Context(), p, audit.Client{}, key.GrantID))
		_, err := w.Reveal(t.Context(), key, audit.Client{}, ref("github"))
		w.refused(err, fault.InvalidKey)
		_, err = w.Store(t.Context(), key, audit.Client{}, ref("x"), fieldsOf(t, plain("x")))
		w.refused(err, fault.InvalidKey)
		w.refused(w.Delete(t.Context(), key, audit.Client{}, ref("github")), fault.InvalidKey)
		w.reveals(p, "github", "secret")
	})
}

func TestMetadataIsChangedWithoutTouchingTheCiphertext(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p := w.session()
		token := w.put(p, "github", "secret")
		before := w.credential(token)
		name, notes, tags := "Name", "Notes", []string{"t"}
		got, err := w.UpdateMetadata(t.Context(), p, audit.Client{}, ref("github"), platform.MetadataInput{DisplayName: &name, Notes: &notes, Tags: &tags})
		if err != nil || got.DisplayName != name || got.Notes != notes || !reflect.DeepEqual(got.Tags, tags) {
			t.Errorf("got %+v, %v", got, err)
		}
		stored, err := w.Token(t.Context(), p, ref("github"))
		if err != nil || stored.DisplayName != name || stored.CreationID != token.CreationID {
			t.Errorf("stored %+v, %v", stored, err)
		}
		if after := w.credential(token); !reflect.DeepEqual(after, before) {
			t.Error("the ciphertext has changed")
		}
		bad := []string{""}
		_, err = w.UpdateMetadata(t.Context(), p, audit.Client{}, ref("github"), platform.MetadataInput{Tags: &bad})
		if f := fault.From(err); err == nil || f.Code != fault.InvalidRequest || f.Field != "tags" {
			t.Errorf("an empty tag: %v", err)
		}
		_, err = w.UpdateMetadata(t.Context(), p, audit.Client{}, ref("absent"), platform.MetadataInput{Notes: &notes})
		w.refused(err, fault.TokenNotFound)
		w.refused(w.Delete(t.Context(), p, audit.Client{}, ref("absent")), fault.TokenNotFound)
		w.must(w.Delete(t.Context(), p, audit.Client{}, ref("absent"), ref("github")))
		_, err = w.Token(t.Context(), p, ref("github"))
		w.refused(err, fault.TokenNotFound)
	})
}

// crowded is a store in which every vault has as many tokens more.
type crowded struct {
	*store.Store
	more int64
}

func (c *crowded) CountTokens(ctx context.Context, accountID, vaultID uuid.UUID) (int64, error) {
	n, err := c.Store.CountTokens(ctx, accountID, vaultID)
	return n + c.more, err
}

func TestAFullVaultTakesNoMoreButReplacesWhatItHas(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		crowd := &crowded{Store: s, more: platform.MaxTokens - 1}
		w := newWorldWith(t, s, func(d *platform.Deps) { d.Tokens = crowd })
		p := w.session()
		w.put(p, "github", "the last one")
		_, err := w.Store(t.Context(), p, audit.Client{}, ref("more"), fieldsOf(t, plain("x")))
		w.refused(err, fault.Conflict)
		if all, err := w.Tokens(t.Context(), p); err != nil || len(all) != 1 {
			t.Errorf("%d tokens, %v, want 1", len(all), err)
		}
		w.put(p, "github", "replaced")
		w.reveals(p, "github", "replaced")
	})
}
