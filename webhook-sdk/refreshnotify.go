package webhook

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/webhook-sdk/credential"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

const (
	// notifyWait is how long an answer waits for the refresh: TV waits for
	// wire.CallTimeout. What takes longer goes on.
	notifyWait = 8 * time.Second
	// forceAgain is how long after the last attempt a token is refreshed though it is not
	// due: a call that is repeated because its answer was lost, refreshes once.
	forceAgain = 30 * time.Second
)

// refreshNotify answers POST /v1/refresh-notify: TV says that a token expires soon. It
// names the token and nothing else that counts: provider and endpoint come from the
// stored token and the configuration, whatever the hint says.
func (w *Webhook) refreshNotify(rw http.ResponseWriter, r *http.Request, body []byte) error {
	var request wire.RefreshNotifyRequest
	if len(body) > 0 {
		// The hint is not looked at, not even at its form.
		var read struct {
			Service string `json:"service"`
			Reason  string `json:"reason"`
		}
		if err := decodeInto(body, &read); err != nil {
			return err
		}
		request.Service, request.Reason = read.Service, read.Reason
	}
	if !wire.ValidServiceName(request.Service) {
		return invalid("service is missing or not a service name")
	}
	answer, err := w.refreshNow(r, request)
	if err != nil {
		return err
	}
	answer.RequestID = r.Header.Get(wire.HeaderRequestID)
	return writeJSON(rw, http.StatusOK, answer)
}

func (w *Webhook) refreshNow(r *http.Request, request wire.RefreshNotifyRequest) (wire.RefreshNotifyResponse, error) {
	ctx, cancel := context.WithTimeout(r.Context(), notifyWait)
	defer cancel()
	stored, err := w.loadToken(ctx, request.Service)
	switch {
	case errors.Is(err, errTokenNotFound):
		return wire.RefreshNotifyResponse{Status: wire.NotifyNoToken}, nil
	case err != nil:
		return wire.RefreshNotifyResponse{}, err
	case !stored.refreshable():
		return wire.RefreshNotifyResponse{Status: wire.NotifyNoRefreshToken}, nil
	}
	known, ours := w.providers.of(stored.meta())
	if !ours {
		return wire.RefreshNotifyResponse{
			Status: wire.NotifyAcknowledged, Message: "this webhook has no client secret of the token's provider",
		}, nil
	}
	provider, err := w.providers.endpoints(ctx, known)
	if err != nil {
		return w.refreshFailed(r, request.Service, err)
	}
	place := &refreshPlace{w: w, service: request.Service, known: known, provider: provider, address: w.clients.describe(r)}
	outcome, err := w.refresher.Ensure(ctx, request.Service, place, w.refreshOptions(request.Reason, stored.meta()))
	if err != nil && !errors.Is(err, refresh.ErrNotCommitted) && !errors.Is(err, refresh.ErrNotNoted) {
		return w.refreshFailed(r, request.Service, err)
	}
	if err != nil { // the outcome counts, and somebody has to look after the storage
		w.log.ErrorContext(ctx, "how a refresh ended could not be stored", "service", request.Service, "error", err.Error())
	}
	return notified(outcome), nil
}

// refreshOptions say how much of a hurry there is. A provider in trouble is left alone
// until the time that it was given, whoever asks; what only its owner or an operator can
// repair is tried whenever somebody asks, as it may just have been.
func (w *Webhook) refreshOptions(reason string, meta map[string]any) refresh.Options {
	now, state := w.now(), stateOf(meta, nil)
	recent := func(at time.Time) bool { return !at.After(now) && now.Before(at.Add(forceAgain)) }
	waits := state.RetryAt.After(now) && !state.RetryReason.ForOperator()
	if reason != wire.ReasonRequested || waits || recent(state.IssuedAt) || recent(timeOf(meta[metaTriedAt])) {
		return refresh.Options{Scheduled: true}
	}
	return refresh.Options{Force: true}
}

// notified is an outcome in the protocol's words.
func notified(o refresh.Outcome) wire.RefreshNotifyResponse {
	switch o.Kind {
	case refresh.Rotated, refresh.StillValid:
		return wire.RefreshNotifyResponse{Status: wire.NotifyRefreshed, NewExpiresAt: formatExpiry(o.At)}
	case refresh.NeedsReauthorization:
		return wire.RefreshNotifyResponse{
			Status: wire.NotifyFailed, Reason: string(o.Reason), NeedsReauthorization: true,
			Message: "the provider takes the refresh token no longer: the account has to be connected again",
		}
	}
	answer := wire.RefreshNotifyResponse{
		Status: wire.NotifyFailed, Reason: string(o.Reason),
		Message: "the provider gave no new tokens this time; the stored ones stay, and it is worth another try",
	}
	if !o.At.IsZero() {
		answer.RetryAt = credential.FormatTime(o.At)
	}
	return answer
}

// refreshFailed says what an error means for TV. What is the webhook's own trouble is
// an internal error, which TV tries again.
func (w *Webhook) refreshFailed(r *http.Request, service string, err error) (wire.RefreshNotifyResponse, error) {
	var refusal *refresh.Refusal
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return wire.RefreshNotifyResponse{
			Status: wire.NotifyFailed, Message: "the refresh is still running; its tokens are stored when the provider has answered",
		}, nil
	case errors.Is(err, refresh.ErrGone):
		return wire.RefreshNotifyResponse{Status: wire.NotifyFailed, Message: "the token was replaced or deleted meanwhile"}, nil
	case errors.As(err, &refusal): // of discovery
		w.log.WarnContext(r.Context(), "a provider could not be discovered", "service", service, "error", refusal.Error())
		return notified(refresh.Outcome{Kind: refresh.RetryAt, Reason: refusal.Reason, At: w.now().Add(refusal.RetryAfter + discoveryRetry)}), nil
	}
	return wire.RefreshNotifyResponse{}, err
}

// originOf is the origin of a URL of the configuration, for records.
func originOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	origin, _ := credential.Origin(u)
	return origin
}
