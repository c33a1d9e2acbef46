package platform_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/cache"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
)

const (
	acceptingEnv = "TOKENVAULT_PLATFORM_TEST_ACCEPT" // makes the test a child that accepts an offer
	roundsEnv    = "TOKENVAULT_SOAK_ROUNDS"          // rounds of a crash test; 20 without it
	seedEnv      = "TOKENVAULT_TEST_SEED"            // repeats a run
)

// An acceptance is what a child is told on its input.
type acceptance struct {
	Database string
	Keyring  string
	Token    string
	Escrow   uuid.UUID
	DieAt    int // the write before which it kills itself; 0: none
}

// acceptUntilKilled is the child: it accepts an offer, and says before each write
// that it comes to it, and at the end how that went.
func acceptUntilKilled() {
	fail := func(err error) {
		if err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
	}
	var in acceptance
	fail(json.NewDecoder(os.Stdin).Decode(&in))
	s, err := store.Open(context.Background(), store.Options{URL: in.Database, MaxConns: 4})
	fail(err)
	ring, err := custody.ParseKeyring(in.Keyring)
	fail(err)
	b := &brittle{Store: s, before: func(write int) {
		if write == in.DieAt {
			fail(syscall.Kill(os.Getpid(), syscall.SIGKILL))
			select {}
		}
		fmt.Println("write", write)
	}}
	gate := cache.NewGate(time.Now)
	gate.Open()
	s.OnChange(gate.Changed)
	var issued late
	d := platform.Deps{
		Agents: s, Holders: &issued, Audit: &recorder{}, Keyring: ring, Gate: gate, Now: time.Now, Clock: s.Clock,
		Random: rand.Reader, Logger: slog.New(slog.DiscardHandler), Leases: s,
	}
	b.under(&d)
	service := platform.New(d)
	issued.Service = b.grants(service, d)
	p, err := issued.Authenticate(context.Background(), in.Token, models.GrantSession)
	fail(err)
	fail(service.Accept(context.Background(), p, audit.Client{}, in.Escrow))
	fmt.Println("done")
	os.Exit(0)
}

// late is the grants of a service, which are made after it.
type late struct{ *grants.Service }

// A scene is two sessions with an offer that is about to be accepted.
type scene struct {
	*world
	keyring       string
	from, to      grants.Principal
	agent         agent
	held          models.Token
	offer         models.Escrow
	apart, merged []string         // what to opens before and after
	alone         []string         // what from opens before
	behind        grants.Principal // opens the vault that is left, too
}

const perVault = 6 // credentials of each of a scene's vaults; every second name is in both

