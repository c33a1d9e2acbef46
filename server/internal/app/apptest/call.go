// Package apptest plays the people and programs around a server, for the tests
// that run the whole of it: owners who bind and store, hostile clients, a token
// endpoint, and sample credentials of every type with what of them is secret.
//
// It speaks HTTP only and knows nothing of the server's insides, so that the
// same people can visit an App in the test's own process and a binary beside
// it. It is for tests alone.
package apptest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 16 << 20

// An Answer is what a server or webhook answered.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	Code   string // of a refusal, in either wire's shape
}

// String shows an answer in a test's message.
func (a Answer) String() string { return fmt.Sprintf("%d %.400s", a.Status, a.Body) }

// Decode reads the body into v, or ends the test.
func (a Answer) Decode(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(a.Body, v); err != nil {
		t.Fatalf("the answer is not JSON of the expected form: %v\n%s", err, a)
	}
}

// NewClient makes a client that follows no redirect and keeps nothing behind the
// test. wrap, if not nil, gets its transport and returns the one to use.
func NewClient(t testing.TB, wrap func(http.RoundTripper) http.RoundTripper) *http.Client {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{
		Transport: transport, Timeout: 2 * time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if wrap != nil {
		client.Transport = wrap(transport)
	}
	return client
}

// Call sends one request. body is sent as JSON; a []byte as it is, with the
// content type of JSON; nil sends none. headers are names and values in turn and
// replace what was set before.
func Call(ctx context.Context, client *http.Client, method, address string, body any, headers ...string) (Answer, error) {
	text, raw := body.([]byte)
	if !raw && body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return Answer{}, err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(text))
	if err != nil {
		return Answer{}, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header[http.CanonicalHeaderKey(headers[i])] = []string{headers[i+1]}
	}
	response, err := client.Do(request)
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	read, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	answer := Answer{Status: response.StatusCode, Header: response.Header, Body: read}
	var refusal struct{ Code, Error string }
	if response.StatusCode >= 400 && json.Unmarshal(read, &refusal) == nil {
		if answer.Code = refusal.Code; answer.Code == "" {
			answer.Code = refusal.Error
		}
	}
	return answer, err
}
