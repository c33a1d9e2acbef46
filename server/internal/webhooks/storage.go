package webhooks

import (
	"bytes"
	"context"
	"encoding/json"
	"iter"

	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// Limits of a list, over all its pages.
const (
	MaxItems = 200_000
	maxPages = 2_000
	// PageSize is how many items a page asks for when the caller does not say: so
	// many with 32 KiB each, which is what our webhook lets one have, fit a page.
	PageSize  = 100
	maxCursor = 4 << 10
)

// List pages through a collection of /v1/storage. It yields items as the webhook
// gave them: what they mean, and which of their fields may be believed, is the
// caller's. After an error it ends. No page is kept beyond its turn, and MaxItems
// bounds the whole.
func (c *Client) List(ctx context.Context, t Target, collection string, o wire.ListOptions) iter.Seq2[wire.StorageItem, error] {
	if o.Limit <= 0 {
		o.Limit = PageSize
	}
	return func(yield func(wire.StorageItem, error) bool) {
		total := 0
		for range maxPages {
			page, err := c.page(ctx, t, collection, o)
			if err != nil {
				yield(wire.StorageItem{}, err)
				return
			}
			for item, err := range page.items() {
				if total++; err == nil && total > MaxItems {
					err = listFault("The webhook lists more than %d items, which is more than this server takes.", MaxItems)
				}
				if !yield(item, err) || err != nil {
					return
				}
			}
			if page.Pagination == nil || !page.Pagination.HasMore {
				return
			}
			if err := advance(&o, page.Pagination.NextCursor); err != nil {
				yield(wire.StorageItem{}, err)
				return
			}
		}
		yield(wire.StorageItem{}, listFault("The webhook's list has more than %d pages. Update the webhook.", maxPages))
	}
}

// advance moves to the next page, and refuses a cursor that leads nowhere.
func advance(o *wire.ListOptions, cursor string) error {
	if cursor == "" || cursor == o.After || len(cursor) > maxCursor {
		return listFault("The webhook says that its list goes on, and not where. Update the webhook.")
	}
	o.After = cursor
	return nil
}

func listFault(format string, args ...any) *fault.Error {
	return fault.New(fault.WebhookUnavailable, format, args...)
}

// listPage is a wire.StorageResponse whose items are read one by one.
type listPage struct {
	wire.StorageResponse
	Raw json.RawMessage `json:"items"`
}

func (c *Client) page(ctx context.Context, t Target, collection string, o wire.ListOptions) (listPage, error) {
	var page listPage
	err := c.signed(ctx, t, wire.PathStorage, maxPage, func(id string) any {
		return wire.StorageRequest{RequestID: id, Operation: wire.OpList, Collection: collection, Options: &o}
	}, &page)
	if err == nil && (len(page.Raw) == 0 || page.Raw[0] != '[') {
		err = listFault("The webhook answered a list without items. Update the webhook.")
	}
	return page, err
}

func (p listPage) items() iter.Seq2[wire.StorageItem, error] {
	return func(yield func(wire.StorageItem, error) bool) {
		d := json.NewDecoder(bytes.NewReader(p.Raw))
		if _, err := d.Token(); err != nil {
			yield(wire.StorageItem{}, listFault("The webhook's list cannot be read. Update the webhook."))
			return
		}
		for d.More() {
			var item wire.StorageItem
			if err := d.Decode(&item); err != nil {
				yield(wire.StorageItem{}, listFault("The webhook's list holds something that is not an item. Update the webhook."))
				return
			}
			if !yield(item, nil) {
				return
			}
		}
	}
}

// Get reads one document of a collection other than tokens, which TV never gets:
// a webhook that others wrote may answer with secret fields.
func (c *Client) Get(ctx context.Context, t Target, collection, key string) (json.RawMessage, error) {
	if collection == wire.CollectionTokens {
		return nil, fault.New(fault.Internal, "Tokens are listed, never read.")
	}
	var said wire.StorageResponse
	err := c.signed(ctx, t, wire.PathStorage, maxAnswer, func(id string) any {
		return wire.StorageRequest{RequestID: id, Operation: wire.OpGet, Collection: collection, Key: key}
	}, &said)
	return said.Data, err
}

// Set writes one document of a collection; of tokens it changes metadata only.
func (c *Client) Set(ctx context.Context, t Target, collection, key string, data any) error {
	raw, err := json.Marshal(data)
	if err != nil {
		return err
	}
	return c.write(ctx, t, wire.StorageRequest{Operation: wire.OpSet, Collection: collection, Key: key, Data: raw})
}

// Delete removes one document of a collection: of tokens, the credential with it.
func (c *Client) Delete(ctx context.Context, t Target, collection, key string) error {
	return c.write(ctx, t, wire.StorageRequest{Operation: wire.OpDelete, Collection: collection, Key: key})
}

const statusOK = "ok"

func (c *Client) write(ctx context.Context, t Target, request wire.StorageRequest) error {
	var said wire.StorageResponse
	err := c.signed(ctx, t, wire.PathStorage, maxAnswer, func(id string) any {
		request.RequestID = id
		return request
	}, &said)
	if err == nil && said.Status != statusOK {
		err = fault.New(fault.WebhookUnavailable, "The webhook did not confirm the change. Check its version and its log.")
	}
	return err
}
