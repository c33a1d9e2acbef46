package apptest

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
)

// A Page is where a browser ended.
type Page struct {
	URL    *url.URL
	Status int
	Body   string
}

// Browse follows a link of the server as a browser with the session does, through
// providers and webhooks, to the page where that ends.
func (o *Owner) Browse(path string) Page {
	o.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		o.t.Fatal(err)
	}
	server, err := url.Parse(o.Server)
	if err != nil {
		o.t.Fatal(err)
	}
	name, value, _ := strings.Cut(o.Cookie, "=")
	jar.SetCookies(server, []*http.Cookie{{Name: name, Value: value}})
	request, err := http.NewRequestWithContext(o.t.Context(), http.MethodGet, o.Server+path, nil)
	if err != nil {
		o.t.Fatal(err)
	}
	answer, err := (&http.Client{Transport: o.Client.Transport, Jar: jar, Timeout: o.Client.Timeout}).Do(request)
	if err != nil {
		o.t.Fatalf("%s: %v", path, err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		o.t.Fatalf("%s: %v", path, err)
	}
	return Page{URL: answer.Request.URL, Status: answer.StatusCode, Body: string(text)}
}
