package refreshes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/server/internal/webhooks"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

const (
	outboxBatch   = 32
	outboxAtOnce  = 8
	outboxTime    = 12 * time.Second                            // of one delivery
	outboxClaim   = (outboxBatch/outboxAtOnce + 2) * outboxTime // for all of a batch
	outboxLife    = 30 * 24 * time.Hour                         // of an entry that cannot be delivered
	outboxLongest = 15 * time.Minute                            // between two attempts
)

// errUndelivered: new tokens of this token wait for the webhook, which still has the
// refresh token that was used up for them.
var errUndelivered = errors.New("refreshes: the webhook has not been given its new tokens yet")

// sealable reports whether new tokens can be kept for the webhook.
func (m *mediation) sealable() bool {
	_, ok := sealKey(m.a.custody.Binding)
	return ok && m.a.can(wire.CapOutbox) && m.meta.creation != ""
}

// sealKey is the key that was pinned when the webhook was bound.
func sealKey(b models.Binding) (wire.SealKey, bool) {
	parts := strings.Split(b.SealKey, " ")
	if len(parts) != 3 {
		return wire.SealKey{}, false
	}
	return wire.SealKey{ID: parts[0], KEM: parts[1], Key: parts[2]}, true
}

// seal keeps tokens that the webhook alone opens.
func (m *mediation) seal(ctx context.Context, t refresh.Tokens) error {
	b := m.a.custody.Binding
	key, _ := sealKey(b)
	sealed, err := wire.Seal(key, b.WebhookID, m.a.service, m.meta.creation, m.meta.sequence+1, *m.tokens(t))
	if err != nil {
		return err
	}
	text, err := json.Marshal(sealed)
	if err != nil {
		return err
	}
	now := m.s.now()
	e := models.OutboxEntry{
		AccountID: m.a.account, TokenID: m.a.token, CreationID: sealed.CreationID, Sequence: sealed.Sequence, KeyID: sealed.KeyID,
		CreatedAt: now, DueAt: now.Add(minPause),
	}
	if e.Sealed, err = enclose(m.s.deps.Keyring, &e, text); err != nil {
		return err
	}
	err = m.s.deps.Outbox.PutOutbox(ctx, &e)
	switch {
	case errors.Is(err, models.ErrConflict):
		return refresh.ErrLeaseLost // newer ones wait
	case errors.Is(err, models.ErrNotFound):
		return refresh.ErrGone
	case err != nil:
		return fmt.Errorf("refreshes: outbox: %w", err)
	}
	m.s.counts.sealed.Add(1)
	return nil
}

// An enclosed is what an entry holds: what was sealed, and this server's word that it
// did that. The webhook opens whatever was sealed to its key, which is public.
type enclosed struct {
	Sealed json.RawMessage `json:"sealed"`
	KeyID  int             `json:"keyId"` // of the server
	MAC    []byte          `json:"mac"`
}

func enclose(k Keyring, e *models.OutboxEntry, sealed []byte) ([]byte, error) {
	in := enclosed{Sealed: sealed}
	in.KeyID, in.MAC = k.SignOutbox(e, sealed)
	return json.Marshal(in)
}

// errNotOurs: an entry that this server has not put there as it is.
var errNotOurs = errors.New("refreshes: an entry of the outbox is not authentic")

// disclose reads an entry. errNotOurs; an error besides that is of a server key that is
// missing: it may come back.
func disclose(k Keyring, e *models.OutboxEntry) (wire.Sealed, error) {
	var in enclosed
	var sealed wire.Sealed
	if json.Unmarshal(e.Sealed, &in) != nil {
		return sealed, errNotOurs
	}
	switch err := k.CheckOutbox(e, in.Sealed, in.KeyID, in.MAC); {
	case errors.Is(err, custody.ErrKeyID):
		return sealed, err
	case err != nil, json.Unmarshal(in.Sealed, &sealed) != nil, sealed.CreationID != e.CreationID, sealed.Sequence != e.Sequence:
		return wire.Sealed{}, errNotOurs
	}
	return sealed, nil
}

