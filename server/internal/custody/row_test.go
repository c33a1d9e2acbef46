package custody_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/custody"
)

func sign(ring *custody.Keyring, row any) {
	switch r := row.(type) {
	case *models.Grant:
		ring.SignGrant(r)
	case *models.GrantKey:
		ring.SignGrantKey(r)
	case *models.CredentialGrant:
		ring.SignCredentialGrant(r)
	case *models.Vault:
		ring.SignVault(r)
	case *models.VaultKey:
		ring.SignVaultKey(r)
	case *models.CredentialKey:
		ring.SignCredentialKey(r)
	case *models.Escrow:
		ring.SignEscrow(r)
	case *models.Passkey:
		ring.SignPasskey(r)
	case *models.AuditCheckpoint:
		ring.SignCheckpoint(r)
	}
}

func check(ring *custody.Keyring, row any) error {
	switch r := row.(type) {
	case *models.Grant:
		return ring.CheckGrant(r)
	case *models.GrantKey:
		return ring.CheckGrantKey(r)
	case *models.CredentialGrant:
		return ring.CheckCredentialGrant(r)
	case *models.Vault:
		return ring.CheckVault(r)
	case *models.VaultKey:
		return ring.CheckVaultKey(r)
	case *models.CredentialKey:
		return ring.CheckCredentialKey(r)
	case *models.Escrow:
		return ring.CheckEscrow(r)
	case *models.Passkey:
		return ring.CheckPasskey(r)
	case *models.AuditCheckpoint:
		return ring.CheckCheckpoint(r)
	}
	return fmt.Errorf("no such row: %T", row)
}

func macOf(row any) []byte {
	v := reflect.ValueOf(row).Elem()
	if mac := v.FieldByName("MAC"); mac.IsValid() {
		return mac.Bytes()
	}
	return v.FieldByName("Signature").Bytes()
}

// free are the columns that steer nothing, so that they may change without a
// new signature. Every other column is authenticated.
var free = map[string][]string{
	"Grant":           {"Label", "Client", "Address", "LastUsedAt", "EndedAt"},
	"GrantKey":        {},
	"CredentialGrant": {},
	"Vault":           {"RotationDueAt"}, // a mark: who clears it delays, as who restores an old copy
	"VaultKey":        {},
	"CredentialKey":   {},
	"Escrow":          {},
	"Passkey":         {"Name", "Transports", "BackedUp", "SignCount", "LastUsedAt"}, // who lowers the count hides a copy, and signs in as nobody
	"AuditCheckpoint": {},
}

func signedRows(t *testing.T) map[string]any {
	t.Helper()
	rows, _ := knownRows(t)
	rows["checkpoint"] = &models.AuditCheckpoint{
		StreamID: models.NewID(), Seq: 12, At: models.Stamp(time.Now()), Hash: make([]byte, 32),
	}
	rows["passkey"] = &models.Passkey{
		AccountID: models.NewID(), ID: models.NewID(), CredentialID: []byte("credential"), PublicKey: []byte("key"), Name: "phone",
		Transports: []string{"internal"}, BackupEligible: true, SignCount: 3, CreatedAt: models.Stamp(time.Now()),
	}
	for _, row := range rows {
		sign(keyring(t), row)
	}
	return rows
}

func TestEveryChangedColumnOfASignedRowIsRefused(t *testing.T) {
	t.Parallel()
	ring := keyring(t)
	for name, row := range signedRows(t) {
		if err := check(ring, row); err != nil {
			t.Fatalf("%s as it was signed: %v", name, err)
		}
		v := reflect.ValueOf(row).Elem()
		for i := range v.NumField() {
			column := v.Type().Field(i).Name
			for what, value := range changes(v.Field(i)) {
				changed := reflect.New(v.Type())
				changed.Elem().Set(v)
				changed.Elem().Field(i).Set(value)
				err := check(ring, changed.Interface())
				switch {
				case slices.Contains(free[v.Type().Name()], column):
					if err != nil {
						t.Errorf("%s: %s, which is free, %s: %v", name, column, what, err)
					}
				case !errors.Is(err, custody.ErrRow) && !errors.Is(err, custody.ErrKeyID):
					t.Errorf("%s: %s %s: got %v, want ErrRow or ErrKeyID", name, column, what, err)
				}
			}
		}
	}
}

