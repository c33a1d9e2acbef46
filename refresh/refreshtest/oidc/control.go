package oidc

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
)

// Faults are what the provider does wrong from now on. The zero value is nothing.
type Faults struct {
	// Delay is how long every answer of the token endpoint waits after its work was done.
	Delay time.Duration
	// Cut is how many calls of the token endpoint do their work and then, instead of answering, cut the connection.
	Cut int
	// Deny is a person who refuses every authorization request (access_denied).
	Deny bool
}

// SetFaults replaces the faults that were set before.
func (p *Provider) SetFaults(f Faults) {
	p.t.Helper()
	p.ask("/faults", map[string]any{"delayMs": f.Delay.Milliseconds(), "cut": f.Cut, "deny": f.Deny}, nil)
}

// AddClient registers a client, or registers it anew, with the redirect addresses of a server that was started after the
// provider, say; then an empty Secret means the one it had. It returns the client with its defaults filled in. What was issued
// to it stays.
func (p *Provider) AddClient(c Client) Client {
	p.t.Helper()
	given := c
	c = c.withDefaults()
	if old, known := p.client(c.ID); known && given.Secret == "" && c.AuthMethod != "none" {
		c.Secret = cmp.Or(old.Secret, c.Secret)
	}
	p.ask("/clients", clientSettings(c), nil)
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.IndexFunc(p.clients, func(have Client) bool { return have.ID == c.ID }); i >= 0 {
		p.clients[i] = c
	} else {
		p.clients = append(p.clients, c)
	}
	return c
}

// Hold keeps the answers of the token endpoint back, after its work was done: a test can then do what it wants to happen between a
// rotation and its answer. One hold at a time; it ends with Answer or Cut, or with the provider.
type Hold struct{ p *Provider }

// Hold starts holding.
func (p *Provider) Hold() *Hold {
	p.t.Helper()
	p.ask("/hold", nil, nil)
	return &Hold{p}
}

// Wait returns when so many calls have rotated and been held, or with ctx's error.
func (h *Hold) Wait(ctx context.Context, calls int) error {
	var answer struct {
		Reached int `json:"reached"`
	}
	if err := h.p.send(ctx, "/held", map[string]int{"count": calls}, &answer); err != nil {
		return err
	}
	if answer.Reached < calls {
		return fmt.Errorf("the hold ended before %d calls reached it", calls)
	}
	return nil
}

// Answer lets every held answer go, and ends the hold.
func (h *Hold) Answer() {
	h.p.t.Helper()
	h.p.ask("/release", map[string]bool{"cut": false}, nil)
}

// Cut cuts the connection of every held call, and ends the hold.
func (h *Hold) Cut() {
	h.p.t.Helper()
	h.p.ask("/release", map[string]bool{"cut": true}, nil)
}

// adminTime is more than any order takes.
const adminTime = 30 * time.Second

// ask gives an order to the provider's admin endpoint, and fails the test when that fails.
func (p *Provider) ask(path string, question, answer any) {
	p.t.Helper()
	// Not the test's own context: that one has ended when a cleanup asks.
	ctx, cancel := context.WithTimeout(context.Background(), adminTime)
	defer cancel()
	if err := p.send(ctx, path, question, answer); err != nil {
		p.t.Fatal(err)
	}
}

func (p *Provider) send(ctx context.Context, path string, question, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	if question == nil {
		body = nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.admin+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+p.secret)
	res, err := p.http.Do(req)
	if err != nil {
		return fmt.Errorf("the OAuth provider's admin endpoint: %w", err)
	}
	defer func() { _ = res.Body.Close() }() // it was read to its end, or it failed
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 4<<10)) // for a message alone
		return fmt.Errorf("the OAuth provider's admin endpoint answers %s to %s: %s", res.Status, path, text)
	}
	if answer == nil {
		return nil
	}
	return json.NewDecoder(res.Body).Decode(answer)
}
