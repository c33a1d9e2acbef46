// Command tv-webhook runs a webhook of Token Vault: the customer's server that keeps
// credentials, and gives them out for tickets that the Token Vault server signs. See
// package webhook for what it does, and tv-webhook --help for how to set it up.
//
// It wires packages together and knows nothing else: the protocol is package
// webhook's, keys are custody's, files storage's.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

const description = `A webhook of Token Vault: keeps credentials, and gives them out for signed, short-lived tickets.

Every flag can be set by its environment variable. Secrets are read from the
environment or from files, never from flags:

  TV_WEBHOOK_SEED, TV_WEBHOOK_SEED_FILE
      All keys are derived from it, so that the data folder alone opens nothing.
      Make one with: openssl rand -base64 32. Without it, keys are made and kept
      in the data folder.
  TV_WEBHOOK_ADMIN_SECRET, TV_WEBHOOK_ADMIN_SECRET_FILE
      Allows to bind the webhook, at least 16 characters. Without it the first
      binding takes the link that is printed at the start, and a later one is
      refused.
  TV_WEBHOOK_OAUTH_PROVIDERS, TV_WEBHOOK_OAUTH_PROVIDERS_FILE
      The OAuth providers at which this webhook is a client, with the client
      secrets: a JSON list. It refreshes their tokens and connects accounts there.`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// run is the command: 0 is success, 1 a failure, 2 wrong usage or configuration.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	var c commands
	exit := -1
	parser, err := kong.New(&c,
		kong.Name("tv-webhook"), kong.Description(description), kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { exit = code }), kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		say(stderr, "tv-webhook: %v\n", err)
		return 1
	}
	parsed, err := parser.Parse(args)
	if exit >= 0 {
		return exit // --help
	}
	if err != nil {
		say(stderr, "tv-webhook: %v; see tv-webhook --help\n", err)
		return 2
	}
	switch parsed.Command() {
	case "version":
		say(stdout, "%s\n", version())
		return 0
	case "health":
		err = health(ctx, c.Listen, stdout)
	default:
		err = serve(ctx, c.options, environ, stdout, stderr)
	}
	var wrong *configErrors
	if errors.As(err, &wrong) {
		say(stderr, "tv-webhook: the configuration cannot be used:\n")
		for _, problem := range wrong.problems {
			say(stderr, "  - %s\n", problem)
		}
		return 2
	}
	if err != nil {
		say(stderr, "tv-webhook: %v\n", err)
		return 1
	}
	return 0
}

// say writes to the operator. Where nobody listens any more, nothing is lost.
func say(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }

// version is that of the protocol and of the build.
func version() string {
	text := "tv-webhook, protocol " + wire.Version
	if info, ok := debug.ReadBuildInfo(); ok {
		text += ", module " + info.Main.Version + ", " + info.GoVersion
	}
	return text
}
