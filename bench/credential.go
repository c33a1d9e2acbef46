package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// owner is the vault owner's id in the tickets that this run signs.
const owner = "018f4a52-0000-7000-8000-000000000001"

// measureCredential: /v1/credential at the webhook for one API key among many,
// each release on the webhook's own record. This run plays TV.
func measureCredential(ctx context.Context, s settings, b binaries) error {
	webhook, err := startWebhook(ctx, s, b, "webhook-credential", "http://127.0.0.1:1")
	if err != nil {
		return err
	}
	defer webhook.stop()
	secret, err := pair(ctx, webhook.url)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := fill(ctx, webhook.url, secret, s.tokens); err != nil {
		return err
	}
	fmt.Printf("%d tokens stored at the webhook in %.0f s.\n", s.tokens, time.Since(began).Seconds())

	target := func(i int) string {
		service := fmt.Sprintf("service-%d", i%s.tokens)
		return wire.PathCredential + "?ticket=" + ticket(secret, wire.PurposeAgentCredential, service) + "&service=" + url.QueryEscape(service)
	}
	seen, err := get(ctx, webhook.url+target(0), nil)
	if err != nil {
		return err
	}
	if seen.Status != http.StatusOK {
		return fmt.Errorf("a release answered %d: %s", seen.Status, seen.Body)
	}
	bare, err := startBare(ctx, s, "bare-credential", seen)
	if err != nil {
		return err
	}
	defer bare.stop()
	const connections = 64
	for _, c := range []struct {
		what   string
		spread int
		target float64
	}{
		{"webhook credential, one token of those", 1, 0.40},
		{"webhook credential, all of them in turn", s.tokens, 0.40},
	} {
		side := credentialSide(c.spread, connections, target)
		if err := compare(ctx, s, c.what, c.target, side(bare), side(webhook)); err != nil {
			return err
		}
	}
	return nil
}

// credentialSide drives a process over so many connections, for so many tokens
// in turn.
func credentialSide(spread, connections int, target func(int) string) func(*process) measure {
	return func(p *process) measure {
		begun := 0
		return func(ctx context.Context, d time.Duration) (tally, error) {
			// Tickets are single use and live a minute: sign more than can be spent
			// before the clock starts, for both sides alike.
			each := int(d.Seconds()*60_000)/connections + 2
			requests := make([][]byte, connections*each)
			var signers sync.WaitGroup
			for worker := range connections {
				signers.Go(func() {
					for i := range each {
						requests[worker*each+i] = rawGet(p.url, target((begun+i*connections+worker)%spread))
					}
				})
			}
			signers.Wait()
			got, err := load(ctx, p.url, connections, d, http.StatusOK, func(worker, i int) []byte {
				return requests[worker*each+min(i, each-1)]
			})
			begun += int(got.answered) + connections
			return got, err
		}
	}
}

// pair binds the webhook as TV would and returns the secret.
func pair(ctx context.Context, webhook string) (wire.Secret, error) {
	w := &session{base: webhook}
	var link wire.RegisterURL
	if err := w.call(ctx, http.MethodGet, wire.PathRegisterURL, nil, &link); err != nil {
		return wire.Secret{}, err
	}
	var given wire.ExchangeResponse
	if err := w.call(ctx, http.MethodPost, wire.PathExchange, wire.ExchangeRequest{Code: link.Code}, &given); err != nil {
		return wire.Secret{}, err
	}
	secret, err := wire.ParseSecret(given.HMACSecret)
	if err != nil {
		return secret, err
	}
	id := nonce()
	body := fmt.Appendf(nil, `{"requestId":%q}`, id)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, webhook+wire.PathHealth, bytesReader(body))
	if err != nil {
		return secret, err
	}
	request.Header.Set("Content-Type", "application/json")
	wire.Sign(request.Header, secret, body, id, time.Now())
	answer, err := browser.Do(request)
	if err != nil {
		return secret, err
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return secret, fmt.Errorf("signed health: %s", answer.Status)
	}
	return secret, nil
}

// fill stores n API keys.
func fill(ctx context.Context, webhook string, secret wire.Secret, n int) error {
	return each(n, 16, func(i int) error {
		service := fmt.Sprintf("service-%d", i)
		return storeWith(ctx, webhook, ticket(secret, wire.PurposeStore, service), service, "key-"+nonce())
	})
}

func ticket(secret wire.Secret, purpose wire.Purpose, service string) string {
	now := time.Now().Unix()
	return wire.SignTicket(secret, wire.Ticket{
		Subject: owner, Service: service, Purpose: purpose, IssuedAt: now, ExpiresAt: now + 60, Nonce: nonce(),
	})
}

func nonce() string {
	var raw [16]byte
	_, _ = rand.Read(raw[:])
	return hex.EncodeToString(raw[:])
}

func decode(e exchange, out any) error {
	if e.Status >= 300 {
		return fmt.Errorf("status %d: %s", e.Status, e.Body)
	}
	return json.Unmarshal(e.Body, out)
}
