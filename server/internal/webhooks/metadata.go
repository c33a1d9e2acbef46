package webhooks

import (
	"context"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// Metadata is what TV may change of a token at its webhook. All three are sent
// each time, since a webhook that others wrote may replace rather than merge.
type Metadata struct {
	DisplayName string   `json:"displayName"`
	Notes       string   `json:"notes"`
	Tags        []string `json:"tags"`
}

// SetMetadata changes a token's display name, notes and tags.
func (c *Client) SetMetadata(ctx context.Context, t Target, service string, m Metadata) error {
	if m.Tags == nil {
		m.Tags = []string{}
	}
	return c.Set(ctx, t, wire.CollectionTokens, service, m)
}
