// Package apitest holds what a running server answers against docs/openapi.yaml.
// A test puts its Transport under its HTTP client; from then on every request
// under /api must be to a documented path, and its answer must have a
// documented status with the headers, the media type and the shape that the
// document gives. It is for tests alone and knows no service.
package apitest

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// A Spec is docs/openapi.yaml, loaded and found valid. Safe for concurrent use.
type Spec struct {
	doc *openapi3.T

	mu   sync.Mutex
	seen map[string]bool // "GET /api/tokens 200"
}

// document is parsed once a process: under the race detector that takes a
// second, and tests of a package ask for it dozens of times. Nobody writes to it.
var document = sync.OnceValues(load)

// Load reads docs/openapi.yaml of the module that the test runs in. Each Spec
// remembers for itself what it has seen.
func Load(t testing.TB) *Spec {
	t.Helper()
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	return &Spec{doc: doc, seen: map[string]bool{}}
}

func load() (*openapi3.T, error) {
	path, err := find("docs/openapi.yaml")
	if err != nil {
		return nil, err
	}
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromFile(path)
	if err != nil {
		return nil, fmt.Errorf("apitest: %w", err)
	}
	if err := doc.Validate(loader.Context); err != nil {
		return nil, fmt.Errorf("apitest: %s is not valid: %w", path, err)
	}
	return doc, nil
}

// find looks for a file from the working folder upwards to the module's root.
func find(name string) (string, error) {
	folder, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
			return filepath.Join(folder, filepath.FromSlash(name)), nil
		}
		parent := filepath.Dir(folder)
		if parent == folder {
			return "", fmt.Errorf("apitest: no go.mod above the working folder")
		}
		folder = parent
	}
}

// Operations lists what is documented, like "GET /api/tokens/{service}".
func (s *Spec) Operations() []string {
	var out []string
	for path, item := range s.doc.Paths.Map() {
		for method := range item.Operations() {
			out = append(out, method+" "+path)
		}
	}
	slices.Sort(out)
	return out
}

// Unseen lists the documented successes (2xx, 3xx) that no answer has shown
// yet, like "GET /api/tokens 200".
func (s *Spec) Unseen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for path, item := range s.doc.Paths.Map() {
		for method, op := range item.Operations() {
			for status := range op.Responses.Map() {
				if key := method + " " + path + " " + status; status < "400" && !s.seen[key] {
					out = append(out, key)
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

func (s *Spec) note(method, path string, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen[fmt.Sprintf("%s %s %d", method, path, status)] = true
}

// described reports whether a path is one that the document must describe.
func described(path string) bool {
	return path == "/api" || strings.HasPrefix(path, "/api/") || path == "/healthz" || path == "/readyz"
}

// match finds the documented path for a URL: fixed segments before variables.
func (s *Spec) match(u *url.URL) (template string, item *openapi3.PathItem, params map[string]string) {
	segments := strings.Split(u.EscapedPath(), "/")
	for _, path := range s.doc.Paths.InMatchingOrder() {
		if params, matches := matchSegments(strings.Split(path, "/"), segments); matches {
			return path, s.doc.Paths.Value(path), params
		}
	}
	return "", nil, nil
}

func matchSegments(template, segments []string) (map[string]string, bool) {
	if len(template) != len(segments) {
		return nil, false
	}
	params := map[string]string{}
	for i, want := range template {
		got, err := url.PathUnescape(segments[i])
		if err != nil {
			return nil, false
		}
		if name, isVariable := strings.CutPrefix(want, "{"); isVariable {
			if got == "" {
				return nil, false
			}
			params[strings.TrimSuffix(name, "}")] = got
		} else if got != want {
			return nil, false
		}
	}
	return params, true
}

// Transport checks every request and answer that passes through next (nil:
// http.DefaultTransport) and reports what differs from the document to t.
// Pages pass through unchecked. Several clients may share a Spec.
func (s *Spec) Transport(t testing.TB, next http.RoundTripper) http.RoundTripper {
	if next == nil {
		next = http.DefaultTransport
	}
	return &transport{report: func(text string) { t.Helper(); t.Error(text) }, spec: s, next: next}
}

// Extensions are the x-… fields of every operation, like x-scope of
// "GET /api/tokens".
func (s *Spec) Extensions() map[string]map[string]any {
	out := map[string]map[string]any{}
	for path, item := range s.doc.Paths.Map() {
		for method, op := range item.Operations() {
			out[method+" "+path] = op.Extensions
		}
	}
	return out
}
