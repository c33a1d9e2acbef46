package credential

import "strings"

// Limits of what people write about a credential, in bytes but for counts.
const (
	maxDisplayName = 256
	maxNotes       = 4 << 10
	maxTags        = 32
	maxTag         = 64
)

// Notes lists the metadata that people may change without touching the secret.
func Notes() []string { return []string{MetaDisplayName, MetaNotes, MetaTags} }

// IsNote reports whether a field is one of Notes.
func IsNote(field string) bool {
	return field == MetaDisplayName || field == MetaNotes || field == MetaTags
}

// CheckNote validates displayName, notes or tags; nil is none. Its error is an
// *Error.
func CheckNote(name string, value any) error {
	if value == nil {
		return nil
	}
	if name == MetaTags {
		list, ok := value.([]any)
		if !ok || len(list) > maxTags {
			return invalid(name, "is not a list of at most %d strings", maxTags)
		}
		for _, tag := range list {
			text, ok := tag.(string)
			if !ok || text == "" || len(text) > maxTag || strings.ContainsFunc(text, unprintable) {
				return invalid(name, "has an entry that is not a printable string of 1 to %d bytes", maxTag)
			}
		}
		return nil
	}
	limit := maxDisplayName
	if name == MetaNotes {
		limit = maxNotes
	}
	if text, ok := value.(string); !ok || len(text) > limit {
		return invalid(name, "is not a string of at most %d bytes", limit)
	}
	return nil
}

func (c *Credential) checkNotes(Options) error {
	for _, name := range Notes() {
		if err := CheckNote(name, c.Meta[name]); err != nil {
			return err
		}
	}
	return nil
}
