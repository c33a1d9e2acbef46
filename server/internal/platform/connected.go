package platform

import (
	"context"
	"encoding/json"
	"maps"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/webhook-sdk/credential"
)

// Names of metadata of tokens that a provider issued, besides those of package
// credential: whose they are there, what they may do, since when.
const (
	MetaSubject  = "subject"  // the provider's id of the account behind the token
	MetaScopes   = "scopes"   // a list; scope is the same as one text
	MetaScope    = "scope"    // RFC 6749 section 3.3
	MetaIssuedAt = "issuedAt" // RFC 3339
	MetaClientID = "clientId" // our client's id at the provider
)

// Limits of what of these stands readable beside the ciphertext, in bytes.
const (
	maxSubject   = 255
	maxScopeText = 4096
)

// StoreConnected is Store for what connecting an account brought: it takes the place
// of the creation that it replaces, and of nothing else; empty: the name is to be
// free. Hosts that its owner lets that one be sent to stay. CONFLICT when there is
// another by now. detail goes into the record.
func (s *Service) StoreConnected(ctx context.Context, p grants.Principal, client audit.Client, ref Ref, fields map[string]json.RawMessage, replaces, detail string) (models.Token, error) {
	e := event(audit.Store, p, client, ref)
	e.Detail = detail
	return s.store(ctx, p, e, ref, fields, &replaces)
}

// Borrow opens a credential of p's vault for something that the server does with it
// in its owner's name. That is on record as a reveal, with detail, before it opens; use
// keeps nothing of it. It is not refreshed meanwhile, so that use has what is current.
// TOKEN_NOT_FOUND, VAULT_LOCKED; UNAVAILABLE when it is being refreshed for too long.
func (s *Service) Borrow(ctx context.Context, p grants.Principal, client audit.Client, ref Ref, detail string, use func(ctx context.Context, c credential.Credential) error) error {
	t, err := s.Token(ctx, p, ref)
	if err != nil {
		return err
	}
	var ids []uuid.UUID
	if refreshable(t) {
		ids = append(ids, t.ID)
	}
	leases, err := s.lease(ctx, p.AccountID, ids, s.patience())
	if err != nil {
		return err
	}
	defer leases.end(ctx)
	return s.reveal(ctx, p, client, ref, detail, s.readAsItIs, func(ctx context.Context, _ models.Token, c credential.Credential) error {
		return use(ctx, c)
	})
}

// withHosts is what is sealed in the place of old, with the hosts to which its owner
// lets it be sent: they are his, and no provider's. What does not open is replaced
// without.
func (s *Service) withHosts(dek custody.DEK, old models.Token, sealed models.Credential, in incoming) ([]byte, error) {
	there, err := s.unseal(dek, &old, &sealed)
	if err != nil {
		return in.secret, nil //nolint:nilerr // it is in the log, and about to go
	}
	hosts, has := there.Meta[credential.MetaAllowedHosts]
	if _, given := in.data.Meta[credential.MetaAllowedHosts]; given || !has {
		return in.secret, nil
	}
	c := in.data
	c.Meta = maps.Clone(c.Meta)
	c.Meta[credential.MetaAllowedHosts] = hosts
	return c.Encode()
}

func unreadable(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }

// issuedTo copies into a token what its metadata says of its issue.
func issuedTo(t *models.Token, meta map[string]any) {
	if text, ok := meta[MetaSubject].(string); ok && len(text) <= maxSubject && !strings.ContainsFunc(text, unreadable) {
		t.Subject = text
	}
	t.Scope = scopeHint(scopesOf(meta))
	if at := issuedAt(meta); !at.IsZero() {
		t.IssuedAt = models.StampPtr(at)
	}
}
