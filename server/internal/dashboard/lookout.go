package dashboard

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

// warnBefore is how long before a session's end its pages say what is lost with it.
const warnBefore = 7 * 24 * time.Hour

// An offer is a vault that another grant shares with this session, to be accepted
// or declined.
type offer struct {
	ID        uuid.UUID
	From      string // label of the other grant
	ExpiresAt time.Time
}

// An ending is a vault that ends with this session, soon.
type ending struct {
	At          time.Time
	Credentials int // that nobody can open afterwards
}

// lookOut finds what every page of a visitor with a platform vault must say.
func (d *Dashboard) lookOut(ctx context.Context, v *visitor) error {
	if v.principal.VaultID == uuid.Nil && v.vault.Mode == models.ModeWebhook {
		return nil
	}
	if err := d.findOffers(ctx, v); err != nil {
		return err
	}
	// A session that is used gets a next token in time. What ends within the week all
	// the same ends for good.
	ends := v.principal.ExpiresAt
	if ends.IsZero() || ends.Sub(d.deps.Now()) >= warnBefore {
		return nil
	}
	last, credentials, err := d.deps.Sessions.LastOfVault(ctx, v.principal, v.principal.GrantID)
	if err == nil && last && credentials > 0 {
		v.ending = &ending{At: ends, Credentials: credentials}
	}
	return err
}

func (d *Dashboard) findOffers(ctx context.Context, v *visitor) error {
	escrows, err := d.deps.Linking.Escrows(ctx, v.principal)
	if err != nil {
		return err
	}
	var labels map[uuid.UUID]string
	for _, e := range escrows {
		if e.ToID != v.principal.GrantID || !d.pending(e) {
			continue
		}
		if labels == nil {
			if labels, err = d.labels(ctx, v.principal); err != nil {
				return err
			}
		}
		v.offers = append(v.offers, offer{ID: e.ID, From: labels[e.FromID], ExpiresAt: e.ExpiresAt})
	}
	return nil
}

// pending reports whether an escrow can still be accepted.
func (d *Dashboard) pending(e models.Escrow) bool {
	return e.State == models.EscrowPending && d.deps.Now().Before(e.ExpiresAt)
}

// labels is how the account's grants are called.
func (d *Dashboard) labels(ctx context.Context, p grants.Principal) (map[uuid.UUID]string, error) {
	list, err := d.deps.Sessions.List(ctx, p)
	if err != nil {
		return nil, err
	}
	out := make(map[uuid.UUID]string, len(list))
	for _, g := range list {
		out[g.ID] = g.Label
	}
	return out, nil
}
