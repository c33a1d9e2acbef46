package vaults

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/webhooks"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

func statusOf(err error) int { return webhooks.StatusOf(err) }

func (s *Service) plainHealth(ctx context.Context, c *Custody) Probe {
	probe := Probe{Name: ProbeHealth, Title: "Health", Verdict: Pass, Status: http.StatusOK, Advice: "The webhook answers."}
	began := s.deps.Now()
	_, err := s.deps.Pairing.PlainHealth(ctx, c.Binding.URL)
	probe.Latency = s.deps.Now().Sub(began)
	if err != nil {
		probe.fail(err)
	}
	return probe
}

// wrongSignature signs with a secret of its own: whoever answers it would answer
// anybody.
func (s *Service) wrongSignature(ctx context.Context, c *Custody) Probe {
	probe := Probe{Name: ProbeWrongSignature, Title: "Wrong signature is refused", Verdict: Pass,
		Advice: "The webhook refuses a call with a wrong signature."}
	stranger, err := wire.GenerateSecret(s.deps.Random)
	if err != nil {
		probe.fail(err)
		return probe
	}
	answer, err := s.deps.Pairing.Probe(ctx, webhooks.Target{BaseURL: c.Binding.URL, Secret: stranger},
		webhooks.ProbeRequest{Path: wire.PathHealth, Signed: true})
	probe.Status, probe.Latency = answer.Status, answer.Latency
	switch {
	case err != nil:
		probe.fail(err)
	case answer.Status == http.StatusUnauthorized:
	case answer.Status/100 == 2:
		probe.Verdict, probe.Advice = Fail, "The webhook answers a call with a wrong signature: anybody can read its metadata. Stop it and update it."
	default:
		probe.Verdict = Warn
		probe.Advice = fmt.Sprintf("The webhook should refuse a wrong signature with 401, and answered %d. Update it.", answer.Status)
	}
	return probe
}

// forgedTicket presents a ticket under a secret of its own, for a name that no
// token has.
func (s *Service) forgedTicket(ctx context.Context, c *Custody) Probe {
	probe := Probe{Name: ProbeForgedTicket, Title: "Forged ticket is refused", Verdict: Pass,
		Advice: "The webhook refuses a ticket that this server did not sign."}
	stranger, err := wire.GenerateSecret(s.deps.Random)
	if err != nil {
		probe.fail(err)
		return probe
	}
	answer, err := s.present(ctx, c, stranger)
	probe.Status, probe.Latency = answer.Status, answer.Latency
	switch {
	case err != nil:
		probe.fail(err)
	case answer.Status == http.StatusUnauthorized:
	case answer.Status == http.StatusForbidden:
		probe.Advice = "The webhook refuses this server's address before it reads a ticket."
	case answer.Status/100 == 2 || answer.Status == http.StatusNotFound:
		probe.Verdict, probe.Advice = Fail, "The webhook takes a forged ticket: anybody can fetch its credentials. Stop it and update it."
	default:
		probe.Verdict = Warn
		probe.Advice = fmt.Sprintf("The webhook should refuse a forged ticket with 401, and answered %d. Update it.", answer.Status)
	}
	return probe
}

// denyList presents a valid ticket from the server's own address, for a name that
// no token has: the operator's deny list should stop it. The ticket is on record
// like any other, and refused while the vault is locked.
func (s *Service) denyList(ctx context.Context, c *Custody, p grants.Principal, client audit.Client) (Probe, error) {
	probe := Probe{Name: ProbeDenyList, Title: "This server's address is on the deny list", Verdict: Pass,
		Advice: "The webhook gives no credential to this server's address."}
	if err := c.refuseLocked(); err != nil {
		probe.Verdict, probe.Advice = Warn, "Not tried: the vault is locked, and no ticket is signed until it is unlocked."
		return probe, nil
	}
	e := event(audit.TicketIssued, p, client)
	e.Detail = "purpose=agent_credential probe=deny_list (a name that no token has)"
	if err := s.deps.Audit.Record(ctx, e); err != nil {
		return probe, err
	}
	answer, err := s.present(ctx, c, c.Secret)
	probe.Status, probe.Latency = answer.Status, answer.Latency
	switch {
	case err != nil:
		probe.fail(err)
	case answer.Status == http.StatusForbidden:
	case answer.Status == http.StatusNotFound:
		probe.Verdict = Warn
		probe.Advice = "The webhook would give credentials to this server's address if they existed. Put that address on the webhook's deny list (TV_WEBHOOK_DENY)."
	case answer.Status/100 == 2:
		probe.Verdict, probe.Advice = Fail, "The webhook gave something out for a token that does not exist. Stop it and update it."
	default:
		probe.Verdict = Warn
		probe.Advice = fmt.Sprintf("The webhook should answer 403 or 404, and answered %d. Look into its log.", answer.Status)
	}
	return probe, nil
}

