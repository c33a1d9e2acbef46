package storage

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
)

// A document's file is a header line with the SHA-256 of all that follows it, and
// the document as one line of JSON.
const (
	docHeader   = "tokenvault-document-1 sha256:"
	docSuffix   = ".doc"
	headerSize  = len(docHeader) + 2*sha256.Size + 1
	maxDocument = MaxDocument + int64(headerSize) + 1
)

// body is the JSON of a document's file. Collection and key stand in it so that a file that
// was moved does not pass for another.
type body struct {
	Collection string          `json:"collection"`
	Key        string          `json:"key"`
	Meta       map[string]any  `json:"meta,omitempty"`
	Data       json.RawMessage `json:"data,omitempty"`
}

// A document is one as it is stored: its parts, as reading the file gives them, and
// the file.
type document struct {
	key     string
	meta    map[string]any
	data    json.RawMessage
	version string // hex SHA-256 of the body
	file    []byte
}

// newDocument encodes an item. The parts come from decoding it again, so that they are
// the same now and after a restart, and share nothing with the caller.
func newDocument(collection string, item Item) (document, error) {
	var text bytes.Buffer
	text.Write(make([]byte, headerSize))
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(body{Collection: collection, Key: item.Key, Meta: item.Meta, Data: item.Data}); err != nil {
		// The cause is kept out: it may quote what was to be stored.
		return document{}, fmt.Errorf("%w: the document's metadata or data is not JSON", ErrInvalid)
	}
	file := text.Bytes()
	if int64(len(file)) > maxDocument {
		return document{}, fmt.Errorf("%w: the document has more than %d bytes", ErrInvalid, MaxDocument)
	}
	sum := sha256.Sum256(file[headerSize:])
	header := append([]byte(docHeader), hex.EncodeToString(sum[:])...)
	copy(file, append(header, '\n'))
	return parseDocument(file, collection)
}

// readDocument reads and checks the document in the file path.
func readDocument(d *disk, path, collection string) (document, error) {
	file, err := d.read(path, maxDocument)
	if err != nil {
		return document{}, err
	}
	doc, err := parseDocument(file, collection)
	if err != nil {
		return document{}, damagedFile(path, err.Error())
	}
	if filepath.Base(path) != fileName(doc.key) {
		return document{}, damagedFile(path, "its name is not that of the key in it: it was renamed or copied")
	}
	return doc, nil
}

func parseDocument(file []byte, collection string) (document, error) {
	if len(file) < headerSize || string(file[:len(docHeader)]) != docHeader || file[headerSize-1] != '\n' {
		return document{}, fmt.Errorf("it is empty, truncated or not a document")
	}
	text := file[headerSize:]
	sum := sha256.Sum256(text)
	version := hex.EncodeToString(sum[:])
	if string(file[len(docHeader):headerSize-1]) != version {
		return document{}, fmt.Errorf("its checksum does not match its content")
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var b body
	if decoder.Decode(&b) != nil {
		return document{}, fmt.Errorf("its JSON does not parse")
	}
	if b.Collection != collection {
		return document{}, fmt.Errorf("it belongs to the collection %q", b.Collection)
	}
	return document{key: b.Key, meta: b.Meta, data: b.Data, version: version, file: file}, nil
}

// fileName is the name of a key's file: a hash, so that no key can name another
// place, and that all file systems take.
func fileName(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:]) + docSuffix
}
