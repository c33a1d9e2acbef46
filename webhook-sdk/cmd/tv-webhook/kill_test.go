package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/webhook-sdk/webhooktest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

const (
	storesPerRound = 25
	workers        = 4
	hotServices    = 3 // that are stored again and again,
	hotEvery       = 5 // by every fifth store
)

// rounds is how often a process is killed: 20, or what a soak asks for.
func rounds(t *testing.T) int {
	text := os.Getenv("TOKENVAULT_SOAK_ROUNDS")
	if text == "" {
		return 20
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("TOKENVAULT_SOAK_ROUNDS is %q, want a number of rounds", text)
	}
	return n
}

// A ledger is what a client knows of its stores. Values of a service rise, so that
// what is read must be at least what was last acknowledged, and no more than what
// was last sent.
type ledger struct {
	mu           sync.Mutex
	sent, stored map[string]int
	hot          [hotServices]sync.Mutex // one store of a hot service at a time, so that their order is known
}

// alone calls fn while no other store of the same hot service is under way.
func (l *ledger) alone(n int, fn func()) {
	if n%hotEvery == 0 {
		mu := &l.hot[n%hotServices]
		mu.Lock()
		defer mu.Unlock()
	}
	fn()
}

func (l *ledger) send(service string, value int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent[service] = max(l.sent[service], value)
}

func (l *ledger) acknowledge(service string, value int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stored[service] = max(l.stored[service], value)
}

// A store that was answered with 200 is there after kill -9 at any moment, and
// every file can be read: else the next start would fail.
func TestKill9LosesNoAcknowledgedStore(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	data := filepath.Join(t.TempDir(), "data")
	p := start(t, data)
	tv := webhooktest.NewTV(t, p.url)
	tv.Bind()
	known := &ledger{sent: map[string]int{}, stored: map[string]int{}}
	number := 0
	total := rounds(t)
	for round := range total {
		stores := make([]int, storesPerRound)
		for i := range stores {
			number++
			stores[i] = number
		}
		killed := storeUntilKilled(tv, p, known, stores, random.IntN(storesPerRound), time.Duration(random.IntN(3000))*time.Microsecond)
		if killed != nil {
			t.Fatalf("round %d: %v", round, killed)
		}
		p = start(t, data) // fails on any file that cannot be read
		tv.URL = p.url
		verify(t, tv, known, max(0, number-storesPerRound), number)
	}
	verify(t, tv, known, 0, number)
	t.Logf("%d stores, %d kills, %d services acknowledged", number, total, len(known.stored))
	if len(known.stored) == 0 {
		t.Error("no store was acknowledged: the test shows nothing")
	}
}

func serviceOf(n int) string {
	if n%hotEvery == 0 {
		return fmt.Sprintf("hot-%d", n%hotServices)
	}
	return fmt.Sprintf("service-%d", n)
}

// storeUntilKilled stores from several clients at once. When so many stores were
// answered, and a moment more has passed, the process is killed.
func storeUntilKilled(tv *webhooktest.TV, p *process, known *ledger, stores []int, after int, moment time.Duration) error {
	var answered atomic.Int64
	reached := make(chan struct{})
	queue := make(chan int, len(stores))
	for _, n := range stores {
		queue <- n
	}
	close(queue)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	failures := make(chan error, len(stores))
	var once sync.Once
	var group sync.WaitGroup
	if after == 0 {
		once.Do(func() { close(reached) })
	}
	for range workers {
		group.Go(func() {
			for n := range queue {
				known.alone(n, func() {
					known.send(serviceOf(n), n)
					status, err := storeNumber(tv, client, n)
					switch {
					case err != nil: // the process is gone
					case status != http.StatusOK:
						failures <- fmt.Errorf("store %d was answered %d, want 200", n, status)
					default:
						known.acknowledge(serviceOf(n), n)
						answered.Add(1)
					}
				})
				if answered.Load() >= int64(after) {
					once.Do(func() { close(reached) })
				}
			}
		})
	}
	go func() { // when all are through, answered or not
		group.Wait()
		once.Do(func() { close(reached) })
	}()
	<-reached
	<-time.After(moment) // where in a store the kill falls is what is random
	_ = p.end(syscall.SIGKILL)
	group.Wait()
	close(failures)
	return <-failures // nil if there was none
}

func storeNumber(tv *webhooktest.TV, client *http.Client, n int) (int, error) {
	service := serviceOf(n)
	answer, err := client.Do(tv.Request(http.MethodPost, wire.PathStore, map[string]any{
		"ticket": tv.Sign(tv.Ticket(wire.PurposeStore, service)), "service": service,
		"tokenData": map[string]any{"tokenType": "PlainText", "accessToken": strconv.Itoa(n), "displayName": service},
	}))
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	return answer.StatusCode, nil
}

// verify reads the services that stores from (exclusive) to (inclusive) wrote.
func verify(t *testing.T, tv *webhooktest.TV, known *ledger, from, to int) {
	t.Helper()
	queue := make(chan string, to-from)
	queued := map[string]bool{}
	for n := from + 1; n <= to; n++ {
		if service := serviceOf(n); !queued[service] && known.stored[service] > 0 {
			queued[service] = true
			queue <- service
		}
	}
	close(queue)
	var group sync.WaitGroup
	for range 2 * workers {
		group.Go(func() {
			for service := range queue {
				checkService(t, tv, service, known.stored[service], known.sent[service])
			}
		})
	}
	group.Wait()
}

func checkService(t *testing.T, tv *webhooktest.TV, service string, stored, sent int) {
	answer := tv.Redeem(wire.PathCredential, tv.Ticket(wire.PurposeUserReveal, service))
	if answer.Status != http.StatusOK {
		t.Errorf("%s was acknowledged, and is answered %d %s", service, answer.Status, answer.Code)
		return
	}
	var got wire.CredentialResponse
	answer.Decode(t, &got)
	text, _ := got.Token["accessToken"].(string)
	if value, err := strconv.Atoi(text); err != nil || value < stored || value > sent {
		t.Errorf("%s is %q, want %d (acknowledged) to %d (sent)", service, text, stored, sent)
	}
}
