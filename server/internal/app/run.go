package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/server/internal/web"
)

// Once the server is told to stop, running requests and running refreshes may take so
// long; with what follows it ends within 10 seconds. A refresh whose provider has
// answered is to be stored, or its tokens are lost.
const (
	drainTime    = 7 * time.Second
	refreshDrain = 9 * time.Second
)

func newHTTPServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      90 * time.Second, // a webhook's three attempts with their pauses fit
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
	}
}

// Run serves until ctx ends, lets running requests finish, writes what is
// pending and closes the database. It returns nil after an orderly end.
func (a *App) Run(ctx context.Context) error {
	// What requests rest on outlives them: it ends when this is cancelled.
	base, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var loops sync.WaitGroup
	failed := make(chan error, 12)
	start := func(name string, run func(context.Context) error) {
		loops.Go(func() {
			if err := run(base); err != nil {
				failed <- fmt.Errorf("%s: %w", name, err)
			}
		})
	}
	start("audit", a.audit.Run)
	start("audit housekeeping", a.audit.Project)
	start("audit verification", a.verifier.Run)
	start("grants", a.grants.Run)
	start("platform vaults", a.platform.Run)
	start("database listener", a.listen)
	start("providers", a.discover)
	start("webhook health", a.health.Run)
	// Refreshes end first: what they do at their end rests on all of these.
	due, endRefreshes := context.WithCancel(base)
	defer endRefreshes()
	var refreshing sync.WaitGroup
	refreshing.Go(func() {
		if err := a.refreshes.Run(due); err != nil {
			failed <- fmt.Errorf("refreshes: %w", err)
		}
	})

	servers := []*http.Server{a.http}
	serve := func(s *http.Server, l net.Listener) {
		loops.Go(func() {
			if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				failed <- err
			}
		})
	}
	if ctx.Err() == nil {
		serve(a.http, web.LazyDeadlines(a.listener))
		if a.metrics != nil {
			m := newHTTPServer(a.metricsHandler())
			servers = append(servers, m)
			serve(m, a.metrics)
		}
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	endRefreshes()
	landing, cancelLanding := context.WithTimeout(context.WithoutCancel(ctx), refreshDrain)
	defer cancelLanding()
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	for _, s := range servers {
		if late := s.Shutdown(drain); late != nil {
			a.logger.Warn("some requests were cut off", "error", late)
			_ = s.Close()
		}
	}
	refreshing.Wait()
	if late := a.engine.Wait(landing); late != nil {
		a.logger.Error("refreshes are cut off that may have new tokens in memory; those are lost", "error", late)
	}
	stop()
	loops.Wait()
	return errors.Join(err, a.close())
}

// discover keeps knowing where the endpoints of providers are.
func (a *App) discover(ctx context.Context) error {
	if err := a.providers.Run(ctx); ctx.Err() == nil {
		return err
	}
	return nil
}

// listen keeps the caches honest: they are used only while every change that
// another replica makes is heard of.
func (a *App) listen(ctx context.Context) error {
	err := a.store.Listen(ctx, store.ListenFuncs{
		Up: a.gate.Open,
		Down: func(cause error) {
			a.gate.Close()
			if ctx.Err() == nil {
				a.logger.Warn("changes made by other replicas cannot be heard; answering without the cache", "error", cause)
			}
		},
		Changed: func(accountID uuid.UUID) { a.gate.Changed(accountID) },
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// close ends what New opened.
func (a *App) close() error {
	a.outbound.CloseIdleConnections()
	a.upstream.CloseIdleConnections()
	var errs []error
	for _, l := range []net.Listener{a.listener, a.metrics} {
		if l != nil {
			if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	if a.webhooks != nil {
		a.webhooks.CloseIdle()
	}
	if a.store != nil {
		errs = append(errs, a.store.Close())
	}
	return errors.Join(errs...)
}
