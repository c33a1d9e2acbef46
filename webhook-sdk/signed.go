package webhook

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// signedFunc handles a request whose signature held. The body is one JSON object,
// or empty.
type signedFunc func(rw http.ResponseWriter, r *http.Request, body []byte) error

// signed lets a request of TV through: configured, headers well-formed, clock,
// MAC, not dated before this start, not seen before; and only then is the body
// parsed and its requestId compared.
func (w *Webhook) signed(next signedFunc) handlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) error {
		now := w.now()
		if len(w.bindings.active(now)) == 0 {
			return errSetupRequired
		}
		// Against no secret the MAC is what fails; anything else is worth no body.
		if _, _, err := wire.Verify(r.Header, nil, nil, now); !errors.Is(err, wire.ErrSignature) {
			return because(errSignature, err)
		}
		body, err := readBody(rw, r)
		if err != nil {
			return err
		}
		if err := w.verify(r, body, now); err != nil {
			return err
		}
		if len(body) > 0 {
			if err := checkContentType(r); err != nil {
				return err
			}
			if err := checkBody(body); err != nil {
				return err
			}
			if err := matchRequestID(r, body); err != nil {
				return err
			}
		}
		return next(rw, r, body)
	}
}

var (
	errSetupRequired = refuse(wire.CodeSetupRequired, "this webhook is not bound to a vault yet: open its /bind page")
	errSignature     = refuse(wire.CodeAuthFailed, "the request's signature was refused")
)

// verify checks the signature, and that neither it nor the request id was used
// before. Both are remembered from here on.
func (w *Webhook) verify(r *http.Request, body []byte, now time.Time) error {
	active := w.bindings.active(now)
	signature, index, err := wire.Verify(r.Header, secretsOf(active), body, now)
	if err != nil {
		return because(errSignature, err)
	}
	if signature.Time.Before(w.started) {
		return refuse(wire.CodeAuthFailed, "the request is dated before this webhook was started; sign it anew")
	}
	fresh, err := w.replays.use(now, now.Add(wire.ReplayMemory),
		keyOf('i', []byte(signature.RequestID)), keyOf('m', signature.MAC[:]))
	if err != nil {
		return err
	}
	if !fresh {
		return refuse(wire.CodeAuthFailed, "the request was sent before; sign it anew, with a new request id")
	}
	if active[index].role == roleCandidate {
		if err := w.bindings.close(r.Context(), now, active[index].Secret); err != nil {
			return err
		}
		w.log.InfoContext(r.Context(), "the binding is in use", "origin", active[index].Origin, "client", w.clients.describe(r))
	}
	return nil
}

// matchRequestID refuses a body whose requestId is not the header's. A body
// without one is let pass: TVs of others send some, and the memory of MACs is what
// stops a replay under another id.
func matchRequestID(r *http.Request, body []byte) error {
	var given struct {
		RequestID json.RawMessage `json:"requestId"`
	}
	if err := decodeInto(body, &given); err != nil {
		return err
	}
	if given.RequestID == nil {
		return nil
	}
	var id string
	if json.Unmarshal(given.RequestID, &id) != nil || id != r.Header.Get(wire.HeaderRequestID) {
		return refuse(wire.CodeAuthFailed, "the requestId of the body is not that of the %s header", wire.HeaderRequestID)
	}
	return nil
}

func secretsOf(list []binding) []wire.Secret {
	out := make([]wire.Secret, 0, 3)
	for i := range list {
		out = append(out, list[i].Secret)
	}
	return out
}
