package main_test

import (
	"strings"
	"testing"
)

// imports says which packages of this module each package's product code may import: what is absent is forbidden. A
// path is relative to the module; "x/..." stands for x and all below it; names in capitals stand for the lists below.
// A package called <name>test, or standing below such a one, is not here: it may import what it tests and what that may import, and
// is imported by tests alone. When the table refuses your import, the design is usually right and the import wrong;
// when it is not, change the table in a commit of its own and say why in docs/adr.
var imports = []rule{
	// The parts that stand alone: each can be read, tested and replaced without the others.
	{"totp", nil},
	{"refresh", nil},
	{"models", nil},
	{"models/migrations", nil},
	{"webhook-sdk/wire", nil},
	{"webhook-sdk/netguard", nil},
	{"server/internal/fault", nil},
	{"server/internal/cache", nil}, // what a replica remembers of an account: generic, knows no model
	{"server/internal/config", nil},

	// Storage. Nobody but the composition root sees it: services declare the interfaces that they need.
	{"models/store", list("models", "models/migrations")},

	// The SDK, which customers run: it never knows the server nor the server's models. Downward only.
	{"webhook-sdk/custody", list("webhook-sdk/wire", "totp")},
	{"webhook-sdk/storage", list("webhook-sdk/custody", "webhook-sdk/wire")},
	{"webhook-sdk/mint/...", list("webhook-sdk/mint", "webhook-sdk/netguard", "webhook-sdk/wire", "totp", "refresh")},
	// What a credential is: shared with the server, where it is kept otherwise. No keys, no storage.
	{"webhook-sdk/credential", list("webhook-sdk/mint", "webhook-sdk/wire", "totp")},
	{"webhook-sdk/agent", list("webhook-sdk/wire", "webhook-sdk/netguard")},
	{"webhook-sdk", list("webhook-sdk/credential", "webhook-sdk/mint/...", "webhook-sdk/storage", "webhook-sdk/custody", "webhook-sdk/netguard",
		"webhook-sdk/wire", "totp", "refresh")},
	{"webhook-sdk/cmd/...", list("webhook-sdk/...", "refresh")},

	// Platform-mode cryptography: the only package of the server that sees keys.
	{"server/internal/custody", list("models", "server/internal/fault")},

	// The services: what the product does. Each may call those below it in this order, none of those above.
	{"server/internal/connect", list("SHARED", "server/internal/providers", "server/internal/agents", "server/internal/vaults", "server/internal/platform",
		"server/internal/accounts", "server/internal/grants", "server/internal/webhooks", "server/internal/policy", "server/internal/ratelimit", "server/internal/audit")},
	// Scheduled refreshes, and those that somebody asks for. Platform vaults refresh on read by themselves, with the
	// reader's key; who may be called for that they are told through an interface.
	{"server/internal/refreshes", list("SHARED", "server/internal/providers", "server/internal/vaults", "server/internal/platform", "server/internal/accounts",
		"server/internal/grants", "server/internal/webhooks", "server/internal/policy", "server/internal/ratelimit", "server/internal/audit")},
	// Bound webhooks are asked how they are: through vaults, which has their secrets.
	{"server/internal/health", list("models", "server/internal/fault", "server/internal/grants")},
	// A refresh that somebody asks for, of whichever vault.
	{"server/internal/renew", list("SHARED", "server/internal/refreshes", "server/internal/vaults", "server/internal/platform",
		"server/internal/grants", "server/internal/audit")},
	{"server/internal/agents", list("SHARED", "server/internal/vaults", "server/internal/platform", "server/internal/accounts",
		"server/internal/grants", "server/internal/webhooks", "server/internal/policy", "server/internal/ratelimit", "server/internal/audit")},
	{"server/internal/vaults", list("SHARED", "server/internal/platform", "server/internal/accounts", "server/internal/grants",
		"server/internal/webhooks", "server/internal/policy", "server/internal/ratelimit", "server/internal/audit")},
	{"server/internal/platform", list("SHARED", "server/internal/accounts", "server/internal/grants", "server/internal/webhooks",
		"server/internal/policy", "server/internal/ratelimit", "server/internal/audit")},
	{"server/internal/accounts", list("SHARED", "server/internal/grants", "server/internal/webhooks", "server/internal/policy",
		"server/internal/ratelimit", "server/internal/audit")},
	{"server/internal/grants", list("SHARED", "server/internal/webhooks", "server/internal/policy", "server/internal/ratelimit",
		"server/internal/audit")},
	{"server/internal/webhooks", list("SHARED", "server/internal/policy", "server/internal/ratelimit", "server/internal/audit")},
	{"server/internal/policy", list("SHARED", "server/internal/ratelimit", "server/internal/audit")},
	{"server/internal/ratelimit", list("SHARED", "server/internal/audit")},
	{"server/internal/audit", list("SHARED")},
	{"server/internal/providers", list("refresh", "server/internal/fault", "webhook-sdk/netguard")}, // knows no account, and no vault

	// The doors: each turns a protocol into calls of services. Never storage, never keys, never each other.
	{"server/internal/web", list("server/internal/fault")},
	{"server/internal/api", list("DOORS")},
	{"server/internal/dashboard", list("DOORS")},
	{"server/internal/oauthserver", list("DOORS")},
	{"server/internal/mcpserver", list("DOORS")},

	// The composition root knows everything; main knows only it. Benchmarks start the whole product.
	{"server/internal/app/...", list("...")},
	{"server", list("server/internal/app", "server/internal/config")},
	{"bench/...", list("...")},
	// What browsertest tests: the whole product, as it looks in a browser.
	{"server/internal/browser", list("...")},
}

