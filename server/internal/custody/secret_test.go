package custody_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/custody"
)

// Keys inside someone's unexported fields, where fmt calls no method.
type keeper struct {
	dek     custody.DEK
	cek     custody.CEK
	private custody.PrivateKey
	holder  custody.Holder
	pointer *custody.Holder
}

func TestKeysOfPlatformModePrintNothingInAnyFormat(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	d, c := s.dek(t), s.cek(t)
	private, err := s.session.Private()
	if err != nil {
		t.Fatal(err)
	}
	h := *s.session
	secrets := map[string][]byte{"DEK": s.DEK, "CEK": s.CEK, "private key": s.Tokens.Session.Private, "token's secret": s.Tokens.Session.Random[28:]}
	clean := func(how, text string) {
		t.Helper()
		for what, key := range secrets {
			for form, needle := range needles(key) {
				if strings.Contains(text, needle) {
					t.Errorf("%s shows the %s (%s): %.200q", how, what, form, text)
				}
			}
		}
	}
	all := keeper{d, c, private, h, s.session}
	for _, v := range []any{
		d, &d, c, &c, private, &private, h, &h, all, &all, []any{d, c, private, h, s.session},
		[]custody.DEK{d}, map[string]custody.CEK{"k": c}, struct{ K custody.PrivateKey }{private}, struct{ H *custody.Holder }{s.session},
	} {
		for _, verb := range "vsqxXdobcUeEfFgGtTpOw" {
			for _, flag := range []string{"", "+", "#", " ", "0", "-9", "# ", "#08"} {
				format := "%" + flag + string(verb)
				clean(fmt.Sprintf("%T as %s", v, format), fmt.Sprintf(format, v))
			}
		}
		clean(fmt.Sprintf("%T printed", v), fmt.Sprintln(v))
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("m", "v", v, slog.Group("g", slog.Any("v", v)))
		slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "v", v, slog.Group("g", slog.Any("v", v)))
		clean(fmt.Sprintf("%T logged", v), log.String())
		clean(fmt.Sprintf("%T in a panic", v), panicText(v))
	}
	for _, v := range []any{d, &d, c, &c, private, &private, h, &h} {
		if text, err := json.Marshal(v); err == nil {
			t.Errorf("%T was marshalled to JSON: %s", v, text)
		}
		if text, err := json.Marshal(struct{ V any }{v}); err == nil {
			t.Errorf("%T in a struct was marshalled to JSON: %s", v, text)
		}
		if text, err := xml.Marshal(v); err == nil {
			t.Errorf("%T was marshalled to XML: %s", v, text)
		}
		if err := gob.NewEncoder(new(bytes.Buffer)).Encode(v); err == nil {
			t.Errorf("%T was marshalled by gob", v)
		}
		for _, format := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
			if got := fmt.Sprintf(format, v); got != "[redacted]" {
				t.Errorf("%T as %s is %q, want [redacted]", v, format, got)
			}
		}
	}
}

// panicText is what a recovered panic with v says.
func panicText(v any) (text string) {
	defer func() { text = fmt.Sprint(recover()) }()
	panic(v)
}

