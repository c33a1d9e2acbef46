package vaults

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// Finder finds tokens in the index.
type Finder interface {
	FindTokens(ctx context.Context, accountID, vaultID uuid.UUID, f models.TokenFilter) ([]models.Token, error)
	CountFoundTokens(ctx context.Context, accountID, vaultID uuid.UUID, f models.TokenFilter) (int, error)
	TokenLabels(ctx context.Context, accountID, vaultID uuid.UUID) (types, tags []models.TokenLabel, err error)
}

// SearchInput says which tokens; zero fields do not narrow. A state and a trust are
// computed of each token.
type SearchInput struct {
	Text   string // in name, display name, notes or a tag; A to Z in either case
	Type   string
	Tag    string
	Status string
	Trust  Trust
	Order  models.TokenOrder
	Limit  int // 1 to 1000
	Cursor string
}

// SearchResult is a page of what was found.
type SearchResult struct {
	Tokens  []TokenView
	Next    string // empty: there are no more
	Count   int    // how many there are on all pages; -1: not known
	Partial bool   // as many tokens as one call looks at were looked at: the next page goes on, whether this one is full or not

	All         int // tokens in the vault
	Types, Tags []models.TokenLabel
}

const (
	maxSearchText = 200  // bytes
	lookAtOnce    = 500  // tokens
	lookAtMost    = 5000 // tokens, in one call
)

// Search lists tokens as Tokens does, narrowed and sorted. What the database does not
// know of a token, its state and its trust, is computed for at most 5,000 tokens in one
// call. INVALID_REQUEST names the field.
func (s *Service) Search(ctx context.Context, p grants.Principal, in SearchInput) (SearchResult, error) {
	if err := user(p); err != nil {
		return SearchResult{}, err
	}
	after, err := in.check()
	if err != nil {
		return SearchResult{}, err
	}
	c, err := s.Custody(ctx, p.AccountID)
	if err != nil {
		return SearchResult{}, err
	}
	vaultID := p.VaultID
	if c.Mode == models.ModeWebhook {
		vaultID = c.Binding.VaultID
	}
	if vaultID == uuid.Nil { // a session that has stored nothing yet
		return SearchResult{}, nil
	}
	var out SearchResult
	if out.Types, out.Tags, err = s.deps.Finder.TokenLabels(ctx, p.AccountID, vaultID); err != nil {
		return SearchResult{}, indexError(err)
	}
	for _, label := range out.Types {
		out.All += label.Count
	}
	search := search{service: s, custody: c, account: p.AccountID, vault: vaultID, in: in, filter: models.TokenFilter{
		Text: in.Text, Type: in.Type, Tag: in.Tag, Order: in.Order, After: after,
	}}
	if in.Status == "" && in.Trust == "" {
		err = search.stored(ctx, &out)
	} else {
		err = search.computed(ctx, &out)
	}
	return out, indexError(err)
}

// A search is one call.
type search struct {
	service        *Service
	custody        *Custody
	account, vault uuid.UUID
	in             SearchInput
	filter         models.TokenFilter
}

// stored answers from the database alone.
func (s *search) stored(ctx context.Context, out *SearchResult) error {
	whole := s.filter
	whole.After = nil
	var err error
	if out.Count, err = s.service.deps.Finder.CountFoundTokens(ctx, s.account, s.vault, whole); err != nil {
		return err
	}
	s.filter.Limit = s.in.Limit + 1 // one more tells whether there is a next page
	tokens, err := s.service.deps.Finder.FindTokens(ctx, s.account, s.vault, s.filter)
	if err != nil {
		return err
	}
	if len(tokens) > s.in.Limit {
		tokens = tokens[:s.in.Limit]
		out.Next = s.cursor(tokens[len(tokens)-1])
	}
	out.Tokens, err = s.service.views(ctx, s.custody, s.custody.Mode, s.account, tokens)
	return err
}

