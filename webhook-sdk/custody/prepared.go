package custody

import "fmt"

// A Prepared is a document that is opened again and again: what its fields are bound
// to was computed once. It holds no plaintext. Neither it nor the document that it
// was made of may be changed; it may be used concurrently.
type Prepared struct {
	keys     *Keys
	service  string
	document Document
	digest   string // of the metadata; "" for version 1
}

// Prepare makes a document of version 1 or 2, stored under service, ready to be
// opened. Nothing of it is opened yet.
func (k *Keys) Prepare(service string, d Document) (*Prepared, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	p := &Prepared{keys: k, service: service, document: d}
	if d.V == VersionBound {
		var err error
		if p.digest, err = metaDigest(d.Meta); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Document is what was prepared, shared: it is not to be changed.
func (p *Prepared) Document() Document { return p.document }

// Open opens the named fields. A name that the document does not have is absent from
// the answer; one field that does not open is ErrOpen for all.
func (p *Prepared) Open(names ...string) (map[string]string, error) {
	out := make(map[string]string, len(names))
	for _, name := range names {
		text, ok := p.document.Fields[name]
		if !ok {
			continue
		}
		plain, err := p.openField(name, text)
		if err != nil {
			return nil, err
		}
		out[name] = string(plain)
	}
	return out, nil
}

func (p *Prepared) openField(name, text string) ([]byte, error) {
	sealed, err := decodeField(text)
	if err != nil {
		return nil, fmt.Errorf("%w: field %q is not canonical base64", ErrDocument, name)
	}
	var plain []byte
	if p.document.V == VersionBound {
		aad := context(labelField, p.service, name, p.document.CreationID(), p.digest)
		plain, err = p.keys.data.Open(nil, nil, sealed, aad)
	} else {
		plain, err = p.keys.openPlain(sealed)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: field %q", ErrOpen, name)
	}
	return plain, nil
}
