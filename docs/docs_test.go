// Package docs_test holds the documents to what can be checked about them: that links lead somewhere, that commands
// exist, and that the protocol's reference names what the protocol's package has.
package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

const root = ".."

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// documents lists every Markdown file by its path in the repository.
func documents(t *testing.T) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && path != root && strings.HasPrefix(entry.Name(), ".") {
			return filepath.SkipDir
		}
		if err == nil && strings.HasSuffix(path, ".md") {
			found = append(found, strings.TrimPrefix(path, root+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(found, "README.md") || len(found) < 10 {
		t.Fatalf("found %d documents: the test looks in the wrong folder", len(found))
	}
	return found
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	target  = regexp.MustCompile(`(?m)^([a-z-]+):`)
	made    = regexp.MustCompile("(?m)(?:^|`)make ([a-z-]+)")
)

// anchor is what a heading is called in a link.
func anchor(title string) string {
	kept := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-':
			return r
		case r == ' ':
			return '-'
		}
		return -1
	}, strings.ToLower(title))
	return kept
}

func TestLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	for _, document := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(read(t, document), -1) {
			path, fragment, _ := strings.Cut(m[1], "#")
			if strings.Contains(path, "://") {
				continue
			}
			linked := filepath.Join(filepath.Dir(document), path)
			if path == "" {
				linked = document
			}
			if _, err := os.Stat(filepath.Join(root, linked)); err != nil {
				t.Errorf("%s links to %s, which does not exist", document, m[1])
				continue
			}
			if fragment != "" && !slices.ContainsFunc(heading.FindAllStringSubmatch(read(t, linked), -1),
				func(h []string) bool { return anchor(h[1]) == fragment }) {
				t.Errorf("%s links to %s: no such heading", document, m[1])
			}
		}
	}
}

func TestDocumentedMakeTargetsAndScriptsExist(t *testing.T) {
	t.Parallel()
	targets := target.FindAllStringSubmatch(read(t, "Makefile"), -1)
	for _, document := range documents(t) {
		text := read(t, document)
		for _, m := range made.FindAllStringSubmatch(text, -1) {
			if !slices.ContainsFunc(targets, func(have []string) bool { return have[1] == m[1] }) {
				t.Errorf("%s says `make %s`, which the Makefile does not have", document, m[1])
			}
		}
		for _, script := range regexp.MustCompile("`(scripts/[a-z-]+)").FindAllStringSubmatch(text, -1) {
			if info, err := os.Stat(filepath.Join(root, script[1])); err != nil || info.Mode()&0o111 == 0 {
				t.Errorf("%s names %s, which is not a program: %v", document, script[1], err)
			}
		}
	}
}

func TestContinuousIntegrationRunsTheReadmesTestCommand(t *testing.T) {
	t.Parallel()
	if !strings.Contains(read(t, "README.md"), "```sh\nmake test\n```") {
		t.Error("README.md does not show `make test` in a block of its own")
	}
	if !strings.Contains(read(t, ".ci/run"), "\nexec make test\n") {
		t.Error(".ci/run does not call `make test`")
	}
}

func TestEveryADRIsNumberedAndStatesADecision(t *testing.T) {
	t.Parallel()
	name := regexp.MustCompile(`^docs/adr/(\d{4})-[a-z0-9-]+\.md$`)
	numbers := map[string]string{}
	for _, document := range documents(t) {
		if !strings.HasPrefix(document, "docs/adr/") {
			continue
		}
		m := name.FindStringSubmatch(document)
		if m == nil {
			t.Errorf("%s is not called NNNN-title.md", document)
			continue
		}
		if other, taken := numbers[m[1]]; taken {
			t.Errorf("%s and %s have the same number", document, other)
		}
		numbers[m[1]] = document
		text := read(t, document)
		if title := "# " + strings.TrimLeft(m[1], "0") + ". "; !strings.HasPrefix(text, title) {
			t.Errorf("%s does not begin with %q", document, title)
		}
		for _, part := range []string{"**Decision.**", "**Consequences.**"} {
			if !strings.Contains(text, part) {
				t.Errorf("%s has no %s", document, part)
			}
		}
	}
	if len(numbers) == 0 {
		t.Error("docs/adr has no decision")
	}
}