// changes are other values of a column: every flipped bit of bytes, and for
// the rest a neighbour and absence.
func changes(v reflect.Value) map[string]reflect.Value {
	all := map[string]reflect.Value{}
	add := func(what string, value any) {
		if changed := reflect.ValueOf(value).Convert(v.Type()); !reflect.DeepEqual(changed.Interface(), v.Interface()) {
			all[what] = changed
		}
	}
	switch x := v.Interface().(type) {
	case uuid.UUID:
		for bit := range len(x) * 8 {
			add(fmt.Sprintf("with bit %d flipped", bit), flippedID(x, bit))
		}
	case *uuid.UUID:
		other := models.NewID()
		add("another", &other)
		add("absent or nil", (*uuid.UUID)(nil))
		add("zero", &uuid.UUID{})
	case time.Time:
		add("a microsecond later", x.Add(time.Microsecond))
		add("in 1970", time.UnixMicro(0))
	case *time.Time:
		later := time.UnixMicro(1)
		if x != nil {
			later = x.Add(time.Microsecond)
		}
		add("later", &later)
		add("absent", (*time.Time)(nil))
	case []string:
		add("with one more", append(slices.Clone(x), ""))
		add("none", []string(nil))
		if len(x) > 1 {
			add("in another order", append(slices.Clone(x[1:]), x[0]))
			add("run together", []string{strings.Join(x, "")})
			add("with one less", x[1:])
		}
	default:
		switch v.Kind() {
		case reflect.Slice:
			for bit := range v.Len() * 8 {
				b := slices.Clone(v.Bytes())
				b[bit/8] ^= 1 << (bit % 8)
				add(fmt.Sprintf("with bit %d flipped", bit), b)
			}
			add("longer", append(slices.Clone(v.Bytes()), 0))
			if v.Len() > 0 { // a column without bytes is empty, whichever way
				add("empty", []byte{})
			}
		case reflect.String:
			add("longer", v.String()+"x")
			add("another", "another")
			add("empty", "")
		case reflect.Bool:
			add("turned", !v.Bool())
		case reflect.Int, reflect.Int64:
			add("one more", v.Int()+1)
			add("beyond 32 bits", v.Int()+1<<32)
			add("of another key", int64(255))
			add("negative", int64(-1))
		}
	}
	return all
}

func flippedID(id uuid.UUID, bit int) uuid.UUID {
	id[bit/8] ^= 1 << (bit % 8)
	return id
}

func TestOneTablesSignatureIsNoneOfAnothers(t *testing.T) {
	t.Parallel()
	// The fields of these two rows encode alike but for the table's name.
	grant, key := models.Grant{}, models.GrantKey{}
	ring := keyring(t)
	ring.SignGrant(&grant)
	ring.SignGrantKey(&key)
	if slices.Equal(grant.MAC, key.MAC) {
		t.Error("rows of two tables bear the same MAC")
	}
	key.MAC = grant.MAC
	if err := ring.CheckGrantKey(&key); !errors.Is(err, custody.ErrRow) {
		t.Errorf("got %v, want ErrRow", err)
	}
}

func TestARowUnderAnOldKeyHoldsAndOneUnderALostKeyIsNamedSo(t *testing.T) {
	t.Parallel()
	for name, row := range signedRows(t) { // under key 7
		if err := check(keyringWith(t, "255"), row); err != nil {
			t.Errorf("%s, when another key is current: %v", name, err)
		}
		if err := check(parse(t, "0:"+otherKey), row); !errors.Is(err, custody.ErrKeyID) {
			t.Errorf("%s, without its key: got %v, want ErrKeyID", name, err)
		}
		if err := check(parse(t, "7:"+otherKey), row); !errors.Is(err, custody.ErrRow) {
			t.Errorf("%s, with another key of that id: got %v, want ErrRow", name, err)
		}
	}
}
