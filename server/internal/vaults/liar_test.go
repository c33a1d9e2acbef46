package vaults_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// A liar is a webhook that others wrote: it speaks the old protocol alone, and
// lies where a test tells it to.
type liar struct {
	*httptest.Server
	t      *testing.T
	secret wire.Secret

	mu       sync.Mutex
	accepts  []wire.Secret                                            // none: any signature
	exchange func(w http.ResponseWriter)                              // nil: hands secret over
	health   func(w http.ResponseWriter, signed bool)                 // nil: healthy
	storage  func(w http.ResponseWriter, request wire.StorageRequest) // nil: no tokens
	release  func(w http.ResponseWriter, request wire.TicketRequest)  // nil: 401
	calls    []string                                                 // paths, with the operation of storage
}

func newLiar(t *testing.T, secret wire.Secret) *liar {
	t.Helper()
	return newLiarAt(t, "", secret)
}

// newLiarAt starts a liar where another webhook was, or with no address anywhere.
func newLiarAt(t *testing.T, address string, secret wire.Secret) *liar {
	t.Helper()
	l := &liar{t: t, secret: secret, accepts: []wire.Secret{secret}}
	l.Server = httptest.NewUnstartedServer(http.HandlerFunc(l.serve))
	if address != "" {
		listener, err := net.Listen("tcp", strings.TrimPrefix(address, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Listener.Close()
		l.Listener = listener
	}
	l.Start()
	t.Cleanup(l.Close)
	return l
}

func (l *liar) input() vaults.BindInput {
	return vaults.BindInput{Code: "the-code", WebhookURL: l.URL, Hash: l.secret.Hash()}
}

// change alters what the liar does.
func (l *liar) change(alter func(*liar)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	alter(l)
}

func (l *liar) seen() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.calls...)
}

func (l *liar) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var request wire.StorageRequest
	_ = json.Unmarshal(body, &request)
	l.mu.Lock()
	entry := r.URL.Path
	if request.Operation != "" {
		entry += " " + request.Operation
	}
	l.calls = append(l.calls, entry)
	accepts, exchange, health, storage, release := l.accepts, l.exchange, l.health, l.storage, l.release
	l.mu.Unlock()

	if r.URL.Path == wire.PathStorage || r.URL.Path == wire.PathHealth && r.Method == http.MethodPost {
		if _, _, err := wire.Verify(r.Header, accepts, body, time.Now()); err != nil && len(accepts) > 0 {
			refuses(w, wire.CodeAuthFailed)
			return
		}
	}
	switch r.URL.Path {
	case wire.PathExchange:
		if exchange != nil {
			exchange(w)
			return
		}
		says(w, http.StatusOK, wire.ExchangeResponse{
			HMACSecret: l.secret.Encode(), WebhookID: "liar", Version: "2.0.0", Capabilities: []string{"storage", "store"},
		})
	case wire.PathHealth:
		if health != nil {
			health(w, r.Method == http.MethodPost)
			return
		}
		says(w, http.StatusOK, wire.HealthResponse{Status: wire.StatusHealthy, KeyConfigured: true, Version: "2.0.0"})
	case wire.PathStorage:
		if storage != nil {
			storage(w, request)
			return
		}
		lists(w)
	case wire.PathCredential:
		var ticket wire.TicketRequest
		_ = json.NewDecoder(bytes.NewReader(body)).Decode(&ticket)
		if release != nil {
			release(w, ticket)
			return
		}
		refuses(w, wire.CodeTicketInvalid)
	default:
		http.NotFound(w, r)
	}
}

func says(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func refuses(w http.ResponseWriter, code wire.ErrorCode) {
	says(w, code.Status(), wire.Error{Code: code, Message: "refused"})
}

// lists answers a list of items, each given as its meta in JSON.
func lists(w http.ResponseWriter, metas ...string) {
	answer := wire.StorageResponse{Items: []wire.StorageItem{}}
	for _, meta := range metas {
		answer.Items = append(answer.Items, wire.StorageItem{Meta: json.RawMessage(meta)})
	}
	says(w, http.StatusOK, answer)
}
