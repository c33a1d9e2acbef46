package app_test

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/server/internal/app/apptest"
)

var devReady = regexp.MustCompile(`Ctrl-C ends it\.\n`)

func startDev(t *testing.T) (p *apptest.Process, temporary string) {
	t.Helper()
	temporary = t.TempDir()
	return apptest.Start(t, devReady, []string{"TMPDIR=" + temporary, "HOME=" + temporary},
		"tokenvault", "dev", "--listen", "127.0.0.1:0", "--webhook-listen", "127.0.0.1:0"), temporary
}

// find returns the first group of a pattern in what was said.
func find(t *testing.T, said, pattern string) string {
	t.Helper()
	found := regexp.MustCompile(pattern).FindStringSubmatch(said)
	if found == nil {
		t.Fatalf("nothing matches %s in:\n%s", pattern, said)
	}
	return found[1]
}

func TestDevelopmentModeShowsTheMainJobAndLeavesNothing(t *testing.T) {
	t.Parallel()
	p, temporary := startDev(t)
	said := p.Log()
	apiKey := find(t, said, `(?m)^  stripe +API key +(sk_sample_\w+)$`)
	kept := find(t, said, `(?m)^  weather +API key +(wx_sample_\w+)$`)
	find(t, said, `(?m)^  inbox +OAuth access token +(sample-access-\w+)  \(until \d\d:\d\d:\d\d\)$`)
	find(t, said, `(had expired an hour ago: the agent's reading refreshed it, by 1 call)`)
	find(t, said, `(?m)^  github-2fa +one-time code +(\d{6})  \(valid for \d+ s more\)$`)
	find(t, said, `(?m)^  gcp +minted from a key file +(ya29\.minted-\w+)  \(until \d\d:\d\d:\d\d\)$`)
	find(t, said, `(?m)^  calendar +OAuth access token +(ya29\.sample-\w+)  \(until`)
	find(t, said, `(?m)^  deploy +SSH key +(an SSH private key)$`)
	find(t, said, `The token endpoint says: (RS256 signature of \S+ holds)`)

	var got struct{ Token struct{ AccessToken string } }
	if text := again(t, find(t, said, `(?m)^  (curl .*)$`)); json.Unmarshal(text, &got) != nil || got.Token.AccessToken != apiKey {
		t.Errorf("the printed command printed %.300s, want the token %s", text, apiKey)
	}
	var sealed struct{ AccessToken string }
	if text := again(t, find(t, said, `(?m)^  (curl .*service=weather')$`)); json.Unmarshal(text, &sealed) != nil || sealed.AccessToken != kept {
		t.Errorf("the second printed command printed %.300s, want the token %s", text, kept)
	}
	server := find(t, said, `See it as the owner: (http://127\.0\.0\.1:\d+)/login`)
	signIn := map[string]string{"email": find(t, said, `e-mail (\S+)`), "password": find(t, said, `password (\S+)`)}
	answer, err := apptest.Call(t.Context(), apptest.NewClient(t, nil), http.MethodPost, server+"/api/auth/login", signIn)
	if err != nil || answer.Status != http.StatusOK {
		t.Errorf("signing in as printed: %v %s, want 200", err, answer)
	}

	p.Stop()
	left, err := os.ReadDir(temporary)
	if err != nil || len(left) > 0 {
		t.Errorf("it left %v (%v) in its temporary folder, want nothing", left, err)
	}
}

// again does what the printed line does: with curl, or where there is none, as
// curl does it, which sends the key to no other address.
func again(t *testing.T, line string) []byte {
	t.Helper()
	if _, err := exec.LookPath("curl"); err == nil {
		text, err := exec.CommandContext(t.Context(), "sh", "-c", line).CombinedOutput() // #nosec G204 -- the line under test
		if err != nil {
			t.Errorf("%s: %v: %s", line, err, text)
		}
		return text
	}
	client := apptest.NewClient(t, nil)
	name, value, _ := strings.Cut(find(t, line, `-H '([^']+)'`), ": ")
	answer, err := apptest.Call(t.Context(), client, http.MethodGet, find(t, line, ` '(http[^']+)'$`), nil, name, value)
	if err == nil && answer.Status == http.StatusTemporaryRedirect {
		answer, err = apptest.Call(t.Context(), client, http.MethodGet, answer.Header.Get("Location"), nil)
	}
	if err != nil {
		t.Errorf("%s: %v", line, err)
	}
	return answer.Body
}

func TestDevelopmentModeOnATakenPortSaysWhatToDo(t *testing.T) {
	t.Parallel()
	p, _ := startDev(t)
	taken := find(t, p.Log(), `server +http://(\S+)`)
	for flag, args := range map[string][]string{
		"--listen":         {"--listen", taken, "--webhook-listen", "127.0.0.1:0"},
		"--webhook-listen": {"--listen", "127.0.0.1:0", "--webhook-listen", taken},
	} {
		temporary := t.TempDir()
		status, said := run(t, []string{"TMPDIR=" + temporary}, append([]string{"dev"}, args...)...)
		if status != 1 || !strings.Contains(said, "address already in use") || !strings.Contains(said, "Another address: tokenvault dev "+flag) {
			t.Errorf("%s taken: status %d, %q; want 1 and what to do", flag, status, said)
		}
		if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
			t.Errorf("%s taken: it left %v (%v), want nothing", flag, left, err)
		}
	}
	p.Stop()
}
