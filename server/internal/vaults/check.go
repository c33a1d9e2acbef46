package vaults

import (
	"cmp"
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
	c, signed, _, err := s.askHealth(ctx, p.AccountID)
	if err != nil {
		return nil, err // there is nothing to check
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

// CheckHealth makes the signed health call alone, as often as somebody wants: without a
// ticket, and without a row on the audit record. What it finds is noted on the binding
// and kept as a sample. WEBHOOK_NOT_CONFIGURED: none is bound. Any other error: it
// could not be tried.
func (s *Service) CheckHealth(ctx context.Context, accountID uuid.UUID) (models.HealthSample, error) {
	_, _, sample, err := s.askHealth(ctx, accountID)
	return sample, err
}

// askHealth makes the signed health call, notes what it finds, and keeps it as a sample.
// That the call fails is no error.
func (s *Service) askHealth(ctx context.Context, accountID uuid.UUID) (c *Custody, probe Probe, sample models.HealthSample, err error) {
	var health wire.HealthResponse
	var began time.Time
	failed := s.withWebhook(ctx, accountID, func(bound *Custody) (err error) {
		c, began = bound, s.deps.Now()
		health, err = s.deps.Pairing.Health(ctx, bound.target())
		return err
	})
	if c == nil || ctx.Err() != nil { // whoever asked has gone: that says nothing of the webhook
		return nil, probe, sample, cmp.Or(failed, ctx.Err())
	}
	probe = s.signedHealth(c, health, failed, s.deps.Now().Sub(began))
	binding := c.Binding
	adopt(&binding, health)
	if probe.Verdict == Pass {
		s.setHealth(ctx, &binding, models.HealthHealthy, "")
	} else {
		s.setHealth(ctx, &binding, models.HealthUnhealthy, probe.Advice)
	}
	sample = s.sample(c, probe, failed)
	s.keepSample(ctx, sample)
	return c, probe, sample, nil
}

// sample is what is kept of a signed health call: a code, and nothing that the webhook
// worded.
func (s *Service) sample(c *Custody, probe Probe, failed error) models.HealthSample {
	out := models.HealthSample{
		AccountID: c.Binding.AccountID, BindingID: c.Binding.ID, At: s.now(), OK: probe.Verdict != Fail,
		Status: probe.Status, LatencyMS: probe.Latency.Milliseconds(),
	}
	switch {
	case failed != nil:
		out.Code = string(fault.CodeOf(failed))
	case probe.Verdict == Fail:
		out.Code = string(fault.WebhookMismatch)
	}
	return out
}

func (s *Service) keepSample(ctx context.Context, sample models.HealthSample) {
	if s.deps.Samples == nil {
		return
	}
	if err := s.deps.Samples.PutHealthSample(ctx, sample); err != nil {
		s.deps.Logger.ErrorContext(ctx, "vaults: a health sample could not be kept", "account", sample.AccountID, "error", err)
	}
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