func TestProtocolReferenceNamesWhatTheProtocolHas(t *testing.T) {
	t.Parallel()
	text := read(t, "docs/webhook-protocol.md")
	words := slices.Concat(wire.SensitiveFields(), wire.TokenTypes(), []string{
		wire.Version, wire.HeaderTimestamp, wire.HeaderRequestID, wire.HeaderSignature, wire.HeaderUpstreamStatus, wire.HeaderAdminSecret,
		wire.PathExchange, wire.PathHealth, wire.PathStorage, wire.PathRefreshNotify, wire.PathRefresh, wire.PathProxy,
		wire.PathStore, wire.PathCredential, wire.PathTOTPCode, wire.PathRegisterURL, wire.PathBind,
		string(wire.PurposeAgentCredential), string(wire.PurposeUserReveal), string(wire.PurposeTOTPCode),
		string(wire.PurposeStore), string(wire.PurposeProxy), string(wire.PurposeConnect), wire.ModeCreate, wire.ModeOverwrite,
		wire.CapStorage, wire.CapCredential, wire.CapStore, wire.CapProxy, wire.CapRefresh, wire.CapTVRefresh, wire.CapTOTP,
		wire.CapTicketConstraints, wire.CapMint, wire.CapConnect, wire.CapOutbox, wire.CapTwoKey,
		wire.CollectionTokens, wire.CollectionProxyConfigs, wire.CollectionAudit, wire.CollectionVaultConfig, wire.TemplateToken,
	})
	for _, word := range words {
		if !regexp.MustCompile(`(?:^|[^\w-])` + regexp.QuoteMeta(word) + `(?:[^\w-]|$)`).MatchString(text) {
			t.Errorf("docs/webhook-protocol.md does not mention %s", word)
		}
	}
}

func TestEverySettingOfTheWebhookIsDocumented(t *testing.T) {
	t.Parallel()
	text := read(t, "docs/configuration.md")
	names := regexp.MustCompile(`env:"(TV_WEBHOOK_\w+)"|= "(TV_WEBHOOK_\w+)"`).FindAllStringSubmatch(read(t, "webhook-sdk/cmd/tv-webhook/options.go"), -1)
	if len(names) < 10 {
		t.Fatalf("found %d settings in the program, want all of them", len(names))
	}
	for _, match := range names {
		if name := match[1] + match[2]; !strings.Contains(text, "`"+name+"`") {
			t.Errorf("docs/configuration.md does not document %s", name)
		}
	}
}

func TestProtocolReferenceGivesEveryErrorItsStatus(t *testing.T) {
	t.Parallel()
	rows := regexp.MustCompile(`(?m)^\| (\d{3}) \| (.+) \|$`).FindAllStringSubmatch(read(t, "docs/webhook-protocol.md"), -1)
	documented := map[wire.ErrorCode]string{}
	for _, row := range rows {
		for _, code := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(row[2], -1) {
			documented[wire.ErrorCode(code[1])] = row[1]
		}
	}
	for _, code := range []wire.ErrorCode{
		wire.CodeInvalidRequest, wire.CodeNotTOTP, wire.CodeTooLarge, wire.CodeAuthFailed, wire.CodeTicketInvalid, wire.CodeTicketExpired,
		wire.CodeSetupRequired, wire.CodeForbidden, wire.CodeTokenNotFound, wire.CodeAlreadyExists, wire.CodeStaleCreation,
		wire.CodeCodeExpired, wire.CodeCodeUsed, wire.CodeInternal, wire.CodeTOTPFailed, wire.CodeGCPMintFailed, wire.CodeMintFailed,
		wire.CodeProviderError, wire.CodeUpstreamError, wire.CodeProviderTimeout, wire.CodeUpstreamTimeout,
	} {
		if got, want := documented[code], strconv.Itoa(code.Status()); got != want {
			t.Errorf("docs/webhook-protocol.md gives %s the status %q, want %q", code, got, want)
		}
	}
}
