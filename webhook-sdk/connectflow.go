package webhook

import (
	"crypto/sha256"
	"crypto/subtle"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

const (
	flowLife     = 10 * time.Minute
	maxFlows     = 256 // at a time; each took a ticket, so that only TV can fill it
	flowBytes    = 24  // of randomness in each secret of a flow
	flowIDBytes  = 9
	flowCookie   = "tv_webhook_connect_"
	cookiePrefix = "__Host-" // browsers take such a cookie from this host alone, over https
)

// A flow is one person on the way to a provider and back. It lives in memory: after a
// restart the person begins again.
type flow struct {
	id       string // in the cookie's name, in state, and in the last page's URL; no secret
	provider string
	state    [sha256.Size]byte // hash of the whole state
	browser  [sha256.Size]byte // hash of the cookie
	verifier refresh.Secret
	nonce    string // of the ID token; "" where none is asked for
	scopes   []string
	ticket   wire.Ticket
	secret   wire.Secret // of the binding that the ticket is of
	origin   string      // of the TV that issued the ticket
	back     string      // URL there, to which the last page leads
	expires  time.Time

	answered bool // the state was used
	ended    bool
	status   int
	view     connectView // of the last page, once ended
}

// flows are those under way.
type flows struct {
	mu   sync.Mutex
	byID map[string]*flow
}

func newFlows() *flows { return &flows{byID: make(map[string]*flow)} }

// begin draws the secrets of a flow and remembers it. The caller has filled the rest.
func (f *flows) begin(random io.Reader, now time.Time, fl flow) (id, state, browser string, err error) {
	var secret string
	for _, draw := range []struct {
		into *string
		size int
	}{{&id, flowIDBytes}, {&secret, flowBytes}, {&browser, flowBytes}} {
		if *draw.into, err = randomText(random, draw.size); err != nil {
			return "", "", "", err
		}
	}
	state = id + "." + secret
	fl.id, fl.state, fl.browser, fl.expires = id, hashOf(state), hashOf(browser), now.Add(flowLife)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sweep(now)
	f.byID[id] = &fl
	return id, state, browser, nil
}

// sweep forgets flows that are over, and of too many the oldest.
func (f *flows) sweep(now time.Time) {
	var oldest *flow
	for id, fl := range f.byID {
		if !now.Before(fl.expires) {
			delete(f.byID, id)
		} else if oldest == nil || fl.expires.Before(oldest.expires) {
			oldest = fl
		}
	}
	if len(f.byID) >= maxFlows {
		delete(f.byID, oldest.id)
	}
}

// answer uses the state of a flow up. first is false when it was used before, by the
// same browser. Not known: there is no such flow, it took too long, or it is another
// browser's.
func (f *flows) answer(now time.Time, provider, state string, r *http.Request, secure bool) (fl flow, first, known bool) {
	id, _, _ := strings.Cut(state, ".")
	f.mu.Lock()
	defer f.mu.Unlock()
	found := f.find(now, provider, id, r, secure)
	hash := hashOf(state)
	if found == nil || subtle.ConstantTimeCompare(found.state[:], hash[:]) != 1 {
		return flow{}, false, false
	}
	first = !found.answered
	found.answered = true
	return *found, first, true
}

// find is the flow of a browser.
func (f *flows) find(now time.Time, provider, id string, r *http.Request, secure bool) *flow {
	fl := f.byID[id]
	if fl == nil || fl.provider != provider || !now.Before(fl.expires) {
		return nil
	}
	cookie, err := r.Cookie(flowCookieName(id, secure))
	if err != nil {
		return nil
	}
	hash := hashOf(cookie.Value)
	if subtle.ConstantTimeCompare(fl.browser[:], hash[:]) != 1 {
		return nil
	}
	return fl
}

// end remembers what the last page shows, and nothing else of the flow.
func (f *flows) end(id string, status int, view connectView) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl := f.byID[id]; fl != nil {
		fl.verifier, fl.ticket, fl.secret = "", wire.Ticket{}, wire.Secret{}
		fl.ended, fl.status, fl.view = true, status, view
	}
}

// last is the last page of a browser's flow; not ended: it is still under way.
func (f *flows) last(now time.Time, provider, id string, r *http.Request, secure bool) (view connectView, status int, ended, known bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl := f.find(now, provider, id, r, secure)
	if fl == nil {
		return connectView{}, 0, false, false
	}
	return fl.view, fl.status, fl.ended, true
}

func flowCookieName(id string, secure bool) string {
	if secure {
		return cookiePrefix + flowCookie + id
	}
	return flowCookie + id
}

// setFlowCookie binds a flow to the browser. Lax: the way back from the provider is a
// navigation from another site.
func setFlowCookie(rw http.ResponseWriter, id, value string, secure bool) {
	http.SetCookie(rw, &http.Cookie{
		Name: flowCookieName(id, secure), Value: value, Path: "/", MaxAge: int(flowLife / time.Second),
		HttpOnly: true, Secure: secure, SameSite: http.SameSiteLaxMode,
	})
}
