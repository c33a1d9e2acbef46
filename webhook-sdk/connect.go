package webhook

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/webhook-sdk/credential"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

const maxReturn = 1 << 10 // bytes

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
	ticket, under, err := w.redeem(r.Context(), query.Get("ticket"), func(t wire.Ticket) bool {
		return t.Permits(t.Service, wire.PurposeConnect) == nil
	})
	if err != nil {
		return "", "", err
	}
	origin := under.Origin
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
	fl := flow{provider: known.ID, ticket: ticket, secret: under.Secret, origin: origin, back: back, scopes: known.scopesFor(meta, asked)}
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