// deliverFirst delivers what waits for the webhook of a token, before that is asked for
// its refresh token. The error is errUndelivered, with the webhook's.
func (s *Service) deliverFirst(ctx context.Context, a *attempt) error {
	entry, err := s.deps.Outbox.Outbox(ctx, a.account, a.token)
	if errors.Is(err, models.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("refreshes: outbox: %w", err)
	}
	if settled, err := s.deliver(ctx, a, entry); !settled {
		return errors.Join(errUndelivered, err)
	}
	return nil
}

// deliver hands a webhook what waits for it. settled: it need not wait any more.
func (s *Service) deliver(ctx context.Context, a *attempt, e models.OutboxEntry) (settled bool, err error) {
	sealed, err := disclose(s.deps.Keyring, &e)
	switch {
	case errors.Is(err, errNotOurs):
		return true, s.drop(ctx, a, e, "it is not as this server has put it there")
	case err != nil && s.now().Sub(e.CreatedAt) > outboxLife:
		return true, s.drop(ctx, a, e, "a server key was missing for too long")
	case err != nil:
		s.counts.undelivered.Add(1)
		return false, fmt.Errorf("refreshes: outbox: %w", err)
	}
	var said wire.RefreshResponse
	err = s.call(a, func(t webhooks.Target) (err error) {
		said, err = s.deps.Webhooks.RefreshUpdate(ctx, t, a.service, webhooks.Update{Sealed: &sealed})
		return err
	})
	switch {
	case err == nil && said.Status == wire.RefreshUpdated:
		return true, s.delivered(ctx, a, e, said.NewExpiresAt)
	case err == nil, fault.CodeOf(err) == fault.Conflict:
		return true, s.discard(ctx, a, e)
	case fault.CodeOf(err) == fault.InvalidRequest:
		return true, s.drop(ctx, a, e, "the webhook cannot open it")
	case s.now().Sub(e.CreatedAt) > outboxLife:
		return true, s.drop(ctx, a, e, "the webhook was away for too long")
	}
	s.counts.undelivered.Add(1)
	return false, err
}

func (s *Service) delivered(ctx context.Context, a *attempt, e models.OutboxEntry, newExpiry string) error {
	if err := s.forget(ctx, e); err != nil {
		return err
	}
	s.counts.delivered.Add(1)
	s.noteDelivery(ctx, a, "", "delivered: new tokens that had waited for the webhook")
	r := renewal{creation: e.CreationID, issued: &e.CreatedAt, hasToken: true}
	expires, ok := s.timeOf(newExpiry)
	if ok {
		r.expires = &expires
	}
	current := false
	if ok || newExpiry == "" { // never
		var err error
		if current, err = s.renew(ctx, a, r); err != nil {
			s.deps.Logger.ErrorContext(ctx, "refreshes: the index could not be brought up to date", "token", a.token, "error", err)
		}
	}
	if !current {
		s.resync(ctx, a)
	}
	s.clearUndelivered(ctx, a)
	return nil
}

// clearUndelivered takes the reason from an outcome, once it is delivered. Who has the
// lease writes an outcome of its own.
func (s *Service) clearUndelivered(ctx context.Context, a *attempt) {
	h, err := s.take(ctx, a.account, a.token, s.limits.LeaseTime)
	if err != nil {
		return
	}
	row, err := s.deps.Leases.Refresh(ctx, a.account, a.token)
	if err != nil || row.Reason != string(ReasonUndelivered) {
		s.release(ctx, h)
		return
	}
	row.Reason = ""
	s.end(ctx, h, row, minPause)
}

func (s *Service) discard(ctx context.Context, a *attempt, e models.OutboxEntry) error {
	if err := s.forget(ctx, e); err != nil {
		return err
	}
	s.counts.discarded.Add(1)
	s.noteDelivery(ctx, a, "", "discarded: the webhook has newer tokens, or another credential, than those that waited for it")
	return nil
}

// drop gives up what no webhook will ever take.
func (s *Service) drop(ctx context.Context, a *attempt, e models.OutboxEntry, why string) error {
	if err := s.forget(ctx, e); err != nil {
		return err
	}
	s.counts.lost.Add(1)
	s.deps.Logger.ErrorContext(ctx, "refreshes: new tokens that waited for a webhook are lost", "token", e.TokenID, "why", why)
	s.noteDelivery(ctx, a, fault.RefreshFailed, "lost: new tokens that waited for the webhook: "+why)
	return nil
}

