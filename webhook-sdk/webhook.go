package webhook

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/webhook-sdk/credential"
	"github.com/tvzero/tokenvault/webhook-sdk/custody"
	"github.com/tvzero/tokenvault/webhook-sdk/mint"
	"github.com/tvzero/tokenvault/webhook-sdk/netguard"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// Limits of what an upstream or token endpoint may cost, unless Config.Outbound
// says others. TV gives a proxied call up 30 s after it began; ours ends before.
const (
	outboundTimeout = 25 * time.Second
	outboundMaxBody = 4 << 20 // bytes
	closeTimeout    = 15 * time.Second
)

// A Webhook is the http.Handler of one webhook. It may be used concurrently. A refresh
// goes on when the request that caused it ends; it starts no other goroutines.
type Webhook struct {
	keys     *custody.Keys
	storage  Storage
	log      *slog.Logger
	now      func() time.Time
	random   io.Reader
	started  time.Time
	base     *url.URL // ExternalURL
	tv       string   // origin that /bind offers, or ""
	admin    []byte   // SHA-256 of the admin secret, or nil
	openHost bool     // the first binding needs no secret
	purposes []wire.Purpose
	clients  *clients
	minters  mint.Set
	outbound *http.Client
	policy   netguard.Policy
	bindings *bindings
	replays  *once // request ids and MACs of signed requests
	nonces   *once // of tickets
	writes   *keyLocks

	providers *providers
	refresher *refresh.Engine
	oauth     *refresh.Client
	leases    *leases
	flows     *flows
	tvRefresh bool

	documents *documents
	routes    map[string]route
	origin    *http.CrossOriginProtection

	bindTemplate    *template.Template
	connectTemplate *template.Template
}

// route is what one path serves.
type route struct {
	methods map[string]handlerFunc
	allow   string // the methods, as they stand in an Allow header
	cors    bool   // pages of the bound TV may call it
	head    bool   // GET changes nothing, so that HEAD is served too
}

type handlerFunc func(rw http.ResponseWriter, r *http.Request) error

// New makes a webhook, and reads the state of its binding from the storage. All
// problems of the configuration are reported at once.
func New(c Config) (*Webhook, error) {
	base, tv, err := c.parsed()
	if err != nil {
		return nil, err
	}
	w := &Webhook{
		keys: c.Keys, storage: c.Storage, log: c.Logger, now: c.Now, random: c.Random,
		base: base, tv: tv,
		openHost: c.LoopbackListener && isLoopback(base.Hostname()),
		purposes: slices.Clone(c.Purposes),
		clients:  newClients(c.TrustedProxies, c.Deny),
		minters:  c.Minters, policy: c.Outbound,
		replays: newOnce(maxRemembered), nonces: newOnce(maxRemembered),
		writes: newKeyLocks(), documents: newDocuments(), origin: http.NewCrossOriginProtection(),
		leases: newLeases(), flows: newFlows(), tvRefresh: c.TVRefresh,
	}
	w.setDefaults(c)
	w.outbound = w.policy.Client()
	w.oauth = refresh.NewClient(w.outbound, w.now)
	w.providers = newProviders(c.Providers, w.oauth, w.now)
	w.refresher = refresh.New(refresh.Deps{Client: w.oauth, Now: w.now, Logger: w.log})
	// What was used before this start is forgotten, so that what is dated before it
	// is refused.
	w.started = w.now().Truncate(time.Second)
	if w.bindings, err = loadBindings(context.Background(), c.Storage, c.Keys, w.random); err != nil {
		return nil, err
	}
	if w.bindTemplate, err = template.New("bind").Parse(bindHTML); err != nil {
		return nil, fmt.Errorf("webhook: the bind page: %w", err)
	}
	if w.connectTemplate, err = template.New("connect").Parse(connectHTML); err != nil {
		return nil, fmt.Errorf("webhook: the connect page: %w", err)
	}
	// A proxy may change the Host that the page's own form is compared with.
	own, err := credential.Origin(base)
	if err != nil {
		return nil, err
	}
	if err := w.origin.AddTrustedOrigin(own); err != nil {
		return nil, fmt.Errorf("webhook: Config.ExternalURL: %w", err)
	}
	w.routes = w.buildRoutes()
	return w, nil
}

func (w *Webhook) setDefaults(c Config) {
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	if c.AdminSecret != "" {
		hash := hashOf(string(c.AdminSecret))
		w.admin = hash[:]
	}
	if w.now == nil {
		w.now = time.Now
	}
	if w.random == nil {
		w.random = rand.Reader
	}
	if c.Purposes == nil {
		w.purposes = servedPurposes()
	}
	if c.Minters == nil {
		w.minters = mint.Default()
	}
	if w.policy.Timeout == 0 {
		w.policy.Timeout = outboundTimeout
	}
	if w.policy.MaxBody == 0 {
		w.policy.MaxBody = outboundMaxBody
	}
}

