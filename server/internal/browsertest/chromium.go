package browsertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// Variable names the environment variable with the path of a Chromium to use
// instead of the one that is installed.
const Variable = "TOKENVAULT_CHROMIUM"

// atOnce bounds how many worlds are visited at the same time: the machines that
// run this have two cores, and a page that waits for one is slow, not wrong.
const atOnce = 2

// A chromium is a running browser.
type chromium struct {
	ctx    context.Context // of its first, blank tab; other tabs are made from it
	folder string          // with the film of its camera
	turns  chan struct{}
	cancel func()
}

// shared is the process's only Chromium: it takes a second to start, and memory
// that two cores' worth of tests share better than each having its own.
var shared struct {
	once    sync.Once
	browser *chromium
	err     error
}

// Main runs the tests of a binary that may use Chromium, and ends it afterwards.
// It returns the status to exit with.
func Main(m *testing.M) int {
	status := m.Run()
	if shared.browser != nil {
		shared.browser.cancel()
	}
	return status
}

// open returns the process's Chromium, which it starts at first.
func open(t testing.TB) *chromium {
	t.Helper()
	shared.once.Do(func() { shared.browser, shared.err = start() })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.browser
}

// take waits for the turn of a test, which ends with it.
func (c *chromium) take(t testing.TB) {
	c.turns <- struct{}{}
	t.Cleanup(func() { <-c.turns })
}

// start starts a Chromium that reaches nothing but this machine. It is killed with
// this process, and its profile is a temporary folder.
func start() (*chromium, error) {
	path, err := find()
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "browsertest")
	if err != nil {
		return nil, err
	}
	said := &output{}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.CombinedOutput(said), chromedp.WSURLReadTimeout(Patience),
		chromedp.Flag("headless", "new"),
		// Names resolve to this machine or not at all, whatever a page, or Chromium by itself, asks for. Names below
		// "test" are other sites for tests of attacks.
		chromedp.Flag("host-resolver-rules", "MAP *.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1"),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("no-pings", true),
		chromedp.Flag("use-fake-device-for-media-stream", true), chromedp.Flag("use-file-for-fake-video-capture", filepath.Join(folder, cameraFile)),
		chromedp.Flag("lang", "en-GB"), chromedp.Env("TZ=UTC", "LANGUAGE=en", "LANG=en_GB.UTF-8"),
	)
	root, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(root, chromedp.WithErrorf(func(string, ...any) {}))
	if err := chromedp.Do(ctx); err != nil {
		cancel()
		stop()
		_ = os.RemoveAll(folder)
		return nil, fmt.Errorf("%s does not start: %w\n%s", path, err, said)
	}
	return &chromium{ctx: ctx, folder: folder, turns: make(chan struct{}, atOnce), cancel: func() {
		ending, done := context.WithTimeout(ctx, 10*time.Second)
		defer done()
		_ = chromedp.Cancel(ending)
		stop()
		_ = os.RemoveAll(folder)
	}}, nil
}

// find looks for a Chromium, or says how to get one.
func find() (string, error) {
	if path := os.Getenv(Variable); path != "" {
		if _, err := exec.LookPath(path); err != nil {
			return "", fmt.Errorf("%s is %q: %w", Variable, path, err)
		}
		return path, nil
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("no Chromium is installed, and the pages are tested in it: run `make deps` once, or set " + Variable + " to the path of one")
}

// An output is what a program said, for the message when it fails.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.text.Len() > 1<<20 {
		return len(p), nil
	}
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// last is the end of it, of about so many bytes.
func (o *output) last(bytes int) string {
	text := o.String()
	return text[max(0, len(text)-bytes):]
}
