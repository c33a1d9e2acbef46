package vaults

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// place stores a parcel at the webhook, unless it is there already, verifies it and
// returns its row of the index, which says that the server saw it.
func (s *Service) place(ctx context.Context, p grants.Principal, what parcel) (at models.Token, err error) {
	err = s.withWebhook(ctx, p.AccountID, func(c *Custody) error {
		at, err = s.placeAt(ctx, p, c, what)
		return err
	})
	return at, err
}

func (s *Service) placeAt(ctx context.Context, p grants.Principal, c *Custody, what parcel) (models.Token, error) {
	for stored := false; ; {
		item, found, err := s.look(ctx, c, what.service)
		if err != nil {
			return models.Token{}, err
		}
		if found && markerOf(item) == what.marker {
			return s.settleIn(ctx, c, what, item)
		}
		if stored {
			if err := s.noteSeen(ctx, c, item, found); err != nil {
				return models.Token{}, err
			}
			return models.Token{}, staying(fault.Conflict, "The webhook said that it stored the token, and does not list it as it was given. "+
				"Look at the token there; if it is right, delete the one that waits here.")
		}
		t, err := what.ticket(c, item, found)
		if err != nil {
			return models.Token{}, err
		}
		if err := s.send(ctx, p, c, t, what); err != nil {
			return models.Token{}, err
		}
		stored = true
	}
}

// ticket is what the parcel is stored with: under a name that is free, or over what
// an earlier version of it left there, and never over anything else.
func (p parcel) ticket(c *Custody, item wire.StorageItem, found bool) (wire.Ticket, error) {
	t := wire.Ticket{Service: p.service, Purpose: wire.PurposeStore, Mode: wire.ModeCreate}
	if !found {
		return t, nil
	}
	row, ok := indexed(item)
	if !ok || row.CreationID == "" || !strings.HasPrefix(markerOf(item), p.token+".") || !slices.Contains(c.Binding.Capabilities, wire.CapTicketConstraints) {
		return t, taken()
	}
	t.Mode, t.CreationID = wire.ModeOverwrite, row.CreationID
	return t, nil
}

func taken() error {
	return staying(fault.Conflict, "The webhook has another token of this name. Delete one of the two, or store this one there under another name.")
}

// look reads the webhook's item of a name.
func (s *Service) look(ctx context.Context, c *Custody, service string) (wire.StorageItem, bool, error) {
	options := wire.ListOptions{Filters: map[string]any{"serviceName": service}, Limit: onePage}
	for item, err := range s.deps.Documents.List(ctx, c.target(), wire.CollectionTokens, options) {
		if err != nil {
			return item, false, err
		}
		if t, ok := indexed(item); ok && t.ServiceName == service {
			return item, true, nil
		}
	}
	return wire.StorageItem{}, false, nil
}

func markerOf(item wire.StorageItem) string {
	var meta itemMeta
	if json.Unmarshal(item.Meta, &meta) != nil {
		return ""
	}
	return string(meta.MovedFrom)
}

// send stores a parcel with a ticket. A refusal for a reason that goes on leaves the
// credential where it is.
func (s *Service) send(ctx context.Context, p grants.Principal, c *Custody, t wire.Ticket, what parcel) error {
	if err := c.refuseLocked(); err != nil {
		return err
	}
	ticket, err := s.sign(c, p, t)
	if err != nil {
		return err
	}
	err = s.deps.Documents.Store(ctx, c.target(), ticket, what.service, what.data)
	switch fault.CodeOf(err) {
	case fault.InvalidRequest, fault.TooLarge:
		return stays{err}
	case fault.Conflict:
		return taken()
	}
	return err
}

// settleIn verifies what the webhook lists against what was sent, and indexes it.
func (s *Service) settleIn(ctx context.Context, c *Custody, what parcel, item wire.StorageItem) (models.Token, error) {
	if differs := what.verify(item); differs != "" {
		return models.Token{}, staying(fault.Conflict, "The webhook keeps it otherwise than it was sent: %q differs. Look at the token there, and delete it here when it is right.", differs)
	}
	t, ok := indexed(item)
	if !ok {
		return models.Token{}, staying(fault.Conflict, "The webhook's token cannot be indexed. Look at it there.")
	}
	account, vault := c.Binding.AccountID, c.Binding.VaultID
	if _, err := s.deps.Index.SyncTokens(ctx, account, vault, []models.Token{s.owned(t, c)}, false); err != nil {
		return models.Token{}, indexError(err)
	}
	row, err := s.deps.Index.Token(ctx, account, vault, what.service)
	if errors.Is(err, models.ErrNotFound) || err == nil && (row.CreationID != t.CreationID || !row.SeenByServer()) {
		return models.Token{}, fault.New(fault.Conflict, "The token was changed at the webhook while it was being moved. Try again.")
	}
	return row, indexError(err)
}

// noteSeen indexes what the webhook lists, without its mark, after it was handed a
// credential: the server has seen that.
func (s *Service) noteSeen(ctx context.Context, c *Custody, item wire.StorageItem, found bool) error {
	t, ok := indexed(item)
	if !found || !ok {
		return nil
	}
	seenNow(&t, seenMoved)
	_, err := s.deps.Index.SyncTokens(ctx, c.Binding.AccountID, c.Binding.VaultID, []models.Token{s.owned(t, c)}, false)
	return indexError(err)
}

// The paths by which the server saw a token: it moved it from platform mode, it
// was issued to the server when its owner connected an account, or it was refreshed by
// the server, when that was permitted.
const (
	seenMoved     = "moved from platform mode"
	seenConnected = "connected through this server"
	seenRefreshed = "refreshed through this server"
)

// seenIn says in a row what its item tells of having been seen by the server.
func seenIn(t *models.Token, meta itemMeta) {
	switch {
	case meta.MovedFrom != "":
		seenNow(t, seenMoved)
	case meta.Connected != "":
		seenNow(t, seenConnected)
	}
}

func seenNow(t *models.Token, path string) {
	t.SeenAt, t.SeenPath, t.SeenCreationID = t.StoredAt, path, t.CreationID
}
