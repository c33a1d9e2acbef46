package refreshes_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// A liar is a webhook that answers as a test says.
type liar struct {
	*httptest.Server
	secret wire.Secret

	mu     sync.Mutex
	calls  []wire.RefreshRequest // of either path
	answer func(n int, rw http.ResponseWriter, r *http.Request, body wire.RefreshRequest)
}

func newLiar(t *testing.T, answer func(n int, rw http.ResponseWriter, r *http.Request, body wire.RefreshRequest)) *liar {
	t.Helper()
	secret, err := wire.NewSecret(bytes.Repeat([]byte{7}, wire.SecretSize))
	if err != nil {
		t.Fatal(err)
	}
	l := &liar{secret: secret, answer: answer}
	l.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		if _, _, err := wire.Verify(r.Header, []wire.Secret{secret}, raw, time.Now()); err != nil {
			t.Errorf("a call of %s is not signed: %v", r.URL.Path, err)
		}
		var body wire.RefreshRequest
		_ = json.Unmarshal(raw, &body)
		l.mu.Lock()
		n := len(l.calls)
		l.calls = append(l.calls, body)
		answer := l.answer
		l.mu.Unlock()
		answer(n, rw, r, body)
	}))
	t.Cleanup(l.Close)
	return l
}

func (l *liar) set(answer func(n int, rw http.ResponseWriter, r *http.Request, body wire.RefreshRequest)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answer = answer
}

func (l *liar) seen() []wire.RefreshRequest {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]wire.RefreshRequest(nil), l.calls...)
}

// lie binds an account to a liar.
func (w *world) lie(l *liar, capabilities ...string) *owner {
	w.t.Helper()
	return w.bind(l.URL, l.secret, models.Binding{Capabilities: capabilities})
}
