package app

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// A devOwner does over HTTP what a person does in a browser.
type devOwner struct {
	server, email, password string
	cookie                  string
	agentID                 string
}

var devClient = &http.Client{Timeout: 30 * time.Second}

// call sends JSON and decodes the answer into out; anything but success is an
// error with the words of the answer.
func (o *devOwner) call(ctx context.Context, method, address string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if in != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if toServer := len(address) > len(o.server) && address[:len(o.server)] == o.server; toServer && o.cookie != "" {
		request.Header.Set("Cookie", o.cookie)
	}
	answer, err := devClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return err
	}
	if answer.StatusCode >= 300 {
		return fmt.Errorf("%s: %s", answer.Status, text)
	}
	for _, c := range answer.Cookies() {
		o.cookie = c.Name + "=" + c.Value
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}

func (o *devOwner) register(ctx context.Context) error {
	return o.call(ctx, http.MethodPost, o.server+"/api/auth/register", map[string]string{"email": o.email, "password": o.password}, nil)
}

// bind pairs a webhook through its registration URL and returns the secret's
// fingerprint.
func (o *devOwner) bind(ctx context.Context, webhook string) (fingerprint string, err error) {
	var link wire.RegisterURL
	if err := o.call(ctx, http.MethodGet, webhook+wire.PathRegisterURL, nil, &link); err != nil {
		return "", fmt.Errorf("registration URL of the webhook: %w", err)
	}
	u, err := url.Parse(link.RegistrationURL)
	if err != nil {
		return "", err
	}
	fingerprint = u.Query().Get("hmac_hash")
	err = o.call(ctx, http.MethodPost, o.server+"/api/vault/webhook-bind", map[string]string{
		"code": link.Code, "webhookUrl": link.WebhookURL, "hmacSecretHash": fingerprint,
	}, nil)
	return fingerprint, err
}

// store puts a token into the webhook itself: the server gives the ticket and
// later reads the metadata.
func (o *devOwner) store(ctx context.Context, service string, data map[string]any) error {
	var t struct{ Ticket, WebhookURL string }
	if err := o.call(ctx, http.MethodPost, o.server+"/api/vault/store-ticket", map[string]string{"serviceName": service}, &t); err != nil {
		return err
	}
	err := o.call(ctx, http.MethodPost, t.WebhookURL+wire.PathStore, map[string]any{"ticket": t.Ticket, "service": service, "tokenData": data}, nil)
	if err != nil {
		return err
	}
	return o.call(ctx, http.MethodPost, o.server+"/api/vault/sync", map[string]string{"serviceName": service}, nil)
}

// keep stores a token in platform mode: with the server, as ciphertext.
func (o *devOwner) keep(ctx context.Context, service string, data map[string]any) error {
	return o.call(ctx, http.MethodPost, o.server+"/api/tokens", map[string]any{"serviceName": service, "tokenData": data}, nil)
}

func (o *devOwner) createAgent(ctx context.Context, name string) (key string, err error) {
	var agent struct{ ID, APIKey string }
	err = o.call(ctx, http.MethodPost, o.server+"/api/agents", map[string]string{"name": name}, &agent)
	o.agentID = agent.ID
	return agent.APIKey, err
}

func (o *devOwner) grant(ctx context.Context, service string) error {
	return o.call(ctx, http.MethodPost, o.server+"/api/agents/"+o.agentID+"/grants",
		map[string]any{"agentId": o.agentID, "serviceName": service, "expiresInHours": 24}, nil)
}
