package dashboard_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/server/internal/providers"
)

func TestTheChoiceOfATypeNamesThoseOfTheMode(t *testing.T) {
	t.Parallel()
	d := open(t)
	body := d.get(t, "/tokens/new").body
	for _, kind := range []string{"PlainText", "OAuth", "JWT", "TOTP", "SSHKey", "Certificate", "RawCredential"} {
		if !strings.Contains(body, `href="/tokens/new?type=`+kind+`"`) {
			t.Errorf("the page offers no %s", kind)
		}
	}
	for _, kind := range []string{"Basic", "Bearer", "OpenIDConnect"} {
		if strings.Contains(body, "type="+kind) {
			t.Errorf("in webhook mode the page offers %s, which webhooks do not take", kind)
		}
	}
	if strings.Contains(body, "<form id=") || strings.Contains(body, "add.js") {
		t.Error("before a type is chosen there is a form, or its script")
	}
	d.seal()
	body = d.get(t, "/tokens/new").body
	if strings.Count(body, `class="kind"`) != 10 || !strings.Contains(body, `href="/tokens/new?type=OpenIDConnect"`) {
		t.Errorf("in platform mode the page offers %d types, want 10", strings.Count(body, `class="kind"`))
	}
}

func TestAProviderIsOfferedWithWhatItDoesToTrust(t *testing.T) {
	t.Parallel()
	d := open(t)
	ours := providers.Summary{ID: "acme", Name: "Acme", HoldsSecret: true}
	theirs := providers.Summary{ID: "acme", Name: "Acme"}
	for _, tt := range []struct {
		name         string
		provider     providers.Summary
		capabilities []string
		sealed       bool
		want         string
	}{
		{"platform mode", ours, nil, true, `and seals it at once.</span> <span class="trust sealed">`},
		{"a secret of the webhook's", theirs, []string{"connect"}, false, `this server sees nothing of it.</span> <span class="trust zero">`},
		{"a secret of the server's", ours, []string{"connect", "refresh"}, false, `when that ends, connect again.</span> <span class="trust seen">`},
		{"refreshed through the server", ours, []string{"tv-refresh"}, false, `and at each refresh.</span> <span class="trust refresh">`},
	} {
		d.bind()
		d.sealed = false
		d.status.Binding.Capabilities, d.known = tt.capabilities, []providers.Summary{tt.provider}
		if tt.sealed {
			d.seal()
		}
		body := d.get(t, "/tokens/new").body
		if !strings.Contains(body, tt.want) || !strings.Contains(body, `href="/connect/acme"`) {
			t.Errorf("%s: the page does not say %s", tt.name, tt.want)
		}
		if itself := strings.Contains(body, "A provider of your webhook"); itself != slices.Contains(tt.capabilities, "connect") {
			t.Errorf("%s: the webhook's own providers are offered: %v", tt.name, itself)
		}
	}
	d.known = []providers.Summary{{ID: "acme", Name: "Acme", HoldsSecret: true, Problem: "its issuer could not be reached"}}
	if body := d.get(t, "/tokens/new").body; strings.Contains(body, `href="/connect/acme"`) || !strings.Contains(body, "Away at the moment") {
		t.Error("a provider that is away can be chosen, or is not named")
	}
}

func TestTheCameraIsForOneTimeCodesAlone(t *testing.T) {
	t.Parallel()
	d := open(t)
	for _, sealed := range []bool{false, true} {
		if sealed {
			d.seal()
		}
		for path, camera := range map[string]string{"": "()", "?type=TOTP": "(self)", "?type=SSHKey": "()", "?type=none": "()"} {
			got := d.get(t, "/tokens/new"+path)
			if policy := got.header.Get("Permissions-Policy"); !strings.Contains(policy, "camera="+camera) {
				t.Errorf("/tokens/new%s: the policy is %q, want camera=%s", path, policy, camera)
			}
			if reads := strings.Contains(got.body, "/assets/jsQR."); reads != (camera == "(self)") {
				t.Errorf("/tokens/new%s: the library for QR codes is loaded: %v", path, reads)
			}
		}
	}
}

func TestATokenIsReplacedByOneOfItsTypeOrAnother(t *testing.T) {
	t.Parallel()
	d := open(t)
	for _, sealed := range []bool{false, true} {
		if sealed {
			d.seal()
		}
		d.token.TokenType = "SSHKey"
		got := d.get(t, "/tokens/new?service=my%20token")
		for _, want := range []string{
			"<h1>Replace my token</h1>", `id="f-serviceName" type="text"`, `value="my token"`, `data-type="SSHKey"`, `checked><label for="replace">`,
			`href="/tokens/new?service=my%20token&amp;type=JWT"`,
		} {
			if !strings.Contains(got.body, want) {
				t.Errorf("the page to replace a token does not have %s", want)
			}
		}
		if body := d.get(t, "/tokens/new?service=my%20token&type=JWT").body; !strings.Contains(body, `data-type="JWT"`) || !strings.Contains(body, "<h1>Replace my token</h1>") {
			t.Error("the token cannot be replaced by one of another type")
		}
		if body := d.get(t, "/tokens/new?service=my%20token&type=").body; strings.Contains(body, "data-type=") || !strings.Contains(body, `service=my%20token&amp;type=TOTP`) {
			t.Error("the choice of another type forgets the token to replace")
		}
		for _, path := range []string{"?service=none", "?service=none&type=JWT"} {
			if got := d.get(t, "/tokens/new"+path); got.status != http.StatusNotFound {
				t.Errorf("%s: %d, want 404: there is no such token", path, got.status)
			}
		}
		for _, path := range []string{"?service=a%00", "?type=a%00", "?type=" + strings.Repeat("a", 200)} {
			if got := d.get(t, "/tokens/new"+path); got.status != http.StatusBadRequest {
				t.Errorf("%.40s: %d, want 400", path, got.status)
			}
		}
	}
}

func TestThePageSaysWhereASecretGoes(t *testing.T) {
	t.Parallel()
	d := open(t)
	for _, want := range []string{"Where this goes", "POST " + hook + "/v1/store", "POST /api/vault/store-ticket", "POST /api/vault/sync", `data-webhook="` + hook + `"`} {
		if body := d.get(t, "/tokens/new?type=JWT").body; !strings.Contains(body, want) {
			t.Errorf("in webhook mode the page does not say %q", want)
		}
	}
	d.seal()
	body := d.get(t, "/tokens/new?type=JWT").body
	if !strings.Contains(body, "this server, sealed") || !strings.Contains(body, "<code>POST /tokens/new</code>") || strings.Contains(body, "/v1/store") {
		t.Error("in platform mode the page does not say that this server gets it and seals it")
	}
}
