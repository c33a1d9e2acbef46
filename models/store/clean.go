package store

import (
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tvzero/tokenvault/models"
)

// clean prepares a row for every database: it cuts the times of the struct that
// row points to, and refuses text that PostgreSQL cannot keep, so that SQLite
// does not keep it either.
func clean(row any) error {
	v := reflect.ValueOf(row).Elem()
	for i := range v.NumField() {
		if err := cleanField(v.Field(i)); err != nil {
			return fmt.Errorf("store: %s.%s: %w", v.Type().Name(), v.Type().Field(i).Name, err)
		}
	}
	return nil
}

func cleanField(f reflect.Value) error {
	switch value := f.Addr().Interface().(type) {
	case *time.Time:
		*value = models.Stamp(*value)
		return nil
	case **time.Time:
		if *value != nil {
			*value = models.StampPtr(**value)
		}
		return nil
	case *[]string:
		for _, text := range *value {
			if !keepable(text) {
				return errText
			}
		}
		return nil
	}
	if f.Kind() == reflect.String && !keepable(f.String()) {
		return errText
	}
	return nil
}

var errText = fmt.Errorf("%w: text with a zero byte or broken UTF-8", models.ErrInvalid)

func keepable(text string) bool {
	return utf8.ValidString(text) && strings.IndexByte(text, 0) < 0
}
