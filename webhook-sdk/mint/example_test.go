package mint_test

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/tvzero/tokenvault/webhook-sdk/mint"
)

// halfHour is a minter of someone's own: it turns a master key of an in-house
// system, which begins with "master:", into a key for half an hour.
type halfHour struct{}

func (halfHour) Kind() string               { return "half-hour" }
func (halfHour) Recognizes(raw []byte) bool { return bytes.HasPrefix(raw, []byte("master:")) }

func (halfHour) Mint(_ context.Context, r mint.Request) (mint.Token, error) {
	expires := r.Now.Add(30 * time.Minute)
	return mint.Token{
		AccessToken: fmt.Sprintf("key-until-%d", expires.Unix()), // derived from r.Raw in earnest
		TokenType:   "Bearer",
		ExpiresAt:   expires,
	}, nil
}

func ExampleMinter() {
	set := append(mint.Default(), halfHour{})
	raw := []byte("master:secret")
	minter, ok := set.Find(raw)
	if !ok {
		return
	}
	token, err := minter.Mint(context.Background(), mint.Request{Raw: raw, Now: time.Unix(0, 0)})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(minter.Kind(), token)
	// Output: half-hour mint.Token{Bearer, [redacted], expires 1970-01-01T00:30:00Z}
}
