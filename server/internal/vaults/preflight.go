package vaults

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/webhooks"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// Names of what Preflight looks at, in order.
const (
	PreflightReach   = "reach"
	PreflightTLS     = "tls"
	PreflightHealth  = "health"
	PreflightVersion = "version"
	PreflightBinding = "binding"
)

// Bounds of preflights: the address is anybody's who has an account here.
const (
	preflightsAMinute = 20 // of an account
	preflightsAtOnce  = 8  // of this process
	pacesRemembered   = 4096
)

// Preflighted is what was found at an address that nobody has bound yet.
type Preflighted struct {
	WebhookURL string // canonical
	Host       string
	Probes     []Probe // always the same ones; what was not come to is Untried
	Ready      bool    // none of them failed, all were tried
}

// Preflight looks at the address of a webhook that is going to be bound: can this
// server reach it, is its certificate good, does it answer as a webhook does. One GET
// of its public health page, which bears nothing secret; what it finds is a verdict
// and no error. Nothing is stored.
//
// A session, or a key with the scope vault:manage. INVALID_REQUEST names webhookUrl;
// RATE_LIMITED beyond 20 a minute for an account.
func (s *Service) Preflight(ctx context.Context, p grants.Principal, client audit.Client, address string) (Preflighted, error) {
	if err := grants.Require(p, grants.VaultManage); err != nil {
		return Preflighted{}, err
	}
	address, err := webhooks.ParseBaseURL(address, s.deps.AllowPrivate, s.deps.OwnHost)
	if err != nil {
		return Preflighted{}, err
	}
	if !s.paces.take(p.AccountID, s.deps.Now()) {
		return Preflighted{}, fault.New(fault.RateLimited, "You have checked %d times within a minute. Wait a moment, then check again.", preflightsAMinute)
	}
	select {
	case s.preflights <- struct{}{}:
		defer func() { <-s.preflights }()
	case <-ctx.Done():
		return Preflighted{}, fault.Wrap(ctx.Err(), fault.Unavailable, "The server is busy with other checks. Try again in a minute.")
	}
	u, err := url.Parse(address)
	if err != nil {
		return Preflighted{}, fmt.Errorf("vaults: %w", err)
	}
	// Whom a stranger's address troubles can be told who had it called.
	s.deps.Logger.InfoContext(ctx, "vaults: the address of a webhook is checked", "account", p.AccountID, "host", u.Host, "client", client.Address)
	out := Preflighted{WebhookURL: address, Host: u.Host, Probes: preflightProbes(u.Scheme == "https", s.deps.Pairing.Preflight(ctx, address))}
	out.Ready = !slices.ContainsFunc(out.Probes, func(p Probe) bool { return p.Verdict == Fail || p.Verdict == Untried })
	return out, nil
}

// preflightProbes says what a preflight means.
func preflightProbes(secure bool, got webhooks.Preflight) []Probe {
	reach := Probe{Name: PreflightReach, Title: "This server reaches it", Verdict: Pass, Latency: got.Connect, Advice: "A connection was made."}
	security := Probe{Name: PreflightTLS, Title: "The connection is encrypted", Verdict: Pass, Latency: got.Handshake, Advice: "Its certificate is good for this host."}
	health := Probe{Name: PreflightHealth, Title: "A webhook answers there", Verdict: Pass, Status: got.Status, Latency: got.Answer, Advice: "It is healthy."}
	switch {
	case got.Err == nil || got.Status != 0:
	case !got.Connected:
		reach.fail(got.Err)
	case secure && !got.TLS:
		security.fail(got.Err)
	default:
		health.fail(got.Err)
	}
	if got.Status != 0 && got.Err != nil {
		health.fail(got.Err)
	}
	if !secure {
		security.Verdict, security.Latency = Warn, 0
		security.Advice = "Plain http: whoever listens between reads credentials. For development on one machine alone."
	}
	probes := []Probe{reach, security, health, version(got.Health), unbound(got.Health)}
	for i := 1; i < len(probes); i++ {
		if before := probes[i-1].Verdict; before == Fail || before == Untried {
			probes[i] = Probe{Name: probes[i].Name, Title: probes[i].Title, Verdict: Untried, Advice: "Not tried yet: the step before it comes first."}
		}
	}
	return probes
}

// version compares the protocol's versions: within a major one, older webhooks do.
func version(said wire.HealthResponse) Probe {
	probe := Probe{Name: PreflightVersion, Title: "It speaks this server's protocol", Verdict: Pass, Advice: fmt.Sprintf("Protocol %s.", said.Version)}
	ours, _, _ := strings.Cut(wire.Version, ".")
	theirs, _, _ := strings.Cut(said.Version, ".")
	needed := []string{wire.CapStorage, wire.CapCredential, wire.CapStore}
	missing := slices.DeleteFunc(needed, func(c string) bool { return slices.Contains(said.Capabilities, c) })
	switch {
	case said.Version == "":
		probe.Verdict, probe.Advice = Warn, "It does not say which version. Binding shows whether the two understand each other."
	case theirs != ours:
		probe.Verdict, probe.Advice = Fail, fmt.Sprintf("It speaks protocol %q, this server %s. Update the older of the two.", said.Version, wire.Version)
	case len(missing) > 0:
		probe.Verdict = Warn
		probe.Advice = fmt.Sprintf("Protocol %s, but it says that it cannot do: %s. Look into its configuration (TV_WEBHOOK_PURPOSES).", said.Version, strings.Join(missing, ", "))
	}
	return probe
}

func unbound(said wire.HealthResponse) Probe {
	probe := Probe{Name: PreflightBinding, Title: "It waits to be bound", Verdict: Pass, Advice: "No vault has it yet."}
	if said.KeyConfigured {
		probe.Verdict = Warn
		probe.Advice = "It is bound already. If that is your doing, go on: its bind page asks for the admin secret, and the tokens in it stay. If it is not, find out whose webhook it is."
	}
	return probe
}

// paces counts what accounts do within a minute. The zero value is ready.
type paces struct {
	mu sync.Mutex
	of map[uuid.UUID]pace
}

type pace struct {
	since time.Time
	n     int
}

// take reports whether an account may do it once more.
func (p *paces) take(account uuid.UUID, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	mine, known := p.of[account]
	if !known || now.Sub(mine.since) >= time.Minute || now.Before(mine.since) {
		if p.of == nil || len(p.of) >= pacesRemembered {
			p.of = map[uuid.UUID]pace{}
		}
		mine = pace{since: now}
	}
	if mine.n >= preflightsAMinute {
		return false
	}
	mine.n++
	p.of[account] = mine
	return true
}
