package main_test

import "testing"

// The import test passes when it finds nothing, so what it finds with is tested on made-up cases.

func TestRulesAllowWhatIsListedAndNothingElse(t *testing.T) {
	t.Parallel()
	cases := []struct {
		from, to string
		want     bool
	}{
		{"server/internal/agents", "server/internal/vaults", true},
		{"server/internal/vaults", "server/internal/agents", false}, // upward
		{"server/internal/agents", "models", true},
		{"server/internal/agents", "models/store", false},
		{"server/internal/agents", "webhook-sdk", false},
		{"server/internal/agents", "server/internal/api", false},
		{"server/internal/api", "server/internal/agents", true},
		{"server/internal/api", "server/internal/custody", false},
		{"server/internal/api", "server/internal/dashboard", false},
		{"server/internal/app", "models/store", true},
		{"server/internal/app/inner", "models/store", true},
		{"server", "server/internal/api", false},
		{"webhook-sdk", "models", false},
		{"webhook-sdk/storage", "webhook-sdk", false},
		{"webhook-sdk/cmd/tv-webhook", "webhook-sdk/storage", true},
		{"webhook-sdk/cmd/tv-webhook", "server/internal/fault", false},
		{"webhook-sdk/mint/aws", "webhook-sdk/netguard", true},
		{"models", "totp", false},
		{"refresh", "models", false},
		{"refresh", "webhook-sdk/netguard", false}, // who calls gives it a client
		{"webhook-sdk", "refresh", true},
		{"server/internal/connect", "server/internal/providers", true},
		{"server/internal/connect", "refresh", true},
		{"server/internal/providers", "refresh", true},
		{"server/internal/providers", "server/internal/vaults", false},
		{"server/internal/providers", "server/internal/config", false},
		{"server/internal/refreshes", "server/internal/providers", true},
		{"server/internal/refreshes", "models/store", false},
		{"server/internal/vaults", "server/internal/refreshes", false},
		{"server/internal/platform", "refresh", true}, // it refreshes on read
		{"server/internal/platform", "server/internal/providers", false},
		{"server/internal/platform", "server/internal/refreshes", false},
		{"server/internal/config", "refresh", false},
	}
	for _, c := range cases {
		r, known := find(imports, c.from)
		if !known {
			t.Errorf("%s is not in the table", c.from)
			continue
		}
		if got := r.allows(c.to); got != c.want {
			t.Errorf("may %s import %s: got %t, want %t", c.from, c.to, got, c.want)
		}
	}
}

func TestPackagesForTestsAreKnownByTheirName(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"models/store/storetest":          "models/store",
		"refresh/refreshtest":             "refresh",
		"refresh/refreshtest/oidc":        "refresh",
		"webhook-sdk/webhooktest":         "webhook-sdk",
		"webhook-sdk/storage/storagetest": "webhook-sdk/storage",
		"server/internal/webhooks":        "",
		"models/store":                    "",
		"server/internal/webhookstest":    "server/internal/webhooks",
	} {
		if got := testedBy(path); got != want {
			t.Errorf("testedBy(%q): got %q, want %q", path, got, want)
		}
	}
}

func TestHomesAreChosenByTheLongestPath(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"golang.org/x/crypto/argon2":      "golang.org/x/crypto/argon2",
		"golang.org/x/crypto/md4":         "golang.org/x/crypto",
		"gorm.io/gorm/clause":             "gorm.io",
		"github.com/jackc/pgx/v5/stdlib":  "github.com/jackc/pgx",
		"github.com/pquerna/otp/totp":     "github.com/pquerna/otp",
		"github.com/pquerna/otpelsewhere": "",
		"example.com/unknown":             "",
	} {
		home, known := findPrefix(homes, path)
		if home.path != want || known != (want != "") {
			t.Errorf("home of %s: got %q, want %q", path, home.path, want)
		}
	}
}
