package store_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

// patience is for what must come; nothing waits this long unless it failed.
const patience = 30 * time.Second

type news struct {
	what    string // "up", "down", "changed"
	account uuid.UUID
	err     error
}

// listen starts Listen and returns what it says, and how to end it. Ending
// waits for it.
func listen(t *testing.T, s *store.Store) (heard <-chan news, end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	all := make(chan news, 1000)
	done := make(chan error, 1)
	go func() {
		done <- s.Listen(ctx, store.ListenFuncs{
			Up:      func() { all <- news{what: "up"} },
			Down:    func(err error) { all <- news{what: "down", err: err} },
			Changed: func(id uuid.UUID) { all <- news{what: "changed", account: id} },
		})
	}()
	ended := false
	end = func() {
		if !ended {
			ended = true
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Listen: got error %v at its end, want none", err)
			}
		}
	}
	t.Cleanup(end)
	return all, end
}

// await returns the next news of a kind and passes over others.
func await(t *testing.T, heard <-chan news, match func(news) bool) news {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		select {
		case n := <-heard:
			if match(n) {
				return n
			}
		case <-timeout.C:
			t.Fatalf("nothing was heard in %v", patience)
		}
	}
}

func is(what string) func(news) bool { return func(n news) bool { return n.what == what } }

func changedOf(id uuid.UUID) func(news) bool {
	return func(n news) bool { return n.what == "changed" && n.account == id }
}

func TestListenerIsUpUntilItsContextEnds(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		heard, end := listen(t, s)
		await(t, heard, is("up"))
		end()
		if n := await(t, heard, is("down")); n.err == nil {
			t.Fatal("down: got no reason, want one")
		}
	})
}

func TestReplicaHearsOfEveryKindOfChange(t *testing.T) {
	t.Parallel()
	url := storetest.URL(t, store.Postgres)
	here, there := storetest.Open(t, url), storetest.Open(t, url)
	heard, _ := listen(t, here)
	await(t, heard, is("up"))

	vault := newVault(t, there, models.ModeWebhook)
	account := vault.AccountID
	grant, key := newGrant(t, there, account)
	agent := newAgent(t, there, account)
	credential, token := grantOf(t, agent, "github"), newToken(t, vault, "github")
	binding := newBinding(t, vault, models.BindingActive)
	key.Slot = 2
	heardOf := func(what string, do func() error) {
		t.Helper()
		t.Log(what)
		drain(t, there, heard)
		ok(t, do())
		await(t, heard, changedOf(account))
	}
	ctx := t.Context()
	heardOf("lock", func() error { return there.SetAccountLock(ctx, account, &at) })
	heardOf("binding", func() error { return there.PutBinding(ctx, &binding) })
	heardOf("pending", func() error { return there.DeletePendingBindings(ctx, account) })
	heardOf("add key", func() error { return there.AddGrantKey(ctx, &key) })
	heardOf("delete keys", func() error { return there.DeleteGrantKeys(ctx, account, grant.ID, nil) })
	heardOf("end grant", func() error { return there.EndGrant(ctx, account, grant.ID, at) })
	heardOf("update agent", func() error { return there.UpdateAgent(ctx, &agent) })
	heardOf("put credential grant", func() error { return there.PutCredentialGrant(ctx, &credential) })
	heardOf("delete credential grant", func() error { return there.DeleteCredentialGrant(ctx, account, agent.ID, "github") })
	heardOf("put token", func() error { return there.PutToken(ctx, &token) })
	heardOf("delete token", func() error { return there.DeleteToken(ctx, account, vault.ID, "github") })
	heardOf("sync", func() error {
		return first(there.SyncTokens(ctx, account, vault.ID, []models.Token{reported("gitlab", "1")}, true))
	})
	heardOf("delete agent", func() error { return there.DeleteAgent(ctx, account, agent.ID) })
}

// drain waits for news of an account that is made for this, and thereby for all
// news before it.
func drain(t *testing.T, s *store.Store, heard <-chan news) {
	t.Helper()
	await(t, heard, changedOf(newAccount(t, s).ID))
}

