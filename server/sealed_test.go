package main_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/app/apptest"
	"github.com/tvzero/tokenvault/webhook-sdk/agent"
)

// What passed through HTTP may stay in a buffer until that is used again: so
// many copies of a token or credential are expected at most.
const (
	maxCopies   = 40
	furtherRuns = 1000
)

// Platform mode's promise about memory, held against the binary as it is
// released: when requests and their connections have ended, no key is left. Tokens
// and credentials, which passed through HTTP, are counted and bounded.
func TestNoKeyStaysInTheServersMemory(t *testing.T) {
	t.Parallel()
	server, _ := build(t)
	for _, dialect := range storetest.Dialects {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			key := make([]byte, 32)
			_, _ = rand.Read(key)
			s := startSealed(t, server, storetest.Blank(t, dialect), key)
			tokens := s.use(t)
			keys := s.keys(t, key, tokens)
			s.rest(t)

			f := found{}
			n := newSearch(keys).memory(t, f, s.process)
			t.Logf("searched %d MiB for %d keys", n>>20, len(keys))
			for name, forms := range f {
				t.Errorf("%s is in the server's memory, as %v", name, forms)
			}
			control := found{}
			newSearch([]apptest.Secret{{Name: "server key", Value: key}}).memory(t, control, s.process)
			if len(control) == 0 {
				t.Error("the search does not find the server key, which is in memory: what it does not find says nothing")
			}
			passed := append([]apptest.Secret{}, s.credentials...)
			for name, text := range tokens {
				passed = append(passed, apptest.Secret{Name: name, Value: []byte(text)})
			}
			copies := make([]int, len(passed))
			var mapping bytes.Buffer
			readMemory(t, s.process, func(r io.Reader) (int64, error) {
				mapping.Reset()
				n, err := mapping.ReadFrom(r)
				for i, secret := range passed {
					copies[i] += bytes.Count(mapping.Bytes(), secret.Value)
				}
				return n, err
			})
			for i, secret := range passed {
				t.Logf("%s: %d copies after %d further requests", secret.Name, copies[i], furtherRuns)
				if copies[i] > maxCopies {
					t.Errorf("%s is in memory %d times, want at most %d", secret.Name, copies[i], maxCopies)
				}
			}
		})
	}
}

// A sealedServer is a server that is used in platform mode.
type sealedServer struct {
	process     *apptest.Process
	url         string
	metrics     string
	database    string
	client      *http.Client
	owner       *apptest.Owner
	credentials []apptest.Secret
	other       string // an agent's key that is not looked for
}

func startSealed(t *testing.T, program, database string, key []byte) *sealedServer {
	t.Helper()
	s := &sealedServer{database: database, client: apptest.NewClient(t, nil)}
	s.process = apptest.Start(t, regexp.MustCompile(`msg=serving address=(\S+)(?: metrics=(\S+))?`), []string{
		"TOKENVAULT_LISTEN=127.0.0.1:0", "TOKENVAULT_PUBLIC_URL=http://127.0.0.1:0", "TOKENVAULT_DATABASE_URL=" + database,
		"TOKENVAULT_METRICS_LISTEN=127.0.0.1:0",
		"TOKENVAULT_SERVER_KEYS=0:" + base64.StdEncoding.EncodeToString(key), "TOKENVAULT_REGISTRATION=open",
	}, program)
	s.url, s.metrics = "http://"+s.process.Ready[1], "http://"+s.process.Ready[2]+"/metrics"
	s.owner = apptest.NewOwner(t, s.url, "owner@example.com", s.client)
	return s
}

// use stores, reveals and releases credentials, and returns the tokens that did.
func (s *sealedServer) use(t *testing.T) map[string]string {
	t.Helper()
	type object = map[string]any
	s.owner.Register()
	id, key := s.owner.Agent("deployer")
	_, s.other = s.owner.Agent("other")
	client, err := agent.New(s.url, key, agent.Options{Timeout: time.Minute, Transport: s.client.Transport})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		service := fmt.Sprintf("service-%d", i)
		value := "sk_sealed_" + rand.Text()
		s.credentials = append(s.credentials, apptest.Secret{Name: "credential " + service, Value: []byte(value)})
		s.owner.Must("POST", "/api/tokens", object{"serviceName": service, "tokenData": object{"tokenType": "PlainText", "accessToken": value}}, nil)
		s.owner.Must("GET", "/api/tokens/"+service+"?reveal=true", nil, nil)
		s.owner.Grant(id, service, 0)
		for range 3 { // the first with X25519, the others with the agent's own wrap
			got, err := client.Credential(t.Context(), service)
			if err != nil || got.AccessToken() != value {
				t.Fatalf("release of %s: %v", service, err)
			}
		}
	}
	return map[string]string{"session": s.owner.Token(), "agent key": key}
}