func newScene(t *testing.T, s *store.Store, leavesOthers bool) *scene {
	t.Helper()
	text, err := custody.GenerateKeyring(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ring := ringOf(t, text)
	w := newWorldWith(t, s, func(d *platform.Deps) { d.Keyring = ring })
	w.ring = ring
	w.grants = (&brittle{Store: s}).grants(w.Service, w.deps)
	sc := &scene{world: w, keyring: text, from: w.session(), to: w.session(), agent: w.agent("agent")}
	for i := range perVault {
		own, shared := fmt.Sprint("own-", i), fmt.Sprint("shared-", i)
		if i%2 == 0 {
			own, shared = fmt.Sprint("both-", i), fmt.Sprint("both-", i)
		}
		w.put(sc.from, shared, fmt.Sprint("a", i))
		w.soon()
		sc.held = w.put(sc.to, own, fmt.Sprint("b", i))
		w.soon()
	}
	w.grant(sc.to, sc.agent, sc.held)
	w.releases(sc.agent, sc.held, fmt.Sprint("b", perVault-1))
	if leavesOthers {
		sc.behind = w.apiKey(sc.to)
	}
	w.clock.pass(-time.Until(w.clock.now())) // the child's clock is the present
	sc.offer = w.offers(sc.from, sc.to)
	sc.apart, sc.alone = w.opens(sc.to), w.opens(sc.from)
	for i := range perVault {
		if sc.merged = append(sc.merged, fmt.Sprintf("both-%d=b%d", i, i), fmt.Sprintf("!both-%d=a%d", i, i)); i%2 == 1 {
			sc.merged = append(sc.merged[:len(sc.merged)-2], fmt.Sprintf("own-%d=b%d", i, i), fmt.Sprintf("shared-%d=a%d", i, i))
		}
	}
	return sc
}

// acceptInChild lets a child accept, and kills it when it has said so many lines,
// unless it dies by itself. It reports whether the child said that it is done.
func (sc *scene) acceptInChild(t *testing.T, database string, lines, dieAt int) (done bool) {
	t.Helper()
	in, err := json.Marshal(acceptance{database, sc.keyring, sc.to.Token.Reveal(), sc.offer.ID, dieAt})
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), acceptingEnv+"=1")
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	child.Stdin, child.Stderr = bytes.NewReader(in), os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(out)
	for n := 1; ; n++ {
		line, err := reader.ReadString('\n')
		if err == io.EOF {
			break
		}
		if err != nil || strings.HasPrefix(line, "error") {
			t.Fatalf("the child said %q, %v", line, err)
		}
		done = done || line == "done\n"
		if n == lines {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = child.Wait() // however it ended
	return done
}

// whole checks that all has happened, or nothing, and says which.
func (sc *scene) whole(t *testing.T, done bool, before map[string]any) (accepted bool) {
	t.Helper()
	// What the child began has ended when its locks are free.
	sc.must(sc.store.InTx(t.Context(), func(ctx context.Context) error {
		_, err := sc.store.LockGrants(ctx, sc.account, sc.from.GrantID, sc.to.GrantID)
		return err
	}))
	sc.gate.Changed(sc.account) // what another process did
	accepted = sc.state(sc.offer) == models.EscrowAccepted
	if done && !accepted {
		t.Error("the child was answered that it has accepted, and nothing of it is there")
	}
	if accepted {
		sc.wantOpens(sc.to, sc.merged...)
		sc.wantOpens(sc.from, sc.merged...)
		if sc.now(sc.to).VaultID != sc.from.VaultID {
			t.Error("the session that accepted opens another vault")
		}
	} else {
		sc.stands(sc.offer, models.EscrowPending)
		sc.wantOpens(sc.to, sc.apart...)
		sc.wantOpens(sc.from, sc.alone...)
		if after := sc.snapshot(); !reflect.DeepEqual(after, before) {
			t.Errorf("it was not accepted, and something changed:\n%v\nbefore:\n%v", after, before)
		}
	}
	if sc.behind.GrantID != uuid.Nil {
		sc.wantOpens(sc.behind, sc.apart...)
	}
	sc.releases(sc.agent, sc.held, fmt.Sprint("b", perVault-1))
	return accepted
}

// Killed at any moment while an offer is accepted, either all of it has happened, or
// nothing; every credential opens, and it can be accepted then.
func TestKilledWhileAcceptingEitherAllOrNothingHasHappened(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, database string) {
		random := seeded(t)
		s := storetest.Open(t, database)
		var writes [2]int // of an acceptance, where nobody, or somebody, else opens the vault that is left
		for i := range writes {
			sc := newScene(t, s, i == 1)
			b := &brittle{Store: s}
			b.under(&sc.deps)
			sc.must(platform.New(sc.deps).Accept(t.Context(), sc.to, audit.Client{}, sc.offer.ID))
			writes[i] = b.writes
		}
		happened := 0
		for round := range rounds(t) {
			kind := random.IntN(2)
			sc := newScene(t, s, kind == 1)
			before := sc.snapshot()
			at := 1 + random.IntN(writes[kind]+1)
			if random.IntN(3) == 0 {
				at = writes[kind] + random.IntN(2) // about the commit
			}
			lines, dieAt := at, 0 // some moment soon after it came to that write
			if round%2 == 0 {
				lines, dieAt = 0, at // between two statements
			}
			done := sc.acceptInChild(t, database, lines, dieAt)
			if sc.whole(t, done, before) {
				happened++
			} else {
				sc.must(sc.Accept(t.Context(), sc.to, audit.Client{}, sc.offer.ID))
				sc.whole(t, true, nil)
			}
			if t.Failed() {
				t.Fatalf("round %d, killed at write %d of %d", round, at, writes[kind])
			}
		}
		t.Logf("of %d acceptances that were killed, %d had happened", rounds(t), happened)
	})
}

func rounds(t *testing.T) int {
	t.Helper()
	n := 20
	if text := os.Getenv(roundsEnv); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s = %q, want a number", roundsEnv, text)
		}
	}
	return n
}

func seeded(t *testing.T) *mathrand.Rand {
	t.Helper()
	seed := mathrand.Uint64()
	if text := os.Getenv(seedEnv); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s = %q, want a number", seedEnv, text)
		}
	}
	t.Logf("seed: %s=%d", seedEnv, seed)
	return mathrand.New(mathrand.NewPCG(seed, 0)) // #nosec G404 -- repeatable on purpose
}
