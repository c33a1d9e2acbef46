package storage

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const (
	crashDirEnv   = "TOKENVAULT_STORAGE_CRASH_DIR"
	crashRoundEnv = "TOKENVAULT_STORAGE_CRASH_ROUND"
	roundsEnv     = "TOKENVAULT_SOAK_ROUNDS" // rounds of a crash test; 20 without it
	seedEnv       = "TOKENVAULT_TEST_SEED"   // repeats a run

	crashWriters = 4
	crashKeys    = 12 // of each writer
)

var crashOptions = FileOptions{CacheBytes: 4096, AuditSegmentBytes: 4096, AuditSegments: -1}

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDirEnv); dir != "" {
		storeUntilKilled(dir, os.Getenv(crashRoundEnv))
	}
	os.Exit(m.Run())
}

// storeUntilKilled is the child: it stores, deletes and records without end, and
// says on its output what it is about to do, and what was acknowledged.
//
//	try KEY VALUE    VALUE is about to be stored under KEY ("-": KEY is deleted)
//	ack KEY VALUE    it was acknowledged
//	audit VALUE      the record VALUE was acknowledged
func storeUntilKilled(dir, round string) {
	f, err := OpenFile(dir, crashOptions)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		if _, err := fmt.Printf(format+"\n", args...); err != nil {
			os.Exit(1) // the parent is gone
		}
	}
	for w := range crashWriters {
		go func() {
			for n := 0; ; n++ {
				key := fmt.Sprintf("w%d-k%d", w, n*7%crashKeys)
				value := fmt.Sprintf("%s.%d.%d", round, w, n)
				if n%5 == 4 {
					value = "-"
				}
				say("try %s %s", key, value)
				if err := storeOrDelete(f, key, value); err != nil {
					say("error %v", err)
					os.Exit(1)
				}
				say("ack %s %s", key, value)
				name := fmt.Sprintf("%s.%d.%d", round, w, n)
				if err := f.AppendAudit(context.Background(), Audit{Time: day, Data: fmt.Appendf(nil, "{\"v\":%q}", name)}); err != nil {
					say("error %v", err)
					os.Exit(1)
				}
				say("audit %s", name)
			}
		}()
	}
	select {}
}

func storeOrDelete(f *File, key, value string) error {
	if value == "-" {
		err := f.Delete(context.Background(), CollectionTokens, key)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		return err
	}
	// Some documents are longer than a page, so that a write can be torn.
	data := fmt.Appendf(nil, "%q", value+strings.Repeat("x", len(key)*len(value)*20))
	return f.Put(context.Background(), CollectionTokens, Item{Key: key, Meta: map[string]any{"value": value}, Data: data}, Condition{})
}

func soakRounds(t *testing.T) int {
	t.Helper()
	text := os.Getenv(roundsEnv)
	if text == "" {
		return 20
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s = %q, want a number of rounds", roundsEnv, text)
	}
	return n
}

func testSeed(t *testing.T) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv(seedEnv); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s = %q, want a number", seedEnv, text)
		}
	}
	t.Logf("seed: %s=%d", seedEnv, seed)
	return seed
}

// told is what the child said: for each key the values that it may have now, and the
// records that were acknowledged.
type told struct {
	docs   map[string][]string // acknowledged first, then, maybe, the one that was tried after it
	audits map[string]bool
	acks   int
}

func TestKilledAtAnyMomentItKeepsWhatItAcknowledged(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(testSeed(t), 0))
	dir := newDir(t)
	state := &told{docs: map[string][]string{}, audits: map[string]bool{}}
	for round := range soakRounds(t) {
		runAndKill(t, dir, round, 1+random.IntN(150), state)
		f, err := OpenFile(dir, crashOptions)
		if err != nil {
			t.Fatalf("round %d: opening after kill -9: %v", round, err)
		}
		state.checkDocs(t, round, f)
		state.checkAudit(t, round, f)
		checkNoLeftovers(t, round, dir)
		shut(t, f)
	}
	t.Logf("%d acknowledged operations, %d records", state.acks, len(state.audits))
}

