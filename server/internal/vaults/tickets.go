package vaults

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"slices"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

const nonceSize = 16 // bytes: 128 random bits

// StoreTicket permits one store, from a browser or client to the webhook itself.
// The server never sees what is stored. WRONG_VAULT_MODE in platform mode,
// VAULT_LOCKED while locked: all tickets are refused then, these too. With
// wire.ModeCreate a name that is taken is CONFLICT: the webhook refuses it where it
// knows that mode, and otherwise this call does.
func (s *Service) StoreTicket(ctx context.Context, p grants.Principal, client audit.Client, in StoreTicketInput) (Ticket, error) {
	c, err := s.ticketCustody(ctx, p, in.ServiceName)
	if err != nil {
		return Ticket{}, err
	}
	t := wire.Ticket{Service: in.ServiceName, Purpose: wire.PurposeStore}
	switch in.Mode {
	case "", wire.ModeOverwrite, wire.ModeCreate:
	default:
		return Ticket{}, fault.Field("mode", "The mode must be %q or %q, or absent.", wire.ModeCreate, wire.ModeOverwrite)
	}
	if slices.Contains(c.Binding.Capabilities, wire.CapTicketConstraints) {
		t.Mode = in.Mode
	} else if in.Mode == wire.ModeCreate {
		if err := s.refuseTaken(ctx, p.AccountID, in.ServiceName); err != nil {
			return Ticket{}, err
		}
	}
	return s.issue(ctx, p, client, audit.TicketIssued, t)
}

func (s *Service) refuseTaken(ctx context.Context, accountID uuid.UUID, service string) error {
	found, _, err := s.syncOne(ctx, accountID, service) // the index may be behind
	if err == nil && found {
		err = fault.New(fault.Conflict, "A token named %q exists already. Choose another name, or replace it.", service)
	}
	return err
}

// CredentialTicket permits a person to see a credential, or its one-time code, at
// the webhook itself. Revealing is on record as such.
func (s *Service) CredentialTicket(ctx context.Context, p grants.Principal, client audit.Client, in CredentialTicketInput) (Ticket, error) {
	kind := audit.TicketIssued
	switch in.Purpose {
	case wire.PurposeUserReveal:
		kind = audit.Reveal
	case wire.PurposeTOTPCode:
	default:
		return Ticket{}, fault.Field("purpose", "The purpose must be %q or %q.", wire.PurposeUserReveal, wire.PurposeTOTPCode)
	}
	if _, err := s.ticketCustody(ctx, p, in.ServiceName); err != nil {
		return Ticket{}, err
	}
	if _, err := s.Find(ctx, p, in.ServiceName); err != nil {
		return Ticket{}, err
	}
	return s.issue(ctx, p, client, kind, wire.Ticket{Service: in.ServiceName, Purpose: in.Purpose})
}

// ticketCustody is the custody of who may be given a ticket for service.
func (s *Service) ticketCustody(ctx context.Context, p grants.Principal, service string) (*Custody, error) {
	if err := user(p); err != nil {
		return nil, err
	}
	if err := validService(service); err != nil {
		return nil, err
	}
	c, err := s.Custody(ctx, p.AccountID)
	if err != nil {
		return nil, err
	}
	if c.Mode != models.ModeWebhook {
		return nil, fault.New(fault.WrongVaultMode, "Tickets are for vaults in webhook mode. Bind a webhook first.")
	}
	return c, c.refuseLocked()
}

// issue records, then signs: no row, no ticket.
func (s *Service) issue(ctx context.Context, p grants.Principal, client audit.Client, kind audit.EventType, t wire.Ticket) (Ticket, error) {
	nonce, err := s.nonce()
	if err != nil {
		return Ticket{}, err
	}
	e := event(kind, p, client)
	e.Service, e.Detail = t.Service, fmt.Sprintf("purpose=%s", t.Purpose)
	if t.Mode != "" {
		e.Detail += " mode=" + t.Mode
	}
	if err := s.deps.Audit.Record(ctx, e); err != nil {
		return Ticket{}, err
	}
	// Asked again, so that no ticket leaves after a lock was answered.
	c, err := s.ticketCustody(ctx, p, t.Service)
	if err != nil {
		return Ticket{}, err
	}
	return Ticket{Ticket: s.signed(c, p, nonce, t), WebhookURL: c.Binding.URL, ExpiresIn: wire.TicketLife}, nil
}

// sign makes a ticket that the server uses itself, for what is on record already.
func (s *Service) sign(c *Custody, p grants.Principal, t wire.Ticket) (string, error) {
	nonce, err := s.nonce()
	if err != nil {
		return "", err
	}
	return s.signed(c, p, nonce, t), nil
}

func (s *Service) signed(c *Custody, p grants.Principal, nonce string, t wire.Ticket) string {
	now := s.deps.Now()
	t.Subject, t.Nonce = p.AccountID.String(), nonce
	t.IssuedAt, t.ExpiresAt = now.Unix(), now.Add(wire.TicketLife).Unix()
	return wire.SignTicket(c.Secret, t)
}

func (s *Service) nonce() (string, error) {
	var raw [nonceSize]byte
	if _, err := io.ReadFull(s.deps.Random, raw[:]); err != nil {
		return "", fmt.Errorf("vaults: no randomness: %w", err)
	}
	return hex.EncodeToString(raw[:]), nil
}
