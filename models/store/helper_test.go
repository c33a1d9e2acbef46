package store_test

import (
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
)

// at is a time that no database keeps whole: not UTC, with nanoseconds.
var at = time.Date(2026, 3, 4, 5, 6, 7, 123456789, time.FixedZone("", 3600))

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("got error %v, want none", err)
	}
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s:\ngot  %s\nwant %s", what, show(got), show(want))
	}
}

// show prints what Opaque columns hold, which fmt does not.
func show(v any) string {
	var out string
	var walk func(reflect.Value)
	walk = func(v reflect.Value) {
		switch {
		case v.Type() == reflect.TypeFor[models.Opaque]():
			out += fmt.Sprintf("opaque:%x ", v.Bytes())
		case v.Kind() == reflect.Pointer && !v.IsNil():
			walk(v.Elem())
		case v.Type() == reflect.TypeFor[time.Time](), v.Type() == reflect.TypeFor[uuid.UUID]():
			out += fmt.Sprintf("%v ", v.Interface())
		case v.Kind() == reflect.Struct:
			for i := range v.NumField() {
				out += v.Type().Field(i).Name + "="
				walk(v.Field(i))
			}
		default:
			out += fmt.Sprintf("%#v ", v.Interface())
		}
	}
	walk(reflect.ValueOf(v))
	return out
}

// filled returns a T in which every field holds something of its own, as it
// comes back from a database, so that a column that is lost or mixed up shows.
func filled[T any](t *testing.T) T {
	t.Helper()
	var row T
	v := reflect.ValueOf(&row).Elem()
	for i := range v.NumField() {
		field, name := v.Field(i), v.Type().Field(i).Name
		switch p := field.Addr().Interface().(type) {
		case *uuid.UUID:
			*p = models.NewID()
		case **uuid.UUID:
			id := models.NewID()
			*p = &id
		case *time.Time:
			*p = models.Stamp(at.Add(time.Duration(i) * time.Minute))
		case **time.Time:
			*p = models.StampPtr(at.Add(time.Duration(i) * time.Minute))
		case *[]string:
			*p = []string{name, "ünïcode, \"quoted\"", ""}
		case *[]byte:
			*p = []byte{0, 255, byte(i)}
		case *models.Opaque:
			*p = models.Opaque{0, 254, byte(i)}
		case *bool:
			*p = true
		default:
			switch field.Kind() {
			case reflect.String:
				field.SetString(name + " é")
			case reflect.Int, reflect.Int64:
				field.SetInt(int64(1000 + i))
			default:
				t.Fatalf("%s.%s has a type that this test does not know", v.Type(), name)
			}
		}
	}
	return row
}

func newAccount(t *testing.T, s *store.Store) models.Account {
	t.Helper()
	a := models.Account{ID: models.NewID(), CreatedAt: at, UpdatedAt: at}
	a.Email = a.ID.String() + "@example.com"
	ok(t, s.CreateAccount(t.Context(), &a))
	return a
}

func newVault(t *testing.T, s *store.Store, mode models.VaultMode) models.Vault {
	t.Helper()
	v := models.Vault{AccountID: newAccount(t, s).ID, ID: models.NewID(), Mode: mode, CreatedAt: at}
	ok(t, s.CreateVault(t.Context(), &v))
	return v
}

func newGrant(t *testing.T, s *store.Store, accountID uuid.UUID) (models.Grant, models.GrantKey) {
	t.Helper()
	g := filled[models.Grant](t)
	g.AccountID, g.EndedAt = accountID, nil
	k := filled[models.GrantKey](t)
	k.AccountID, k.GrantID, k.Slot = accountID, g.ID, 1<<32-1
	ok(t, s.CreateGrant(t.Context(), &g, &k))
	return g, k
}

func newAgent(t *testing.T, s *store.Store, accountID uuid.UUID) models.Agent {
	t.Helper()
	a := filled[models.Agent](t)
	a.AccountID, a.Name = accountID, a.ID.String()
	ok(t, s.CreateAgent(t.Context(), &a))
	return a
}

// changes collects what OnChange tells.
type changes struct {
	mu  sync.Mutex
	ids []uuid.UUID
}

func watch(s *store.Store) *changes {
	c := &changes{}
	s.OnChange(func(id uuid.UUID) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.ids = append(c.ids, id)
	})
	return c
}

func (c *changes) take() []uuid.UUID {
	c.mu.Lock()
	defer c.mu.Unlock()
	ids := c.ids
	c.ids = nil
	return ids
}

// tells checks that do is a change of one account, told once.
func tells(t *testing.T, c *changes, account uuid.UUID, what string, do func() error) {
	t.Helper()
	c.take()
	ok(t, do())
	if got := c.take(); len(got) != 1 || got[0] != account {
		t.Fatalf("%s: told of %v, want of %v once", what, got, account)
	}
}

// silent checks that do is no change.
func silent(t *testing.T, c *changes, what string, do func() error) {
	t.Helper()
	c.take()
	ok(t, do())
	if got := c.take(); len(got) != 0 {
		t.Fatalf("%s: told of %v, want of nothing", what, got)
	}
}

// together runs do n times at once and returns the errors.
func together(n int, do func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = do(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

// count says how many errors are nil, how many want, and fails for others.
func count(t *testing.T, errs []error, want error) (none, wanted int) {
	t.Helper()
	for _, err := range errs {
		switch {
		case err == nil:
			none++
		case errors.Is(err, want):
			wanted++
		default:
			t.Fatalf("got error %v, want none or %v", err, want)
		}
	}
	return none, wanted
}
