// Command tokenvault is the Token Vault server.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/tvzero/tokenvault/server/internal/app"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := app.Main(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
