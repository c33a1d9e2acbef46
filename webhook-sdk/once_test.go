package webhook

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// The memory behaves like a map from keys to their ends, but for forgetting up to
// two buckets late.
func TestTheReplayMemoryForgetsNothingEarly(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		memory, model := newOnce(1000), map[int]time.Time{}
		now := time.Unix(1_900_000_000, 0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 40).Draw(t, "seconds")) * time.Second)
			id := rapid.IntRange(0, 8).Draw(t, "id")
			life := time.Duration(rapid.IntRange(1, 100).Draw(t, "life")) * time.Second
			fresh, err := memory.use(now, now.Add(life), keyOf('n', fmt.Append(nil, id)))
			if err != nil {
				t.Fatalf("use: %v", err)
			}
			end, known := model[id]
			if known && now.Before(end) && fresh {
				t.Fatalf("id %d was forgotten %s before its end", id, end.Sub(now))
			}
			if (!known || now.After(end.Add(2*bucketSeconds*time.Second))) && !fresh {
				t.Fatalf("id %d is refused, want it forgotten", id)
			}
			if fresh {
				model[id] = now.Add(life)
			}
		}
	})
}

func TestAFullReplayMemoryRefusesRatherThanForgets(t *testing.T) {
	t.Parallel()
	memory, now := newOnce(3), time.Unix(1_900_000_000, 0)
	use := func(name string) (bool, error) {
		return memory.use(now, now.Add(time.Minute), keyOf('i', []byte(name)), keyOf('m', []byte(name)))
	}
	if fresh, err := use("a"); !fresh || err != nil {
		t.Fatalf("the first use: got %v, %v, want true", fresh, err)
	}
	if _, err := use("b"); !errors.Is(err, errMemoryFull) {
		t.Errorf("a use beyond the limit: got %v, want errMemoryFull", err)
	}
	if fresh, err := use("a"); fresh || err != nil {
		t.Errorf("a replay in a full memory: got %v, %v, want false", fresh, err)
	}
	now = now.Add(2 * time.Minute)
	if fresh, err := use("b"); !fresh || err != nil {
		t.Errorf("after the entries ended: got %v, %v, want true", fresh, err)
	}
	if got := memory.size(); got != 2 {
		t.Errorf("the memory holds %d entries, want 2", got)
	}
}

func TestAClockThatIsSetBackBringsNothingBack(t *testing.T) {
	t.Parallel()
	memory, now := newOnce(10), time.Unix(1_900_000_000, 0)
	nonce, end := keyOf('n', []byte("x")), now.Add(time.Minute)
	if fresh, err := memory.use(now, end, nonce); !fresh || err != nil {
		t.Fatalf("the first use: got %v, %v, want true", fresh, err)
	}
	ahead := now.Add(time.Hour)
	if fresh, err := memory.use(ahead, ahead.Add(time.Minute), keyOf('n', []byte("y"))); !fresh || err != nil {
		t.Fatalf("a use an hour ahead: got %v, %v, want true", fresh, err)
	}
	if fresh, err := memory.use(now, end, nonce); fresh || !errors.Is(err, errSetBack) {
		t.Errorf("the first one again, the clock set back: got %v, %v, want errSetBack", fresh, err)
	}
	if fresh, err := memory.use(now, ahead.Add(time.Minute), keyOf('n', []byte("z"))); !fresh || err != nil {
		t.Errorf("one that ends later than what was forgotten: got %v, %v, want true", fresh, err)
	}
}

func TestOneOfTwoKeysUsedRefusesBothAndRemembersNeither(t *testing.T) {
	t.Parallel()
	memory, now := newOnce(10), time.Unix(1_900_000_000, 0)
	id, mac, other := keyOf('i', []byte("x")), keyOf('m', []byte("x")), keyOf('m', []byte("y"))
	if id == mac {
		t.Fatal("an id and a MAC of the same bytes share a key")
	}
	for i, test := range []struct {
		keys []onceKey
		want bool
	}{{[]onceKey{id, mac}, true}, {[]onceKey{id, other}, false}, {[]onceKey{other}, true}} {
		if got, err := memory.use(now, now.Add(time.Minute), test.keys...); got != test.want || err != nil {
			t.Errorf("use %d: got %v, %v, want %v", i, got, err, test.want)
		}
	}
}

func TestOfConcurrentUsesOneIsTheFirst(t *testing.T) {
	t.Parallel()
	memory, now := newOnce(1000), time.Unix(1_900_000_000, 0)
	var first atomic.Int64
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for i := range 100 {
				if fresh, err := memory.use(now, now.Add(time.Minute), keyOf('n', fmt.Append(nil, i))); fresh && err == nil {
					first.Add(1)
				}
			}
		})
	}
	group.Wait()
	if got := first.Load(); got != 100 {
		t.Errorf("%d uses were the first of 100 keys, want 100", got)
	}
}

func TestDepthIsCountedOutsideStrings(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		`{"a":[[1]]}`:           false,
		`{"a":[[[1]]]}`:         true,
		`{"a":"[[[[[["}`:        false,
		`{"a":"\"[[[[","b":[]}`: false,
		`[[[[`:                  true,
		`"\\","[[[["`:           false,
		`{}{}{}{}[][][]`:        false,
	} {
		if got := tooDeep([]byte(text), 3); got != want {
			t.Errorf("tooDeep(%s, 3) is %v, want %v", text, got, want)
		}
	}
}

// A promised is a body of which only the length has come.
type promised struct{ asked []int }

func (p *promised) Read(into []byte) (int, error) {
	p.asked = append(p.asked, len(into))
	return 0, io.ErrUnexpectedEOF
}

func TestABodyThatIsOnlyAnnouncedTakesLittleMemory(t *testing.T) {
	t.Parallel()
	body := &promised{}
	r := httptest.NewRequest(http.MethodPost, wire.PathStore, body)
	r.ContentLength = wire.MaxBody
	if _, err := readBody(httptest.NewRecorder(), r); err == nil {
		t.Fatal("a body that broke off was read, want an error")
	}
	if len(body.asked) == 0 || body.asked[0] > 2*firstBuffer {
		t.Errorf("buffers of %v bytes were made before anything came, want at most %d", body.asked, 2*firstBuffer)
	}
}
