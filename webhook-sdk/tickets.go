package webhook

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// useTicket checks a ticket and uses it up, in the order of the protocol: two
// parts, MAC, payload, expiry, purpose, service, owner, nonce. The first ticket
// under a secret that passes all of it says who the owner is. Callers look at
// nothing else of a request before.
func (w *Webhook) useTicket(ctx context.Context, text, service string, purposes ...wire.Purpose) (wire.Ticket, error) {
	ticket, _, err := w.redeem(ctx, text, func(t wire.Ticket) bool { return t.Permits(service, purposes...) == nil })
	return ticket, err
}

// redeem is useTicket for who knows by the ticket alone what it permits. It also
// returns the binding under which it was issued.
func (w *Webhook) redeem(ctx context.Context, text string, permits func(wire.Ticket) bool) (wire.Ticket, binding, error) {
	now := w.now()
	active := w.bindings.active(now)
	if len(active) == 0 {
		return wire.Ticket{}, binding{}, errSetupRequired
	}
	ticket, index, err := wire.OpenTicket(secretsOf(active), text, now)
	if err != nil {
		return wire.Ticket{}, binding{}, ticketRefusal(err)
	}
	if ticket.IssuedAt < w.started.Unix() {
		return wire.Ticket{}, binding{}, refuse(wire.CodeTicketInvalid, "the ticket was issued before this webhook was started; ask for a new one")
	}
	if !permits(ticket) || !wire.ValidServiceName(ticket.Service) {
		return wire.Ticket{}, binding{}, refuse(wire.CodeTicketInvalid, "the ticket is for another purpose or another service")
	}
	if owner := active[index].Owner; owner != "" && owner != ticket.Subject {
		return wire.Ticket{}, binding{}, errWrongOwner
	}
	fresh, err := w.nonces.use(now, time.Unix(ticket.ExpiresAt, 0), keyOf('n', []byte(ticket.Nonce)))
	if err != nil {
		return wire.Ticket{}, binding{}, err
	}
	if !fresh {
		return wire.Ticket{}, binding{}, refuse(wire.CodeTicketInvalid, "the ticket was used before; ask for a new one")
	}
	if active[index].Owner == "" {
		if err := w.bindings.claim(ctx, active[index].Secret, ticket.Subject); errors.Is(err, errOtherOwner) {
			return wire.Ticket{}, binding{}, errWrongOwner
		} else if err != nil {
			return wire.Ticket{}, binding{}, err
		}
	}
	if !slices.Contains(w.purposes, ticket.Purpose) {
		return wire.Ticket{}, binding{}, refuse(wire.CodeForbidden, "this webhook's operator does not serve the purpose %s", string(ticket.Purpose))
	}
	return ticket, active[index], nil
}

var errWrongOwner = refuse(wire.CodeTicketInvalid, "the ticket is for another vault than this webhook is bound to")

func ticketRefusal(err error) error {
	if errors.Is(err, wire.ErrTicketExpired) {
		return refuse(wire.CodeTicketExpired, "the ticket has expired; ask for a new one")
	}
	return refuse(wire.CodeTicketInvalid, "the ticket is not valid")
}

// checkConstraints holds a stored token against what the ticket says of it.
func checkConstraints(ticket wire.Ticket, creationID string) error {
	if ticket.CreationID != "" && ticket.CreationID != creationID {
		return errStaleCreation
	}
	return nil
}

var (
	errStaleCreation = refuse(wire.CodeStaleCreation, "the token was replaced since the ticket was issued")
	errTokenNotFound = refuse(wire.CodeTokenNotFound, "there is no such token")
)
