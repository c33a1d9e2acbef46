package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tvzero/tokenvault/models"
)

// syncBatch is how many tokens one transaction compares: a large vault must not
// hold SQLite's only writer for seconds.
const syncBatch = 500

// SyncTokens brings the index of a vault in line with what its webhook reported.
// By service name: a known token keeps its id, its times of creation and, unless
// the report says more, what it says of being seen by the server; a new one gets an
// id if found has none; of duplicates in found the last counts. Only rows that differ
// are written. With complete, found is the whole vault, and tokens that are not in it
// are removed. Refreshes are scheduled as the tokens that are written say, and go with
// those that are removed.
//
// It works in batches, each a transaction unless ctx carries one. After an error
// the batches before it hold; changed counts the rows that were inserted,
// updated or removed. ErrNotFound: no such vault.
func (s *Store) SyncTokens(ctx context.Context, accountID, vaultID uuid.UUID, found []models.Token, complete bool) (changed int, err error) {
	found, err = sortedTokens(accountID, vaultID, found)
	if err != nil {
		return 0, err
	}
	sync := tokenSync{store: s, account: accountID, vault: vaultID, complete: complete}
	for {
		batch := found[:min(s.syncBatch, len(found))]
		found = found[len(batch):]
		last := len(found) == 0
		n := 0
		err := s.InTx(ctx, func(ctx context.Context) (err error) {
			n, err = sync.batch(ctx, batch, last)
			return err
		})
		if err != nil {
			return changed, err
		}
		changed += n
		if last {
			return changed, nil
		}
		sync.after = batch[len(batch)-1].ServiceName
	}
}

// sortedTokens copies what was found, by the bytes of the service names, each
// name once.
func sortedTokens(accountID, vaultID uuid.UUID, found []models.Token) ([]models.Token, error) {
	found = slices.Clone(found)
	slices.SortStableFunc(found, func(a, b models.Token) int { return cmp.Compare(a.ServiceName, b.ServiceName) })
	kept := found[:0]
	for _, t := range found {
		t.AccountID, t.VaultID = accountID, vaultID
		t.Owner, t.Bridge, t.Scheme, t.SupersededAt = "", "", "", nil
		if err := clean(&t); err != nil {
			return nil, err
		}
		if t.ServiceName == "" {
			return nil, fmt.Errorf("store: token without a service name: %w", models.ErrInvalid)
		}
		if n := len(kept); n > 0 && kept[n-1].ServiceName == t.ServiceName {
			kept[n-1] = t
		} else {
			kept = append(kept, t)
		}
	}
	return kept, nil
}

// A tokenSync walks through a vault in the order of service names.
type tokenSync struct {
	store          *Store
	account, vault uuid.UUID
	complete       bool
	after          string // the batches so far covered names up to this one
}

func (y *tokenSync) batch(ctx context.Context, found []models.Token, last bool) (int, error) {
	// Syncs of one vault take turns; without the lock two could insert one name.
	var vault models.Vault
	err := locked(y.store.view(ctx)).Select("id").Where("account_id = ? AND id = ?", y.account, y.vault).Take(&vault).Error
	if err != nil {
		return 0, failed(err, "vault %s", y.vault)
	}
	known, err := y.known(ctx, found, last)
	if err != nil {
		return 0, failed(err, "tokens of vault %s", y.vault)
	}
	var write []models.Token
	var plan refreshPlan
	for _, t := range found {
		old, isKnown := known[t.ServiceName]
		delete(known, t.ServiceName)
		if next, differs := merged(old, isKnown, t, y.store.Now(ctx)); differs {
			write = append(write, next)
			plan.add(old, isKnown, next, y.store.due)
		}
	}
	if !y.complete {
		clear(known)
	}
	if len(write)+len(known) == 0 {
		return 0, nil
	}
	err = y.store.change(ctx, func(db *gorm.DB) error {
		if err := y.lockRefreshes(db, plan.touches(), known); err != nil {
			return err
		}
		if err := plan.change(db, y.account, y.store.rowsPerStatement()); err != nil {
			return err
		}
		if err := y.write(db, write); err != nil {
			return failed(err, "tokens of vault %s", y.vault)
		}
		if err := plan.schedule(db, y.store.rowsPerStatement()); err != nil {
			return err
		}
		return failed(y.remove(db, known), "tokens of vault %s", y.vault)
	}, y.account)
	return len(write) + len(known), err
}

// known are the tokens that the index has in the range of this batch, by name.
func (y *tokenSync) known(ctx context.Context, found []models.Token, last bool) (map[string]models.Token, error) {
	db := y.store.view(ctx).Where("account_id = ? AND vault_id = ? AND "+plain, y.account, y.vault)
	if y.complete {
		db = db.Where("service_name > ?", y.after)
		if !last {
			db = db.Where("service_name <= ?", found[len(found)-1].ServiceName)
		}
	} else {
		names := make([]string, len(found))
		for i, t := range found {
			names[i] = t.ServiceName
		}
		db = db.Where("service_name IN ?", names)
	}
	var tokens []models.Token
	if err := db.Find(&tokens).Error; err != nil {
		return nil, err
	}
	byName := make(map[string]models.Token, len(tokens))
	for _, t := range tokens {
		byName[t.ServiceName] = t
	}
	return byName, nil
}