func TestAClearedHolderOpensAndWrapsNothing(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"before its private key was used", "after its private key was used"} {
		s := newStage(t)
		d, c := s.dek(t), s.cek(t)
		if strings.HasPrefix(when, "after") {
			for _, h := range []*custody.Holder{s.session, s.apiKey, s.agent} {
				if _, err := h.Private(); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, h := range []*custody.Holder{s.session, s.apiKey, s.agent} {
			h.Clear()
			h.Clear() // twice is allowed
		}
		_, full := s.escrow()
		empty, _ := s.escrow()
		for what, use := range map[string]func() ([]byte, error){
			"Private": func() ([]byte, error) { k, err := s.session.Private(); return k.Bytes(), err },
			"KeepDEK": func() ([]byte, error) { r, err := s.session.KeepDEK(d); return r.Wrapped, err },
			"HandOver": func() ([]byte, error) {
				r, err := s.session.HandOver(bytes.NewReader(s.Nonce), d)
				return r.Wrapped, err
			},
			"ShareDEK": func() ([]byte, error) {
				r, err := s.session.ShareDEK(bytes.NewReader(s.Ephemeral), d, s.apiKey.Grant())
				return r.Wrapped, err
			},
			"ShareCEK": func() ([]byte, error) {
				r, err := s.session.ShareCEK(bytes.NewReader(s.Ephemeral), c, s.agent.Grant())
				return r.Wrapped, err
			},
			"KeepCEK": func() ([]byte, error) { r, err := s.agent.KeepCEK(c); return r.Wrapped, err },
			"Offer": func() ([]byte, error) {
				err := s.session.Offer(bytes.NewReader(s.Ephemeral), empty, d, s.apiKey.Grant())
				return empty.Wrapped, err
			},
			"OpenEscrow": func() ([]byte, error) { d, err := s.apiKey.OpenEscrow(full, s.session.Grant()); return d.Bytes(), err },
			"SealSuccessor": func() ([]byte, error) {
				r, err := s.session.SealSuccessor(bytes.NewReader(s.Nonce), 3, "x")
				return r.Sealed, err
			},
			"OpenSuccessor": func() ([]byte, error) { text, err := s.session.OpenSuccessor(s.successor()); return []byte(text), err },
			"OpenVaultKey, slot": func() ([]byte, error) {
				d, err := s.session.OpenVaultKey(s.vaultKey(models.FormSlot), nil)
				return d.Bytes(), err
			},
			"OpenVaultKey, hand-over": func() ([]byte, error) {
				d, err := s.session.OpenVaultKey(s.vaultKey(models.FormHandOver), nil)
				return d.Bytes(), err
			},
			"OpenVaultKey, shared": func() ([]byte, error) {
				d, err := s.apiKey.OpenVaultKey(s.vaultKey(models.FormShared), s.session.Grant())
				return d.Bytes(), err
			},
			"OpenCredentialKey, slot": func() ([]byte, error) {
				c, err := s.agent.OpenCredentialKey(s.credentialKey(models.FormSlot), nil)
				return c.Bytes(), err
			},
			"OpenCredentialKey, share": func() ([]byte, error) {
				c, err := s.agent.OpenCredentialKey(s.credentialKey(models.FormShared), s.session.Grant())
				return c.Bytes(), err
			},
		} {
			if got, err := use(); !errors.Is(err, custody.ErrOpen) || len(got) != 0 {
				t.Errorf("%s, cleared %s: %d bytes, %v; want ErrOpen and nothing", what, when, len(got), err)
			}
		}
	}
}

func TestAClearedOrAbsentKeyIsNeitherUsedNorWrapped(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	cleared, clearedCEK := s.dek(t), s.cek(t)
	copied := cleared
	bytesOf := cleared.Bytes()
	cleared.Clear()
	clearedCEK.Clear()
	if !bytes.Equal(bytesOf, make([]byte, 32)) {
		t.Errorf("a cleared key is still %x in memory", bytesOf)
	}
	var zero custody.DEK
	for what, d := range map[string]custody.DEK{"cleared": cleared, "the copy of a cleared one": copied, "absent": zero} {
		for how, use := range map[string]func() ([]byte, error){
			"CEK":     func() ([]byte, error) { c, err := d.CEK(s.Credential, s.Epoch); return c.Bytes(), err },
			"KeepDEK": func() ([]byte, error) { r, err := s.session.KeepDEK(d); return r.Wrapped, err },
			"HandOver": func() ([]byte, error) {
				r, err := s.session.HandOver(bytes.NewReader(s.Nonce), d)
				return r.Wrapped, err
			},
			"ShareDEK": func() ([]byte, error) {
				r, err := s.session.ShareDEK(bytes.NewReader(s.Ephemeral), d, s.apiKey.Grant())
				return r.Wrapped, err
			},
		} {
			if got, err := use(); !errors.Is(err, custody.ErrOpen) || got != nil {
				t.Errorf("%s of a DEK, %s: %d bytes, %v; want ErrOpen", how, what, len(got), err)
			}
		}
	}
	token, row := s.credential(0)
	was := bytes.Clone(row.Sealed)
	if secret, err := clearedCEK.Open(token, row); !errors.Is(err, custody.ErrOpen) || secret != nil {
		t.Errorf("opened with a cleared CEK: %v", err)
	}
	if err := clearedCEK.Seal(bytes.NewReader(s.Nonce), token, row, []byte("{}")); !errors.Is(err, custody.ErrOpen) || !bytes.Equal(row.Sealed, was) {
		t.Errorf("sealed with a cleared CEK: %v", err)
	}
	if k, err := s.agent.KeepCEK(clearedCEK); !errors.Is(err, custody.ErrOpen) || k.Wrapped != nil {
		t.Errorf("kept a cleared CEK: %v", err)
	}
}
