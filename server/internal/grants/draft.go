package grants

import (
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/custody"
)

// A draft is a grant that is not stored yet, with its first token.
type draft struct {
	grant  models.Grant
	key    models.GrantKey
	claims custody.Claims // the secret is to be cleared
	text   string
}

func (d *draft) issued() Issued {
	return Issued{Grant: d.grant, ExpiresAt: d.claims.ExpiresAt, Token: newToken(d.text)}
}

// draft makes a grant, its key pair and its first token.
func (s *Service) draft(in IssueInput) (draft, error) {
	now := models.Stamp(s.deps.Now())
	d := draft{grant: models.Grant{
		AccountID: in.AccountID, ID: models.NewID(), Kind: in.Kind, Label: in.Label, Scopes: in.Scopes, AgentID: in.AgentID,
		Client: in.Client, Address: in.Address, CreatedAt: now,
	}}
	if in.Life > 0 {
		d.grant.ExpiresAt = models.StampPtr(now.Add(in.Life).Truncate(time.Second))
	}
	if err := s.newSlot(&d, 0, in.TokenLife, now); err != nil {
		return draft{}, err
	}
	if err := s.newPair(&d); err != nil {
		return draft{}, err
	}
	s.deps.Keys.SignGrant(&d.grant)
	return d, nil
}

// newSlot makes the draft's token: that of a slot of its grant, which lasts life,
// or as long as the grant where that is shorter or life is 0.
func (s *Service) newSlot(d *draft, number uint32, life time.Duration, now time.Time) (err error) {
	d.claims = custody.Claims{
		Kind: d.grant.Kind, AccountID: d.grant.AccountID, GrantID: d.grant.ID, Slot: number, IssuedAt: now,
	}
	if d.grant.ExpiresAt != nil {
		d.claims.ExpiresAt = *d.grant.ExpiresAt
	}
	if end := now.Add(life).Truncate(time.Second); life > 0 && (d.claims.ExpiresAt.IsZero() || end.Before(d.claims.ExpiresAt)) {
		d.claims.ExpiresAt = end
	}
	d.key = models.GrantKey{AccountID: d.grant.AccountID, GrantID: d.grant.ID, Slot: int64(number), IssuedAt: now}
	if !d.claims.ExpiresAt.IsZero() {
		d.key.ExpiresAt = models.StampPtr(d.claims.ExpiresAt)
	}
	d.text, d.key.TokenKeyID, err = s.deps.Keys.SealToken(s.deps.Random, &d.claims)
	return err
}

// newPair draws the key pair of the draft's grant, under its token. The grant's row
// is to be signed then.
func (s *Service) newPair(d *draft) (err error) {
	if d.grant.PublicKey, d.key.WrappedPrivateKey, err = d.claims.NewGrantKey(s.deps.Random); err != nil {
		d.claims.Secret.Clear()
		return err
	}
	s.deps.Keys.SignGrantKey(&d.key)
	return nil
}

// keepPair puts the grant's present key pair under the draft's token.
func (s *Service) keepPair(d *draft, h *custody.Holder) error {
	private, err := h.Private()
	if err == nil {
		d.key.WrappedPrivateKey, err = d.claims.WrapGrantKey(private)
	}
	if err != nil {
		d.claims.Secret.Clear()
		return err
	}
	s.deps.Keys.SignGrantKey(&d.key)
	return nil
}
