package main_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"

	"github.com/tvzero/tokenvault/server/internal/app/apptest"
)

// everyPage reads every page and sends every form, as a person would. What a
// page's script does at the webhook is done by everyOperation.
func (c *cage) everyPage(t *testing.T) {
	t.Helper()
	post := func(path string, form ...string) string {
		t.Helper()
		values := url.Values{}
		for i := 0; i+1 < len(form); i += 2 {
			values.Set(form[i], form[i+1])
		}
		got := c.owner.Post(path, values)
		if got.Status != http.StatusOK && got.Status != http.StatusCreated && got.Status != http.StatusSeeOther {
			t.Errorf("the form at %s: %s, want it taken", path, got)
		}
		if cookie := (&http.Response{Header: got.Header}).Cookies(); len(cookie) > 0 && strings.HasPrefix(path, "/login") {
			c.owner.Cookie = cookie[0].Name + "=" + cookie[0].Value
		}
		return got.Header.Get("Location")
	}
	get := func(paths ...string) {
		t.Helper()
		for _, path := range paths {
			if got := c.owner.Do(http.MethodGet, path, nil); got.Status != http.StatusOK || !strings.HasPrefix(got.Header.Get("Content-Type"), "text/html") {
				t.Errorf("page %s: %.300s, want a page", path, got)
			}
		}
	}
	post("/logout")
	c.owner.Cookie = ""
	get("/login", "/register")
	post("/register", "email", "another@example.com", "password", apptest.Password, "displayName", "Another")
	post("/login", "email", c.owner.Email, "password", apptest.Password)

	id, _ := c.owner.Agent("of the pages")
	agent := "/agents/" + id
	post("/agents", "name", "made by a form", "description", "a\r\nb")
	post(agent, "name", "renamed", "description", "")
	post(agent+"/grants", "serviceName", apptest.OAuth, "hours", "24")
	get("/", "/tokens/new", "/agents", agent, agent+"/rotate-key", agent+"/delete", "/audit", "/settings", "/settings/unbind")
	post(agent+"/revoke", "serviceName", apptest.OAuth)
	post(agent+"/status", "status", "suspended")
	post(agent + "/rotate-key")
	post(agent + "/delete")

	for _, sample := range c.samples {
		token := "/token/" + url.PathEscape(sample.Service)
		get(token, token+"/trust", token+"/delete")
		post(token, "displayName", sample.Text("displayName"), "notes", "seen on a page", "tags", "ci, page")
	}
	c.browse(t, "/connect/theirs?service=by-page")
	get("/token/by-page", "/token/by-page/disconnect", "/tokens/connect", "/tokens/connect?provider=theirs")
	post("/token/by-page/refresh")
	post("/token/by-page/disconnect")
	c.spare(t, "spare-page")
	post("/token/spare-page/delete")
	post("/tokens/sync")
	post("/settings/check")
	post("/settings/lock")
	get("/", "/settings/vault")
	post("/settings/unlock")

	post("/settings/unbind")
	get("/", "/settings/vault")
	c.bindByPage(t, post)
	get("/audit?type=release&service=" + apptest.APIKey)
}

// bindByPage follows the registration URL to the consent page, and consents.
func (c *cage) bindByPage(t *testing.T, post func(path string, form ...string) string) {
	t.Helper()
	answer, err := apptest.Call(t.Context(), c.client, http.MethodGet, c.webhookURL+wire.PathRegisterURL, nil, wire.HeaderAdminSecret, adminSecret)
	if err != nil || answer.Status != http.StatusOK {
		t.Fatalf("the registration URL: %v %s", err, answer)
	}
	var registration wire.RegisterURL
	answer.Decode(t, &registration)
	path, ok := strings.CutPrefix(registration.RegistrationURL, c.serverURL)
	if !ok {
		t.Fatalf("the registration URL is %s, want one at %s", registration.RegistrationURL, c.serverURL)
	}
	page := c.owner.Do(http.MethodGet, path, nil)
	if page.Status != http.StatusOK || !strings.Contains(string(page.Body), strings.TrimPrefix(c.webhookURL, "http://")) {
		t.Fatalf("the consent page: %s, want one that names the webhook's host", page)
	}
	post(wire.PathConsent, "code", registration.Code, "webhookUrl", registration.WebhookURL, "hash", registration.HMACHash)
	var status struct{ VaultMode string }
	c.owner.Must(http.MethodGet, "/api/vault/status", nil, &status)
	if status.VaultMode != "webhook" {
		t.Errorf("after consenting the vault mode is %q, want webhook", status.VaultMode)
	}
}
