package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"

	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/config"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/platform"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

const description = "Token Vault hands agents the credentials they were granted, and cannot itself read them."

// commands are what the binary does.
type commands struct {
	Serve   serveCommand   `cmd:"" default:"withargs" help:"Serve (what it does without a command)."`
	Dev     devCommand     `cmd:"" help:"Try it: a server, a webhook and an agent on this machine, with sample tokens, gone when it ends."`
	Audit   auditCommand   `cmd:"" help:"The audit record."`
	Keys    keysCommand    `cmd:"" help:"Say what each server key is still needed for, before one is taken away."`
	Health  healthCommand  `cmd:"" help:"Ask a running server whether it is ready; for container health checks."`
	Version versionCommand `cmd:"" help:"Print the version."`
}

// invocation is what a command runs with.
type invocation struct {
	ctx            context.Context
	stdout, stderr io.Writer
}

// Main runs the command that args name and returns the exit status: 0 when it
// ended in order, 1 when it failed, 2 when it was not understood.
func Main(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	var cli commands
	exit := -1
	parser, err := kong.New(&cli,
		kong.Name("tokenvault"), kong.Description(description), kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { exit = code }), kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Resolvers(environment(getenv)), kong.Help(helpWithEnvironment),
	)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "tokenvault:", err)
		return 1
	}
	parsed, err := parser.Parse(args)
	if exit >= 0 { // --help was asked for and given
		return exit
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "tokenvault: %v\nRun tokenvault --help for what it takes.\n", err)
		return 2
	}
	if err := parsed.Run(&invocation{ctx: ctx, stdout: stdout, stderr: stderr}); err != nil {
		_, _ = fmt.Fprintf(stderr, "tokenvault: %s\n", strings.ReplaceAll(err.Error(), "\n", "\ntokenvault: "))
		return 1
	}
	return 0
}

// environment takes flags that are not given from TOKENVAULT_… variables.
func environment(getenv func(string) string) kong.Resolver {
	return kong.ResolverFunc(func(_ *kong.Context, parent *kong.Path, flag *kong.Flag) (any, error) {
		if flag.Name == "help" || parent.App != nil && parent.Command == nil && flag.Name == "version" {
			return nil, nil
		}
		if v := getenv(config.Environment(flag.Name)); v != "" {
			return v, nil
		}
		return nil, nil
	})
}

func helpWithEnvironment(options kong.HelpOptions, ctx *kong.Context) error {
	if err := kong.DefaultHelpPrinter(options, ctx); err != nil {
		return err
	}
	_, err := fmt.Fprintln(ctx.Stdout, "\nEach flag is also an environment variable: --public-url is TOKENVAULT_PUBLIC_URL.")
	return err
}

type serveCommand struct {
	config.Flags
}

func (c *serveCommand) Run(in *invocation) error {
	checked, err := c.Check(makeKeys)
	if err != nil {
		return err
	}
	if err := harden(); err != nil {
		return err
	}
	manageMemory(in.ctx)
	logger := newLogger(in.stderr, slog.LevelInfo)
	server, err := New(in.ctx, checked, logger)
	if err != nil {
		return err
	}
	listening := []any{"address", server.Address()}
	if server.metrics != nil {
		listening = append(listening, "metrics", server.metrics.Addr().String())
	}
	logger.Info("serving", append(listening, "publicURL", server.URL(), "version", version())...)
	return server.Run(in.ctx)
}

// openBeside opens the database and the keyring of a server that may be running; it
// makes neither.
func openBeside(ctx context.Context, flags config.Flags) (*store.Store, *custody.Keyring, error) {
	checked, err := flags.Check(func() (string, error) {
		return "", errors.New("there are no server keys beside the database, and nothing can be checked without them")
	})
	if err != nil {
		return nil, nil, err
	}
	keys, err := custody.ParseKeyring(checked.ServerKeys)
	if err != nil {
		return nil, nil, fmt.Errorf("TOKENVAULT_SERVER_KEYS: %w", err)
	}
	db, err := store.Open(ctx, store.Options{URL: checked.DatabaseURL})
	return db, keys, err
}

type auditCommand struct {
	Verify auditVerifyCommand `cmd:"" help:"Recompute every stream's hash chain and check its signed checkpoints; needs no running server."`
}

type auditVerifyCommand struct {
	config.Flags
}

func (c *auditVerifyCommand) Run(in *invocation) error {
	db, keys, err := openBeside(in.ctx, c.Flags)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	var streams, rows, unsigned int64
	broken := 0
	err = audit.Verify(in.ctx, db, keys, func(r audit.StreamReport) {
		streams++
		rows += r.Rows
		unsigned += r.Rows - min(r.Rows, r.Signed)
		for _, p := range r.Problems {
			_, _ = fmt.Fprintf(in.stdout, "stream %s: %s\n", r.StreamID, p)
		}
		if len(r.Problems) > 0 {
			broken++
		}
	})
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(in.stdout, "%d rows in %d streams; %d rows lie behind the last checkpoint of their stream.\n", rows, streams, unsigned)
	if broken > 0 {
		return fmt.Errorf("the record was changed: %d of %d streams do not verify", broken, streams)
	}
	_, _ = fmt.Fprintln(in.stdout, "Every chain holds and every checkpoint is genuine.")
	return nil
}

type keysCommand struct {
	config.Flags
}

// Run prints a line for each key: those of the keyring, and those that something
// is still under.
func (c *keysCommand) Run(in *invocation) error {
	db, keys, err := openBeside(in.ctx, c.Flags)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	use, err := platform.New(platform.Deps{KeyCounts: db, Keyring: keys, Now: time.Now}).KeyUse(in.ctx)
	if err != nil {
		return err
	}
	ring := keys.IDs()
	out := tabwriter.NewWriter(in.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(out, "key\ttokens\trows\tsecrets\t ")
	for _, id := range slices.Sorted(maps.Keys(use)) {
		u := use[id]
		state := "needed"
		switch {
		case id == keys.Current():
			state = "current"
		case !slices.Contains(ring, id):
			state = "MISSING from the keyring: what is under it cannot be used"
		case u == platform.KeyUse{}:
			state = "needed by passwords alone, if by anything (docs/configuration.md)"
		}
		_, _ = fmt.Fprintf(out, "%d\t%d\t%d\t%d\t  %s\n", id, u.Tokens, u.Rows, u.Secrets, state)
	}
	return out.Flush()
}

type healthCommand struct {
	URL string `default:"http://127.0.0.1:8000" help:"Where the server listens."`
}

func (c *healthCommand) Run(in *invocation) error {
	ctx, cancel := context.WithTimeout(in.ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.URL, "/")+"/readyz", nil)
	if err != nil {
		return err
	}
	answer, err := new(http.Client).Do(request)
	if err != nil {
		return fmt.Errorf("the server does not answer: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(answer.Body, 4096))
		return fmt.Errorf("not ready: %s %s", answer.Status, strings.TrimSpace(string(body)))
	}
	_, _ = fmt.Fprintln(in.stdout, "ready")
	return nil
}

type versionCommand struct{}

func (*versionCommand) Run(in *invocation) error {
	_, err := fmt.Fprintf(in.stdout, "tokenvault %s, webhook protocol %s\n", version(), wire.Version)
	return err
}

// version is what the build recorded of itself.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return s.Value[:12]
		}
	}
	return info.Main.Version
}

func makeKeys() (string, error) { return custody.GenerateKeyring(rand.Reader) }

func newLogger(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}
