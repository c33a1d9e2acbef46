package platform_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

// Sessions that share with each other, accept, store, use and revoke all at once
// never wait for each other for ever, and what was stored is somebody's.
func TestWhatIsLinkedByManyAtOnceIsLostByNobody(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		ctx := t.Context()
		for round := range 4 {
			sessions := []grants.Principal{w.session(), w.session(), w.session()}
			a := w.agent(fmt.Sprint("agent-", round))
			held := w.put(sessions[0], "held", "held")
			w.grant(sessions[0], a, held)
			doomed := w.apiKey(sessions[2])
			var mu sync.Mutex
			stored := map[string]bool{"held=held": true}
			var offers []models.Escrow
			for i, from := range sessions {
				offers = append(offers, w.offers(from, sessions[(i+1)%3]), w.offers(from, sessions[(i+2)%3]))
			}
			allowed := func(what string, err error, codes ...fault.Code) {
				for _, code := range append(codes, fault.Conflict) {
					if err == nil || fault.CodeOf(err) == code {
						return
					}
				}
				t.Errorf("%s: %v", what, err)
			}
			var at sync.WaitGroup
			for i, e := range offers {
				to := sessions[(i/2+i%2+1)%3]
				at.Go(func() { allowed("accept", w.Accept(ctx, to, audit.Client{}, e.ID)) })
			}
			for i, p := range sessions {
				at.Go(func() {
					service := fmt.Sprint("own-", i)
					_, err := w.Store(ctx, p, audit.Client{}, ref(service), fieldsOf(t, plain(service)))
					if allowed("store", err); err == nil {
						mu.Lock()
						defer mu.Unlock()
						stored[service+"="+service] = true
					}
				})
				at.Go(func() {
					_, err := w.Share(ctx, p, audit.Client{}, sessions[(i+1)%3].GrantID)
					allowed("share", err)
				})
			}
			at.Go(func() { allowed("revoke", w.grants.Revoke(ctx, sessions[0], audit.Client{}, doomed.GrantID)) })
			at.Go(func() {
				got, err := w.ReleaseTo(ctx, a.Principal, held.ID)
				if err != nil || got["accessToken"] != "held" {
					t.Errorf("the agent is released %v, %v while vaults are linked", got["accessToken"], err)
				}
			})
			at.Wait()

			opened := map[string]bool{}
			for _, p := range sessions {
				for _, text := range w.opens(p) {
					opened[text] = true
				}
			}
			for text := range stored {
				if !opened[text] {
					t.Errorf("%s was stored, and nobody opens it", text)
				}
			}
			w.releases(a, held, "held")
			if _, err := w.openedBy(ctx, doomed); fault.CodeOf(err) != fault.InvalidKey {
				t.Errorf("the revoked key: %v, want INVALID_KEY", err)
			}
		}
	})
}
