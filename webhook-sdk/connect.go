package webhook

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/webhook-sdk/credential"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

const (
	exchangeTimeout = 20 * time.Second // for all calls at a provider after a person has come back
	maxCode         = 8 << 10          // bytes
	maxReturn       = 1 << 10          // bytes
)

func connectPath(id string) string  { return wire.PathConnect + id }
func callbackPath(id string) string { return wire.PathConnect + id + "/callback" }
func donePath(id string) string     { return wire.PathConnect + id + "/done" }

// connects reports whether accounts can be connected at the provider, as far as the
// configuration says.
func (p Provider) connects() bool { return p.AuthorizationURL != "" || p.TokenURL == "" }

func (w *Webhook) connectsSome() bool {
	if w.servesConnect() {
		for _, known := range w.providers.byID {
			if known.connects() {
				return true
			}
		}
	}
	return false
}

// secure reports whether browsers reach this webhook over https.
func (w *Webhook) secure() bool { return w.base.Scheme == "https" }

// connectStart answers GET /connect/{provider}: a person comes with a ticket and is
// sent to the provider.
func (w *Webhook) connectStart(known *knownProvider) handlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) error {
		location, back, err := w.beginConnect(rw, r, known)
		if err != nil {
			return w.connectFailed(rw, r, known, back, err)
		}
		// Where the person came from has the ticket in its address.
		rw.Header().Set("Referrer-Policy", "no-referrer")
		http.Redirect(rw, r, location, http.StatusSeeOther)
		return nil
	}
}

func (w *Webhook) beginConnect(rw http.ResponseWriter, r *http.Request, known *knownProvider) (location, back string, err error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return "", "", invalid("the query is malformed")
	}
	ticket, origin, err := w.redeem(r.Context(), query.Get("ticket"), func(t wire.Ticket) bool {
		return t.Permits(t.Service, wire.PurposeConnect) == nil
	})
	if err != nil {
		return "", "", err
	}
	back = origin + "/"
	if given := query.Get("return"); given != "" {
		if back, err = returnURL(origin, given); err != nil {
			return "", origin + "/", err
		}
	}
	meta, err := w.checkConnect(r.Context(), ticket)
	if err != nil {
		return "", back, err
	}
	asked, err := parseScopes(query.Get("scope"))
	if err != nil {
		return "", back, invalid("the scopes %s", err)
	}
	provider, err := w.providers.endpoints(r.Context(), known)
	if err != nil {
		return "", back, because(refuse(wire.CodeProviderError, "%s does not say where accounts are connected; try again in a minute", known.name()), err)
	}
	fl := flow{provider: known.ID, ticket: ticket, origin: origin, back: back, scopes: known.scopesFor(meta, asked)}
	location, err = w.enterFlow(rw, provider, fl)
	return location, back, err
}

// checkConnect refuses early what could not be stored later, and returns the metadata
// of the token that will be replaced.
func (w *Webhook) checkConnect(ctx context.Context, ticket wire.Ticket) (map[string]any, error) {
	if ticket.Mode != "" && ticket.Mode != wire.ModeCreate && ticket.Mode != wire.ModeOverwrite {
		return nil, refuse(wire.CodeTicketInvalid, "the ticket has a mode that this webhook does not know")
	}
	stored, err := w.loadToken(ctx, ticket.Service)
	switch {
	case errors.Is(err, errTokenNotFound) && ticket.CreationID == "":
		return nil, nil
	case errors.Is(err, errTokenNotFound):
		return nil, errStaleCreation
	case err != nil: // one that cannot be read can be replaced all the same
		return nil, nil //nolint:nilerr // see above
	case ticket.Mode == wire.ModeCreate:
		return nil, errAlreadyExists
	}
	return stored.meta(), checkConstraints(ticket, stored.creationID())
}

// scopesFor are those that the configuration asks for, those that the token has which
// is replaced, and those that were asked for in addition.
func (p *knownProvider) scopesFor(meta map[string]any, asked []string) []string {
	scopes := slices.Clone(p.Scopes)
	if id, _ := meta[credential.MetaProvider].(string); id == p.ID {
		asked = append(scopesOf(meta), asked...)
	}
	for _, scope := range asked {
		if len(scopes) < 2*maxScopes && !slices.Contains(scopes, scope) {
			scopes = append(scopes, scope)
		}
	}
	return scopes
}

