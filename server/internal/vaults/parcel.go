package vaults

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"

	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/platform"
	"github.com/tvzero/tokenvault/webhook-sdk/credential"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// A parcel is a credential as a webhook is given it.
type parcel struct {
	service string
	token   string         // id of the token that it was here
	marker  string         // platform.Leaving.Marker
	data    map[string]any // tokenData, with the secrets
}

// pack makes a parcel of a credential, with what its token says for people.
func pack(l platform.Leaving) (parcel, error) {
	data, err := l.Data.TokenData()
	if err != nil {
		return parcel{}, staying(fault.Conflict, "A webhook cannot keep it: %s. Store it at the webhook without that.", err)
	}
	delete(data, platform.MetaMovedBack)
	data[platform.MetaMovedFrom] = l.Marker()
	if l.Token.DisplayName != "" {
		data[credential.MetaDisplayName] = l.Token.DisplayName
	}
	if l.Token.Notes != "" {
		data[credential.MetaNotes] = l.Token.Notes
	}
	if len(l.Token.Tags) > 0 {
		data[credential.MetaTags] = l.Token.Tags
	}
	return parcel{service: l.Token.ServiceName, token: l.Token.ID.String(), marker: l.Marker(), data: data}, nil
}

// verify says whether a webhook's item is the parcel: all the metadata that was
// sent, a flag for each secret, and a creation by which it is told from a later one.
// Empty: it is; else the name of what differs.
func (p parcel) verify(item wire.StorageItem) (differs string) {
	var meta map[string]any
	d := json.NewDecoder(bytes.NewReader(item.Meta))
	d.UseNumber()
	if d.Decode(&meta) != nil {
		return "the metadata"
	}
	want, err := p.metadata()
	if err != nil {
		return "the metadata"
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if !sameValue(want[name], meta[name]) {
			return name
		}
	}
	if id, _ := meta[credential.MetaCreationID].(string); id == "" {
		return credential.MetaCreationID
	}
	return ""
}

// metadata is what a webhook is to list of the parcel, as JSON decodes it.
func (p parcel) metadata() (map[string]any, error) {
	want := map[string]any{credential.MetaServiceName: p.service}
	for name, value := range p.data {
		if !wire.IsSensitive(name) {
			want[name] = value
		}
	}
	for flag, field := range map[string]string{
		credential.MetaHasRefreshToken: wire.FieldRefreshToken, credential.MetaHasCertificate: wire.FieldCertificateData,
		credential.MetaHasPrivateKey: wire.FieldPrivateKeyData, credential.MetaHasSSHKey: wire.FieldSSHPrivateKey,
		credential.MetaHasTOTPSecret: wire.FieldTOTPSecret,
	} {
		_, want[flag] = p.data[field]
	}
	text, err := json.Marshal(want)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var out map[string]any
	return out, d.Decode(&out)
}

// sameValue compares JSON values, numbers by what they are: another program spells
// them otherwise.
func sameValue(a, b any) bool {
	switch x := a.(type) {
	case json.Number:
		y, ok := b.(json.Number)
		if !ok {
			return false
		}
		left, errLeft := x.Float64()
		right, errRight := y.Float64()
		return x == y || errLeft == nil && errRight == nil && left == right
	case []any:
		y, ok := b.([]any)
		return ok && slices.EqualFunc(x, y, sameValue)
	case map[string]any:
		y, ok := b.(map[string]any)
		return ok && maps.EqualFunc(x, y, sameValue)
	}
	return reflect.DeepEqual(a, b)
}