// lists are what the names in capitals stand for.
var lists = map[string][]string{
	"SHARED": {
		"models", "server/internal/custody", "server/internal/fault", "server/internal/cache", "refresh", "totp",
		"webhook-sdk/wire", "webhook-sdk/credential", "webhook-sdk/mint", "webhook-sdk/netguard",
	},
	"DOORS": {
		"models", "server/internal/fault", "server/internal/web", "totp", // a code with its remaining seconds is shown
		"refresh", // its outcomes and reasons are shown
		"server/internal/connect", "server/internal/refreshes", "server/internal/renew", "server/internal/health", "server/internal/providers",
		"server/internal/agents", "server/internal/vaults", "server/internal/platform", "server/internal/accounts",
		"server/internal/grants", "server/internal/webhooks", "server/internal/policy", "server/internal/ratelimit", "server/internal/audit",
	},
}

// homes says which packages may import a third-party package in product code: one place each, so that replacing it
// is a change of one place. The longest matching path decides. A home "test" means test code alone; every module that go.mod
// requires directly has an entry.
var homes = []rule{
	{"gorm.io", list("models/store")},
	{"github.com/glebarez/sqlite", list("models/store")},
	{"github.com/pressly/goose", list("models/store")},
	{"github.com/jackc/pgx", list("models/store", "bench/...")}, // bench makes a database to measure on
	{"github.com/gin-gonic/gin", list("server/internal/web", "server/internal/api", "server/internal/dashboard",
		"server/internal/oauthserver", "server/internal/mcpserver", "server/internal/app/...", "bench/...")}, // app mounts the doors, bench compares with a bare handler
	{"github.com/go-resty/resty", list("server/internal/webhooks", "server/internal/connect")},
	{"github.com/go-jose/go-jose", list("test")}, // a second opinion on AES-KW
	// An id is a uuid.UUID wherever it is held; new ones are made in models alone (tested below). The SDK has none.
	{"github.com/google/uuid", list("models", "models/store", "server/internal/...", "bench/...")},
	{"github.com/alecthomas/kong", list("server/internal/config", "server/internal/app/...", "webhook-sdk/cmd/...")}, // app has the server's commands
	{"github.com/modelcontextprotocol/go-sdk", list("server/internal/mcpserver")},
	{"github.com/pquerna/otp", list("totp")},
	{"github.com/go-webauthn/webauthn", list("server/internal/accounts")},
	{"github.com/boombuler/barcode", list("server/internal/dashboard")},                    // the QR code of a second factor, drawn by the page
	{"github.com/golang-jwt/jwt", list("webhook-sdk/mint/...", "server/internal/app/...")}, // dev's own token endpoint verifies what mint signed
	{"code.dny.dev/ssrf", list("webhook-sdk/netguard")},
	{"github.com/prometheus/client_golang", list("server/internal/app/...")},
	{"golang.org/x/crypto/argon2", list("server/internal/accounts")},
	{"golang.org/x/crypto/ssh", list("webhook-sdk/credential", "server/internal/app/...")}, // a pasted SSH key is parsed; dev makes one to paste
	{"golang.org/x/crypto", nil}, // the rest of it has no home until somebody needs it
	{"golang.org/x/sys", list("server", "server/internal/app/...", "webhook-sdk/cmd/...", "webhook-sdk/storage")},
	{"gopkg.in/yaml.v3", list("test")},
	{"github.com/getkin/kin-openapi", list("test")},
	{"github.com/chromedp", list("test", "bench/...")}, // bench measures pages in a browser
	{"github.com/rogpeppe/go-internal", list("test")},
	{"go.uber.org/goleak", list("test")},
	{"pgregory.net/rapid", list("test")},
}

