package credential

import "fmt"

// An Error says why something is no valid credential: whose input it is may see it.
// It never quotes a value.
type Error struct {
	Field   string // at fault; "" is the whole
	Message string // follows the field's name in a sentence, or stands alone
}

func (e *Error) Error() string {
	if e.Field == "" {
		return e.Message
	}
	return e.Field + " " + e.Message
}

func invalid(field, format string, args ...any) error {
	return &Error{Field: field, Message: fmt.Sprintf(format, args...)}
}
