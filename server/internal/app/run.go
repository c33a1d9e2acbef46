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

// drainTime is how long running requests may take once the server is told to
// stop; with what follows it ends within 10 seconds.
const drainTime = 7 * time.Second

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
	failed := make(chan error, 7)
	start := func(name string, run func(context.Context) error) {
		loops.Go(func() {
			if err := run(base); err != nil {
				failed <- fmt.Errorf("%s: %w", name, err)
			}
		})
	}
	start("audit", a.audit.Run)
	start("audit housekeeping", a.audit.Project)
	start("grants", a.grants.Run)
	start("platform vaults", a.platform.Run)
	start("database listener", a.listen)

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
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	for _, s := range servers {
		if late := s.Shutdown(drain); late != nil {
			a.logger.Warn("some requests were cut off", "error", late)
			_ = s.Close()
		}
	}
	stop()
	loops.Wait()
	return errors.Join(err, a.close())
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
