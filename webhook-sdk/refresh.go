package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"time"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/webhook-sdk/credential"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

const (
	maxRefreshToken = 256 << 10 // bytes, as of every secret field
	maxSequence     = 1 << 53   // what every JSON reader counts to
)

// refreshThroughTV answers POST /v1/refresh: TV gets a refresh token, calls the
// provider and brings back what it got. It sees both, which is why an operator has to
// permit it. A token of a provider whose client secret is here does not take that way.
func (w *Webhook) refreshThroughTV(rw http.ResponseWriter, r *http.Request, body []byte) error {
	var request wire.RefreshRequest
	if len(body) > 0 {
		if err := decodeInto(body, &request); err != nil {
			return err
		}
	}
	if !wire.ValidServiceName(request.Service) {
		return invalid("service is missing or not a service name")
	}
	var answer wire.RefreshResponse
	var err error
	switch request.Action {
	case wire.RefreshGet:
		answer, err = w.giveRefreshToken(r, request.Service)
	case wire.RefreshUpdate:
		answer, err = w.takeRefreshed(r, request)
	default:
		err = invalid("action is neither get nor update")
	}
	if err != nil {
		return err
	}
	answer.RequestID = r.Header.Get(wire.HeaderRequestID)
	return writeJSON(rw, http.StatusOK, answer)
}

// giveRefreshToken is a release: its record comes first.
func (w *Webhook) giveRefreshToken(r *http.Request, service string) (wire.RefreshResponse, error) {
	stored, status, err := w.refreshableByTV(r.Context(), service)
	if status != "" {
		return wire.RefreshResponse{Status: status}, nil
	}
	var secrets map[string]string
	if err == nil {
		secrets, err = stored.prepared.Open(wire.FieldRefreshToken)
	}
	if err := w.recordRefresh(r, actionRefreshGet, service, stored.creationID(), err); err != nil {
		return wire.RefreshResponse{}, err
	}
	return wire.RefreshResponse{
		Status: wire.RefreshOK, RefreshToken: wire.RefreshToken(secrets[wire.FieldRefreshToken]),
		Meta: listable(maps.Clone(stored.meta())),
	}, nil
}

// refreshableByTV is the token, or the status that says why there is nothing to
// refresh.
func (w *Webhook) refreshableByTV(ctx context.Context, service string) (stored token, status string, err error) {
	stored, err = w.loadToken(ctx, service)
	switch {
	case errors.Is(err, errTokenNotFound):
		return token{}, wire.NotifyNoToken, nil
	case err != nil:
		return token{}, "", err
	case !stored.refreshable():
		return stored, wire.NotifyNoRefreshToken, nil
	}
	if _, ours := w.providers.of(stored.meta()); ours {
		return stored, "", errRefreshedHere
	}
	return stored, "", nil
}

var errRefreshedHere = refuse(wire.CodeForbidden,
	"this webhook refreshes tokens of this provider itself: its refresh tokens are not given out; see /v1/refresh-notify")

// recordRefresh writes the record of what TV did, and returns what it gets to see.
func (w *Webhook) recordRefresh(r *http.Request, a action, service, creation string, failure error) error {
	err := w.appendRecord(r.Context(), record{
		Action: a, Service: service, CreationID: creation, Address: w.clients.describe(r), Outcome: outcomeOf(failure),
	})
	if failure != nil {
		return failure
	}
	return err
}

// takeRefreshed stores what TV got, if it belongs to what is stored. The record comes
// first, so that nothing changes without one; of what then fails there is a second.
func (w *Webhook) takeRefreshed(r *http.Request, request wire.RefreshRequest) (wire.RefreshResponse, error) {
	update, err := readUpdate(request)
	if err != nil {
		return wire.RefreshResponse{}, err
	}
	defer w.writes.lock(request.Service)()
	stored, status, err := w.refreshableByTV(r.Context(), request.Service)
	if status != "" && update.creation == "" {
		return wire.RefreshResponse{Status: status}, nil
	}
	if status != "" {
		err = errStaleCreation
	}
	var meta map[string]any
	var secrets map[string]string
	if err == nil {
		meta, secrets, err = stored.openAll()
	}
	var write bool
	if err == nil {
		write, err = w.applyUpdate(&update, request.Service, meta, secrets)
	}
	if err := w.recordRefresh(r, actionRefreshUpdate, request.Service, stored.creationID(), err); err != nil {
		return wire.RefreshResponse{}, err
	}
	if write {
		if err := w.reseal(r.Context(), stored, meta, secrets); err != nil {
			return wire.RefreshResponse{}, errors.Join(err, w.recordRefresh(r, actionRefreshUpdate, request.Service, stored.creationID(), err))
		}
	}
	return wire.RefreshResponse{Status: wire.RefreshUpdated, NewExpiresAt: formatExpiry(update.tokens.ExpiresAt)}, nil
}