// present posts a ticket for a random service name to /v1/credential.
func (s *Service) present(ctx context.Context, c *Custody, secret wire.Secret) (webhooks.ProbeAnswer, error) {
	name, err := s.nonce()
	if err != nil {
		return webhooks.ProbeAnswer{}, err
	}
	nonce, err := s.nonce()
	if err != nil {
		return webhooks.ProbeAnswer{}, err
	}
	now, service := s.deps.Now(), "tokenvault-probe-"+name
	ticket := wire.SignTicket(secret, wire.Ticket{
		Subject: c.Binding.AccountID.String(), Service: service, Purpose: wire.PurposeAgentCredential,
		IssuedAt: now.Unix(), ExpiresAt: now.Add(wire.AgentTicketLife).Unix(), Nonce: nonce,
	})
	return s.deps.Pairing.Probe(ctx, c.target(), webhooks.ProbeRequest{
		Path: wire.PathCredential,
		Body: func(string) any { return wire.TicketRequest{Ticket: ticket, Service: service} },
	})
}

// storageRoundTrip writes, reads and deletes a document of its own in
// vault_config. A webhook that keeps no such documents is asked for a list.
func (s *Service) storageRoundTrip(ctx context.Context, c *Custody) (probe Probe) {
	probe = Probe{Name: ProbeStorage, Title: "Metadata can be written and read", Verdict: Pass, Status: http.StatusOK,
		Advice: "What is written comes back, and can be deleted."}
	began := s.deps.Now()
	defer func() { probe.Latency = s.deps.Now().Sub(began) }()
	key, err := s.nonce()
	if err != nil {
		probe.fail(err)
		return probe
	}
	key = "tokenvault-probe-" + key
	document := map[string]string{"probe": key}
	err = s.deps.Documents.Set(ctx, c.target(), wire.CollectionVaultConfig, key, document)
	if status := statusOf(err); status >= 400 && status < 500 && fault.CodeOf(err) != fault.WebhookAuthFailed {
		return s.listOnly(ctx, c, probe)
	}
	if err == nil {
		err = s.readBack(ctx, c, key, document)
	}
	if err != nil {
		probe.fail(err)
	}
	return probe
}

// readBack compares, and deletes whatever the comparison says.
func (s *Service) readBack(ctx context.Context, c *Custody, key string, document map[string]string) error {
	got, err := s.deps.Documents.Get(ctx, c.target(), wire.CollectionVaultConfig, key)
	gone := s.deps.Documents.Delete(ctx, c.target(), wire.CollectionVaultConfig, key)
	if err != nil {
		return err
	}
	want, err := json.Marshal(document)
	if err != nil {
		return err
	}
	var compact bytes.Buffer
	if json.Compact(&compact, got) != nil || !bytes.Equal(compact.Bytes(), want) {
		return fault.New(fault.WebhookUnavailable, "The webhook answered something else than what was written. Check its storage.")
	}
	return gone
}

func (s *Service) listOnly(ctx context.Context, c *Custody, probe Probe) Probe {
	for _, err := range s.deps.Documents.List(ctx, c.target(), wire.CollectionTokens, wire.ListOptions{Limit: 1}) {
		if err != nil {
			probe.fail(err)
			return probe
		}
		break
	}
	probe.Verdict, probe.Advice = Warn, "The webhook lists metadata, but keeps no documents of this server. Tokens are not concerned."
	return probe
}