// returnURL is a path on the TV that issued the ticket, and on no other site.
func returnURL(origin, path string) (string, error) {
	u, err := url.Parse(path)
	if err != nil || len(path) > maxReturn || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") ||
		strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r == '\\' || r == 0x7f }) || u.Host != "" || u.Scheme != "" {
		return "", invalid("return is not a path")
	}
	return origin + path, nil
}

// enterFlow begins a flow: a cookie for the browser, and the provider's address.
func (w *Webhook) enterFlow(rw http.ResponseWriter, provider refresh.Provider, fl flow) (string, error) {
	var err error
	if fl.verifier, err = refresh.NewVerifier(w.random); err != nil {
		return "", err
	}
	extra := url.Values{}
	if slices.Contains(fl.scopes, "openid") {
		if fl.nonce, err = randomText(w.random, flowBytes); err != nil {
			return "", err
		}
		extra.Set("nonce", fl.nonce)
	}
	id, state, browser, err := w.flows.begin(w.random, w.now(), fl)
	if err != nil {
		return "", err
	}
	location, err := provider.AuthorizationRequest(refresh.Authorization{
		RedirectURI: w.url(callbackPath(provider.ID)), State: state, Challenge: refresh.Challenge(fl.verifier), Scopes: fl.scopes, Extra: extra,
	})
	if err != nil {
		return "", because(refuse(wire.CodeProviderError, "the provider offers no way to connect an account"), err)
	}
	setFlowCookie(rw, id, browser, w.secure())
	return location, nil
}

// connectCallback answers GET /connect/{provider}/callback: the person is back, with a
// code or an error. What became of it is shown under an address without either.
func (w *Webhook) connectCallback(known *knownProvider) handlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) error {
		query, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil || len(query["state"]) > 1 {
			return w.connectFailed(rw, r, known, "", invalid("the query is malformed"))
		}
		fl, first, ok := w.flows.answer(w.now(), known.ID, query.Get("state"), r, w.secure())
		if !ok {
			return w.connectFailed(rw, r, known, "", errNoFlow)
		}
		if first {
			status, view := w.finishConnect(r, known, fl, query)
			w.flows.end(fl.id, status, view)
		}
		rw.Header().Set("Referrer-Policy", "no-referrer")
		http.Redirect(rw, r, w.base.Path+donePath(known.ID)+"?"+url.Values{"flow": {fl.id}}.Encode(), http.StatusSeeOther)
		return nil
	}
}

var errNoFlow = refuse(wire.CodeForbidden, "this answer is of no connection that was begun in this browser within the last %d minutes", int(flowLife/time.Minute))

// connectDone answers GET /connect/{provider}/done: the last page, for its browser.
func (w *Webhook) connectDone(known *knownProvider) handlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) error {
		view, status, ended, ok := w.flows.last(w.now(), known.ID, r.URL.Query().Get("flow"), r, w.secure())
		if !ok {
			return w.connectFailed(rw, r, known, "", errNoFlow)
		}
		if !ended {
			rw.Header().Set("Refresh", "2")
			return w.connectPage(rw, http.StatusOK, connectView{State: connectWaiting, Provider: known.name()})
		}
		return w.connectPage(rw, status, view)
	}
}

// finishConnect turns the answer of a provider into a stored token. It goes on when the
// person closes the page.
func (w *Webhook) finishConnect(r *http.Request, known *knownProvider, fl flow, query url.Values) (int, connectView) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), exchangeTimeout)
	defer cancel()
	r = r.WithContext(ctx)
	view := connectView{State: connectDone, Provider: known.name(), Service: fl.ticket.Service, Back: fl.back, BackTo: fl.origin}
	tokens, who, err := w.exchangeCode(ctx, known, fl, query)
	var refreshable bool
	if err == nil {
		refreshable, err = w.storeConnected(r, known, fl, tokens, who)
	} else if failure := w.record(r, actionConnect, fl.ticket, "", outcomeOf(err)); failure != nil {
		err = errors.Join(err, failure)
	}
	if err != nil {
		w.logConnect(r, known, err)
		refusal := refusalOf(err)
		view.State, view.Problem = connectProblem, refusal.Message
		return refusal.Code.Status(), view
	}
	view.Account, view.Ends = who.label, !refreshable && !tokens.ExpiresAt.IsZero()
	return http.StatusOK, view
}

