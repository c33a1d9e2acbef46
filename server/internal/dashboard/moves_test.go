package dashboard_test

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/platform"
	"github.com/tvzero/tokenvault/server/internal/vaults"
)

// left gives an account with a webhook two platform vaults that are not empty, of
// which the session opens one.
func (d *door) left() {
	d.sealed = true // the session still has its vault
	d.waits = []platform.Waiting{
		{VaultID: vaultID, Tokens: []models.Token{{ServiceName: "github"}, {ServiceName: "gitlab"}}, Grants: []models.Grant{{Label: "Firefox on Linux"}}},
		{VaultID: otherVault, Tokens: []models.Token{{ServiceName: "slack"}}, Grants: []models.Grant{{Label: "Safari on macOS"}}},
	}
}

func TestWhatWaitsToBeMovedIsShownWithWhomItWaitsFor(t *testing.T) {
	t.Parallel()
	d := open(t)
	if body := d.get(t, "/vault/move").body; !strings.Contains(body, "Nothing waits") || strings.Contains(body, "<button>Move") {
		t.Error("the page offers to move what is not there")
	}
	if body := d.get(t, "/").body; strings.Contains(body, "/vault/move") {
		t.Error("the list says that something waits")
	}
	d.left()
	if body := d.get(t, "/").body; !strings.Contains(body, "3 tokens are still kept by this server.") {
		t.Error("the list does not say what waits")
	}
	body := d.get(t, "/vault/move").body
	for _, want := range []string{"github, gitlab", "This session opens it.", "slack", "Waits for: Safari on macOS.", ">decade</span>", "<button>Move what this session opens (2)</button>", `name="total" value="2"`, "TV Seen"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	d.waits = d.waits[1:]
	if body := d.get(t, "/vault/move").body; strings.Contains(body, "<button>Move") {
		t.Error("a session that opens nothing of it is offered to move it")
	}
	d.seal()
	for _, page := range []string{"/vault/move", "/vault/move-back"} {
		if got := d.get(t, page); got.status != 303 || got.header.Get("Location") != "/settings/vault" {
			t.Errorf("%s without a webhook: %d to %q, want 303 to the settings", page, got.status, got.header.Get("Location"))
		}
	}
}

func TestAMoveSaysWhatMovedAndWhatStays(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.left()
	d.moved = vaults.Moving{Moved: []string{"github"}, Left: []vaults.Left{{Token: models.Token{ServiceName: "gitlab"}, Reason: "The webhook has a token of this name."}}, Next: keyID}
	got := d.post(t, "/vault/move", nil)
	for _, want := range []string{"deleted here:</strong> github.", "<dt>gitlab</dt><dd>The webhook has a token of this name.", `name="after" value="` + keyID.String() + `"`, `<button id="go-on-button">Go on</button>`, `data-live="0" data-live-form="go-on"`} {
		if got.status != 200 || !strings.Contains(got.body, want) {
			t.Errorf("%d; the page lacks %q", got.status, want)
		}
	}
	if calls := d.take(); calls != "Move "+uuid.Nil.String() {
		t.Errorf("called %q, want Move from the beginning", calls)
	}
	d.moved.Next = uuid.Nil
	got = d.post(t, "/vault/move", values("after", keyID.String()))
	if calls := d.take(); calls != "Move "+keyID.String() || strings.Contains(got.body, "Go on") {
		t.Errorf("called %q, want Move from where it ended, and no more to do", calls)
	}
	for _, after := range []string{"x", "0189000000007000800000000000000a"} {
		if got := d.post(t, "/vault/move", values("after", after)); got.status != 400 || d.take() != "" {
			t.Errorf("after %q: %d, want 400 and nothing moved", after, got.status)
		}
	}
	if got := d.post(t, "/vault/move/"+agentID.String()+"/delete", nil); got.status != 303 || d.take() != "DropWaiting "+agentID.String() {
		t.Errorf("deleting what waits: %d, want it deleted by its id", got.status)
	}
	d.err = fault.New(fault.WebhookUnavailable, "The webhook is away.")
	if got := d.post(t, "/vault/move", nil); got.status != 502 || !strings.Contains(got.body, "The webhook is away.") || !strings.Contains(got.body, "deleted here:</strong> github.") || strings.Contains(got.body, "data-live") {
		t.Errorf("the webhook is away: %d; want that said, what was moved before, and no going on by itself", got.status)
	}
}

func TestMovingBackListsWhatCanComeBack(t *testing.T) {
	t.Parallel()
	d := open(t)
	body := d.get(t, "/vault/move-back").body
	for _, want := range []string{`<li data-service="my token">`, `data-webhook="` + hook + `"`, "<dt>otp<br>", "A TOTP secret never leaves a webhook.", "<noscript>"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(body, `data-service="otp"`) {
		t.Error("what cannot come back would be tried")
	}
}

func TestAMoveSaysHowFarItHasCome(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.left()
	d.moved = vaults.Moving{Moved: []string{"a"}, Next: keyID}
	body := d.post(t, "/vault/move", values("after", keyID.String(), "total", "8")).body
	for _, want := range []string{`max="8" value="6"`, `role="status" id="said">6 of 8 moved, 2 to go.`, `name="total" value="8"`} {
		if !strings.Contains(body, want) {
			t.Errorf("on the way: the page lacks %q", want)
		}
	}
	d.moved = vaults.Moving{}
	d.waits = d.waits[1:]
	body = d.post(t, "/vault/move", values("after", keyID.String(), "total", "8")).body
	if !strings.Contains(body, `max="8" value="8"`) || !strings.Contains(body, "8 of 8 moved.") || strings.Contains(body, "data-live") {
		t.Error("at the end: the page does not say that all is moved, or goes on")
	}
	d.take()
	for _, total := range []string{"x", "-1", "1000001", "1e3"} {
		if got := d.post(t, "/vault/move", values("total", total)); got.status != 400 || d.take() != "" {
			t.Errorf("total %q: %d, want 400 and nothing moved", total, got.status)
		}
	}
}
