package apitest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

type transport struct {
	report func(string)
	spec   *Spec
	next   http.RoundTripper
}

// RoundTrip implements http.RoundTripper. It reads the answer whole.
func (tr *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if !described(req.URL.Path) {
		return tr.next.RoundTrip(req)
	}
	sent, err := take(&req.Body)
	if err != nil {
		return nil, err
	}
	resp, err := tr.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for _, problem := range tr.spec.check(req, sent, resp, body) {
		tr.report(fmt.Sprintf("%s %s answered %d, which docs/openapi.yaml does not describe: %s", req.Method, req.URL.Path, resp.StatusCode, problem))
	}
	return resp, nil
}

// take reads a body and puts a copy of it back.
func take(body *io.ReadCloser) ([]byte, error) {
	if *body == nil || *body == http.NoBody {
		return nil, nil
	}
	sent, err := io.ReadAll(*body)
	_ = (*body).Close()
	*body = io.NopCloser(bytes.NewReader(sent))
	return sent, err
}

// check returns what is wrong with an answer.
func (s *Spec) check(req *http.Request, sent []byte, resp *http.Response, body []byte) []string {
	var wrong []string
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	for name, want := range map[string]string{"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"} {
		if got := resp.Header.Get(name); got != want {
			complain("header %s is %q, every answer has %q", name, got, want)
		}
	}
	if resp.Header.Get("X-Request-Id") == "" {
		complain("there is no X-Request-Id")
	}
	if req.Method == http.MethodOptions {
		if resp.StatusCode != http.StatusNoContent && resp.StatusCode != http.StatusNotFound {
			complain("OPTIONS answers 204 or 404")
		}
		return wrong
	}
	path, item, params := s.match(req.URL)
	method := req.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	var op *openapi3.Operation
	if item != nil {
		op = item.GetOperation(method)
	}
	switch {
	case resp.StatusCode == http.StatusMethodNotAllowed && (op == nil || req.Method == http.MethodHead):
		if item == nil || resp.Header.Get("Allow") == "" {
			complain("405 is for documented paths, with Allow")
		}
		return append(wrong, s.problem(body, req.Method, resp, "METHOD_NOT_ALLOWED")...)
	case op == nil && resp.StatusCode == http.StatusNotFound:
		return append(wrong, s.problem(body, req.Method, resp, "NOT_FOUND")...)
	case op == nil && resp.StatusCode == http.StatusForbidden:
		return append(wrong, s.problem(body, req.Method, resp, "CROSS_ORIGIN")...)
	case op == nil:
		complain("no such operation")
		return wrong
	}
	input := &openapi3filter.RequestValidationInput{
		Request: clone(req, sent), PathParams: params,
		Route: &routers.Route{Spec: s.doc, Path: path, PathItem: item, Method: method, Operation: op},
		Options: &openapi3filter.Options{
			IncludeResponseStatus: true, MultiError: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, SkipSettingDefaults: true,
		},
	}
	s.note(req.Method, path, resp.StatusCode)
	if err := answerFits(input, resp, body); err != nil {
		complain("%v\nbody: %s", err, clip(body))
	}
	if resp.StatusCode < 400 {
		// What the server took, the document must allow.
		if err := openapi3filter.ValidateRequest(context.Background(), input); err != nil {
			complain("the request was taken though it is not as documented: %v", err)
		}
	}
	return wrong
}

func clone(req *http.Request, sent []byte) *http.Request {
	out := req.Clone(context.Background())
	out.Body = io.NopCloser(bytes.NewReader(sent))
	if sent == nil {
		out.Body = http.NoBody
	}
	return out
}

func answerFits(input *openapi3filter.RequestValidationInput, resp *http.Response, body []byte) error {
	documented := input.Route.Operation.Responses.Status(resp.StatusCode)
	if documented == nil {
		return fmt.Errorf("the status is not documented")
	}
	if input.Request.Method == http.MethodHead {
		return nil // it has no body, and the library looks no further
	}
	if len(documented.Value.Content) == 0 && len(body) > 0 {
		return fmt.Errorf("a body is not documented")
	}
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind == "text/csv" && documented.Value.Content.Get(kind) != nil {
		return nil // its form is tested where it is written
	}
	for name, ref := range documented.Value.Headers { // the library skips headers of redirects, and misses required ones
		if err := headerFits(name, ref.Value, resp.Header); err != nil {
			return err
		}
	}
	return openapi3filter.ValidateResponse(context.Background(), (&openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: resp.StatusCode, Header: resp.Header, Options: input.Options,
	}).SetBodyBytes(body))
}

func headerFits(name string, documented *openapi3.Header, header http.Header) error {
	values := header.Values(name)
	if len(values) == 0 {
		if documented.Required {
			return fmt.Errorf("the header %s is missing", name)
		}
		return nil
	}
	pattern := documented.Schema.Value.Pattern
	re, err := regexp.Compile(pattern)
	if err != nil {
		return fmt.Errorf("pattern of the header %s: %w", name, err)
	}
	if !re.MatchString(values[0]) {
		return fmt.Errorf("the header %s does not match %s", name, pattern)
	}
	return nil
}

// problem checks the refusals that any path may answer.
func (s *Spec) problem(body []byte, method string, resp *http.Response, code string) []string {
	if method == http.MethodHead {
		return nil
	}
	var value map[string]any
	if err := json.Unmarshal(body, &value); err != nil || !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json") {
		return []string{fmt.Sprintf("%s %q is no problem+json", resp.Header.Get("Content-Type"), clip(body))}
	}
	if err := s.doc.Components.Schemas["Problem"].Value.VisitJSON(value, openapi3.EnableJSONSchema2020()); err != nil {
		return []string{err.Error()}
	}
	if value["code"] != code {
		return []string{fmt.Sprintf("the code is %v, want %s", value["code"], code)}
	}
	return nil
}

func clip(body []byte) []byte { return body[:min(len(body), 500)] }
