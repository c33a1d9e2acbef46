package webhook_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	webhook "github.com/tvzero/tokenvault/webhook-sdk"
	"github.com/tvzero/tokenvault/webhook-sdk/mint"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// A Google service account goes through the whole path: stored once, and released
// as a token that the endpoint gave for a signed assertion.
func TestAServiceAccountIsReleasedAsAMintedToken(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	endpoint := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		claims := jwt.MapClaims{}
		_, err := jwt.ParseWithClaims(r.FormValue("assertion"), claims, func(*jwt.Token) (any, error) { return &key.PublicKey, nil },
			jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer("robot@example.iam.gserviceaccount.com"), jwt.WithoutClaimsValidation())
		if err != nil || claims["scope"] != "https://www.googleapis.com/auth/devstorage.read_only" {
			http.Error(rw, "{}", http.StatusBadRequest)
			return
		}
		rw.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(rw, `{"access_token":"ya29.minted","token_type":"Bearer","expires_in":3599}`)
	}))
	t.Cleanup(endpoint.Close)
	_, tv, c := bound(t, config(func(c *webhook.Config) {
		c.Minters = mint.Set{mint.GCP{AllowedTokenHosts: []string{strings.TrimPrefix(endpoint.URL, "http://")}}}
	}))
	account := func(tokenURI string) map[string]any {
		raw, err := json.Marshal(map[string]string{
			"type": "service_account", "project_id": "example", "client_email": "robot@example.iam.gserviceaccount.com",
			"private_key_id": "1", "private_key": pemOf("PRIVATE KEY", pkcs8), "token_uri": tokenURI,
		})
		if err != nil {
			t.Fatal(err)
		}
		return map[string]any{
			"tokenType": "RawCredential", "accessToken": string(raw), "scopes": []string{"https://www.googleapis.com/auth/devstorage.read_only"},
		}
	}
	tv.Store("gcp", account(endpoint.URL+"/token"))
	got := tv.AgentCredential("gcp")
	if got["accessToken"] != "ya29.minted" || got["tokenType"] != "Bearer" || got["expiresAt"] != c.now().Add(3599*time.Second).Format(time.RFC3339) {
		t.Errorf("the agent got %v, want the minted token", got)
	}
	// A key file does not say by itself where its assertions go.
	tv.Store("elsewhere", account("http://127.0.0.1:1/token"))
	refused(t, tv.Redeem(wire.PathCredential, tv.Ticket(wire.PurposeAgentCredential, "elsewhere")), http.StatusInternalServerError, wire.CodeGCPMintFailed)
}

// A deadlines notes whether the connection's read deadline was lifted.
type deadlines struct {
	http.ResponseWriter
	lifted *bool
}

func (d deadlines) SetReadDeadline(at time.Time) error {
	*d.lifted = at.IsZero()
	return nil
}

// A watcher is a minter that is interested in the read deadline.
type watcher struct {
	coin
	lifted, seen *bool
}

func (w watcher) Mint(ctx context.Context, r mint.Request) (mint.Token, error) {
	*w.seen = *w.lifted
	return w.coin.Mint(ctx, r)
}

// The server's deadline for reading a request would end the context of one that is
// being worked on: a token endpoint may take longer than a client with its headers.
func TestMintingMayTakeLongerThanReadingARequest(t *testing.T) {
	t.Parallel()
	var lifted, seen bool
	wh, tv, _ := bound(t, withMinter(watcher{lifted: &lifted, seen: &seen}))
	tv.Store("raw", map[string]any{"tokenType": "RawCredential", "accessToken": "coin:canary"})
	query := url.Values{"ticket": {tv.Sign(tv.Ticket(wire.PurposeAgentCredential, "raw"))}, "service": {"raw"}}
	answer := httptest.NewRecorder()
	wh.ServeHTTP(deadlines{answer, &lifted}, serverSide(tv.Request(http.MethodGet, wire.PathCredential+"?"+query.Encode(), nil)))
	if answer.Code != http.StatusOK || !seen {
		t.Errorf("answered %d, with the deadline lifted before minting: %v, want 200 and true", answer.Code, seen)
	}
}
