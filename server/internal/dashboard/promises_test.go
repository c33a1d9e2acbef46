package dashboard_test

import (
	"strings"
	"testing"
)

// What these pages say of custody has exceptions in the code: they say which.
func TestPagesPromiseNoMoreThanTheCodeHolds(t *testing.T) {
	t.Parallel()
	for _, sealed := range []bool{false, true} {
		d, list := open(t), pages()
		if sealed {
			d.seal()
			list = sealedPages()
		}
		for _, page := range list {
			body := strings.ToLower(d.get(t, page).body)
			for _, promise := range []string{
				"never receives a credential", "never receives them", "never receives it on any path", // moved back, connected here, refreshed here
				"nobody can bring", "not even from a copy", // a backup opens with a session of its time
				"one click", "nobody can take entries out",
			} {
				if page != "/token/my%20token/trust" && strings.Contains(body, promise) {
					t.Errorf("%s promises %q", page, promise)
				}
			}
		}
	}
	d := open(t)
	for page, said := range map[string][]string{
		"/setup":                              {"does pass through it", "but no other"},
		"/settings/lock":                      {"within a second at every other replica", "for a minute at most", "what your webhook does by itself"},
		"/settings/unbind":                    {"deletes the secret", "The list of names it keeps"},
		"/settings/danger/delete":             {"so that none can be taken out unnoticed"},
		link("c0de", hook, fingerprint):       {"connect an account at a provider of this server"},
		"/keys/" + keyID.String() + "/rotate": {"There is no overlap", "within a second at every other replica"},
		"/grants":                             {"at least every three weeks"},
	} {
		wants(t, page, d.get(t, page).body, said...)
	}
	d.seal()
	wants(t, "another key of an agent", d.get(t, agentPath+"/rotate-key").body, "A credential in a vault that this session does not open stays behind: the agent loses it")
}