// keys are all keys that the tokens lead to: KEKs, private keys, DEK, CEKs.
func (s *sealedServer) keys(t *testing.T, serverKey []byte, tokens map[string]string) []apptest.Secret {
	t.Helper()
	ctx := t.Context()
	db, err := store.Open(ctx, store.Options{URL: s.database, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var all []apptest.Secret
	add := func(name string, value []byte) []byte {
		all = append(all, apptest.Secret{Name: name, Value: value})
		return value
	}
	for name, text := range tokens {
		b := openToken(t, serverKey, text)
		grant, slot, err := db.GrantWithKey(ctx, b.account, b.grant, b.slot)
		if err != nil {
			t.Fatal(err)
		}
		add(name+"'s private key", unwrapKey(t, add(name+"'s KEK for the private key", b.kek(t, "/x25519")), slot.WrappedPrivateKey))
		if grant.VaultID != nil {
			s.vaultKeys(ctx, t, db, b, *grant.VaultID, add)
		}
		wrapped, err := db.AgentKeys(ctx, b.account, b.grant)
		if err != nil {
			t.Fatal(err)
		}
		kept := 0
		for _, w := range wrapped {
			if w.Form == models.FormSlot {
				kek := add(name+"'s KEK of "+w.CredentialID.String(), b.kek(t, "/cek", w.CredentialID[:], number(w.Epoch)))
				add("CEK of "+w.CredentialID.String(), unwrapKey(t, kek, w.Wrapped))
				kept++
			}
		}
		if grant.AgentID != nil && kept != len(s.credentials) {
			t.Fatalf("the agent kept %d keys under its own, want %d", kept, len(s.credentials))
		}
	}
	return all
}

func (s *sealedServer) vaultKeys(ctx context.Context, t *testing.T, db *store.Store, b bearer, vaultID [16]byte, add func(string, []byte) []byte) {
	t.Helper()
	vault, err := db.Vault(ctx, b.account, vaultID)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := db.VaultKeys(ctx, b.account, b.grant, vault.ID, vault.Generation)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		if row.Form != models.FormSlot || row.Slot != int64(b.slot) {
			continue
		}
		kek := add("session's KEK of the vault", b.kek(t, "/dek", vault.ID[:], number(vault.Generation)))
		dek := add("DEK", unwrapKey(t, kek, row.Wrapped))
		credentials, err := db.Credentials(ctx, b.account, vault.ID)
		if err != nil || len(credentials) != len(s.credentials) {
			t.Fatalf("%d credentials (%v), want %d", len(credentials), err, len(s.credentials))
		}
		for _, c := range credentials {
			add("CEK of "+c.ID.String(), expand(t, dek, contextOf("", c.ID[:], number(c.Epoch)), "tokenvault/credential/v1"))
		}
		return
	}
	t.Fatal("the session has no vault key under its own")
}

var collections = regexp.MustCompile(`(?m)^go_gc_duration_seconds_count (\d+)`)

// rest ends all connections, and lets further requests and two garbage collections
// go by.
func (s *sealedServer) rest(t *testing.T) {
	t.Helper()
	get := func(address string, headers ...string) []byte {
		answer, err := apptest.Call(t.Context(), s.client, http.MethodGet, address, nil, headers...)
		if err != nil || answer.Status != http.StatusOK {
			t.Fatalf("%s: %v %s", address, err, answer)
		}
		return answer.Body
	}
	count := func() int {
		m := collections.FindSubmatch(get(s.metrics))
		if m == nil {
			t.Fatal("the metrics do not count garbage collections")
		}
		n, _ := strconv.Atoi(string(m[1]))
		return n
	}
	s.client.CloseIdleConnections()
	before := count()
	// To have buffers and the room of tokens used again, and garbage made.
	padding := "?" + strings.Repeat("x", 4000)
	further := func(n int) {
		for i := range n {
			if i%2 == 0 {
				get(s.url + "/healthz" + padding)
			} else {
				get(s.url+"/api/agents/whoami"+padding, "Authorization", "Bearer "+s.other)
			}
		}
	}
	further(furtherRuns)
	deadline := time.Now().Add(5 * time.Minute)
	for count() < before+2 {
		if time.Now().After(deadline) {
			t.Fatal("no two garbage collections came")
		}
		further(100)
	}
	s.client.CloseIdleConnections()
}