// runAndKill runs the child until it has said so many lines, kills it, and hears the
// rest of what it said.
func runAndKill(t *testing.T, dir string, round, lines int, state *told) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), crashDirEnv+"="+dir, crashRoundEnv+"="+strconv.Itoa(round))
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(out)
	for n := 0; ; n++ {
		if n == lines {
			if err := child.Process.Kill(); err != nil {
				t.Fatalf("round %d: killing: %v", round, err)
			}
		}
		line, err := reader.ReadString('\n')
		if err == io.EOF {
			break // half a line was not said
		}
		if err != nil {
			t.Fatalf("round %d: reading the child's output: %v", round, err)
		}
		state.hear(t, round, strings.TrimSuffix(line, "\n"))
	}
	if err := child.Wait(); err == nil {
		t.Fatalf("round %d: the child ended by itself", round)
	}
}

func (s *told) hear(t *testing.T, round int, line string) {
	t.Helper()
	words := strings.Fields(line)
	switch {
	case len(words) == 3 && words[0] == "try":
		if len(s.docs[words[1]]) == 0 {
			s.docs[words[1]] = []string{"-"}
		}
		s.docs[words[1]] = append(s.docs[words[1]], words[2])
	case len(words) == 3 && words[0] == "ack":
		s.docs[words[1]] = []string{words[2]}
		s.acks++
	case len(words) == 2 && words[0] == "audit":
		s.audits[words[1]] = true
	default:
		t.Fatalf("round %d: the child said %q", round, line)
	}
}

func (s *told) checkDocs(t *testing.T, round int, f *File) {
	t.Helper()
	for key, may := range s.docs {
		value := "-"
		item, err := f.Get(t.Context(), CollectionTokens, key)
		switch {
		case err == nil:
			value, _ = item.Meta["value"].(string)
			var data string
			if err := json.Unmarshal(item.Data, &data); err != nil || strings.TrimRight(data, "x") != value {
				t.Errorf("round %d: %s holds %.40q, %v; its metadata say %s", round, key, data, err, value)
			}
		case !errors.Is(err, ErrNotFound):
			t.Errorf("round %d: reading %s: %v", round, key, err)
			continue
		}
		ok := false
		for _, m := range may {
			ok = ok || m == value
		}
		if !ok {
			t.Errorf("round %d: %s = %s, want one of %v", round, key, value, may)
		}
		s.docs[key] = []string{value} // it was durable in any case
	}
	page, err := f.List(t.Context(), CollectionTokens, Query{})
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range page.Items {
		if len(s.docs[item.Key]) == 0 {
			t.Errorf("round %d: %s is there and was never stored", round, item.Key)
		}
	}
}

func (s *told) checkAudit(t *testing.T, round int, f *File) {
	t.Helper()
	seen := map[string]bool{}
	q := Query{}
	for {
		page, err := f.ListAudit(t.Context(), q)
		if err != nil {
			t.Fatalf("round %d: listing the audit: %v", round, err)
		}
		for _, item := range page.Items {
			var data struct{ V string }
			if err := json.Unmarshal(item.Data, &data); err != nil {
				t.Fatalf("round %d: record %s = %s: %v", round, item.Key, item.Data, err)
			}
			if seen[data.V] {
				t.Errorf("round %d: record %s is there twice", round, data.V)
			}
			seen[data.V] = true
		}
		if !page.HasMore {
			if len(seen) != page.Total {
				t.Errorf("round %d: %d records listed of %d", round, len(seen), page.Total)
			}
			break
		}
		q.After = page.NextCursor
	}
	for name := range s.audits {
		if !seen[name] {
			t.Errorf("round %d: record %s was acknowledged and is lost", round, name)
		}
	}
}

func checkNoLeftovers(t *testing.T, round int, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, tempSuffix) {
			t.Errorf("round %d: %s was left behind", round, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