// Close waits for the refreshes that are under way, for a few seconds, and closes idle
// connections to upstreams. Stop the HTTP server first and close the storage last: what
// a provider answered and is not stored may be lost. An error says that this is so.
func (w *Webhook) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := w.refresher.Wait(ctx)
	w.outbound.CloseIdleConnections()
	if err != nil {
		return errors.New("webhook: refreshes were still under way when it was closed: their tokens may be lost")
	}
	return nil
}

func (w *Webhook) buildRoutes() map[string]route {
	routes := map[string]route{}
	add := func(path string, cors bool, methods map[string]handlerFunc) {
		names := []string{}
		for name := range methods {
			names = append(names, name)
		}
		if cors {
			names = append(names, http.MethodOptions)
		}
		slices.Sort(names)
		head := path == wire.PathHealth || path == pathStyle
		routes[path] = route{methods: methods, allow: strings.Join(names, ", "), cors: cors, head: head}
	}
	type methods = map[string]handlerFunc
	add(wire.PathHealth, false, methods{"GET": w.health, "POST": w.signed(w.signedHealth)})
	add(wire.PathStorage, false, methods{"POST": w.signed(w.storageOperation)})
	add(wire.PathProxy, false, methods{"POST": w.signed(w.proxy)})
	add(wire.PathExchange, false, methods{"POST": w.exchange})
	add(wire.PathRegisterURL, false, methods{"GET": w.registerURL})
	add(wire.PathBind, false, methods{"GET": w.bindPage, "POST": w.bindPageWithSecret})
	add(pathStyle, false, methods{"GET": w.styleSheet})
	add(wire.PathStore, true, methods{"POST": w.store})
	add(wire.PathCredential, true, methods{"GET": w.credential, "POST": w.credential})
	add(wire.PathTOTPCode, true, methods{"GET": w.totpCode, "POST": w.totpCode})
	// A webhook that does not refresh through TV says so, and with 403. A notification
	// it acknowledges, even if there is no token that it refreshes itself.
	throughTV := signedFunc(notServed)
	if w.tvRefresh {
		throughTV = w.refreshThroughTV
	}
	add(wire.PathRefreshNotify, false, methods{"POST": w.signed(w.refreshNotify)})
	add(wire.PathRefresh, false, methods{"POST": w.signed(throughTV)})
	for _, provider := range w.providers.byID {
		if provider.connects() { // where its purpose is not served, the ticket is refused
			add(connectPath(provider.ID), false, methods{"GET": w.connectStart(provider)})
			add(callbackPath(provider.ID), false, methods{"GET": w.connectCallback(provider)})
			add(donePath(provider.ID), false, methods{"GET": w.connectDone(provider)})
		}
	}
	return routes
}

// servesRefresh reports whether there are tokens that this webhook can refresh itself.
func (w *Webhook) servesRefresh() bool { return len(w.providers.byID) > 0 }

// servesConnect reports whether tickets to connect an account are served.
func (w *Webhook) servesConnect() bool { return slices.Contains(w.purposes, wire.PurposeConnect) }

func notServed(http.ResponseWriter, *http.Request, []byte) error {
	return refuse(wire.CodeForbidden, "this webhook gives out no refresh tokens; see its capabilities")
}

// ServeHTTP implements http.Handler. Every refusal is JSON with an error code of
// the protocol; a panic is answered as internal_error.
func (w *Webhook) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	defer func() {
		switch value := recover(); value {
		case nil:
		case http.ErrAbortHandler:
			panic(value)
		default:
			w.recovered(rw, r, value)
		}
	}()
	h := rw.Header()
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = noSniff
	route, known := w.routes[r.URL.Path]
	// A path has one spelling: the rules of a proxy in front may not know another.
	if !known || r.URL.RawPath != "" {
		// Not logged: whoever scans for paths chooses their text.
		_ = writeJSON(rw, http.StatusNotFound, &wire.Error{Code: codeNotFound, Message: "there is nothing at this path"})
		return
	}
	if err := w.dispatch(rw, r, route); err != nil {
		w.fail(rw, r, err)
	}
}

// codeNotFound and codeMethod are outside the protocol's set: they answer calls
// that are not of the protocol.
const (
	codeNotFound wire.ErrorCode = "not_found"
	codeMethod   wire.ErrorCode = "method_not_allowed"
)

func (w *Webhook) dispatch(rw http.ResponseWriter, r *http.Request, route route) error {
	if route.cors {
		if r.Method == http.MethodOptions {
			return w.preflight(rw, r, route.allow)
		}
		w.allowOrigin(rw, r)
	}
	handler, ok := route.methods[r.Method]
	if !ok && r.Method == http.MethodHead && route.head { // elsewhere it would use a ticket or a link up for nothing
		handler, ok = route.methods[http.MethodGet]
	}
	if !ok {
		rw.Header().Set("Allow", route.allow)
		return writeJSON(rw, http.StatusMethodNotAllowed,
			&wire.Error{Code: codeMethod, Message: "this path serves " + route.allow})
	}
	return handler(rw, r)
}
