//go:build goexperiment.runtimesecret && linux

package custody_test

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"runtime/secret"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/custody"
)

// hidden are the first and the last 8 bytes of keys under one mask, so that
// looking for them does not put them into memory.
type hidden struct {
	mask  uint64
	parts map[uint64]string // masked, and whose it is
}

func newHidden() *hidden {
	var mask [8]byte
	_, _ = rand.Read(mask[:])
	return &hidden{binary.LittleEndian.Uint64(mask[:]), map[uint64]string{}}
}

// hide takes a key that only lives within work to be erased.
func (h *hidden) hide(name string, key []byte) {
	h.parts[binary.LittleEndian.Uint64(key)^h.mask] = name
	h.parts[binary.LittleEndian.Uint64(key[len(key)-8:])^h.mask] = name
}

// lifeOfKeys makes keys of every tier, uses each in every way, and clears what a
// caller has to clear. Only their hidden forms remain.
func lifeOfKeys(t *testing.T, h *hidden) {
	ring, now := keyring(t), time.Now
	account, vault := models.NewID(), models.NewID()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	hold := func(kind models.GrantKind) (*custody.Holder, string) {
		c := custody.Claims{Kind: kind, AccountID: account, GrantID: models.NewID(), IssuedAt: now()}
		text, keyID, err := ring.SealToken(rand.Reader, &c)
		must(err)
		public, wrapped, err := c.NewGrantKey(rand.Reader)
		must(err)
		g := &models.Grant{AccountID: account, ID: c.GrantID, Kind: kind, PublicKey: public, CreatedAt: now()}
		key := &models.GrantKey{AccountID: account, GrantID: g.ID, TokenKeyID: keyID, WrappedPrivateKey: wrapped, IssuedAt: now()}
		ring.SignGrant(g)
		ring.SignGrantKey(key)
		c.Secret.Clear()
		opened, err := ring.OpenToken(text)
		must(err)
		h, err := ring.Hold(opened, g, key, now)
		must(err)
		return h, text
	}
	session, text := hold(models.GrantSession)
	apiKey, _ := hold(models.GrantAPIKey)
	agent, agentText := hold(models.GrantAgentKey)

	token := &models.Token{AccountID: account, ID: models.NewID(), VaultID: vault, ServiceName: "github"}
	row := &models.Credential{AccountID: account, ID: token.ID, VaultID: vault, Generation: 1, Epoch: 1, Version: 1}
	d, err := custody.NewDEK(rand.Reader, vault, 1)
	must(err)
	c, err := d.CEK(token.ID, 1)
	must(err)
	must(c.Seal(rand.Reader, token, row, []byte(`{"accessToken":"x"}`)))
	var keys []interface{ Clear() }
	for range 3 {
		slot, err := session.KeepDEK(d)
		must(err)
		handOver, err := session.HandOver(rand.Reader, d)
		must(err)
		shared, err := session.ShareDEK(rand.Reader, d, apiKey.Grant())
		must(err)
		for key, h := range map[*models.VaultKey]*custody.Holder{&slot: session, &handOver: session, &shared: apiKey} {
			again, err := h.OpenVaultKey(key, session.Grant())
			must(err)
			keys = append(keys, again)
		}
		sharedCEK, err := session.ShareCEK(rand.Reader, c, agent.Grant())
		must(err)
		first, err := agent.OpenCredentialKey(&sharedCEK, session.Grant())
		must(err)
		slotCEK, err := agent.KeepCEK(first)
		must(err)
		later, err := agent.OpenCredentialKey(&slotCEK, nil)
		must(err)
		_, err = later.Open(token, row)
		must(err)
		rows, err := ring.RememberCredential(&slotCEK, token, row)
		must(err)
		recalled, _, err := agent.RecallCredential(&rows, nil, nil)
		must(err)
		keys = append(keys, recalled)
		successor, err := session.SealSuccessor(rand.Reader, 1, text)
		must(err)
		_, err = session.OpenSuccessor(&successor)
		must(err)
		keys = append(keys, first, later)
	}

	private, err := session.Private()
	must(err)
	agentPrivate, err := agent.Private()
	must(err)
	secret.Do(func() {
		h.hide("DEK", d.Bytes())
		h.hide("CEK", c.Bytes())
		h.hide("session's private key", private.Bytes())
		h.hide("agent's private key", agentPrivate.Bytes())
		for name, text := range map[string]string{"session": text, "agent": agentText} {
			claims, err := ring.OpenToken(text)
			must(err)
			x25519, dek, cek, err := claims.KEKs(vault, 1, token.ID, 1)
			must(err)
			h.hide(name+"'s secret", claims.Secret.Bytes())
			h.hide(name+"'s KEK of its private key", x25519)
			h.hide(name+"'s KEK of a DEK", dek)
			h.hide(name+"'s KEK of a CEK", cek)
			claims.Secret.Clear()
		}
	})
	for _, k := range append(keys, d, c, session, apiKey, agent) {
		k.Clear()
	}
}

// find looks for hidden keys in all memory that this process may write.
func (h *hidden) find(t *testing.T) map[string]int {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	memory, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = memory.Close() }()
	var maybe [1 << 16]bool
	for part := range h.parts {
		maybe[uint16(part)] = true
	}
	found, read := map[string]int{}, int64(0)
	buffer := make([]byte, 1<<20)
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var access string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &access); err != nil || !strings.HasPrefix(access, "rw") {
			continue
		}
		for at := from; at < to; at += int64(len(buffer) - 7) {
			n, err := memory.ReadAt(buffer[:min(int64(len(buffer)), to-at)], at)
			if err != nil {
				break // a mapping that went away meanwhile, or of a device
			}
			read += int64(n)
			for i := 0; i+8 <= n; i++ {
				if word := binary.LittleEndian.Uint64(buffer[i:]) ^ h.mask; maybe[uint16(word)] {
					if name, ok := h.parts[word]; ok {
						found[name]++
					}
				}
			}
		}
	}
	if read < 1<<20 {
		t.Fatalf("only %d bytes of memory were read", read)
	}
	return found
}

func TestMemoryHoldsNoKeyAfterWorkWithIt(t *testing.T) {
	h := newHidden()
	kept := make([]byte, 32)
	_, _ = rand.Read(kept)
	h.hide("kept", kept)
	t.Run("life of keys", func(t *testing.T) { lifeOfKeys(t, h) }) // on a stack of its own, which ends
	runtime.GC()
	runtime.GC()
	found := h.find(t)
	if found["kept"] == 0 {
		t.Error("a key that is in memory was not found: the search proves nothing")
	}
	delete(found, "kept")
	if len(found) > 0 {
		t.Errorf("memory holds parts of keys: %v", found)
	}
	runtime.KeepAlive(kept)
}
