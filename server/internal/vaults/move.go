package vaults

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
)

// moveTime is how long one call of Move begins to move another credential: whoever
// waits sees how far it has come. One credential takes a few calls, and an answer that
// takes 90 s is cut off.
const moveTime = 3 * time.Second

// moveTries bounds how often a credential that is written meanwhile is moved anew.
const moveTries = 3

// Moving is what one call of Move did.
type Moving struct {
	Moved []string  // names of tokens that are at the webhook now, and only there
	Left  []Left    // what stays, for a reason that goes on
	Next  uuid.UUID // Move goes on from here; zero: everything was tried
}

// Left is a token that stays in its platform vault.
type Left struct {
	Token  models.Token
	Reason string // for a person: why, and what to do
}

// stays is why a credential is left behind while others move.
type stays struct{ error }

func (s stays) Unwrap() error { return s.error }

func staying(code fault.Code, format string, args ...any) error {
	return stays{fault.New(code, format, args...)}
}

// Move brings what p's platform vault still holds to the account's webhook, one
// credential at a time: opened, stored there under a name that is free, verified,
// and only then deleted here, with agents' credential grants following. This is the
// one way besides connecting an account by which the server hands a secret to a
// webhook; such tokens are tv-seen until they are replaced. Broken off anywhere, it
// goes on when it is called again. after is Next of the call before, or zero.
//
// A session, or a key with the scope vault:manage. WEBHOOK_NOT_CONFIGURED without a
// webhook; VAULT_LOCKED; after WEBHOOK_UNAVAILABLE or WEBHOOK_AUTH_FAILED what is
// returned beside the error holds.
func (s *Service) Move(ctx context.Context, p grants.Principal, client audit.Client, after uuid.UUID) (Moving, error) {
	done := Moving{Moved: []string{}, Left: []Left{}}
	if err := grants.Require(p, grants.VaultManage); err != nil {
		return done, err
	}
	if err := s.mayMove(ctx, p); err != nil {
		return done, err
	}
	held, err := s.deps.Moves.Holds(ctx, p)
	if err != nil {
		return done, err
	}
	end := s.deps.Now().Add(moveTime)
	for _, t := range held {
		if slices.Compare(t.ID[:], after[:]) <= 0 {
			continue
		}
		if s.deps.Now().After(end) {
			return done, nil
		}
		err := s.moveOne(ctx, p, client, t)
		var why stays
		switch {
		case err == nil:
			done.Moved = append(done.Moved, t.ServiceName)
		case errors.As(err, &why):
			done.Left = append(done.Left, Left{t, fault.From(err).Message})
		case fault.CodeOf(err) == fault.TokenNotFound: // deleted, or moved by somebody else
		default:
			return done, err
		}
		done.Next = t.ID
	}
	done.Next = uuid.Nil
	return done, s.deps.Moves.Retire(ctx, p)
}

// mayMove refuses while there is no webhook, or the kill switch is on.
func (s *Service) mayMove(ctx context.Context, p grants.Principal) error {
	c, err := s.bound(ctx, p.AccountID)
	if err != nil {
		return err
	}
	return c.refuseLocked()
}

// Waiting lists what the account's platform vaults still hold, and whose sessions
// and keys open them.
func (s *Service) Waiting(ctx context.Context, p grants.Principal) ([]platform.Waiting, error) {
	if err := user(p); err != nil {
		return nil, err
	}
	return s.deps.Moves.Waiting(ctx, p)
}

// DropWaiting deletes one of the tokens that p's platform vault still holds, by its
// id: at the webhook its name may be another one's. TOKEN_NOT_FOUND.
func (s *Service) DropWaiting(ctx context.Context, p grants.Principal, client audit.Client, tokenID uuid.UUID) error {
	if err := grants.Require(p, grants.VaultManage); err != nil {
		return err
	}
	return s.deps.Platform.Drop(ctx, p, client, tokenID)
}

// moveOne moves a credential. The record says so before it is opened.
func (s *Service) moveOne(ctx context.Context, p grants.Principal, client audit.Client, t models.Token) error {
	if err := nameless(t); err != nil {
		return err
	}
	c, err := s.bound(ctx, p.AccountID)
	if err != nil {
		return err
	}
	e := event(audit.Store, p, client)
	e.Service, e.Detail = t.ServiceName, fmt.Sprintf("moved from platform mode to the webhook url=%s: seen by this server", c.Binding.URL)
	return s.deps.Audit.Do(ctx, e, func(ctx context.Context) error {
		for try := 1; ; try++ {
			err := s.moveNow(ctx, p, t.ID)
			if fault.CodeOf(err) != fault.Conflict || errors.As(err, new(stays)) || try == moveTries {
				return err
			}
		}
	})
}

func (s *Service) moveNow(ctx context.Context, p grants.Principal, tokenID uuid.UUID) error {
	l, err := s.deps.Moves.Leave(ctx, p, tokenID)
	if errors.Is(err, custody.ErrOpen) { // it is damaged, and keeps no other from moving
		return stays{err}
	}
	if err != nil {
		return err
	}
	defer l.End(ctx)
	parcel, err := pack(l)
	if err != nil {
		return err
	}
	at, err := s.place(ctx, p, parcel)
	if err != nil {
		return err
	}
	return s.deps.Moves.Moved(ctx, p, l, at)
}

// nameless refuses what no webhook could name.
func nameless(t models.Token) error {
	switch {
	case t.SupersededAt != nil:
		return staying(fault.Conflict, "Linking has put another token in its place: restore it under a name that is free, or delete it.")
	case t.Owner != "" || t.Bridge != "" || t.Scheme != "":
		return staying(fault.Conflict, "It belongs to the API of a bridge, which webhooks do not know. Store it at the webhook under a name of its own.")
	}
	return nil
}