// exchangeCode checks the answer and trades its code for tokens.
func (w *Webhook) exchangeCode(ctx context.Context, known *knownProvider, fl flow, query url.Values) (refresh.Tokens, identity, error) {
	provider, err := w.providers.endpoints(ctx, known)
	if err != nil {
		return refresh.Tokens{}, identity{}, connectRefusal(known, err)
	}
	code, err := readAnswer(provider, known.name(), query)
	if err != nil {
		return refresh.Tokens{}, identity{}, err
	}
	tokens, err := w.oauth.Exchange(ctx, provider, refresh.CodeExchange{
		Code: code, Verifier: fl.verifier, RedirectURI: w.url(callbackPath(known.ID)),
	})
	if err != nil {
		return refresh.Tokens{}, identity{}, connectRefusal(known, err)
	}
	if tokens.Scopes == nil {
		tokens.Scopes = fl.scopes // RFC 6749 §5.1: left out when it is what was asked for
	}
	who, err := w.identify(ctx, provider, tokens, fl.nonce)
	if err != nil {
		return refresh.Tokens{}, identity{}, err
	}
	return tokens, who, nil
}

// readAnswer is the code of an authorization response (RFC 6749 §4.1.2). Whose answer it
// is (RFC 9207) comes before what it says.
func readAnswer(provider refresh.Provider, name string, query url.Values) (refresh.Secret, error) {
	for _, parameter := range []string{"code", "error", "iss"} {
		if len(query[parameter]) > 1 {
			return "", invalid("the answer of %s has %s more than once", name, parameter)
		}
	}
	switch issuer := query.Get("iss"); {
	case issuer == "" && provider.RequireIss:
		return "", refuse(wire.CodeForbidden, "the answer does not say that it is from %s, which always says so: it may be another's", name)
	case issuer != "" && provider.Issuer != "" && issuer != provider.Issuer:
		return "", refuse(wire.CodeForbidden, "the answer is from another provider than %s", name)
	}
	if reason := query.Get("error"); reason != "" {
		return "", authorizationRefusal(name, reason)
	}
	code := query.Get("code")
	if code == "" || len(code) > maxCode {
		return "", refuse(wire.CodeProviderError, "the answer of %s has no code", name)
	}
	return refresh.Secret(code), nil
}

// authorizationRefusal says in plain words what an error of RFC 6749 §4.1.2.1 means.
// What else the provider says of it is not shown: anybody can write an address.
func authorizationRefusal(name, reason string) error {
	switch reason {
	case "access_denied":
		return refuse(wire.CodeForbidden, "%s was told not to allow it, or does not allow it for this account", name)
	case "invalid_scope":
		return refuse(wire.CodeProviderError, "%s does not know one of the permissions that were asked for; tell the webhook's operator", name)
	case "unauthorized_client", "invalid_request", "unsupported_response_type":
		return refuse(wire.CodeProviderError, "%s refused this webhook as its client; tell the webhook's operator", name)
	case "login_required", "interaction_required", "consent_required", "account_selection_required":
		return refuse(wire.CodeForbidden, "%s wants you to sign in or to agree first", name)
	}
	return refuse(wire.CodeProviderError, "%s could not do it just now", name)
}

// connectRefusal says what it means that a provider gave no tokens for a code.
func connectRefusal(known *knownProvider, err error) error {
	name := known.name()
	var refusal *refresh.Refusal
	if !errors.As(err, &refusal) {
		return because(refuse(wire.CodeProviderTimeout, "%s did not answer in time", name), err)
	}
	switch {
	case refusal.Reason == refresh.ReasonProviderTimeout:
		return because(refuse(wire.CodeProviderTimeout, "%s did not answer in time", name), refusal)
	case refusal.Reason == refresh.ReasonInvalidGrant:
		return because(refuse(wire.CodeProviderError, "%s takes the code no longer", name), refusal)
	case refusal.Reason.ForOperator():
		return because(refuse(wire.CodeProviderError, "%s refused this webhook as its client; tell the webhook's operator", name), refusal)
	}
	return because(refuse(wire.CodeProviderError, "%s could not be reached or did not answer as it should", name), refusal)
}
