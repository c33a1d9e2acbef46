package audit_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/custody"
)

type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// knownChain is the stream that testdata/chain.py computed.
func knownChain(t testing.TB) (record, *custody.Keyring) {
	t.Helper()
	text, err := os.ReadFile("testdata/chain.json")
	if err != nil {
		t.Fatal(err)
	}
	var chain struct {
		Keyring string
		Rows    []struct {
			Account, ID, Stream              uuid.UUID
			Seq, At                          int64
			Type, Source, Outcome, Service   string
			Agent, Grant                     *uuid.UUID
			Client, Address, Request, Detail string
			Hash                             hexBytes
		}
		Checkpoints []struct {
			Stream          uuid.UUID
			Seq, At         int64
			Hash, Signature hexBytes
			Key             int
			Final           bool
		}
	}
	if err := json.Unmarshal(text, &chain); err != nil {
		t.Fatal(err)
	}
	keys, err := custody.ParseKeyring(chain.Keyring)
	if err != nil {
		t.Fatal(err)
	}
	var r record
	for _, k := range chain.Rows {
		r.rows = append(r.rows, models.AuditEvent{
			AccountID: k.Account, ID: k.ID, StreamID: k.Stream, Seq: k.Seq, At: time.UnixMicro(k.At).UTC(), EventType: k.Type,
			Source: k.Source, Outcome: k.Outcome, ServiceName: k.Service, AgentID: k.Agent, GrantID: k.Grant, Client: k.Client,
			Address: k.Address, RequestID: k.Request, Detail: k.Detail, Hash: k.Hash,
		})
	}
	for _, c := range chain.Checkpoints {
		r.checkpoints = append(r.checkpoints, models.AuditCheckpoint{
			StreamID: c.Stream, Seq: c.Seq, At: time.UnixMicro(c.At).UTC(), Hash: c.Hash, KeyID: c.Key, Signature: c.Signature, Final: c.Final,
		})
	}
	return r, keys
}

func TestAStreamOfAnotherImplementationVerifies(t *testing.T) {
	t.Parallel()
	r, keys := knownChain(t)
	reports := mustHold(t, r, keys)
	if len(reports) != 1 || reports[0].Rows != 4 || reports[0].Signed != 4 || !reports[0].Final {
		t.Errorf("got %+v, want one final stream of 4 rows, all signed", reports)
	}
}

func TestARealStreamVerifiesOnEachDatabase(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		keys := ring(t)
		for range 2 { // two runs of a replica
			r := start(t, s, s, keys)
			for i := range 40 {
				e := event(fmt.Sprintf("row %d: ünïcode ☂", i))
				e.AgentID, e.GrantID = models.NewID(), models.NewID()
				if i%3 == 0 {
					e = audit.Event{Type: audit.Lock, Source: audit.System}
				}
				mustRecord(t, r, e)
			}
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
		}
		reports := mustHold(t, s, keys)
		if len(reports) != 2 {
			t.Fatalf("%d streams, want 2", len(reports))
		}
		for _, r := range reports {
			if r.Rows != 40 || r.Signed != 40 || !r.Final {
				t.Errorf("got %+v, want a final stream of 40 rows, all signed", r)
			}
		}
		for _, r := range verify(t, s, ring(t)) {
			if len(r.Problems) == 0 {
				t.Error("the checkpoints of another server verify")
			}
		}
	})
}

// rehash chains rows anew, as a forger would: the hashes need no key.
func rehash(rows []models.AuditEvent) {
	before := make([]byte, sha256.Size)
	for i := range rows {
		r := &rows[i]
		h := sha256.New()
		h.Write([]byte("tokenvault/audit/v1"))
		field := func(b []byte) {
			h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(b))))
			h.Write(b)
		}
		reference := func(id *uuid.UUID) {
			if id == nil {
				field(nil)
			} else {
				field(id[:])
			}
		}
		field(before)
		field(r.AccountID[:])
		field(r.ID[:])
		field(r.StreamID[:])
		field(binary.BigEndian.AppendUint64(nil, uint64(r.Seq)))
		field(binary.BigEndian.AppendUint64(nil, uint64(r.At.UnixMicro())))
		for _, s := range []string{r.EventType, r.Source, r.Outcome, r.ServiceName} {
			field([]byte(s))
		}
		reference(r.AgentID)
		reference(r.GrantID)
		for _, s := range []string{r.Client, r.Address, r.RequestID, r.Detail} {
			field([]byte(s))
		}
		before = h.Sum(nil)
		r.Hash = before
	}
}

