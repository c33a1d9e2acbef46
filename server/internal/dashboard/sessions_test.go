package dashboard_test

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/platform"
)

func TestAnAPIKeyIsShownOnceAndNeverKept(t *testing.T) {
	t.Parallel()
	d := sealedDoor(t)
	key := d.apiKey.Reveal()
	got := d.post(t, "/keys", values("name", "ci", "tokens:read", "on", "audit:read", "on", "hours", "720"))
	if got.status != http.StatusCreated || !strings.Contains(got.body, "<code>"+key+"</code>") || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("a new key: %d, Cache-Control %q; want 201 with the key, kept nowhere", got.status, got.header.Get("Cache-Control"))
	}
	if calls, want := d.take(), "CreateKey ci tokens:read,audit:read 2026-02-01T04:04:05Z"; calls != want {
		t.Errorf("called %q, want %q", calls, want)
	}
	if d.post(t, "/keys", values("name", "ci", "tokens:read", "on", "hours", "0")); d.take() != "CreateKey ci tokens:read -" {
		t.Error("a key until revoked was not asked for as that")
	}
	if got := d.post(t, "/keys/"+keyID.String()+"/rotate", nil); got.status != 200 || !strings.Contains(got.body, key) || !strings.Contains(got.body, "old key is refused") {
		t.Errorf("a replaced key: %d; want the new one, and that the old one is refused", got.status)
	}
	for _, page := range sealedPages() {
		if got := d.get(t, page); strings.Contains(got.body, key) {
			t.Errorf("%s shows the key", page)
		}
	}
}

func TestARefusedAPIKeyFormComesBackFilledIn(t *testing.T) {
	t.Parallel()
	d := sealedDoor(t)
	d.err = fault.Field("scopes", "Give the API key at least one scope.")
	got := d.post(t, "/keys", values("name", "kept", "vault:manage", "on", "hours", "8760"))
	for _, want := range []string{`value="kept"`, `name="vault:manage" checked`, `<option value="8760" selected>`, `id="e-scopes">Give the API key`} {
		if got.status != 400 || !strings.Contains(got.body, want) {
			t.Errorf("%d; the page lacks %q", got.status, want)
		}
	}
	d.take()
	for name, form := range map[string]url.Values{
		"no time": values("name", "a"), "a time that is none": values("name", "a", "hours", "x"), "negative": values("name", "a", "hours", "-1"), "too long": values("name", "a", "hours", "90000"),
	} {
		if got := d.post(t, "/keys", form); got.status != 400 || d.take() != "" {
			t.Errorf("%s: %d; want 400 and no key", name, got.status)
		}
	}
	for _, path := range []string{"/keys/x/rotate", "/grants/x", "/grants/x/revoke", "/grants/x/share-vault", "/escrows/x/accept", "/escrows/x/decline", "/escrows/x/cancel"} {
		if got := d.post(t, path, values("label", "a")); got.status != 404 || d.take() != "" {
			t.Errorf("POST %s: %d; want 404 and nothing called", path, got.status)
		}
	}
}

func TestSessionsAndKeysAreShownWithTheirVaults(t *testing.T) {
	t.Parallel()
	d := sealedDoor(t)
	d.offered()
	body := d.get(t, "/grants").body
	if strings.Count(body, `class="badge vault-10"`) < 2 || strings.Count(body, `class="badge vault-6"`) != 1 || !strings.Contains(body, ">c0ffee</span>") || !strings.Contains(body, ">decade</span>") {
		t.Error("grants of the same vault do not bear the same mark, or others do")
	}
	for want, times := range map[string]int{
		"this session": 1, ">Revoke…</a>": 3, ">Agent</a>": 1, "Share vault…": 0, "Take the offer back": 1,
	} {
		if got := strings.Count(body, want); got != times {
			t.Errorf("%q stands there %d times, want %d", want, got, times)
		}
	}
	d.escrows = nil
	if body := d.get(t, "/grants").body; strings.Count(body, ">Share vault…<") != 1 || !strings.Contains(body, "/grants/"+otherID.String()+"/share-vault") {
		t.Error("the vault can be shared with others than the one session that opens another")
	}
	d.bind()
	d.sealed = false
	if body := d.get(t, "/grants").body; strings.Contains(body, "Share vault…") {
		t.Error("who has no vault is offered to share it")
	}
}

