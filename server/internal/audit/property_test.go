package audit_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
)

// Whatever records at the same time, and whichever writes fail: streams have no
// gap, verify, and hold what Record confirmed exactly once.
func TestAnyInterleavingGivesWholeStreams(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		writers := rapid.IntRange(1, 12).Draw(rt, "writers")
		each := rapid.IntRange(1, 20).Draw(rt, "events each")
		failing := rapid.SliceOfN(rapid.Bool(), 0, 40).Draw(rt, "writes that fail")
		l := newLedger()
		l.keepRefused = rapid.Bool().Draw(rt, "failed rows got there")
		l.refuse = func([]models.AuditEvent) error {
			if len(failing) == 0 {
				return nil
			}
			fails := failing[0]
			failing = failing[1:]
			if fails {
				return errAway
			}
			return nil
		}
		r := start(t, l, nil, ring(t))
		var mu sync.Mutex
		confirmed := map[string]bool{}
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					name := fmt.Sprintf("%d/%d", w, i)
					if err := r.Record(t.Context(), event(name)); err == nil {
						mu.Lock()
						confirmed[name] = true
						mu.Unlock()
					}
				}
			})
		}
		wg.Wait()
		if err := r.stop(); err != nil {
			rt.Fatalf("Run: %v", err)
		}
		for _, report := range verify(t, l.record(), r.keys) {
			if len(report.Problems) > 0 {
				rt.Fatalf("stream of %d rows: %q", report.Rows, report.Problems)
			}
		}
		times := map[string]int{}
		for _, row := range l.rows() {
			times[row.Detail]++
		}
		for name := range confirmed {
			if times[name] != 1 {
				rt.Fatalf("event %s was confirmed and is there %d times", name, times[name])
			}
		}
		for name, n := range times {
			if n > 1 || !confirmed[name] && !l.keepRefused {
				rt.Fatalf("event %s is there %d times, confirmed: %v", name, n, confirmed[name])
			}
		}
	})
}

// FuzzClip: whatever a client says, what is stored is short, valid UTF-8,
// without NUL, and begins as it was said.
func FuzzClip(f *testing.F) {
	for _, s := range []string{"", "curl/8", "a\x00b", "\xff\xfe", "ünïcode ☂", strings.Repeat("☂", 100), "\xe2\x98", "a\xe2\x98b", "\xed\xa0\x80"} {
		f.Add(s, 10)
	}
	f.Fuzz(func(t *testing.T, s string, n int) {
		n &= 0x3ff
		got := audit.Clip(s, n)
		if len(got) > n || !utf8.ValidString(got) || strings.ContainsRune(got, 0) {
			t.Fatalf("Clip(%q, %d) = %q", s, n, got)
		}
		if utf8.ValidString(s) && !strings.ContainsRune(s, 0) {
			if !strings.HasPrefix(s, got) || len(s) <= n && got != s || len(s) > n && len(got) < n-3 {
				t.Fatalf("Clip(%q, %d) = %q, want its beginning", s, n, got)
			}
		}
		if again := audit.Clip(got, n); again != got {
			t.Fatalf("Clip(%q, %d) = %q, which clips again to %q", s, n, got, again)
		}
	})
}