func (s *Service) forget(ctx context.Context, e models.OutboxEntry) error {
	if err := s.deps.Outbox.DeleteOutbox(ctx, e.AccountID, e.TokenID, e.CreationID, e.Sequence); err != nil {
		return fmt.Errorf("refreshes: outbox: %w", err)
	}
	return nil
}

func (s *Service) noteDelivery(ctx context.Context, a *attempt, outcome fault.Code, detail string) {
	e := a.event
	e.Source, e.Outcome, e.Detail = audit.System, outcome, "path="+models.PathMediated+" "+detail
	s.note(ctx, e)
}

// deliverDue delivers what is due, a few at a time. full: there may be more.
func (s *Service) deliverDue(ctx context.Context) (full bool, err error) {
	entries, err := s.deps.Outbox.ClaimOutbox(ctx, outboxBatch, outboxClaim)
	if err != nil {
		return false, fmt.Errorf("refreshes: outbox: %w", err)
	}
	s.counts.outboxDue.Store(int64(len(entries)))
	var oldest time.Duration
	slots := make(chan struct{}, outboxAtOnce)
	var all sync.WaitGroup
	for _, e := range entries {
		oldest = max(oldest, s.now().Sub(e.CreatedAt))
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			s.deliverOne(ctx, e)
		})
	}
	all.Wait()
	s.counts.outboxOld.Store(int64(oldest))
	return len(entries) == outboxBatch, nil
}

func (s *Service) deliverOne(ctx context.Context, e models.OutboxEntry) {
	ctx, cancel := context.WithTimeout(ctx, outboxTime)
	defer cancel()
	a, c, err := s.addressee(ctx, e)
	if err == nil && a != nil {
		j := &job{host: hostOf(c)}
		retryAt, ok := s.lanes.Pass(j, s.now())
		if !ok {
			s.deferDelivery(ctx, e, retryAt)
			return
		}
		defer s.lanes.Settle(j, s.now)
		var settled bool
		if settled, err = s.deliver(ctx, a, e); settled && err == nil {
			return
		}
	}
	wait := min(refresh.Backoff(e.Attempts+1, 0, s.deps.Random()), outboxLongest)
	if err != nil {
		s.deps.Logger.InfoContext(ctx, "refreshes: new tokens still wait for a webhook", "token", e.TokenID, "attempt", e.Attempts+1, "code", fault.CodeOf(err))
	} else {
		wait = outboxLongest // nobody to deliver to at the moment
	}
	s.deferDelivery(ctx, e, s.now().Add(wait))
}

// addressee is whose webhook an entry is for; nil: nobody's at the moment.
func (s *Service) addressee(ctx context.Context, e models.OutboxEntry) (*attempt, *vaults.Custody, error) {
	t, err := s.deps.Index.TokenByID(ctx, e.AccountID, e.TokenID)
	if err != nil {
		return nil, nil, fmt.Errorf("refreshes: token: %w", err)
	}
	c, err := s.deps.Vaults.Custody(ctx, e.AccountID)
	if err != nil {
		return nil, nil, err
	}
	a := attemptOf(dueOf(t), c)
	if c.Mode != models.ModeWebhook || c.Locked || c.Binding.VaultID != t.VaultID {
		if s.now().Sub(e.CreatedAt) > outboxLife {
			return nil, nil, s.drop(ctx, a, e, "no webhook was bound for too long")
		}
		return nil, nil, nil
	}
	return a, c, nil
}

// dueOf is a token as if it had been claimed.
func dueOf(t models.Token) models.DueRefresh {
	return models.DueRefresh{
		Refresh: models.Refresh{AccountID: t.AccountID, TokenID: t.ID}, VaultID: t.VaultID, ServiceName: t.ServiceName, Provider: t.Provider,
		CreationID: t.CreationID, Scope: t.Scope, IssuedAt: t.IssuedAt, ExpiresAt: t.ExpiresAt, HasRefreshToken: t.HasRefreshToken,
	}
}

func (s *Service) deferDelivery(ctx context.Context, e models.OutboxEntry, at time.Time) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	if err := s.deps.Outbox.PostponeOutbox(ctx, e, at); err != nil && !errors.Is(err, models.ErrNotFound) {
		s.deps.Logger.WarnContext(ctx, "refreshes: a delivery could not be put off", "token", e.TokenID, "error", err)
	}
}