func TestGrantsAreRenamedRevokedAndShared(t *testing.T) {
	t.Parallel()
	d := sealedDoor(t)
	other := "/grants/" + otherID.String()
	for _, tt := range []struct {
		path      string
		form      url.Values
		calls, to string
	}{
		{other, values("label", "Work laptop"), "SetLabel " + otherID.String() + " Work laptop", "/grants"},
		{other + "/revoke", nil, "RevokeGrant " + otherID.String(), "/grants"},
		{other + "/share-vault", nil, "Share " + otherID.String(), "/grants"},
		{"/escrows/" + escrowID.String() + "/accept", nil, "Accept " + escrowID.String(), "/grants"},
		{"/escrows/" + escrowID.String() + "/decline", nil, "Decline " + escrowID.String(), "/grants"},
		{"/escrows/" + escrowID.String() + "/cancel", nil, "Cancel " + escrowID.String(), "/grants"},
		{"/grants/" + sessionID.String() + "/revoke", nil, "RevokeGrant " + sessionID.String(), "/login"},
	} {
		got := d.post(t, tt.path, tt.form)
		if got.status != 303 || got.header.Get("Location") != tt.to {
			t.Errorf("POST %s: %d to %q, want 303 to %q", tt.path, got.status, got.header.Get("Location"), tt.to)
		}
		if calls := d.take(); calls != tt.calls {
			t.Errorf("POST %s: called %q, want %q", tt.path, calls, tt.calls)
		}
		if out := strings.Contains(strings.Join(got.header.Values("Set-Cookie"), " "), "tv_session=; Path=/; Max-Age=0"); out != (tt.to == "/login") {
			t.Errorf("POST %s: signed out of the browser: %v", tt.path, out)
		}
	}
	for path, err := range map[string]*fault.Error{
		other:                  fault.Field("label", "A name has 1 to 100 printable characters."),
		other + "/share-vault": fault.New(fault.Conflict, "It opens this vault already."),
		"/escrows/" + escrowID.String() + "/accept": fault.New(fault.Conflict, "The vault has changed meanwhile."),
	} {
		d.err = err
		if got := d.post(t, path, values("label", "a")); got.status < 400 || !strings.Contains(got.body, err.Message) || !strings.Contains(got.body, "Sessions and keys") {
			t.Errorf("POST %s: %d; want the list again, with the reason", path, got.status)
		}
	}
	d.err = fault.New(fault.NotFound, "It has ended.")
	if got := d.post(t, other+"/revoke", nil); got.status != 303 {
		t.Errorf("revoking twice: %d, want 303", got.status)
	}
}

func TestWhatWouldBeLostIsSaidBefore(t *testing.T) {
	t.Parallel()
	d := sealedDoor(t)
	revoke := "/grants/" + sessionID.String() + "/revoke"
	if body := d.get(t, revoke).body; strings.Contains(body, "are deleted") {
		t.Error("the page warns of a loss that there is not")
	}
	d.last, d.count = true, 7
	if body := d.get(t, revoke).body; !strings.Contains(body, "credentials (7) are deleted") || !strings.Contains(body, "keep it offline") {
		t.Error("the page does not say what is lost, or how to keep it")
	}
	got := d.post(t, "/logout", nil)
	if calls := d.take(); got.status != 200 || calls != "" || !strings.Contains(got.body, "credentials (7) are deleted") || got.header.Get("Set-Cookie") != "" {
		t.Errorf("signing out: %d, called %q; want to be asked first", got.status, calls)
	}
	got = d.post(t, "/logout/anyway", nil)
	if calls := d.take(); got.status != 303 || calls != "Logout" {
		t.Errorf("signing out anyway: %d, called %q; want it done", got.status, calls)
	}
	d.count = 0
	if got := d.post(t, "/logout", nil); got.status != 303 || d.take() != "Logout" {
		t.Errorf("signing out of an empty vault: %d, want it done", got.status)
	}
	d.read = errors.New("the database is away")
	if got := d.post(t, "/logout", nil); got.status != 500 || d.take() != "" {
		t.Errorf("when nobody can tell: %d, want 500 and no sign-out", got.status)
	}
}

