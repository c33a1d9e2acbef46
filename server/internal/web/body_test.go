package web_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/web"
)

type sample struct {
	Name  string            `json:"name"`
	Count *int              `json:"count"`
	Deep  map[string]any    `json:"deep"`
	Tags  []string          `json:"tags"`
	Inner struct{ X int }   `json:"inner"`
	More  map[string]string `json:"more"`
}

func TestBodiesAreReadStrictly(t *testing.T) {
	t.Parallel()
	called := 0
	server, _ := start(t, "http://127.0.0.1", func(e *gin.Engine) {
		handler := func(unknown web.Unknown, optional bool) gin.HandlerFunc {
			return web.JSON(func(c *gin.Context) error {
				var in sample
				read := web.ReadJSON
				if optional {
					read = web.ReadOptionalJSON
				}
				if err := read(c, &in, unknown); err != nil {
					return err
				}
				called++
				return web.WriteJSON(c, 200, in.Name)
			})
		}
		e.POST("/api/strict", handler(web.RefuseUnknown, false))
		e.POST("/api/lenient", handler(web.IgnoreUnknown, false))
		e.POST("/api/optional", handler(web.RefuseUnknown, true))
	})
	const jsonType = "application/json"
	for _, tt := range []struct {
		name, path, contentType, body string
		status                        int
		code                          fault.Code
		field                         string
	}{
		{"plain", "strict", jsonType, ` {"name":"a"} ` + "\n", 200, "", ""},
		{"with charset", "strict", jsonType + "; charset=UTF-8", `{"name":"a"}`, 200, "", ""},
		{"unknown field ignored", "lenient", jsonType, `{"name":"a","nmae":"b"}`, 200, "", ""},
		{"no body where none is needed", "optional", "", ``, 200, "", ""},
		{"unknown field", "strict", jsonType, `{"name":"a","nmae":"b"}`, 400, fault.InvalidRequest, "nmae"},
		{"no content type", "strict", "", `{}`, 415, fault.UnsupportedMediaType, ""},
		{"no content type for what may be left out", "optional", "", `{}`, 415, fault.UnsupportedMediaType, ""},
		{"a form", "strict", "application/x-www-form-urlencoded", `name=a`, 415, fault.UnsupportedMediaType, ""},
		{"text that is JSON", "strict", "text/plain", `{}`, 415, fault.UnsupportedMediaType, ""},
		{"another charset", "strict", jsonType + "; charset=utf-16", `{}`, 415, fault.UnsupportedMediaType, ""},
		{"malformed content type", "strict", "application/json; charset", `{}`, 415, fault.UnsupportedMediaType, ""},
		{"empty", "strict", jsonType, ``, 400, fault.InvalidRequest, ""},
		{"blank", "strict", jsonType, "  \n", 400, fault.InvalidRequest, ""},
		{"null", "strict", jsonType, `null`, 400, fault.InvalidRequest, ""},
		{"array", "strict", jsonType, `[{}]`, 400, fault.InvalidRequest, ""},
		{"cut off", "strict", jsonType, `{"name":"a"`, 400, fault.InvalidRequest, ""},
		{"garbage", "strict", jsonType, `{name}`, 400, fault.InvalidRequest, ""},
		{"two objects", "strict", jsonType, `{"name":"a"}{"name":"b"}`, 400, fault.InvalidRequest, ""},
		{"something after it", "strict", jsonType, `{"name":"a"} x`, 400, fault.InvalidRequest, ""},
		{"wrong type", "strict", jsonType, `{"name":7}`, 400, fault.InvalidRequest, "name"},
		{"fraction for a whole number", "strict", jsonType, `{"count":1.5}`, 400, fault.InvalidRequest, "count"},
		{"number too large", "strict", jsonType, `{"count":1e99}`, 400, fault.InvalidRequest, "count"},
		{"not UTF-8", "strict", jsonType, "{\"name\":\"\xff\"}", 400, fault.InvalidRequest, ""},
		{"too deep", "lenient", jsonType, `{"x":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, 400, fault.InvalidRequest, ""},
		{"too deep and never closed", "lenient", jsonType, `{"x":` + strings.Repeat(`[`, 100_000), 400, fault.InvalidRequest, ""},
		{"brackets in a string are no depth", "lenient", jsonType, `{"name":"` + strings.Repeat("[", 100) + `\""}`, 200, "", ""},
		{"too large", "lenient", jsonType, `{"name":"` + strings.Repeat("a", web.MaxBody) + `"}`, 413, fault.TooLarge, ""},
	} {
		before := called
		var headers []string
		if tt.contentType != "" {
			headers = []string{"Content-Type", tt.contentType}
		}
		got := do(t, request(t, "POST", server.URL+"/api/"+tt.path, tt.body, headers...))
		if tt.status == 200 {
			if got.status != 200 || called != before+1 {
				t.Errorf("%s: got %d %s, want 200", tt.name, got.status, got.body)
			}
			continue
		}
		if called != before {
			t.Errorf("%s: the handler went on", tt.name)
		}
		if p := wantProblem(t, got, tt.status, tt.code); p.Field != tt.field {
			t.Errorf("%s: field %q, want %q (%s)", tt.name, p.Field, tt.field, p.Detail)
		}
	}
}

// A body whose length is not announced is limited as it is read.
func TestAChunkedBodyIsLimited(t *testing.T) {
	t.Parallel()
	server, _ := start(t, "http://127.0.0.1", func(e *gin.Engine) {
		e.POST("/api/x", web.JSON(func(c *gin.Context) error {
			var in sample
			return web.ReadJSON(c, &in, web.IgnoreUnknown)
		}))
	})
	req := request(t, "POST", server.URL+"/api/x", "", "Content-Type", "application/json")
	req.Body, req.ContentLength = readCloser{strings.NewReader(`{"name":"` + strings.Repeat("a", web.MaxBody) + `"}`)}, -1
	wantProblem(t, do(t, req), 413, fault.TooLarge)
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

func TestAnErrorNeverQuotesAValueOfTheBody(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{"name":"` + canary + `"`, `{"count":"` + canary + `"}`, `{"name":"` + canary + `"} x`, `{"name": ` + canary + `}`} {
		var in sample
		err := web.Decode([]byte(body), &in, web.RefuseUnknown)
		if f := fault.From(err); f == nil || f.Code != fault.InvalidRequest || strings.Contains(f.Message, canary) {
			t.Errorf("Decode(%s) = %v; want INVALID_REQUEST without the value", body, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{`{}`, `{"name":"a","count":1}`, `{"deep":{"a":[[[{}]]]}}`, `{"name":"\u0000\ud800"}`, `null`, `[]`, "\xff", `{"a":1}{`, `{"tags":["x"]} `} {
		f.Add([]byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, body []byte, ignore bool) {
		var in sample
		err := web.Decode(body, &in, web.Unknown(ignore))
		if err != nil {
			if code := fault.CodeOf(err); code != fault.InvalidRequest {
				t.Fatalf("Decode(%q) failed with %s (%v), want INVALID_REQUEST alone", body, code, err)
			}
			if message := fault.From(err).Message; message == "" || len(message) > 500 || !utf8.ValidString(message) {
				t.Fatalf("Decode(%q) says %q; want a short sentence", body, message)
			}
			return
		}
		if !json.Valid(body) || !utf8.Valid(body) {
			t.Fatalf("Decode took %q, which is no JSON", body)
		}
		var object map[string]json.RawMessage
		if json.Unmarshal(body, &object) != nil || object == nil {
			t.Fatalf("Decode took %q, which is no object", body)
		}
	})
}

func TestFormsAreReadFromTheBodyAlone(t *testing.T) {
	t.Parallel()
	server, _ := start(t, "http://127.0.0.1", func(e *gin.Engine) {
		e.POST("/api/form", web.JSON(func(c *gin.Context) error {
			form, err := web.ReadForm(c)
			if err != nil {
				return err
			}
			return web.WriteJSON(c, 200, form)
		}))
	})
	const formType = "application/x-www-form-urlencoded"
	got := do(t, request(t, "POST", server.URL+"/api/form?name=query", "name=a+b&x=%26", "Content-Type", formType+"; charset=utf-8"))
	if got.status != 200 || got.body != `{"name":["a b"],"x":["\u0026"]}` {
		t.Errorf("a form: %d %s, want its own fields", got.status, got.body)
	}
	for _, tt := range []struct {
		name, contentType, body string
		status                  int
		code                    fault.Code
	}{
		{"JSON", "application/json", `{}`, 415, fault.UnsupportedMediaType},
		{"several parts", "multipart/form-data; boundary=x", "--x--", 415, fault.UnsupportedMediaType},
		{"no content type", "", "name=a", 415, fault.UnsupportedMediaType},
		{"broken encoding", formType, "name=%zz", 400, fault.InvalidRequest},
		{"too large", formType, "name=" + strings.Repeat("a", web.MaxBody), 413, fault.TooLarge},
	} {
		var headers []string
		if tt.contentType != "" {
			headers = []string{"Content-Type", tt.contentType}
		}
		got := do(t, request(t, "POST", server.URL+"/api/form", tt.body, headers...))
		if p := wantProblem(t, got, tt.status, tt.code); p.Code != tt.code {
			t.Errorf("%s: %+v", tt.name, p)
		}
	}
}
