package webhook

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

const (
	exchangeTimeout = 20 * time.Second // for all calls at a provider after a person has come back
	maxCode         = 8 << 10          // bytes
)

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
	var tokens refresh.Tokens
	var who identity
	err := w.checkBound(fl)
	if err == nil {
		tokens, who, err = w.exchangeCode(ctx, known, fl, query)
	}
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

// checkBound refuses a flow whose binding has ended meanwhile: its ticket would no longer
// count either.
func (w *Webhook) checkBound(fl flow) error {
	for _, active := range w.bindings.active(w.now()) {
		if active.Secret.Equal(fl.secret) {
			return nil
		}
	}
	return refuse(wire.CodeTicketInvalid, "this webhook was bound anew since the connection was begun")
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