// idMakers are the functions of google/uuid that make a new id.
var idMakers = []string{"New", "NewString", "NewUUID", "NewRandom", "NewV6", "NewV7"}

// badNames say nothing about what a package is for, and so collect what nobody found a place for.
var badNames = []string{"util", "utils", "common", "helper", "helpers", "manager", "base", "misc", "shared"}

func TestPackagesImportOnlyWhatTheTableAllows(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		if forTests(p.path) {
			continue
		}
		r, known := find(imports, p.path)
		if !known {
			t.Errorf("package %s is not in the import table: decide who may import it and what it may import, and add it", p.path)
			continue
		}
		for _, imported := range p.ours {
			if forTests(imported) {
				t.Errorf("%s imports %s, which is for tests alone", p.path, imported)
			} else if !r.allows(imported) {
				t.Errorf("%s imports %s: the table allows it %s", p.path, imported, r)
			}
		}
	}
}

func TestPackagesForTestsImportOnlyWhatTheyTest(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		if !forTests(p.path) {
			continue
		}
		tested := testedBy(p.path)
		r, known := find(imports, tested)
		if !known {
			t.Errorf("%s tests %s, which is not in the import table", p.path, tested)
			continue
		}
		for _, imported := range p.ours {
			if imported != tested && !r.allows(imported) && !(forTests(imported) && r.allows(testedBy(imported))) {
				t.Errorf("%s imports %s: it may import %s and what that may import: %s", p.path, imported, tested, r)
			}
		}
	}
}

func TestThirdPartyPackagesStayAtHome(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		for _, imported := range p.foreign {
			home, known := findPrefix(homes, imported)
			switch {
			case !known:
				t.Errorf("%s imports %s, which has no home: add it to the table, or use what is there", p.path, imported)
			case forTests(p.path): // may use what test code uses
			case !home.allows(p.path):
				t.Errorf("%s imports %s, whose home is %s", p.path, imported, home)
			}
		}
		if !forTests(p.path) && p.imports("testing") {
			t.Errorf("%s imports testing: only packages called <name>test do", p.path)
		}
	}
}

func TestNewIDsAreMadeInModelsAlone(t *testing.T) {
	t.Parallel()
	for _, f := range goFiles(t) {
		if f.isTest() || strings.HasPrefix(f.path, "models/") {
			continue
		}
		for _, maker := range idMakers {
			if f.calls("github.com/google/uuid", maker) {
				t.Errorf("%s calls uuid.%s: models.NewID makes ids", f.path, maker)
			}
		}
	}
}

func TestEveryRequiredModuleHasAHomeAndALicenceEntry(t *testing.T) {
	t.Parallel()
	notices, lint := read(t, "THIRD_PARTY.md"), read(t, ".golangci.yml")
	for _, module := range required(t) {
		if _, known := findPrefix(homes, module); !known && !inside(homes, module) {
			t.Errorf("go.mod requires %s, which has no entry in the table of homes", module)
		}
		if !strings.Contains(notices, "`"+module+"`") {
			t.Errorf("go.mod requires %s, which THIRD_PARTY.md does not name", module)
		}
	}
	for _, home := range homes {
		if home.allows("test") && !strings.Contains(lint, home.path) {
			t.Errorf("%s is for tests alone, but .golangci.yml does not say so to editors", home.path)
		}
	}
}

func TestPackagesAreNamedForWhatTheyDoAndSayIt(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		for _, element := range strings.Split(p.path, "/") {
			for _, bad := range badNames {
				if element == bad || p.name == bad {
					t.Errorf("package %s is called %q, which says nothing", p.path, bad)
				}
			}
		}
		if p.doc == "" {
			t.Errorf("package %s has no package comment: what is it for, and what must it not know?", p.path)
		}
	}
}

func TestNothingRunsBeforeMainAndNothingSleeps(t *testing.T) {
	t.Parallel()
	for _, f := range goFiles(t) {
		if f.declaresInit() {
			t.Errorf("%s has an init function: pass what it sets up as a parameter", f.path)
		}
		// Inside a synctest bubble time is simulated: sleeping there is exact and takes none. And what a benchmark
		// measures is at times what happens while nothing does.
		if f.calls("time", "Sleep") && !f.imports("testing/synctest") && !strings.HasPrefix(f.path, "bench/") {
			t.Errorf("%s calls time.Sleep: wait for a signal, or for a timer together with the context", f.path)
		}
	}
}
