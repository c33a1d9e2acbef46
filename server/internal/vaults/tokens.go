package vaults

import (
	"context"
	"encoding/base64"
	"errors"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// maxPage is the largest page of a list of tokens.
const maxPage = 1000

// Tokens lists tokens by service name, from the index: in webhook mode the
// account's, in platform mode those of the vault that p opens. next is empty when
// there are no more.
func (s *Service) Tokens(ctx context.Context, p grants.Principal, page Page) (list []TokenView, next string, err error) {
	if err := user(p); err != nil {
		return nil, "", err
	}
	after, err := page.after()
	if err != nil {
		return nil, "", err
	}
	c, err := s.Custody(ctx, p.AccountID)
	if err != nil {
		return nil, "", err
	}
	vaultID := p.VaultID
	if c.Mode == models.ModeWebhook {
		vaultID = c.Binding.VaultID
	}
	if vaultID == uuid.Nil { // a session that has stored nothing yet
		return []TokenView{}, "", nil
	}
	limit := page.Limit
	if limit > 0 {
		limit++ // one more tells whether there is a next page
	}
	tokens, err := s.deps.Index.Tokens(ctx, p.AccountID, vaultID, after, limit)
	if err != nil {
		return nil, "", indexError(err)
	}
	if page.Limit > 0 && len(tokens) > page.Limit {
		tokens = tokens[:page.Limit]
		next = base64.RawURLEncoding.EncodeToString([]byte(tokens[len(tokens)-1].ServiceName))
	}
	list, err = s.views(ctx, c, c.Mode, p.AccountID, tokens)
	return list, next, err
}

// after checks the page and returns the service name behind its cursor.
func (p Page) after() (string, error) {
	if p.Limit < 0 || p.Limit > maxPage {
		return "", fault.Field("limit", "The limit must be between 1 and %d.", maxPage)
	}
	name, err := base64.RawURLEncoding.Strict().DecodeString(p.Cursor)
	if err != nil || p.Cursor != "" && !wire.ValidServiceName(string(name)) {
		return "", fault.Field("cursor", "The cursor is not one that this list gave. Start again without it.")
	}
	return string(name), nil
}

// Token returns one of the account's tokens: Find with what is said of it.
func (s *Service) Token(ctx context.Context, p grants.Principal, service string) (TokenView, error) {
	if err := user(p); err != nil {
		return TokenView{}, err
	}
	t, err := s.Find(ctx, p, service)
	if err != nil {
		return TokenView{}, err
	}
	return s.viewed(ctx, t.Mode, t.Token)
}

// Find returns a token of the account's webhook, or of the platform vault that p
// opens; with a webhook bound, the latter counts for what has not been moved yet.
// A name that the index does not know is looked up once at the webhook.
// TOKEN_NOT_FOUND: nobody knows it.
func (s *Service) Find(ctx context.Context, p grants.Principal, service string) (Found, error) {
	if err := validService(service); err != nil {
		return Found{}, err
	}
	c, err := s.Custody(ctx, p.AccountID)
	if err != nil {
		return Found{}, err
	}
	if c.Mode == models.ModeWebhook {
		t, err := s.findAtWebhook(ctx, c, p.AccountID, service)
		if fault.CodeOf(err) != fault.TokenNotFound {
			return Found{t, models.ModeWebhook}, err
		}
	}
	if p.VaultID == uuid.Nil {
		return Found{}, tokenNotFound(service)
	}
	t, err := s.deps.Index.Token(ctx, p.AccountID, p.VaultID, service)
	if errors.Is(err, models.ErrNotFound) {
		return Found{}, tokenNotFound(service)
	}
	return Found{t, models.ModePlatform}, indexError(err)
}

func (s *Service) findAtWebhook(ctx context.Context, c *Custody, accountID uuid.UUID, service string) (models.Token, error) {
	t, err := s.deps.Index.Token(ctx, accountID, c.Binding.VaultID, service)
	if !errors.Is(err, models.ErrNotFound) {
		return t, indexError(err)
	}
	found, _, err := s.syncOne(ctx, accountID, service)
	if err != nil {
		return models.Token{}, err
	}
	if found {
		t, err = s.deps.Index.Token(ctx, accountID, c.Binding.VaultID, service)
	}
	if !found || errors.Is(err, models.ErrNotFound) {
		return models.Token{}, tokenNotFound(service)
	}
	return t, indexError(err)
}

// View returns a token by its id, from the index alone. TOKEN_NOT_FOUND: it is
// gone, or of a webhook that is not in use.
func (s *Service) View(ctx context.Context, accountID, tokenID uuid.UUID) (TokenView, error) {
	c, err := s.Custody(ctx, accountID)
	if err != nil {
		return TokenView{}, err
	}
	t, err := s.deps.Index.TokenByID(ctx, accountID, tokenID)
	if err != nil && !errors.Is(err, models.ErrNotFound) {
		return TokenView{}, indexError(err)
	}
	mode := models.ModeWebhook
	if err == nil && (c.Mode != models.ModeWebhook || t.VaultID != c.Binding.VaultID) {
		var vault models.Vault
		if vault, err = s.deps.Containers.Vault(ctx, accountID, t.VaultID); err == nil && vault.Mode == models.ModeWebhook {
			err = models.ErrNotFound
		}
		mode = vault.Mode
	}
	if errors.Is(err, models.ErrNotFound) {
		return TokenView{}, fault.New(fault.TokenNotFound, "The token is gone.")
	}
	if err != nil {
		return TokenView{}, indexError(err)
	}
	return s.viewed(ctx, mode, t)
}

// ignoreMissing turns "it is not there" into success, for what should be gone.
func ignoreMissing(err error) error {
	if errors.Is(err, models.ErrNotFound) {
		return nil
	}
	return err
}
