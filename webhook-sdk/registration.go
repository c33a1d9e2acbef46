package webhook

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// ErrBound is returned by SetupLink once the webhook is bound: from then on it
// takes the admin secret to bind it again.
var ErrBound = errors.New("webhook: it is bound to a vault already")

const (
	setupCookie = "tv_webhook_setup"
	paramSetup  = "setup"
	paramTV     = "tv"
)

// SetupLink makes a link to the bind page that works once, for the first binding of
// a webhook whose operator cannot type an admin secret; the link before it stops
// working. The browser that opens it may make registration codes for an hour, or
// until the webhook is bound. ErrBound when it is.
//
// The link is a secret: show it to the operator and to nobody else.
func (w *Webhook) SetupLink(ctx context.Context) (string, error) {
	text, err := w.bindings.newSetup(ctx)
	if err != nil {
		return "", err
	}
	return w.url(wire.PathBind) + "?" + paramSetup + "=" + text, nil
}

// Bound reports whether a TV has closed the set-up: it has the secret, and used it.
func (w *Webhook) Bound() bool { return w.bindings.bound() }

// NeedsSetupLink reports whether the first binding is still to come and needs a
// secret.
func (w *Webhook) NeedsSetupLink() bool { return !w.bindings.bound() && !w.openHost }

// url is where a path of this webhook is reached.
func (w *Webhook) url(path string) string { return w.base.String() + path }

// A registration is a code with what an operator needs to take it to TV.
type registration struct {
	code        string
	origin      string // of TV
	url         string // of TV's consent page
	fingerprint string // hex SHA-256 of the secret
	expires     time.Time
}

// register makes a registration code for the TV at origin.
func (w *Webhook) register(ctx context.Context, origin string) (registration, error) {
	now := w.now()
	code, fingerprint, err := w.bindings.newCode(ctx, now, origin)
	if err != nil {
		return registration{}, err
	}
	query := url.Values{
		"code":        {code},
		"webhook_url": {base64.StdEncoding.EncodeToString([]byte(w.base.String()))},
		"hmac_hash":   {fingerprint},
	}
	return registration{
		code: code, origin: origin, fingerprint: fingerprint, expires: now.Add(wire.BindCodeLife),
		url: origin + wire.PathConsent + "?" + query.Encode(),
	}, nil
}

// originFor is the TV that a request chose, or the configured one; "" is neither.
func (w *Webhook) originFor(r *http.Request) (string, error) {
	chosen := r.URL.Query().Get(paramTV)
	if chosen == "" {
		return w.tv, nil
	}
	origin, err := parseOrigin(chosen)
	if err != nil {
		return "", refuse(wire.CodeInvalidRequest, "the address of Token Vault %s", err)
	}
	return origin, nil
}

// mayRegister refuses who may not make a registration code. Once the webhook is
// bound, that takes the admin secret. Before, on loopback it takes nothing;
// elsewhere the admin secret, or the browser that opened the set-up link.
func (w *Webhook) mayRegister(r *http.Request, given string) error {
	switch {
	case given != "":
		hash := hashOf(given)
		if w.admin == nil {
			return refuse(wire.CodeForbidden, "this webhook has no admin secret: set TV_WEBHOOK_ADMIN_SECRET and restart it")
		}
		if subtle.ConstantTimeCompare(hash[:], w.admin) != 1 {
			return refuse(wire.CodeForbidden, "the admin secret is wrong")
		}
		return nil
	case w.bindings.bound() && w.admin == nil:
		return refuse(wire.CodeForbidden, "this webhook is bound already; to bind it again, set TV_WEBHOOK_ADMIN_SECRET and restart it")
	case w.bindings.bound():
		return refuse(wire.CodeForbidden, "this webhook is bound already; binding it again needs the admin secret (%s)", wire.HeaderAdminSecret)
	case w.openHost && fromThisMachine(r):
		return nil
	}
	if cookie, err := r.Cookie(setupCookie); err == nil && w.bindings.setupOpen(w.now(), cookie.Value) {
		return nil
	}
	return refuse(wire.CodeForbidden, "binding needs the admin secret (%s, TV_WEBHOOK_ADMIN_SECRET), "+
		"or the set-up link that the webhook printed when it was started", wire.HeaderAdminSecret)
}

// fromThisMachine reports whether a request comes from this machine and names it
// as its host. Without the latter, a page in the operator's browser could reach the
// webhook under a name of its own that leads to 127.0.0.1. A request that a proxy or
// a tunnel on this machine forwards may come from anywhere.
func fromThisMachine(r *http.Request) bool {
	for _, name := range forwardingHeaders {
		if len(r.Header.Values(name)) > 0 {
			return false
		}
	}
	peer, ok := parseHop(r.RemoteAddr)
	return ok && peer.IsLoopback() && loopbackHost(r.Host)
}

// forwardingHeaders are what proxies add to a request.
var forwardingHeaders = [...]string{"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip"}

func loopbackHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	} else if len(host) > 2 && host[0] == '[' {
		host = host[1 : len(host)-1]
	}
	return isLoopback(host)
}

// registerURL answers GET /v1/register-url: what the bind page shows, for commands.
func (w *Webhook) registerURL(rw http.ResponseWriter, r *http.Request) error {
	if link := r.URL.Query().Get(paramSetup); link != "" {
		if err := w.enterSetup(rw, r, link); err != nil {
			return err
		}
	} else if err := w.mayRegister(r, r.Header.Get(wire.HeaderAdminSecret)); err != nil {
		return err
	}
	origin, err := w.originFor(r)
	if err != nil {
		return err
	}
	if origin == "" {
		return refuse(wire.CodeInvalidRequest, "say which Token Vault: ?%s=https://… or TV_WEBHOOK_TOKENVAULT_URL", paramTV)
	}
	made, err := w.register(r.Context(), origin)
	if err != nil {
		return err
	}
	return writeJSON(rw, http.StatusOK, wire.RegisterURL{
		RegistrationURL: made.url,
		Code:            made.code,
		ExpiresIn:       int(wire.BindCodeLife / time.Second),
		WebhookURL:      w.base.String(),
		HMACHash:        made.fingerprint,
	})
}

// exchange answers POST /v1/exchange: TV redeems a code for the secret that the
// code stands for. The code is the permission; there is no signature yet.
func (w *Webhook) exchange(rw http.ResponseWriter, r *http.Request) error {
	body, err := readBody(rw, r)
	if err != nil {
		return err
	}
	if err := checkContentType(r); err != nil {
		return err
	}
	if err := checkBody(body); err != nil {
		return err
	}
	var request wire.ExchangeRequest
	if err := decodeInto(body, &request); err != nil {
		return err
	}
	if request.Code == "" || len(request.Code) > maxCodeLength {
		return refuse(wire.CodeInvalidRequest, "code is missing or too long")
	}
	secret, err := w.bindings.exchange(r.Context(), w.now(), request.Code)
	if err != nil {
		return err
	}
	w.log.InfoContext(r.Context(), "a registration code was exchanged", "client", w.clients.describe(r))
	return writeJSON(rw, http.StatusOK, wire.ExchangeResponse{
		HMACSecret:   secret.Encode(),
		WebhookID:    w.keys.WebhookID(),
		Version:      wire.Version,
		Capabilities: w.capabilities(),
		SealKey:      w.keys.SealKey(),
		SignKey:      w.keys.SignKey(),
	})
}
