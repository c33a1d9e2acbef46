package webhook

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/tvzero/tokenvault/webhook-sdk/credential"
	"github.com/tvzero/tokenvault/webhook-sdk/storage"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

var errAlreadyExists = refuse(wire.CodeAlreadyExists, "there is a token of that name already")

// store answers POST /v1/store: a browser or client puts a credential into the
// vault, past TV. It answers once the token is on disk.
func (w *Webhook) store(rw http.ResponseWriter, r *http.Request) error {
	body, err := readBody(rw, r)
	if err != nil {
		return err
	}
	if err := checkContentType(r); err != nil {
		return err
	}
	if err := checkBody(body); err != nil {
		return err
	}
	var head wire.TicketRequest
	if err := decodeInto(body, &head); err != nil {
		return err
	}
	ticket, err := w.useTicket(r.Context(), head.Ticket, head.Service, wire.PurposeStore)
	if err != nil {
		return err
	}
	var request wire.StoreRequest
	if err := decodeInto(body, &request); err != nil {
		return err
	}
	data, err := w.parseTokenData(request.TokenData)
	if err != nil {
		return err
	}
	condition := storage.Condition{IfCreationID: ticket.CreationID}
	switch ticket.Mode {
	case wire.ModeCreate:
		condition.Create = true
	case "", wire.ModeOverwrite:
	default:
		return refuse(wire.CodeTicketInvalid, "the ticket has a mode that this webhook does not know")
	}
	id, err := w.newID()
	if err != nil {
		return err
	}
	dropOwnMeta(data.Meta)
	data.Describe(ticket.Service, id, w.now())
	document, err := w.keys.SealToken(ticket.Service, data.Secrets, data.Meta)
	if err != nil {
		return err
	}
	unlock := w.writes.lock(ticket.Service)
	err = w.saveToken(r.Context(), ticket.Service, document, condition)
	unlock()
	if err := w.record(r, actionStore, ticket, id, outcomeOf(err)); err != nil {
		return err
	}
	if err != nil {
		return err
	}
	return writeJSON(rw, http.StatusOK, wire.StoreResponse{Status: "stored", Service: ticket.Service, Meta: document.Meta})
}

// parseTokenData validates what a caller wants stored.
func (w *Webhook) parseTokenData(fields map[string]json.RawMessage) (credential.Credential, error) {
	data, err := credential.Parse(fields, credential.Options{PlainHTTP: w.policy.AllowPrivate})
	var bad *credential.Error
	switch {
	case errors.As(err, &bad) && bad.Field != "":
		return data, invalid("tokenData.%s", bad)
	case err != nil:
		return data, invalid("%s", err)
	}
	return data, nil
}
