package dashboard_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestAFormWithoutASessionIsKeptButForItsSecrets(t *testing.T) {
	t.Parallel()
	d := open(t)
	form := url.Values{"serviceName": {"github"}, "notes": {"two\nlines"}, "accessToken": {"canary-secret"}, "password": {"canary-password"}, "code": {"271828"}}
	got := d.call(t, http.MethodPost, "/tokens/new", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	if got.status != http.StatusUnauthorized {
		t.Fatalf("status %d, want 401: %s", got.status, got.body)
	}
	for _, want := range []string{`action="/tokens/new"`, `name="serviceName" value="github"`, "two\nlines", "only what was secret is lost"} {
		if !strings.Contains(got.body, want) {
			t.Errorf("the page lacks %q:\n%s", want, got.body)
		}
	}
	for _, secret := range []string{"canary", "271828"} {
		if strings.Contains(got.body, secret) {
			t.Errorf("the page shows %q:\n%s", secret, got.body)
		}
	}
}

func TestAnOddFormWithoutASessionIsNotKept(t *testing.T) {
	t.Parallel()
	d := open(t)
	got := d.call(t, http.MethodPost, "/tokens/new", "serviceName=%00", "Content-Type", "application/x-www-form-urlencoded")
	if got.status != http.StatusSeeOther || got.header.Get("Location") != "/login" {
		t.Errorf("%d to %q, want 303 to the page for signing in", got.status, got.header.Get("Location"))
	}
}
