package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// A session is a signed-in user of the server.
type session struct {
	base   string
	cookie string
}

// browser keeps enough connections for all of seed's workers.
var browser = &http.Client{
	Transport:     &http.Transport{MaxIdleConnsPerHost: 64},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// call sends JSON and decodes the answer into out; any status but 2xx is an
// error with the server's own words.
func (s *session) call(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, s.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if in != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if s.cookie != "" {
		request.Header.Set("Cookie", s.cookie)
	}
	answer, err := browser.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 8<<20))
	if err != nil {
		return err
	}
	if answer.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, text)
	}
	for _, c := range answer.Cookies() {
		s.cookie = c.Name + "=" + c.Value
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}

// signUp makes an account.
func signUp(ctx context.Context, base, email string) (*session, error) {
	s := &session{base: base}
	return s, s.call(ctx, http.MethodPost, "/api/auth/register", map[string]string{"email": email, "password": "a long enough password"}, nil)
}

// bind pairs the webhook with the session's account.
func (s *session) bind(ctx context.Context, webhook string) error {
	var link wire.RegisterURL
	if err := (&session{base: webhook}).call(ctx, http.MethodGet, wire.PathRegisterURL, nil, &link); err != nil {
		return err
	}
	u, err := url.Parse(link.RegistrationURL)
	if err != nil {
		return err
	}
	return s.call(ctx, http.MethodPost, "/api/vault/webhook-bind", map[string]string{
		"code": link.Code, "webhookUrl": link.WebhookURL, "hmacSecretHash": u.Query().Get("hmac_hash"),
	}, nil)
}

// store puts an API key into the webhook, as a browser does: with a ticket,
// past the server.
func (s *session) store(ctx context.Context, service, value string) error {
	var t struct{ Ticket, WebhookURL string }
	if err := s.call(ctx, http.MethodPost, "/api/vault/store-ticket", map[string]string{"serviceName": service}, &t); err != nil {
		return err
	}
	return storeWith(ctx, t.WebhookURL, t.Ticket, service, value)
}

func storeWith(ctx context.Context, webhook, ticket, service, value string) error {
	return (&session{base: webhook}).call(ctx, http.MethodPost, wire.PathStore, map[string]any{
		"ticket": ticket, "service": service,
		"tokenData": map[string]string{"tokenType": wire.TypePlainText, wire.FieldAccessToken: value},
	}, nil)
}

// get answers one request in full, for the yardstick to repeat.
func get(ctx context.Context, address string, header map[string]string) (exchange, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return exchange{}, err
	}
	for name, value := range header {
		request.Header.Set(name, value)
	}
	answer, err := browser.Do(request)
	if err != nil {
		return exchange{}, err
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	answer.Header.Del("Date") // net/http adds its own
	answer.Header.Del("Content-Length")
	return exchange{Status: answer.StatusCode, Header: answer.Header, Body: body}, err
}

// rawGet is the bytes of a GET request.
func rawGet(server, target string, headers ...string) []byte {
	u, _ := url.Parse(server)
	return []byte("GET " + target + " HTTP/1.1\r\nHost: " + u.Host + "\r\nUser-Agent: bench\r\n" + strings.Join(headers, "") + "\r\n")
}