func TestReplicaHearsNothingOfUndoneTransactionsNorOfEachAccountTwice(t *testing.T) {
	t.Parallel()
	url := storetest.URL(t, store.Postgres)
	here, there := storetest.Open(t, url), storetest.Open(t, url)
	undone, done := newAccount(t, there).ID, newAccount(t, there).ID
	heard, _ := listen(t, here)
	await(t, heard, is("up"))
	wantErr(t, there.InTx(t.Context(), func(ctx context.Context) error {
		ok(t, there.SetAccountLock(ctx, undone, &at))
		return errUndo
	}), errUndo)
	ok(t, there.InTx(t.Context(), func(ctx context.Context) error {
		ok(t, there.SetAccountLock(ctx, done, &at))
		return there.SetAccountLock(ctx, done, nil)
	}))
	last := newAccount(t, there).ID
	times := map[uuid.UUID]int{}
	await(t, heard, func(n news) bool {
		times[n.account]++
		return n.account == last
	})
	same(t, "news of the undone and of the done transaction", []int{times[undone], times[done]}, []int{0, 1})
}

func TestListenerPassesOverWhatIsNoAccount(t *testing.T) {
	t.Parallel()
	url := storetest.URL(t, store.Postgres)
	s := storetest.Open(t, url)
	heard, _ := listen(t, s)
	await(t, heard, is("up"))
	for _, payload := range []string{"", "nonsense", strings.Repeat("x", 7000)} {
		_, err := rawDB(t, store.Postgres, url).ExecContext(t.Context(), "SELECT pg_notify('tokenvault_changes_' || current_schema(), $1)", payload)
		ok(t, err)
	}
	drain(t, s, heard)
}

// terminate ends the backends of this test's connections whose last statement
// matches this.
func terminate(t *testing.T, url, pattern string) {
	t.Helper()
	// Materialized: the server must not end a backend before it has looked whose
	// it is.
	ended := texts(t, rawDB(t, store.Postgres, url), `WITH mine AS MATERIALIZED (
			SELECT pid FROM pg_stat_activity WHERE application_name = current_setting('application_name')
			AND query ~ $1 AND pid <> pg_backend_pid()
		) SELECT pid::text FROM mine WHERE pg_terminate_backend(pid, 10000)`, pattern)
	if len(ended) != 1 {
		t.Fatalf("got %d backends ended, want 1", len(ended))
	}
}

func TestListenerComesBackAfterItsBackendWasEnded(t *testing.T) {
	t.Parallel()
	url := storetest.URL(t, store.Postgres)
	here, there := storetest.Open(t, url), storetest.Open(t, url)
	heard, _ := listen(t, here)
	await(t, heard, is("up"))
	terminate(t, url, "^(LISTEN |-- ping)") // the latter is a heartbeat
	if n := await(t, heard, is("down")); n.err == nil {
		t.Fatal("down: got no reason, want one")
	}
	await(t, heard, is("up"))
	account := newAccount(t, there).ID
	await(t, heard, changedOf(account))
}

func TestListenerNoticesAHalfOpenConnection(t *testing.T) {
	t.Parallel()
	p, through, direct := viaProxy(t)
	here, err := store.Open(t.Context(), store.Options{URL: through}) // as in production: it is found soon
	ok(t, err)
	t.Cleanup(func() { ok(t, here.Close()) })
	there := storetest.Open(t, direct)
	heard, _ := listen(t, here)
	await(t, heard, is("up"))
	p.freeze()
	await(t, heard, is("down"))
	await(t, heard, is("up"))
	account := newAccount(t, there).ID
	await(t, heard, changedOf(account))
}

func TestListenerSurvivesSilence(t *testing.T) {
	t.Parallel()
	p, through, direct := viaProxy(t)
	here, there := storetest.Open(t, through), storetest.Open(t, direct)
	heard, _ := listen(t, here)
	await(t, heard, is("up"))
	select {
	case <-p.nextRequest(): // a heartbeat
	case <-time.After(patience):
		t.Fatal("no heartbeat was sent")
	}
	account := newAccount(t, there).ID
	await(t, heard, func(n news) bool {
		if n.what != "changed" {
			t.Fatalf("got %q (%v) after a heartbeat, want that the listener stays up", n.what, n.err)
		}
		return n.account == account
	})
}