func TestASessionThatEndsSoonWithItsVaultSaysSoOnEveryPage(t *testing.T) {
	t.Parallel()
	d := sealedDoor(t)
	d.offered()
	d.last, d.count, d.expires = true, 7, now.Add(7*24*time.Hour)
	warns := func() bool { return strings.Contains(d.get(t, "/agents").body, "and its vault with it.") }
	if warns() {
		t.Error("it warns 7 days before already")
	}
	d.expires = now.Add(7*24*time.Hour - time.Second)
	for _, page := range sealedPages() {
		if body := d.get(t, page).body; !strings.Contains(body, "and its vault with it.") || !strings.Contains(body, "credentials (7) are deleted then") {
			t.Errorf("%s does not warn", page)
		}
	}
	d.last = false
	if warns() {
		t.Error("it warns though something else opens the vault")
	}
	d.last, d.due = true, true // the next token lasts longer
	if warns() {
		t.Error("it warns though the session has just been given a token that lasts")
	}
}

func TestAnOfferIsShownOnEveryPageToItsTargetAlone(t *testing.T) {
	t.Parallel()
	d := sealedDoor(t)
	d.offered()
	for _, page := range sealedPages() {
		if strings.HasPrefix(page, "/escrows/") { // it is about the offer
			continue
		}
		body := d.get(t, page).body
		if !strings.Contains(body, "Safari on macOS offers you its vault.") || strings.Count(body, "offers you its vault.") != 1 {
			t.Errorf("%s does not show the offer to this session, or shows another", page)
		}
	}
	for name, change := range map[string]func(e *models.Escrow){
		"accepted already": func(e *models.Escrow) { e.State = models.EscrowAccepted },
		"expired":          func(e *models.Escrow) { e.ExpiresAt = now },
		"somebody else's":  func(e *models.Escrow) { e.ToID = keyID },
	} {
		d.offered()
		change(&d.escrows[0])
		if body := d.get(t, "/agents").body; strings.Contains(body, "offers you") {
			t.Errorf("%s: there is a banner, want none", name)
		}
	}
}

func TestThePageOfAnOfferSaysWhatWouldChange(t *testing.T) {
	t.Parallel()
	d := sealedDoor(t)
	d.offered()
	own := make([]models.Token, 60)
	for i := range own {
		own[i].ServiceName = "token-" + strconv.Itoa(i)
	}
	d.changes = platform.Preview{
		Escrow: d.escrows[0], From: "Safari on macOS", Shared: 3, Own: own, Agents: 2, Cancels: 1,
		Conflicts: []platform.Conflict{{Ref: platform.Ref{Service: "github"}, KeepsOwn: true}, {Ref: platform.Ref{Service: "gitlab"}}},
	}
	path := "/escrows/" + escrowID.String()
	body := d.get(t, path).body
	for _, want := range []string{
		"Safari on macOS</strong> offers this session", "it has 3 tokens", "comes along, and your vault is deleted", "<strong>token-49</strong> and 10 more",
		"<strong>github</strong>: yours was stored later", "<strong>gitlab</strong>: the shared one was stored later", "2 agents keep", "Another offer ends",
		`action="` + path + `/accept"`, `action="` + path + `/decline"`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the page of an offer lacks %q", want)
		}
	}
	if calls := d.take(); calls != "" {
		t.Errorf("looking at an offer called %q", calls)
	}
	d.changes.Copies, d.changes.Own = true, own[:1]
	if body := d.get(t, path).body; !strings.Contains(body, "Copies of what is in your vault come along") || strings.Contains(body, "is deleted") {
		t.Error("the page does not say that others keep the vault")
	}
	d.read = fault.New(fault.Conflict, "The offer was taken back.")
	if got := d.get(t, path); got.status != 409 || strings.Contains(got.body, "/accept") {
		t.Errorf("an offer that has ended: %d, want 409 and nothing to accept", got.status)
	}
}

func TestAPageGivesASessionItsNextToken(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.due = true
	got := d.get(t, "/")
	if set := got.header.Get("Set-Cookie"); got.status != 200 || !strings.HasPrefix(set, "tv_session="+d.next.Reveal()+"; Path=/; Expires=Sun, 01 Feb 2026 04:04:05 GMT") {
		t.Errorf("%d, Set-Cookie %q; want the next token until it expires", got.status, set)
	}
	if strings.Contains(got.body, d.next.Reveal()) {
		t.Error("the page shows the next token")
	}
	d.unfollow = errors.New("the database is away")
	if got := d.get(t, "/"); got.status != 200 || got.header.Get("Set-Cookie") != "" {
		t.Errorf("without a next token: %d %q; want the page, and the cookie as it is", got.status, got.header.Get("Set-Cookie"))
	}
}
