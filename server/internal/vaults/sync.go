package vaults

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

const (
	syncTimeout  = 80 * time.Second // of a whole list, however many pages; an answer that takes 90 s is cut off
	maxFullSyncs = 2                // at once, since each may hold a list of maxListText
	maxListText  = 32 << 20         // bytes
	onePage      = 100              // items a page of a list that should have one
	indexPage    = 1000             // rows of the index read at once
	maxRemovals  = 1000             // rows removed one by one
)

// A syncResult is what reading a webhook's list found.
type syncResult struct {
	listed  int  // tokens that the webhook lists
	changed int  // rows of the index that were written or removed
	found   bool // of one service: the webhook has it
}

// Sync reads the webhook's token list into the index, or with a service the one
// token of that name, and returns how many tokens it read. It never asks for a
// token itself. That a store became visible is put on record.
func (s *Service) Sync(ctx context.Context, p grants.Principal, client audit.Client, service string) (int, error) {
	if err := user(p); err != nil {
		return 0, err
	}
	if service == "" {
		result, err := s.syncAll(ctx, p.AccountID)
		return result.listed, err
	}
	if err := validService(service); err != nil {
		return 0, err
	}
	found, changed, err := s.syncOne(ctx, p.AccountID, service)
	if err != nil || !found {
		return 0, err
	}
	if changed {
		e := event(audit.Store, p, client)
		e.Service, e.Detail = service, "the webhook lists it anew or changed"
		err = s.deps.Audit.Record(ctx, e)
	}
	return 1, err
}

// syncAll reads the whole list.
func (s *Service) syncAll(ctx context.Context, accountID uuid.UUID) (syncResult, error) {
	return s.syncs.do(ctx, flightKey{account: accountID}, func(ctx context.Context) (result syncResult, err error) {
		ctx, cancel := context.WithTimeout(ctx, syncTimeout)
		defer cancel()
		select {
		case s.full <- struct{}{}:
			defer func() { <-s.full }()
		case <-ctx.Done():
			return result, fault.Wrap(ctx.Err(), fault.Unavailable, "Too many token lists are being read at the moment. Try again in a minute.")
		}
		err = s.withWebhook(ctx, accountID, func(c *Custody) error {
			known, err := s.indexedNames(ctx, c)
			if err != nil {
				return err
			}
			found, err := s.readList(ctx, c)
			if err != nil {
				return err
			}
			result.listed = len(found)
			result.changed, err = s.writeList(ctx, c, found, known)
			return err
		})
		return result, err
	})
}

// readList reads every item that can be indexed. What cannot be is left out: it
// could not be asked for by name either.
func (s *Service) readList(ctx context.Context, c *Custody) ([]models.Token, error) {
	var found []models.Token
	names, size, skipped := map[string]struct{}{}, 0, 0
	for item, err := range s.deps.Documents.List(ctx, c.target(), wire.CollectionTokens, wire.ListOptions{}) {
		if err != nil {
			return nil, err
		}
		t, ok := indexed(item)
		if _, twice := names[t.ServiceName]; !ok || twice {
			skipped++
			continue
		}
		if size += textSize(t); size > s.deps.MaxListText {
			return nil, fault.New(fault.WebhookUnavailable, "The webhook's list holds more than %d bytes of names and notes, which is more than this server takes.", s.deps.MaxListText)
		}
		names[t.ServiceName] = struct{}{}
		found = append(found, s.owned(t, c))
	}
	if skipped > 0 {
		s.deps.Logger.WarnContext(ctx, "vaults: items of a webhook's list cannot be indexed", "account", c.Binding.AccountID, "items", skipped)
	}
	return found, nil
}

// indexedNames returns the names that the index holds now.
func (s *Service) indexedNames(ctx context.Context, c *Custody) (map[string]struct{}, error) {
	names := map[string]struct{}{}
	for after := ""; ; {
		rows, err := s.deps.Index.Tokens(ctx, c.Binding.AccountID, c.Binding.VaultID, after, indexPage)
		if err != nil {
			return nil, indexError(err)
		}
		for _, t := range rows {
			names[t.ServiceName] = struct{}{}
		}
		if len(rows) < indexPage {
			return names, nil
		}
		after = rows[len(rows)-1].ServiceName
	}
}

// writeList brings the index up to a whole list. What is removed is what the index
// held before the list was read: a token that was stored and indexed meanwhile is
// no stranger, and would lose its id and with it its credential grants. Only where
// nearly everything changed, as after binding another webhook, does the list alone
// decide.
func (s *Service) writeList(ctx context.Context, c *Custody, found []models.Token, known map[string]struct{}) (int, error) {
	account, vault := c.Binding.AccountID, c.Binding.VaultID
	for _, t := range found {
		delete(known, t.ServiceName)
	}
	many := len(known) > maxRemovals
	changed, err := s.deps.Index.SyncTokens(ctx, account, vault, found, many)
	if err != nil || many {
		return changed, indexError(err)
	}
	for name := range known {
		if err := ignoreMissing(s.deps.Index.DeleteToken(ctx, account, vault, name)); err != nil {
			return changed, indexError(err)
		}
		changed++
	}
	return changed, nil
}

// syncOne reads one token, and removes it from the index when the webhook does
// not have it.
func (s *Service) syncOne(ctx context.Context, accountID uuid.UUID, service string) (found, changed bool, err error) {
	key := flightKey{account: accountID, service: service}
	result, err := s.syncs.do(ctx, key, func(ctx context.Context) (result syncResult, err error) {
		ctx, cancel := context.WithTimeout(ctx, syncTimeout)
		defer cancel()
		err = s.withWebhook(ctx, accountID, func(c *Custody) error {
			result, err = s.readOne(ctx, c, service)
			return err
		})
		return result, err
	})
	return result.found, result.changed > 0, err
}

func (s *Service) readOne(ctx context.Context, c *Custody, service string) (syncResult, error) {
	options := wire.ListOptions{Filters: map[string]any{"serviceName": service}, Limit: onePage}
	account, vault := c.Binding.AccountID, c.Binding.VaultID
	for item, err := range s.deps.Documents.List(ctx, c.target(), wire.CollectionTokens, options) {
		if err != nil {
			return syncResult{}, err
		}
		// A webhook that knows no filters lists everything.
		if t, ok := indexed(item); ok && t.ServiceName == service {
			changed, err := s.deps.Index.SyncTokens(ctx, account, vault, []models.Token{s.owned(t, c)}, false)
			return syncResult{listed: 1, changed: changed, found: true}, indexError(err)
		}
	}
	err := ignoreMissing(s.deps.Index.DeleteToken(ctx, account, vault, service))
	return syncResult{}, indexError(err)
}

// owned completes what the webhook reported with whose it is. Should the token be
// known, the index keeps its id.
func (s *Service) owned(t models.Token, c *Custody) models.Token {
	now := s.now()
	t.AccountID, t.VaultID, t.ID = c.Binding.AccountID, c.Binding.VaultID, models.NewID()
	t.CreatedAt, t.UpdatedAt = now, now
	if t.SeenPath != "" && t.SeenAt == nil {
		t.SeenAt = &now
	}
	return t
}

func indexError(err error) error {
	if err != nil {
		return fmt.Errorf("vaults: token index: %w", err)
	}
	return nil
}