// computed looks at tokens some at a time. From the beginning it goes on when a page is
// full, to count.
func (s *search) computed(ctx context.Context, out *SearchResult) error {
	counting := s.filter.After == nil
	s.filter.Limit = lookAtOnce
	fit := 0
	for looked := 0; ; {
		tokens, err := s.service.deps.Finder.FindTokens(ctx, s.account, s.vault, s.filter)
		if err != nil {
			return err
		}
		views, err := s.service.views(ctx, s.custody, s.custody.Mode, s.account, tokens)
		if err != nil {
			return err
		}
		for _, v := range views {
			if s.in.Status != "" && v.Status != s.in.Status || s.in.Trust != "" && v.Trust != s.in.Trust {
				continue
			}
			if fit++; fit <= s.in.Limit {
				out.Tokens = append(out.Tokens, v)
			} else if out.Next == "" {
				out.Next = s.cursor(out.Tokens[s.in.Limit-1].Token)
			}
		}
		switch looked += len(tokens); {
		case len(tokens) < lookAtOnce:
			if out.Count = fit; !counting {
				out.Count = -1
			}
			return nil
		case out.Next != "" && !counting:
			out.Count = -1
			return nil
		case looked >= lookAtMost:
			out.Count, out.Partial = -1, out.Next == ""
			if out.Partial {
				out.Next = s.cursor(tokens[len(tokens)-1])
			}
			return nil
		}
		mark := s.in.Order.Mark(tokens[len(tokens)-1])
		s.filter.After = &mark
	}
}

// A searchCursor is a place in a list so sorted.
type searchCursor struct {
	Order   models.TokenOrder `json:"o,omitempty"`
	Service string            `json:"s"`
	At      *time.Time        `json:"t,omitempty"`
}

func (s *search) cursor(t models.Token) string {
	mark := s.in.Order.Mark(t)
	text, err := json.Marshal(searchCursor{s.in.Order, mark.Service, mark.At})
	if err != nil { // of a name and a time between 1970 and 9999
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// check refuses what no list of ours has, and reads the cursor.
func (in SearchInput) check() (*models.TokenMark, error) {
	if in.Limit < 1 || in.Limit > maxPage {
		return nil, fault.Field("limit", "The limit must be between 1 and %d.", maxPage)
	}
	for field, text := range map[string]string{"q": in.Text, "tag": in.Tag} {
		if len(text) > maxSearchText || !readable(text, maxSearchText, false) {
			return nil, fault.Field(field, "Search for at most %d readable characters.", maxSearchText)
		}
	}
	if !readable(in.Type, maxTypeName, false) {
		return nil, fault.Field("type", "There is no type of this name.")
	}
	switch in.Status {
	case "", StatusActive, StatusExpiring, StatusExpired, StatusNeedsReauthorization, StatusNeedsAttention, StatusEmpty:
	default:
		return nil, fault.Field("state", "A token's state is active, expiring, expired, needs_reauthorization, needs_attention or empty.")
	}
	switch in.Trust {
	case "", TVZero, TVRefresh, TVSeen, Sealed:
	default:
		return nil, fault.Field("trust", "A token's trust is tv-zero, tv-refresh, tv-seen or sealed.")
	}
	switch in.Order {
	case models.OrderName, models.OrderExpiry, models.OrderStored:
	default:
		return nil, fault.Field("sort", "Tokens are sorted by name, expiry or stored.")
	}
	if in.Cursor == "" {
		return nil, nil
	}
	var at searchCursor
	text, err := base64.RawURLEncoding.Strict().DecodeString(in.Cursor)
	if err != nil || json.Unmarshal(text, &at) != nil || at.Order != in.Order || !wire.ValidServiceName(at.Service) || at.At != nil && (at.At.Year() < 1 || at.At.Year() > 9999) {
		return nil, fault.Field("cursor", "The cursor is not one that this list gave. Start again without it.")
	}
	return &models.TokenMark{Service: at.Service, At: at.At}, nil
}
