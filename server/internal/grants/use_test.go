package grants_test

import (
	"testing"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

func TestUsingAnAgentKeyIsNotedOnItsAgent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stop := w.running()
	agent := uuid.New()
	key := w.issue(grants.IssueInput{Kind: models.GrantAgentKey, AgentID: &agent})
	w.good(key.Token.Reveal(), models.GrantAgentKey)
	w.good(w.session().Token.Reveal(), models.GrantSession)
	stop()
	if got := w.shelf.agents; len(got) != 1 || got[0].AgentID != agent || got[0].AccountID != key.Grant.AccountID || !got[0].At.Equal(models.Stamp(w.now)) {
		t.Errorf("noted %+v, want one use of agent %s", got, agent)
	}
}
