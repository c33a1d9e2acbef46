package vaults

import (
	"context"
	"fmt"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// Names of the probes, in the order in which they run: part of the API.
const (
	ProbeHealth         = "health"
	ProbeSignedHealth   = "signed_health"
	ProbeWrongSignature = "wrong_signature"
	ProbeForgedTicket   = "forged_ticket"
	ProbeStorage        = "storage_round_trip"
	ProbeDenyList       = "deny_list"
)

const checkTimeout = 80 * time.Second // of all probes together; an answer that takes 90 s is cut off

// CheckWebhook runs the probes of protocol.md against the bound webhook. What a
// probe finds is a verdict and no error. The outcome of the signed health call is
// noted on the binding. A webhook that reports other keys than those pinned at
// binding is unhealthy, though calls go on: re-binding is the owner's consent.
func (s *Service) CheckWebhook(ctx context.Context, p grants.Principal, client audit.Client) ([]Probe, error) {
	if err := user(p); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	var c *Custody
	var health wire.HealthResponse
	var began time.Time
	failed := s.withWebhook(ctx, p.AccountID, func(bound *Custody) (err error) {
		c, began = bound, s.deps.Now()
		health, err = s.deps.Pairing.Health(ctx, bound.target())
		return err
	})
	if c == nil {
		return nil, failed // there is nothing to check
	}
	signed := s.signedHealth(c, health, failed, s.deps.Now().Sub(began))
	binding := c.Binding
	adopt(&binding, health)
	if signed.Verdict == Pass {
		s.setHealth(ctx, &binding, models.HealthHealthy, "")
	} else {
		s.setHealth(ctx, &binding, models.HealthUnhealthy, signed.Advice)
	}
	probes := []Probe{
		s.plainHealth(ctx, c),
		signed,
		s.wrongSignature(ctx, c),
		s.forgedTicket(ctx, c),
		s.storageRoundTrip(ctx, c),
	}
	denied, err := s.denyList(ctx, c, p, client)
	if err != nil {
		return nil, err
	}
	return append(probes, denied), nil
}

func (s *Service) signedHealth(c *Custody, health wire.HealthResponse, failed error, took time.Duration) Probe {
	probe := Probe{Name: ProbeSignedHealth, Title: "Signed health call", Verdict: Pass, Status: 200, Latency: took,
		Advice: "The webhook takes this server's signature."}
	switch change := changedKeys(&c.Binding, health); {
	case failed != nil:
		probe.fail(failed)
	case change != "":
		probe.Verdict = Fail
		probe.Advice = fmt.Sprintf("The webhook reports another %s than when it was bound. If you replaced the webhook or its keys, "+
			"bind it again; if you did not, find out who did.", change)
	case !health.KeyConfigured:
		probe.Verdict = Warn
		probe.Advice = "The webhook takes this server's signature, but says that it has no key configured."
	}
	return probe
}

// fail makes a probe say what a fault says.
func (p *Probe) fail(err error) {
	p.Verdict, p.Status, p.Advice = Fail, statusOf(err), fault.From(err).Message
}
