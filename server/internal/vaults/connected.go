package vaults

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/webhook-sdk/credential"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// metaConnected marks what the server was issued at a provider and handed over: the
// webhook's list says so for as long as the token is there, whatever becomes of the
// index.
const metaConnected = "connectedThrough"

// Connected is what connecting an account at a provider brought to the server.
type Connected struct {
	Service  string
	Replaces string         // creation that it takes the place of; empty: the name is to be free
	ID       string         // of this connecting, by which what was stored is found again
	Data     map[string]any // tokenData, secrets included, without display name, notes and tags
	Name     string         // display name for a token that is new
	Detail   string         // for the record
}

// ConnectTicket permits one connecting of an account that the webhook does itself, by
// capability connect: the server sees nothing of it. replaces is the creation that it
// may take the place of, empty for a name that is to be free. WRONG_VAULT_MODE, VAULT_LOCKED;
// WEBHOOK_NOT_CONFIGURED when the webhook connects none.
func (s *Service) ConnectTicket(ctx context.Context, p grants.Principal, client audit.Client, service, replaces string) (Ticket, error) {
	c, err := s.ticketCustody(ctx, p, service)
	if err != nil {
		return Ticket{}, err
	}
	if !slices.Contains(c.Binding.Capabilities, wire.CapConnect) {
		return Ticket{}, fault.New(fault.WebhookNotConfigured, "The webhook does not connect accounts by itself. Set a provider up there.")
	}
	t := wire.Ticket{Service: service, Purpose: wire.PurposeConnect}
	if slices.Contains(c.Binding.Capabilities, wire.CapTicketConstraints) {
		t.Mode, t.CreationID = storeMode(replaces), replaces
	}
	return s.issue(ctx, p, client, audit.TicketIssued, t)
}

// storeMode is that of a ticket by which something takes the place of a creation.
func storeMode(replaces string) string {
	if replaces == "" {
		return wire.ModeCreate
	}
	return wire.ModeOverwrite
}

// StoreConnected hands what the server was issued at a provider to the account's
// webhook: besides Move the one way by which it does so. Such a token is tv-seen, until
// it is replaced. It is on record before it is handed over. CONFLICT: the name has
// another token by now; WEBHOOK_UNAVAILABLE: it is not there, as far as can be told.
func (s *Service) StoreConnected(ctx context.Context, p grants.Principal, client audit.Client, in Connected) (row models.Token, err error) {
	if err := user(p); err != nil {
		return row, err
	}
	if err := validService(in.Service); err != nil {
		return row, err
	}
	c, err := s.bound(ctx, p.AccountID)
	if err != nil {
		return row, err
	}
	e := event(audit.Store, p, client)
	e.Service, e.Detail = in.Service, in.Detail+", and stored at the webhook url="+c.Binding.URL+": seen by this server"
	err = s.deps.Audit.Do(ctx, e, func(ctx context.Context) error {
		return s.withWebhook(ctx, p.AccountID, func(c *Custody) error {
			row, err = s.handOver(ctx, p, c, in)
			return err
		})
	})
	return row, err
}

// handOver stores what was issued, unless that is there already, and indexes it.
func (s *Service) handOver(ctx context.Context, p grants.Principal, c *Custody, in Connected) (models.Token, error) {
	if err := c.refuseLocked(); err != nil {
		return models.Token{}, err
	}
	item, found, err := s.look(ctx, c, in.Service)
	if err != nil {
		return models.Token{}, err
	}
	var t models.Token
	if found {
		t, _ = indexed(item)
	}
	if !found || connectedBy(item) != in.ID {
		before := t.CreationID
		if err := s.sendConnected(ctx, p, c, in, item, found); err != nil {
			return models.Token{}, err
		}
		if item, found, err = s.look(ctx, c, in.Service); err != nil {
			return models.Token{}, err
		}
		if found {
			t, _ = indexed(item)
		}
		if !found || t.CreationID == before {
			return models.Token{}, fault.New(fault.Conflict, "The webhook said that it stored the token, and does not list it. Look into its log, and connect again.")
		}
	}
	if t.SeenAt == nil { // a webhook that drops metadata that it does not know
		seenNow(&t, seenConnected)
	}
	account, vault := c.Binding.AccountID, c.Binding.VaultID
	if _, err := s.deps.Index.SyncTokens(ctx, account, vault, []models.Token{s.owned(t, c)}, false); err != nil {
		return models.Token{}, indexError(err)
	}
	row, err := s.deps.Index.Token(ctx, account, vault, in.Service)
	if errors.Is(err, models.ErrNotFound) {
		return row, tokenNotFound(in.Service)
	}
	return row, indexError(err)
}

// sendConnected stores what was issued with a ticket for exactly what is there now.
// After a call whose end nobody knows, a list tells.
func (s *Service) sendConnected(ctx context.Context, p grants.Principal, c *Custody, in Connected, item wire.StorageItem, found bool) error {
	var old models.Token
	if found {
		old, _ = indexed(item)
	}
	if found && (in.Replaces == "" || old.CreationID != in.Replaces) {
		return anotherToken(in.Service)
	}
	t := wire.Ticket{Service: in.Service, Purpose: wire.PurposeStore, Mode: storeMode(old.CreationID)}
	if slices.Contains(c.Binding.Capabilities, wire.CapTicketConstraints) {
		t.CreationID = old.CreationID
	}
	ticket, err := s.sign(c, p, t)
	if err != nil {
		return err
	}
	err = s.deps.Documents.Store(ctx, c.target(), ticket, in.Service, in.tokenData(old, item, found))
	switch fault.CodeOf(err) {
	case fault.Conflict:
		return anotherToken(in.Service)
	case fault.WebhookUnavailable:
		if now, there, failed := s.look(ctx, c, in.Service); failed == nil && there && connectedBy(now) == in.ID {
			return nil
		}
	}
	return err
}

func anotherToken(service string) error {
	return fault.New(fault.Conflict, "The webhook has another token named %q by now. Choose another name, or delete that one first.", service)
}

// tokenData is what the webhook is given: what people wrote beside the token before
// stays, and the hosts that they let it be sent to.
func (in Connected) tokenData(old models.Token, item wire.StorageItem, replaces bool) map[string]any {
	data := maps.Clone(in.Data)
	data[metaConnected] = in.ID
	name := in.Name
	if replaces {
		name = old.DisplayName
		var meta struct {
			Hosts texts `json:"allowedHosts"`
		}
		if json.Unmarshal(item.Meta, &meta) == nil && len(meta.Hosts) > 0 {
			data[credential.MetaAllowedHosts] = meta.Hosts
		}
		if old.Notes != "" {
			data[credential.MetaNotes] = old.Notes
		}
		if len(old.Tags) > 0 {
			data[credential.MetaTags] = old.Tags
		}
	}
	if name != "" {
		data[credential.MetaDisplayName] = name
	}
	return data
}

func connectedBy(item wire.StorageItem) string {
	var meta itemMeta
	if json.Unmarshal(item.Meta, &meta) != nil {
		return ""
	}
	return string(meta.Connected)
}
