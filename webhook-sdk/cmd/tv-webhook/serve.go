package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	webhook "github.com/tvzero/tokenvault/webhook-sdk"
	"github.com/tvzero/tokenvault/webhook-sdk/custody"
	"github.com/tvzero/tokenvault/webhook-sdk/storage"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

const (
	keyFileName     = "keys.json"
	shutdownTimeout = 9 * time.Second // of the 10 in which the process is to end
	healthTimeout   = 3 * time.Second
)

// serve runs the webhook until ctx ends, and lets running requests finish.
func serve(ctx context.Context, o options, environ []string, stdout, stderr io.Writer) (err error) {
	s, err := o.read(environ)
	if err != nil {
		return err
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if err := protectMemory(); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	s.config.Logger = log
	for _, name := range s.unknown {
		log.Warn("this variable is unknown and has no effect; is it mistyped?", "variable", name)
	}
	files, err := storage.OpenFile(s.data, storage.FileOptions{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, files.Close()) }()
	s.config.Storage = files
	if s.config.Keys = s.keys; s.keys == nil {
		if s.config.Keys, err = custody.LoadOrCreate(filepath.Join(s.data, keyFileName), rand.Reader); err != nil {
			return err
		}
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.listen)
	if err != nil {
		return fmt.Errorf("TV_WEBHOOK_LISTEN: %w", err)
	}
	if o.ExternalURL == "" { // the port may have been chosen just now
		s.config.ExternalURL = "http://" + listener.Addr().String()
	}
	wh, err := webhook.New(s.config)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	if s.config.TVRefresh {
		log.Warn("Token Vault may get refresh tokens of providers whose client secret is not here, and sees them in transit")
	}
	if s.config.Outbound.AllowPrivate {
		log.Warn("calls to private addresses and plain http are allowed: this is for development and tests")
	}
	if err := announce(ctx, wh, s.config, listener.Addr(), stdout); err != nil {
		return errors.Join(err, listener.Close())
	}
	return serveUntil(ctx, wh, listener, log)
}

// announce tells the operator where the webhook is, and how to bind it. A set-up
// link is a secret: it goes to the operator's terminal and not into the log.
func announce(ctx context.Context, wh *webhook.Webhook, c webhook.Config, address net.Addr, stdout io.Writer) error {
	say(stdout, "tv-webhook listens on %s and is reached at %s\n", address, c.ExternalURL)
	switch {
	case wh.Bound():
		say(stdout, "It is bound to a vault. To bind it again, open %s%s\n", c.ExternalURL, wire.PathBind)
	case !wh.NeedsSetupLink():
		say(stdout, "To bind it to your vault, open %s%s\n", c.ExternalURL, wire.PathBind)
	case c.AdminSecret != "":
		say(stdout, "To bind it to your vault, open %s%s and enter the admin secret\n", c.ExternalURL, wire.PathBind)
	default:
		link, err := wh.SetupLink(ctx)
		if err != nil {
			return err
		}
		say(stdout, "To bind it to your vault, open this link. It works once, for whoever has it:\n  %s\n", link)
	}
	return nil
}

func serveUntil(ctx context.Context, wh *webhook.Webhook, listener net.Listener, log *slog.Logger) error {
	server := webhook.Server("", wh)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return errors.Join(err, wh.Close())
	case <-ctx.Done():
	}
	log.Info("stopping: running requests finish")
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(stopping); err != nil {
		log.Warn("requests were cut off", "error", err.Error())
		_ = server.Close()
	}
	err := <-served
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return errors.Join(err, wh.Close())
}

// health asks the webhook that listens at address, from the same machine.
func health(ctx context.Context, address string, stdout io.Writer) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return errors.New("TV_WEBHOOK_LISTEN is not an address such as 127.0.0.1:8080")
	}
	switch host {
	case "", "0.0.0.0":
		host = "127.0.0.1"
	case "::":
		host = "::1"
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+wire.PathHealth, nil)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{Proxy: nil}}
	defer client.CloseIdleConnections()
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	var got wire.HealthResponse
	if err := json.NewDecoder(io.LimitReader(answer.Body, wire.MaxBody)).Decode(&got); err != nil || got.Status != wire.StatusHealthy {
		return fmt.Errorf("the webhook answered %s, and not that it is healthy", answer.Status)
	}
	say(stdout, "healthy: protocol %s, %d tokens, bound: %t\n", got.Version, got.TokenCount, got.KeyConfigured)
	return nil
}

// gcPercent is the growth of the heap between two collections: a release leaves
// some kilobytes behind, and what lives long (the index of tokens) is worth being
// looked through less often than Go's default has it.
const gcPercent = 300