// An update is what TV brings, in either form.
type update struct {
	creation string // "": whichever is stored
	sequence int64  // 0: the next one
	tokens   refresh.Tokens
	sealed   *wire.Sealed // tokens, until they are opened
}

// readUpdate validates the form of an update.
func readUpdate(request wire.RefreshRequest) (update, error) {
	u := update{creation: request.CreationID, sequence: request.Sequence, sealed: request.Sealed}
	switch {
	case (request.Tokens == nil) == (request.Sealed == nil):
		return u, invalid("an update has either tokens or sealed")
	case request.Sealed != nil && (request.CreationID != "" || request.Sequence != 0):
		return u, invalid("creationId and sequence of sealed tokens stand in sealed")
	case request.Sealed != nil:
		u.creation, u.sequence = request.Sealed.CreationID, request.Sealed.Sequence
		if u.creation == "" || u.sequence < 1 {
			return u, invalid("sealed has no creationId, or no sequence above 0")
		}
	}
	if u.sequence < 0 || u.sequence > maxSequence {
		return u, invalid("sequence is negative or too large")
	}
	if request.Tokens == nil {
		return u, nil
	}
	var err error
	u.tokens, err = readTokens(*request.Tokens)
	return u, err
}

func readTokens(t wire.RefreshTokens) (refresh.Tokens, error) {
	switch {
	case t.AccessToken == "":
		return refresh.Tokens{}, invalid("tokens.accessToken is missing or empty")
	case len(t.AccessToken) > maxRefreshToken || len(t.RefreshToken) > maxRefreshToken:
		return refresh.Tokens{}, invalid("a token is longer than %d bytes", maxRefreshToken)
	case t.ExpiryTime < 0 || t.ExpiryTime > maxSince.UnixMilli():
		return refresh.Tokens{}, invalid("tokens.expiryTime is not a time in milliseconds since 1970")
	}
	out := refresh.Tokens{AccessToken: refresh.Secret(t.AccessToken), RefreshToken: refresh.Secret(t.RefreshToken), Scopes: t.Scopes}
	if t.ExpiryTime > 0 {
		out.ExpiresAt = time.UnixMilli(t.ExpiryTime).UTC()
	}
	return out, nil
}

// applyUpdate puts an update over what is stored, if it is the next one; sealed
// tokens are opened only then. Not write: it is there already.
func (w *Webhook) applyUpdate(u *update, service string, meta map[string]any, secrets map[string]string) (write bool, err error) {
	creation, _ := meta[credential.MetaCreationID].(string)
	last := sequenceOf(meta)
	if u.creation != "" && u.creation != creation {
		return false, errStaleCreation
	}
	if u.sequence == 0 {
		u.sequence = last + 1
	}
	if u.sequence <= last {
		if u.sequence == last && u.sealed == nil && stands(u.tokens, secrets) {
			return false, nil // the answer to the first one was lost
		}
		return false, errOldUpdate
	}
	if u.sealed != nil {
		if u.tokens, err = w.openUpdate(service, *u.sealed); err != nil {
			return false, err
		}
	}
	putTokens(meta, secrets, u.tokens, u.sequence, w.now())
	return true, nil
}

var errOldUpdate = refuse(wire.CodeStaleCreation, "the token has newer tokens than these")

// stands reports whether tokens are those that are stored.
func stands(t refresh.Tokens, secrets map[string]string) bool {
	return t.AccessToken.Equal(refresh.Secret(secrets[wire.FieldAccessToken])) &&
		(t.RefreshToken == "" || t.RefreshToken.Equal(refresh.Secret(secrets[wire.FieldRefreshToken])))
}

// openUpdate opens what TV kept sealed while this webhook was away.
func (w *Webhook) openUpdate(service string, sealed wire.Sealed) (refresh.Tokens, error) {
	text, err := w.keys.OpenSealed(service, sealed)
	if err != nil {
		return refresh.Tokens{}, because(invalid("sealed does not open: it was sealed to another key, or for another token"), err)
	}
	defer clear(text)
	var t wire.RefreshTokens
	if err := checkBody(text); err != nil || json.NewDecoder(bytes.NewReader(text)).Decode(&t) != nil {
		return refresh.Tokens{}, invalid("what was sealed are not tokens")
	}
	return readTokens(t)
}
