package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/tvzero/tokenvault/webhook-sdk/credential"
	"github.com/tvzero/tokenvault/webhook-sdk/storage"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// action says what a record is of.
type action string

const (
	actionCredential action = "credential"
	actionTOTPCode   action = "totp_code"
	actionProxy      action = "proxy"
	actionStore      action = "store"
	actionDelete     action = "delete"
	actionConnect    action = "connect"
	actionRevoke     action = "revoke"

	actionRefresh       action = "refresh"        // by the webhook itself
	actionRefreshGet    action = "refresh_get"    // TV got a refresh token
	actionRefreshUpdate action = "refresh_update" // TV brought new tokens
)

const outcomeOK = "ok"

// recordedByWebhook tells the webhook's own records from those that TV wrote.
const (
	recordedByWebhook = "webhook"
	recordedByTV      = "token-vault"
)

// A record is one line of the webhook's own log of what it gave out and changed.
// No record, no release.
type record struct {
	Timestamp  string       `json:"timestamp"`
	RecordedBy string       `json:"recordedBy"`
	Action     action       `json:"action"`
	Purpose    wire.Purpose `json:"purpose,omitempty"`
	Service    string       `json:"serviceName"`
	AgentID    string       `json:"agentId,omitempty"`
	ProxyID    string       `json:"proxyId,omitempty"`
	Nonce      string       `json:"ticketNonce,omitempty"` // finds the ticket in TV's own log
	CreationID string       `json:"creationId,omitempty"`
	Upstream   string       `json:"upstream,omitempty"` // origin of a proxied call, or of a provider
	Address    string       `json:"clientAddress"`
	Outcome    string       `json:"outcome"` // "ok", an error code, or how a refresh ended and why
}

// record writes down what a ticket was used for. It returns when that is durable.
func (w *Webhook) record(r *http.Request, a action, ticket wire.Ticket, creationID, outcome string) error {
	return w.appendRecord(r.Context(), w.recordOf(r, a, ticket, creationID, outcome))
}

func (w *Webhook) recordOf(r *http.Request, a action, ticket wire.Ticket, creationID, outcome string) record {
	return record{
		Action: a, Purpose: ticket.Purpose, Service: ticket.Service, AgentID: clip(ticket.AgentID),
		ProxyID: clip(ticket.ProxyConfigID), Nonce: clip(ticket.Nonce), CreationID: creationID,
		Address: w.clients.describe(r), Outcome: outcome,
	}
}

// appendRecord does not stop when the caller breaks the connection off: that would
// be a way to change something without a record.
func (w *Webhook) appendRecord(ctx context.Context, rec record) error {
	now := w.now()
	rec.Timestamp, rec.RecordedBy = credential.FormatTime(now), recordedByWebhook
	data, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encoding a record: %w", err)
	}
	if err := w.storage.AppendAudit(context.WithoutCancel(ctx), storage.Audit{Time: now, Data: data}); err != nil {
		return fmt.Errorf("writing the record of a release: %w", err)
	}
	return nil
}

// outcomeOf is what a record says of an error.
func outcomeOf(err error) string {
	if err == nil {
		return outcomeOK
	}
	return string(refusalOf(err).Code)
}

// clip bounds what a ticket adds to a record.
func clip(text string) string { return text[:min(len(text), 200)] }
