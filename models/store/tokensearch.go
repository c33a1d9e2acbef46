package store

import (
	"context"
	"strings"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/tvzero/tokenvault/models"
)

// maxLabels is how many tags are told of a vault: those that most tokens bear.
const maxLabels = 200

// FindTokens lists those tokens of a vault that their service names alone name, as a
// filter says.
func (s *Store) FindTokens(ctx context.Context, accountID, vaultID uuid.UUID, f models.TokenFilter) ([]models.Token, error) {
	db := s.matching(ctx, accountID, vaultID, f)
	switch f.Order {
	case models.OrderExpiry:
		db = after(db, "expires_at", ">", f.After).Order("expires_at IS NULL, expires_at, service_name")
	case models.OrderStored:
		db = after(db, "stored_at", "<", f.After).Order("stored_at IS NULL, stored_at DESC, service_name")
	default:
		if f.After != nil {
			db = db.Where("service_name > ?", f.After.Service)
		}
		db = db.Order("service_name")
	}
	var tokens []models.Token
	err := atMost(db, f.Limit).Find(&tokens).Error
	return tokens, failed(err, "tokens of vault %s", vaultID)
}

// after narrows a list that is sorted by a time to what comes after a place in it.
func after(db *gorm.DB, column, beyond string, mark *models.TokenMark) *gorm.DB {
	switch {
	case mark == nil:
		return db
	case mark.At == nil:
		return db.Where(column+" IS NULL AND service_name > ?", mark.Service)
	}
	at := models.Stamp(*mark.At)
	return db.Where("("+column+" "+beyond+" ? OR ("+column+" = ? AND service_name > ?) OR "+column+" IS NULL)", at, at, mark.Service)
}

// CountFoundTokens counts what FindTokens lists without a limit, from the beginning.
func (s *Store) CountFoundTokens(ctx context.Context, accountID, vaultID uuid.UUID, f models.TokenFilter) (int, error) {
	var n int64
	err := s.matching(ctx, accountID, vaultID, f).Model(&models.Token{}).Count(&n).Error
	return int(n), failed(err, "tokens of vault %s", vaultID)
}

// TokenLabels lists the types that tokens of a vault have, and the tags that most of
// them bear, by their names.
func (s *Store) TokenLabels(ctx context.Context, accountID, vaultID uuid.UUID) (types, tags []models.TokenLabel, err error) {
	err = s.view(ctx).Raw("SELECT token_type AS name, count(*) AS count FROM tokens WHERE account_id = ? AND vault_id = ? AND "+plain+
		" GROUP BY token_type ORDER BY token_type", accountID, vaultID).Scan(&types).Error
	if err != nil {
		return nil, nil, failed(err, "types of vault %s", vaultID)
	}
	err = s.view(ctx).Raw("SELECT name, count FROM (SELECT "+s.tag()+" AS name, count(*) AS count FROM tokens, "+s.eachTag()+
		" WHERE account_id = ? AND vault_id = ? AND "+plain+" GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT ?) AS most ORDER BY name",
		accountID, vaultID, maxLabels).Scan(&tags).Error
	return types, tags, failed(err, "tags of vault %s", vaultID)
}

// matching is what a filter says without its order.
func (s *Store) matching(ctx context.Context, accountID, vaultID uuid.UUID, f models.TokenFilter) *gorm.DB {
	db := s.view(ctx).Where("account_id = ? AND vault_id = ? AND "+plain, accountID, vaultID)
	if f.Type != "" {
		db = db.Where("token_type = ?", f.Type)
	}
	if f.Tag != "" {
		db = db.Where("EXISTS (SELECT 1 FROM "+s.eachTag()+" WHERE "+s.tag()+" = ?)", f.Tag)
	}
	if f.Text == "" {
		return db
	}
	like := pattern(f.Text)
	var any []string
	for _, column := range []string{"service_name", "display_name", "notes"} {
		any = append(any, s.like(column))
	}
	any = append(any, "EXISTS (SELECT 1 FROM "+s.eachTag()+" WHERE "+s.like(s.tag())+")")
	return db.Where("("+strings.Join(any, " OR ")+")", like, like, like, like)
}

// eachTag is a table of the tags of a token, and tag its column. A token of an old
// version has none.
func (s *Store) eachTag() string {
	const list = "CASE WHEN tags LIKE '[%' THEN tags ELSE '[]' END"
	if s.dialect == Postgres {
		return "jsonb_array_elements_text((" + list + ")::jsonb) AS tag"
	}
	return "json_each(" + list + ") AS tag"
}

func (s *Store) tag() string {
	if s.dialect == Postgres {
		return `(tag COLLATE "C")`
	}
	return "tag.value"
}

// like compares text with a pattern: on both databases A to Z stand for a to z, and all
// other letters for themselves.
func (s *Store) like(column string) string {
	if s.dialect == Postgres {
		return "lower(" + column + ` COLLATE "C") LIKE ? ESCAPE '!'`
	}
	return column + " LIKE ? ESCAPE '!'"
}

// pattern is that of texts that contain one.
func pattern(text string) string {
	lower := strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, text)
	return "%" + strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(lower) + "%"
}
