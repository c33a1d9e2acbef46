package browser_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/totp"

	"github.com/tvzero/tokenvault/server/internal/app/apptest"
	"github.com/tvzero/tokenvault/server/internal/browsertest"
)

// signIn does the first step, with the password.
func signIn(p *browsertest.Page, email string) {
	p.Open("/login?next=/settings/security")
	p.Fill("E-mail address", email)
	p.Fill("Password", apptest.Password)
	p.Follow("css:form[action='/login'] button")
}

func TestASecondFactorIsSetUpAndAskedFor(t *testing.T) {
	t.Parallel()
	browsertest.Each(t, func(t *testing.T, w *browsertest.World) {
		w.Owner.Register()
		p := w.SignedIn(t)
		p.Open("/settings/security")
		p.Follow("Set up a second factor")
		p.Fill("Your password", "not the password")
		p.Follow("Show the secret")
		p.Wants("This is not your current password.")
		p.Fill("Your password", apptest.Password)
		p.Follow("Show the secret")
		p.WantsElement("svg.qr path")
		looks(t, p, "factor-secret", "/settings/factor")
		var typed string
		p.Ask(`document.querySelector(".enrol .fingerprint").textContent`, &typed)
		key, err := totp.ParseSecret(typed)
		if err != nil {
			t.Fatalf("the secret on the page: %v", err)
		}
		p.Fill("Code", "12 34 56 78")
		p.Follow("Turn the second factor on")
		p.Wants("This is not the current code.")
		if strings.Contains(p.Text(), strings.TrimSpace(typed)) || p.Count("svg.qr") != 0 {
			t.Error("the secret is shown a second time")
		}
		code, err := key.At(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		p.Fill("Code", code.Value)
		p.Follow("Turn the second factor on")
		p.Wants("The second factor is on", "Keep these recovery codes now.")
		looks(t, p, "factor-codes", "/settings/factor/confirm")
		var codes string
		p.Ask(`document.querySelector("pre.codes").textContent`, &codes)
		list := strings.Fields(codes)
		if len(list) != 10 {
			t.Fatalf("%d recovery codes, want 10", len(list))
		}
		p.Follow("I have kept them: go on")
		p.Wants("10 of 10")

		other := w.Page(t, w.Profile(t))
		signIn(other, w.Owner.Email)
		other.Wants("Second factor", "The password is right.")
		looks(t, other, "sign-in-code", "/login")
		other.Fill("Code", code.Value) // it confirmed the factor, and so is used up
		other.Follow("Sign in")
		other.Wants("This code is wrong, or was used before")
		other.Fill("Code", list[3])
		other.Follow("Sign in")
		other.WantsAt("/settings/security")
		other.Wants("9 of 10")

		other.Follow("Turn it off…")
		other.Fill("Your password", apptest.Password)
		other.Fill("Code", list[4])
		other.Follow("Turn it off")
		other.Wants("The second factor is off")
	})
}

// addPasskey adds one with the tab's device.
func addPasskey(p *browsertest.Page, name string) {
	p.Open("/settings/passkeys/new")
	p.Fill("Name", name)
	p.Fill("Your password", apptest.Password)
	p.Follow("Go on")
	p.Follow("Create the passkey")
	p.WantsAt("/settings/security")
	p.Wants("The passkey is added", name)
}

// passkey is the id of one of the owner's, which it adds.
func passkey(s *scene) string {
	s.t.Helper()
	p := s.SignedIn(s.t)
	p.Authenticator()
	addPasskey(p, "Phone, fingerprint")
	return strings.TrimPrefix(p.Attribute("a[href^='/settings/passkeys/rename/']", "href"), "/settings/passkeys/rename/")
}

func TestAPasskeySignsInWithoutPasswordAndCode(t *testing.T) {
	t.Parallel()
	browsertest.Each(t, func(t *testing.T, w *browsertest.World) {
		w.Owner.Register()
		profile := w.Profile(t)
		profile.SetCookie(w.URL, w.Owner.Cookie)
		p := w.Page(t, profile)
		p.Authenticator()
		addPasskey(p, "Laptop")
		looks(t, p, "security-passkey", "/settings/security")

		// The same device again: it says that it has one.
		p.Open("/settings/passkeys/new")
		p.Fill("Name", "Twice")
		p.Fill("Your password", apptest.Password)
		p.Follow("Go on")
		p.Click("Create the passkey")
		p.Wants("This device has a passkey of this account already.")

		profile.ClearCookies()
		p.Open("/login?next=/settings/security")
		p.Follow("Sign in with a passkey")
		p.WantsAt("/settings/security")
		p.Wants("Laptop", "just now")

		p.Follow("Rename Laptop")
		p.Fill("Name", "Work laptop")
		p.Follow("Save")
		p.Wants("Work laptop")
		p.Follow("Delete Work laptop")
		p.Follow("Delete it")
		p.Wants("The passkey is deleted", "You have none.")
		profile.ClearCookies()
		p.Expect("401") // what the answer of a passkey that was deleted gets
		p.Open("/login")
		p.Follow("Sign in with a passkey")
		p.Wants("This passkey was not accepted")
	})
}

func TestADeletedAccountIsSignedOutInEveryBrowser(t *testing.T) {
	t.Parallel()
	w := browsertest.New(t, store.SQLite)
	w.Owner.Register()
	p, other := w.SignedIn(t), w.Page(t, w.Profile(t))
	signIn(other, w.Owner.Email)
	other.WantsAt("/settings/security")
	p.Open("/settings/danger")
	p.Follow("Delete the account…")
	p.Fill("Type the e-mail address of this account", "somebody@example.com")
	p.Fill("Your password", apptest.Password)
	p.Follow("Delete the account for good")
	p.Wants("This is not the e-mail address of this account.")
	p.Fill("Type the e-mail address of this account", w.Owner.Email)
	p.Fill("Your password", apptest.Password)
	p.Follow("Delete the account for good")
	p.WantsAt("/login")
	p.Wants("The account is deleted.")
	other.Open("/agents")
	other.WantsAt("/login?next=%2Fagents")
	if answer := w.Owner.Do(http.MethodGet, "/api/tokens", nil); answer.Status != http.StatusUnauthorized {
		t.Errorf("the API after the account was deleted: %s, want 401", answer)
	}
}

func TestOtherSessionsAreSignedOutAndThisOneStays(t *testing.T) {
	t.Parallel()
	w := browsertest.New(t, store.SQLite)
	w.Owner.Register()
	p, other := w.SignedIn(t), w.Page(t, w.Profile(t))
	signIn(other, w.Owner.Email)
	p.Open("/settings/security")
	p.Fill("Current password", apptest.Password)
	p.Fill("New password", "an entirely new password")
	p.Follow("Change the password")
	p.Wants("The password is changed.")
	p.Follow("Sign out all other sessions (1)…")
	p.Wants("One other session is signed out")
	p.Follow("Sign them out")
	p.Wants("All other sessions are signed out.", "There is no other session.")
	other.Open("/agents")
	other.WantsAt("/login?next=%2Fagents")
}