// written is a stream of 12 rows that were signed after 6 and at the end.
func written(t *testing.T) (record, *custody.Keyring) {
	t.Helper()
	l := newLedger()
	keys := ring(t)
	r := start(t, l, nil, keys)
	for i := range 12 {
		e := event(fmt.Sprint(i))
		e.AgentID, e.GrantID = models.NewID(), models.NewID()
		e.Client = audit.Client{Address: "192.0.2.1", UserAgent: "curl", RequestID: fmt.Sprint(i)}
		mustRecord(t, r, e)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	all := l.record()
	middle := models.AuditCheckpoint{StreamID: all.rows[0].StreamID, Seq: 6, At: all.rows[5].At, Hash: all.rows[5].Hash}
	keys.SignCheckpoint(&middle)
	all.checkpoints = append([]models.AuditCheckpoint{middle}, all.checkpoints...)
	return all, keys
}

func TestEveryTamperingIsReported(t *testing.T) {
	t.Parallel()
	renumber := func(rows []models.AuditEvent) {
		for i := range rows {
			rows[i].Seq = int64(i + 1)
		}
	}
	for name, tamper := range map[string]func(r *record){
		"a row deleted":         func(r *record) { r.rows = slices.Delete(r.rows, 3, 4) },
		"the first row deleted": func(r *record) { r.rows = slices.Delete(r.rows, 0, 1) },
		"a row deleted and the rest renumbered": func(r *record) {
			r.rows = slices.Delete(r.rows, 3, 4)
			renumber(r.rows)
		},
		"a row deleted and the chain made anew": func(r *record) {
			r.rows = slices.Delete(r.rows, 3, 4)
			renumber(r.rows)
			rehash(r.rows)
		},
		"a batch that others' rows kept out": func(r *record) {
			r.refused = []models.AuditBlock{{StreamID: r.rows[0].StreamID, Seq: 13, Events: 8}}
		},
		"two rows swapped": func(r *record) {
			r.rows[3].Seq, r.rows[4].Seq = r.rows[4].Seq, r.rows[3].Seq
		},
		"two rows swapped and the chain made anew": func(r *record) {
			r.rows[3], r.rows[4] = r.rows[4], r.rows[3]
			renumber(r.rows)
			rehash(r.rows)
		},
		"a row inserted": func(r *record) {
			forged := r.rows[4]
			forged.ID = models.NewID()
			r.rows = slices.Insert(r.rows, 4, forged)
			renumber(r.rows)
		},
		"a row inserted and the chain made anew": func(r *record) {
			forged := r.rows[4]
			forged.ID = models.NewID()
			r.rows = slices.Insert(r.rows, 4, forged)
			renumber(r.rows)
			rehash(r.rows)
		},
		"a row changed and the chain made anew": func(r *record) {
			r.rows[10].Outcome = "ok, really"
			rehash(r.rows)
		},
		"a row put before the first": func(r *record) {
			forged := r.rows[0]
			forged.ID, forged.Seq = models.NewID(), 0
			r.rows = append(r.rows, forged)
		},
		"a row with a negative place": func(r *record) {
			forged := r.rows[0]
			forged.ID, forged.Seq = models.NewID(), -1<<62
			r.rows = append(r.rows, forged)
		},
		"a row put into no stream": func(r *record) {
			forged := r.rows[0]
			forged.ID, forged.StreamID = models.NewID(), uuid.Nil
			rehash([]models.AuditEvent{forged})
			r.rows = append(r.rows, forged)
		},
		"a row put behind the end, well chained": func(r *record) {
			forged := r.rows[11]
			forged.ID, forged.Seq = models.NewID(), 13
			r.rows = append(r.rows, forged)
			rehash(r.rows)
		},
		"the tail cut off": func(r *record) { r.rows = r.rows[:8] },
		"all rows deleted": func(r *record) { r.rows = nil },
		"a checkpoint moved to another row": func(r *record) {
			r.checkpoints[0].Seq, r.checkpoints[0].Hash = 7, r.rows[6].Hash
		},
		"a checkpoint of another stream": func(r *record) {
			other := models.NewID()
			for i := range r.rows {
				r.rows[i].StreamID = other
			}
			rehash(r.rows)
			for i := range r.checkpoints {
				r.checkpoints[i].StreamID, r.checkpoints[i].Hash = other, r.rows[r.checkpoints[i].Seq-1].Hash
			}
		},
		"a checkpoint that ends the stream early":    func(r *record) { r.checkpoints[0].Final = true },
		"a checkpoint under a key that is not there": func(r *record) { r.checkpoints[0].KeyID = 200 },
		"a checkpoint with another signature": func(r *record) {
			r.checkpoints[0].Signature = slices.Clone(r.checkpoints[0].Signature)
			r.checkpoints[0].Signature[0] ^= 1
		},
		"a checkpoint without a signature": func(r *record) { r.checkpoints[0].Signature = nil },
		"a checkpoint with another time":   func(r *record) { r.checkpoints[0].At = r.checkpoints[0].At.Add(time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, keys := written(t)
			mustHold(t, r, keys)
			tamper(&r)
			mustBeReported(t, r, keys)
		})
	}
}

func mustBeReported(t *testing.T, r record, keys *custody.Keyring) {
	t.Helper()
	for _, report := range verify(t, r, keys) {
		if len(report.Problems) > 0 {
			return
		}
	}
	t.Error("no problem was reported")
}

func TestEveryChangedColumnIsReported(t *testing.T) {
	t.Parallel()
	r, keys := written(t)
	columns := reflect.TypeFor[models.AuditEvent]()
	for i := range columns.NumField() {
		changed := record{rows: slices.Clone(r.rows), checkpoints: r.checkpoints}
		field := reflect.ValueOf(&changed.rows[7]).Elem().Field(i)
		switch v := field.Addr().Interface().(type) {
		case *string:
			*v += "x"
		case *int64:
			*v += 100
		case *time.Time:
			*v = v.Add(time.Microsecond)
		case *[]byte:
			*v = slices.Clone(*v)
			(*v)[31] ^= 1
		case *uuid.UUID:
			v[15] ^= 1
		case **uuid.UUID:
			*v = nil
		default:
			t.Fatalf("column %s has a type that this test does not change", columns.Field(i).Name)
		}
		mustBeReported(t, changed, keys)
		if t.Failed() {
			t.Fatalf("a change of column %s goes unnoticed", columns.Field(i).Name)
		}
	}
}

func TestTextCannotMoveFromOneColumnToTheNext(t *testing.T) {
	t.Parallel()
	r, keys := written(t)
	row := &r.rows[7]
	row.Address, row.RequestID = row.Address+row.RequestID, ""
	mustBeReported(t, r, keys)
}

func TestAReportIsShortHoweverMuchIsWrong(t *testing.T) {
	t.Parallel()
	r, keys := written(t)
	for range 5 {
		for _, row := range r.rows[:12] {
			row.ID, row.Seq = models.NewID(), row.Seq+int64(len(r.rows))
			r.rows = append(r.rows, row)
		}
	}
	reports := verify(t, r, keys)
	if n := len(reports[0].Problems); n < 10 || n > 20 {
		t.Errorf("%d problems, want those that tell, and not more than 20", n)
	}
	if !strings.Contains(strings.Join(reports[0].Problems, "\n"), "row 13 ") {
		t.Errorf("the first wrong row is not named: %q", reports[0].Problems)
	}
}
