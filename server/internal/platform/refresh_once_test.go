package platform_test

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/audit"
)

// A thousand at once (fewer under the race detector), over three processes on one PostgreSQL or in one on SQLite, who
// read a token that has expired: one call at its provider, and a thousand fresh answers. Not beside this package's other
// tests: a look-up that many wait for has five seconds, and nobody shall be turned away here for the work of others.
func TestAThousandReadersOfAnExpiredTokenCauseOneCall(t *testing.T) {
	const readers = readersAtOnce
	times := 2
	if os.Getenv(roundsEnv) != "" {
		times = min(rounds(t), 50)
	}
	storetest.EachURL(t, func(t *testing.T, url string) {
		first := newRenewing(t, storetest.Open(t, url), nil)
		processes := []*renewing{first}
		if first.store.Dialect() == store.Postgres {
			processes = append(processes, first.replica(storetest.Open(t, url)), first.replica(storetest.Open(t, url)))
		}
		p := first.session()
		users := []string{p.Token.Reveal(), first.apiKey(p).Token.Reveal()}
		token := first.connect(p, "github", nil)
		var agents []agent
		for i := range 8 {
			a := first.agent(fmt.Sprint("agent-", i))
			first.grant(p, a, token)
			agents = append(agents, a)
		}
		for round := range times {
			first.expired()
			calls := first.provider.Requests()
			var mu sync.Mutex
			answers := map[string]int{}
			start := make(chan struct{})
			var wg sync.WaitGroup
			for i := range readers {
				w := processes[i%len(processes)]
				wg.Go(func() {
					<-start
					var got map[string]any
					var err error
					if i%50 == 0 { // its owner, of whom there are few
						who, failed := w.grants.Authenticate(t.Context(), users[i/50%2], models.GrantSession, models.GrantAPIKey)
						if err = failed; err == nil {
							got, err = w.Reveal(t.Context(), who, audit.Client{}, ref("github"))
						}
					} else {
						got, err = w.ReleaseTo(t.Context(), agents[i%len(agents)].Principal, token.ID)
					}
					mu.Lock()
					defer mu.Unlock()
					answer := fmt.Sprint(got["accessToken"])
					if err != nil {
						answer = err.Error()
					}
					answers[answer]++
				})
			}
			close(start)
			wg.Wait()
			if n := first.provider.Requests() - calls; n != 1 {
				t.Errorf("round %d: %d calls at the provider, want 1", round, n)
			}
			for answer, n := range answers {
				if n != readers || !first.provider.Newest(refresh.Secret(answer)) {
					t.Errorf("round %d: %d readers got %q, want all %d the newest access token", round, n, answer, readers)
				}
			}
		}
		first.usable(p, "github")
		if n := first.provider.Reused(); n != 0 {
			t.Errorf("a used refresh token came again %d times", n)
		}
	})
}
