package vaults

import (
	"context"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/webhooks"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

const (
	// bindTimeout is for what follows the exchange, whoever is still waiting for it.
	bindTimeout = 60 * time.Second
	// firstSyncTimeout is how much of it the first reading of the token list may take.
	firstSyncTimeout = 20 * time.Second
	maxBindCode      = 256
)

// PreviewBind checks what a registration URL carries and says what binding would
// do. Nothing is called and nothing changes.
func (s *Service) PreviewBind(ctx context.Context, p grants.Principal, in BindInput) (BindPreview, error) {
	if err := user(p); err != nil {
		return BindPreview{}, err
	}
	in, err := s.checkBind(in)
	if err != nil {
		return BindPreview{}, err
	}
	preview := BindPreview{WebhookURL: in.WebhookURL, Fingerprint: in.Hash}
	if u, err := url.Parse(in.WebhookURL); err == nil {
		preview.Host = u.Host
	}
	active, err := s.deps.Bindings.BindingByState(ctx, p.AccountID, models.BindingActive)
	switch {
	case err == nil:
		active.SealedSecret = nil
		preview.Replaces = &active
	case !errors.Is(err, models.ErrNotFound):
		return BindPreview{}, fmt.Errorf("vaults: binding: %w", err)
	}
	return preview, nil
}

// Bind pairs a webhook with the account (protocol.md §2): the code is exchanged
// once for a secret, which must have the hash of the registration URL; the secret
// is stored before it is used; a signed call closes the set-up; and then the
// binding in use, if any, is replaced in one transaction.
//
// INVALID_REQUEST, BIND_CODE_INVALID, WEBHOOK_MISMATCH, WEBHOOK_UNAVAILABLE and
// WEBHOOK_AUTH_FAILED leave the binding in use as it was; when they came after the
// exchange, the pending one may be settled later (pending.go). CONFLICT: another bind
// of this account was faster.
func (s *Service) Bind(ctx context.Context, p grants.Principal, client audit.Client, in BindInput) (models.Binding, error) {
	if err := user(p); err != nil {
		return models.Binding{}, err
	}
	in, err := s.checkBind(in)
	if err != nil {
		return models.Binding{}, err
	}
	e := event(audit.Bind, p, client)
	e.Detail = fmt.Sprintf("bind url=%s fingerprint=%s", in.WebhookURL, in.Hash)
	var done models.Binding
	err = s.deps.Audit.Do(ctx, e, func(ctx context.Context) error {
		done, err = s.bind(ctx, p.AccountID, in)
		return err
	})
	return done, err
}

func (s *Service) bind(ctx context.Context, accountID uuid.UUID, in BindInput) (models.Binding, error) {
	got, err := s.deps.Pairing.Exchange(ctx, in.WebhookURL, in.Code)
	if err != nil {
		return models.Binding{}, err
	}
	if subtle.ConstantTimeCompare([]byte(got.Secret.Hash()), []byte(in.Hash)) != 1 {
		return models.Binding{}, fault.New(fault.WebhookMismatch,
			"The webhook handed over another secret than the one whose fingerprint the link bears. Nothing was bound. "+
				"Make a new code on the webhook's own bind page and compare the fingerprints.")
	}
	// The code is used up: from here on, nobody's leaving may lose the secret.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), bindTimeout)
	defer cancel()
	pending, err := s.keepPending(ctx, accountID, in.WebhookURL, got)
	if err != nil {
		return models.Binding{}, err
	}
	active, err := s.settle(ctx, pending, got.Secret)
	if err != nil {
		return models.Binding{}, err
	}
	s.firstSync(ctx, &active)
	active.SealedSecret = nil
	return active, nil
}

// checkBind validates and makes canonical what a registration URL carries.
func (s *Service) checkBind(in BindInput) (BindInput, error) {
	in.Code = strings.TrimSpace(in.Code)
	if in.Code == "" || len(in.Code) > maxBindCode || strings.IndexFunc(in.Code, func(r rune) bool { return r <= ' ' || r > '~' }) >= 0 {
		return in, fault.Field("code", "The code is missing or malformed. Open the link that the webhook's bind page shows.")
	}
	address, err := webhooks.ParseBaseURL(in.WebhookURL, s.deps.AllowPrivate, s.deps.OwnHost)
	if err != nil {
		return in, err
	}
	in.WebhookURL, in.Hash = address, strings.ToLower(strings.TrimSpace(in.Hash))
	if hash, err := hex.DecodeString(in.Hash); err != nil || len(hash) != wire.SecretSize {
		return in, fault.Field("hmacSecretHash", "The hash must be a SHA-256 in hex, 64 digits. Open the link that the webhook's bind page shows.")
	}
	return in, nil
}

// firstSync reads the token list of a webhook that was just bound. Its failure is
// no failure of the bind: the binding's health says what happened.
func (s *Service) firstSync(ctx context.Context, b *models.Binding) {
	ctx, cancel := context.WithTimeout(ctx, firstSyncTimeout)
	defer cancel()
	_, err := s.syncAll(ctx, b.AccountID)
	if err == nil {
		return
	}
	detail := "The webhook is bound, but its token list could not be read: " + fault.From(err).Message
	s.deps.Logger.WarnContext(ctx, "vaults: first sync failed", "account", b.AccountID, "error", err)
	s.setHealth(context.WithoutCancel(ctx), b, models.HealthUnhealthy, detail)
}

// setHealth notes a verdict on the binding; that it cannot be noted is no reason
// to fail what was asked for.
func (s *Service) setHealth(ctx context.Context, b *models.Binding, status, detail string) {
	at := s.now()
	err := s.deps.Bindings.SetBindingHealth(ctx, b.AccountID, b.ID, status, detail, at, b.Version, b.Capabilities)
	if err != nil {
		s.deps.Logger.ErrorContext(ctx, "vaults: health could not be noted", "account", b.AccountID, "error", err)
		return
	}
	b.HealthStatus, b.HealthDetail, b.HealthCheckedAt = status, detail, &at
}
