package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// A hook is a webhook of many OAuth tokens that answers at once: what a server spends
// on it is the server's own.
type hook struct {
	url    string
	server *http.Server
	secret wire.Secret
	tokens []wire.StorageItem // in the order of their keys
	calls  atomic.Int64       // of /v1/refresh-notify
}

// hookLife is how long what it refreshes lives: longer than any run.
const hookLife = 24 * time.Hour

// startHook serves n tokens, which are due as spread says.
func startHook(n int, spread func(i int) (issued, expires time.Time)) (*hook, error) {
	secret, err := wire.GenerateSecret(rand.Reader)
	if err != nil {
		return nil, err
	}
	h := &hook{secret: secret}
	for i := range n {
		name := fmt.Sprintf("service-%06d", i)
		issued, expires := spread(i)
		meta, err := json.Marshal(map[string]any{
			"serviceName": name, "tokenType": wire.TypeOAuth, "creationId": strconv.Itoa(i), "provider": "example", "hasRefreshToken": true,
			"issuedAt": issued.UTC().Format(time.RFC3339Nano), "expiryTime": expires.UnixMilli(),
		})
		if err != nil {
			return nil, err
		}
		h.tokens = append(h.tokens, wire.StorageItem{Key: name, Meta: meta})
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	h.url = "http://" + listener.Addr().String()
	h.server = &http.Server{Handler: http.HandlerFunc(h.serve), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = h.server.Serve(listener) }()
	return h, nil
}

func (h *hook) stop() { _ = h.server.Close() }

func (h *hook) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return
	}
	id := r.Header.Get(wire.HeaderRequestID)
	capabilities := []string{wire.CapStorage, wire.CapRefresh}
	var answer any
	switch r.URL.Path {
	case wire.PathRegisterURL:
		consent := "http://127.0.0.1:1/?" + url.Values{"code": {"code"}, "hmac_hash": {h.secret.Hash()}}.Encode()
		answer = wire.RegisterURL{RegistrationURL: consent, Code: "code", ExpiresIn: 300, WebhookURL: h.url}
	case wire.PathExchange:
		answer = wire.ExchangeResponse{HMACSecret: h.secret.Encode(), WebhookID: "bench", Version: wire.Version, Capabilities: capabilities}
	case wire.PathHealth:
		answer = wire.HealthResponse{Status: wire.StatusHealthy, Version: wire.Version, KeyConfigured: true, WebhookID: "bench", Capabilities: capabilities, RequestID: id}
	case wire.PathStorage:
		answer = h.list(body, id)
	case wire.PathRefreshNotify:
		h.calls.Add(1)
		answer = wire.RefreshNotifyResponse{RequestID: id, Status: wire.NotifyRefreshed, NewExpiresAt: time.Now().Add(hookLife).UTC().Format(time.RFC3339Nano)}
	default:
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

// list answers a page of the tokens; nothing is ever done with one alone.
func (h *hook) list(body []byte, id string) wire.StorageResponse {
	var request wire.StorageRequest
	if err := json.Unmarshal(body, &request); err != nil || request.Options == nil {
		return wire.StorageResponse{RequestID: id, Items: []wire.StorageItem{}}
	}
	from := 0
	if after := request.Options.After; after != "" {
		from, _ = slices.BinarySearchFunc(h.tokens, after, func(item wire.StorageItem, key string) int { return strings.Compare(item.Key, key) })
		from++
	}
	from = min(from, len(h.tokens))
	to := min(from+max(request.Options.Limit, 1), len(h.tokens))
	page := &wire.Pagination{HasMore: to < len(h.tokens), TotalCount: len(h.tokens)}
	if page.HasMore {
		page.NextCursor = h.tokens[to-1].Key
	}
	return wire.StorageResponse{RequestID: id, Items: h.tokens[from:to], Pagination: page}
}
