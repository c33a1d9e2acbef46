package credential

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// ReleaseEncoded is Release of what Encode wrote, as JSON, without decoding what only
// passes through: metadata is copied as it stands. Its error is ErrEncoding or a
// *wire.Error.
func ReleaseEncoded(ctx context.Context, text []byte, o ReleaseOptions) (json.RawMessage, error) {
	c, meta, err := decodeSecrets(text)
	if err != nil {
		return nil, err
	}
	if c.Type == wire.TypeTOTP || c.Type == wire.TypeRawCredential {
		if c, err = Decode(text); err != nil {
			return nil, err
		}
		out, err := Release(ctx, c, o)
		if err != nil {
			return nil, err
		}
		return json.Marshal(out)
	}
	if len(meta) < 2 || meta[0] != '{' || meta[len(meta)-1] != '}' {
		return nil, ErrEncoding
	}
	size := len(meta) + len(o.Service) + len(c.Type) + 64
	for name, secret := range c.Secrets {
		size += len(name) + len(secret) + 8
	}
	out := append(make([]byte, 0, size), meta[:len(meta)-1]...)
	if len(meta) > 2 {
		out = append(out, ',')
	}
	out = appendMember(out, MetaServiceName, o.Service)
	out = appendMember(append(out, ','), MetaTokenType, c.Type)
	for _, name := range slices.Sorted(maps.Keys(c.Secrets)) {
		if name != wire.FieldRefreshToken || o.RefreshToken {
			out = appendMember(append(out, ','), name, c.Secrets[name])
		}
	}
	return append(out, '}'), nil
}

func appendMember(to []byte, name, value string) []byte {
	return AppendString(append(AppendString(to, name), ':'), value)
}

// AppendString appends a text in JSON. Most have nothing to escape.
func AppendString(to []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, err := json.Marshal(text)
			if err != nil {
				panic(errors.New("credential: a text has no JSON form")) // every string has one
			}
			return append(to, quoted...)
		}
	}
	to = append(to, '"')
	to = append(to, text...)
	return append(to, '"')
}
