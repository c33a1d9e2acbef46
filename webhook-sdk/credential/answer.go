package credential

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// AppendRelease appends to a slice, in JSON, what Release makes of what Encode wrote,
// without decoding what only passes through: metadata is copied as it stands. Its error
// is ErrEncoding or a *wire.Error.
func AppendRelease(ctx context.Context, to, text []byte, o ReleaseOptions) ([]byte, error) {
	e, err := readEncoded(text)
	if err != nil {
		return nil, err
	}
	if kind := string(e.kind); kind == wire.TypeTOTP || kind == wire.TypeRawCredential {
		c, err := Decode(text)
		if err != nil {
			return nil, err
		}
		out, err := Release(ctx, c, o)
		if err != nil {
			return nil, err
		}
		answer, err := json.Marshal(out)
		if err != nil {
			return nil, err
		}
		defer clear(answer)
		return append(to, answer...), nil
	}
	meta := e.meta
	if len(meta) < 2 || meta[0] != '{' || meta[len(meta)-1] != '}' {
		return nil, ErrEncoding
	}
	out := append(slices.Grow(to, len(text)+len(o.Service)+64), meta[:len(meta)-1]...)
	if len(meta) > 2 {
		out = append(out, ',')
	}
	out = appendMember(out, MetaServiceName, o.Service)
	out = appendMember(append(out, ','), MetaTokenType, e.kind)
	e.secrets(func(name, secret []byte) {
		if string(name) != wire.FieldRefreshToken || o.RefreshToken {
			out = append(AppendString(append(out, ','), name), ':')
			out = AppendString(out, secret)
		}
	})
	return append(out, '}'), nil
}

func appendMember[T ~string | ~[]byte](to []byte, name string, value T) []byte {
	return AppendString(append(AppendString(to, name), ':'), value)
}

// AppendString appends a text in JSON. Most have nothing to escape: the text is
// copied, and then looked at, byte by byte, where the bytes' type is known.
func AppendString[T ~string | ~[]byte](to []byte, text T) []byte {
	from := len(to)
	to = append(append(to, '"'), text...)
	for _, c := range to[from+1:] {
		if escaped[c] {
			quoted, err := json.Marshal(string(text))
			if err != nil {
				panic(errors.New("credential: a text has no JSON form")) // every string has one
			}
			return append(to[:from], quoted...)
		}
	}
	return append(to, '"')
}

// escaped says which bytes of a text do not stand for themselves in JSON, as
// encoding/json writes it.
var escaped = func() (e [256]bool) {
	for c := range e {
		e[c] = c < ' ' || c >= utf8.RuneSelf || strings.IndexByte(`"\<>&`, byte(c)) >= 0
	}
	return e
}()