func (y *tokenSync) write(db *gorm.DB, tokens []models.Token) error {
	if len(tokens) == 0 {
		return nil
	}
	upsert, err := replaceRow(db, &models.Token{})
	if err != nil {
		return err
	}
	// By name, not by id: a token of this name that was put meanwhile stays
	// itself.
	upsert.Columns = []clause.Column{{Name: "account_id"}, {Name: "vault_id"}, {Name: "service_name"}, {Name: "owner"}, {Name: "bridge"}, {Name: "scheme"}}
	upsert.TargetWhere = clause.Where{Exprs: []clause.Expression{clause.Expr{SQL: "superseded_at IS NULL"}}}
	upsert.DoUpdates = clause.AssignmentColumns(reportedColumns())
	return db.Clauses(upsert).CreateInBatches(tokens, y.store.rowsPerStatement()).Error
}

// rowsPerStatement is how many rows one INSERT should have. The SQLite driver
// looks for each parameter among all of them, so that long statements are slow.
func (s *Store) rowsPerStatement() int {
	if s.dialect == SQLite {
		return 32
	}
	return syncBatch
}

// lockRefreshes locks the refreshes that a batch changes, or that go with tokens.
func (y *tokenSync) lockRefreshes(db *gorm.DB, changed []uuid.UUID, gone map[string]models.Token) error {
	for _, t := range gone {
		changed = append(changed, t.ID)
	}
	for ids := range slices.Chunk(byID(changed), syncBatch) {
		if _, err := lockRefreshes(db, y.account, ids); err != nil {
			return err
		}
	}
	return nil
}

func (y *tokenSync) remove(db *gorm.DB, gone map[string]models.Token) error {
	ids := make([]uuid.UUID, 0, len(gone))
	for _, t := range gone {
		ids = append(ids, t.ID)
	}
	for batch := range slices.Chunk(ids, syncBatch) {
		if err := db.Where("account_id = ? AND id IN ?", y.account, batch).Delete(&models.Token{}).Error; err != nil {
			return err
		}
	}
	return nil
}

// reportedColumns are those that a webhook decides, what is known to be seen by the
// server, and the time of update.
func reportedColumns() []string {
	return []string{"token_type", "display_name", "notes", "tags", "provider", "creation_id", "expires_at", "subject", "issued_at", "scope", "has_refresh_token",
		"has_certificate", "has_private_key", "has_ssh_key", "has_totp_secret", "stored_at", "seen_at", "seen_path", "seen_creation_id", "updated_at"}
}

// merged is what the index should hold for a token that was found, and whether
// that differs from what it holds.
func merged(old models.Token, known bool, found models.Token, now time.Time) (models.Token, bool) {
	if !known {
		if found.ID == uuid.Nil {
			found.ID = models.NewID()
		}
		found.UpdatedAt = now
		if found.CreatedAt.IsZero() {
			found.CreatedAt = now
		}
		return found, true
	}
	found.ID, found.CreatedAt = old.ID, old.CreatedAt
	// What the server saw is a fact that no report takes back; one may add to it.
	if found.SeenAt == nil || old.SeenAt != nil && old.SeenCreationID == found.SeenCreationID {
		found.SeenAt, found.SeenPath, found.SeenCreationID = old.SeenAt, old.SeenPath, old.SeenCreationID
	}
	if found.CreationID == old.CreationID {
		fill(&found, old, now)
	}
	found.UpdatedAt = now
	return found, !sameReport(old, found)
}

// fill completes what a webhook did not say of a credential with what is known of it.
// New tokens of the same credential show in another expiry: they were issued later than
// those before, and a webhook that still tells of the first is not believed, since a
// lifetime that grows with every refresh makes each due sooner, in the end at once.
func fill(found *models.Token, old models.Token, now time.Time) {
	found.Subject = cmp.Or(found.Subject, old.Subject)
	found.Scope = cmp.Or(found.Scope, old.Scope)
	later := old.IssuedAt == nil || found.IssuedAt != nil && found.IssuedAt.After(*old.IssuedAt)
	switch {
	case sameTime(found.ExpiresAt, old.ExpiresAt):
		if !later {
			found.IssuedAt = old.IssuedAt
		}
	case found.IssuedAt != nil && later:
	case found.ExpiresAt != nil && found.ExpiresAt.After(now):
		found.IssuedAt = &now
	default:
		found.IssuedAt = nil
	}
}

func sameReport(a, b models.Token) bool {
	return a.TokenType == b.TokenType && a.DisplayName == b.DisplayName && a.Notes == b.Notes &&
		slices.Equal(a.Tags, b.Tags) && a.Provider == b.Provider && a.CreationID == b.CreationID &&
		sameTime(a.ExpiresAt, b.ExpiresAt) && a.Subject == b.Subject && sameTime(a.IssuedAt, b.IssuedAt) && a.Scope == b.Scope &&
		a.HasRefreshToken == b.HasRefreshToken &&
		a.HasCertificate == b.HasCertificate && a.HasPrivateKey == b.HasPrivateKey && a.HasSSHKey == b.HasSSHKey &&
		a.HasTOTPSecret == b.HasTOTPSecret && sameTime(a.StoredAt, b.StoredAt) &&
		sameTime(a.SeenAt, b.SeenAt) && a.SeenPath == b.SeenPath && a.SeenCreationID == b.SeenCreationID
}

func sameTime(a, b *time.Time) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Equal(*b)
}
