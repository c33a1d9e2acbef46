package models

import "time"

// A TokenOrder is how a list of tokens is sorted. Tokens that agree in it are sorted by
// the bytes of their names.
type TokenOrder string

// The orders.
const (
	OrderName   TokenOrder = ""
	OrderExpiry TokenOrder = "expiry" // soonest first; those that do not expire last
	OrderStored TokenOrder = "stored" // latest first; those of which it is not known last
)

// TokenFilter narrows and sorts a list of tokens of one vault; zero fields do not.
type TokenFilter struct {
	Text  string // in the name, the display name, the notes or a tag; A to Z in either case
	Type  string
	Tag   string // as it is
	Order TokenOrder
	After *TokenMark // of the last one before
	Limit int        // 0: no limit
}

// A TokenMark is a place in a list of tokens: after the one that has what it says.
type TokenMark struct {
	Service string
	At      *time.Time // expiry or time of storing, as the list is sorted; nil: it has none
}

// Mark is the place of a token in a list so sorted.
func (o TokenOrder) Mark(t Token) TokenMark {
	switch o {
	case OrderExpiry:
		return TokenMark{t.ServiceName, t.ExpiresAt}
	case OrderStored:
		return TokenMark{t.ServiceName, t.StoredAt}
	}
	return TokenMark{Service: t.ServiceName}
}

// A TokenLabel is a type or a tag, and how many tokens of a vault bear it.
type TokenLabel struct {
	Name  string
	Count int
}
