package dashboard_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

func TestAssetsArePackedForWhoTakesThat(t *testing.T) {
	t.Parallel()
	d := open(t)
	page := d.get(t, "/").body
	path := regexp.MustCompile(`/assets/style\.[^"]+`).FindString(page)
	plain := d.call(t, http.MethodGet, path, "", "Accept-Encoding", "identity")
	if plain.status != 200 || plain.header.Get("Content-Encoding") != "" || plain.header.Get("Vary") != "Accept-Encoding" || !strings.Contains(plain.body, "color-scheme") {
		t.Fatalf("as it is: %d %v", plain.status, plain.header)
	}
	for accept, want := range map[string]bool{
		"gzip": true, "br, gzip;q=0.5": true, "GZIP ; q=1": true, "*": true, "deflate, *;q=0.1": true,
		"gzip;q=0": false, "gzip;q=0, *": false, "br": false, "*;q=0": false, "gzip;q=x": false, "": false,
	} {
		got := d.call(t, http.MethodGet, path, "", "Accept-Encoding", accept)
		if packed := got.header.Get("Content-Encoding") == "gzip"; packed != want || got.header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("Accept-Encoding %q: packed %t, Vary %q; want %t, Accept-Encoding", accept, packed, got.header.Get("Vary"), want)
			continue
		}
		text := got.body
		if want {
			r, err := gzip.NewReader(strings.NewReader(got.body))
			if err != nil {
				t.Fatal(err)
			}
			unpacked, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			if text = string(unpacked); len(got.body) > len(text)/2 {
				t.Errorf("packed %d bytes to %d, want less than half", len(text), len(got.body))
			}
		}
		if text != plain.body {
			t.Errorf("Accept-Encoding %q: %d bytes, want the %d of the style sheet", accept, len(text), len(plain.body))
		}
	}
	if got := d.call(t, http.MethodGet, "/", "", append(d.cookie(), "Accept-Encoding", "gzip")...); got.header.Get("Content-Encoding") != "" || !strings.Contains(got.body, "<html") {
		t.Errorf("a page is encoded %q, want that pages are not compressed", got.header.Get("Content-Encoding"))
	}
}
