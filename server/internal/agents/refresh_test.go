package agents_test

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/agents"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
	"github.com/tvzero/tokenvault/server/internal/vaults"
)

// refreshing is a platform that refreshes before every release.
type refreshing struct {
	*platform.Service
	during func(policy models.RefreshPolicy)
	answer json.RawMessage
}

func (r *refreshing) ReleaseTo(ctx context.Context, p grants.Principal, id uuid.UUID, policy models.RefreshPolicy, room []byte) (json.RawMessage, bool, error) {
	answer, _, err := r.Service.ReleaseTo(ctx, p, id, policy, room)
	r.during(policy)
	r.answer = answer
	return answer, true, err
}

// A release that waited for a refresh is decided again: what its owner did meanwhile,
// and was told that it holds, holds.
func TestAReleaseThatWaitedForARefreshIsDecidedAgain(t *testing.T) {
	t.Parallel()
	suspended := models.AgentSuspended
	for name, tt := range map[string]struct {
		do   func(w sealed, id uuid.UUID) error
		want fault.Code // empty: it is released
	}{
		"nothing": {func(sealed, uuid.UUID) error { return nil }, ""},
		"suspended": {func(w sealed, id uuid.UUID) error {
			_, err := w.Update(w.t.Context(), w.owner, client, id, agents.UpdateInput{Status: &suspended})
			return err
		}, fault.AgentInactive},
		"revoked": {func(w sealed, id uuid.UUID) error { return w.Revoke(w.t.Context(), w.owner, client, id, "github") }, fault.NoGrant},
		"deleted": {func(w sealed, id uuid.UUID) error {
			_, err := w.Delete(w.t.Context(), w.owner, client, id)
			return err
		}, fault.InvalidKey},
		"locked": {func(w sealed, _ uuid.UUID) error {
			w.vaults.set(func(v *vault) { v.custody = vaults.Custody{Mode: models.ModePlatform, Locked: true} })
			return nil
		}, fault.VaultLocked},
		"granted another": {func(w sealed, id uuid.UUID) error {
			w.check(w.platform.Delete(w.t.Context(), w.owner, client, platform.Ref{Service: "github"}))
			w.put("github")
			_, err := w.Grant(w.t.Context(), w.owner, client, id, agents.GrantInput{ServiceName: "github"})
			return err
		}, fault.Conflict},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Each(t, func(t *testing.T, s *store.Store) {
				w := newSealed(t, s)
				slow := &refreshing{Service: w.platform}
				w.deps.Platform = slow
				w.Service = agents.New(w.deps)
				w.put("github")
				id, key := w.agent("ci", "github")
				slow.during = func(models.RefreshPolicy) { w.check(tt.do(w, id)) }
				got, err := w.Release(t.Context(), key, client, "github", nil)
				if code := fault.CodeOf(err); code != tt.want || (got.Credential == nil) != (tt.want != "") {
					t.Errorf("got %s, %v, want %q", got.Credential, err, tt.want)
				}
				if kept := bytes.Trim(slow.answer, "\x00"); len(slow.answer) == 0 || (len(kept) == 0) != (tt.want != "") {
					t.Errorf("the credential that was opened is %q in memory", kept)
				}
				if last := w.last(); tt.want != "" && tt.want != fault.InvalidKey && !strings.HasPrefix(last, "refusal "+string(tt.want)) {
					t.Errorf("the last record is %q, want the refusal", last)
				}
			})
		})
	}
}

func TestTheRefreshPolicyOfItsGrantGoesWithARelease(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newSealed(t, s)
		slow := &refreshing{Service: w.platform}
		w.deps.Platform = slow
		w.Service = agents.New(w.deps)
		w.put("github")
		id, key := w.agent("ci")
		for _, want := range []models.RefreshPolicy{models.RefreshNever, models.RefreshAuto} {
			_, err := w.Grant(t.Context(), w.owner, client, id, agents.GrantInput{ServiceName: "github", RefreshPolicy: want})
			w.check(err)
			var got models.RefreshPolicy
			slow.during = func(policy models.RefreshPolicy) { got = policy }
			w.releases(key, "github")
			if got != want {
				t.Errorf("released under the policy %q, want %q", got, want)
			}
		}
	})
}
