package dashboard

import (
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/agents"
	"github.com/tvzero/tokenvault/server/internal/fault"
)

func (d *Dashboard) updateAgent(c *gin.Context, v visitor) error {
	id, err := pathID(c, "agent")
	if err != nil {
		return err
	}
	form, err := readForm(c)
	if err != nil {
		return err
	}
	name, description := form.Get("name"), unixLines(form.Get("description"))
	_, err = d.deps.Agents.Update(c.Request.Context(), v.principal, client(c), id, agents.UpdateInput{Name: &name, Description: &description})
	if err == nil {
		return d.done(c, agentPath(id), flashAgentSaved)
	}
	failure, ok := mendable(err)
	if !ok {
		return err
	}
	detail, err := d.deps.Agents.Get(c.Request.Context(), v.principal, id)
	if err != nil {
		return err
	}
	detail.Agent.Name, detail.Agent.Description = name, description
	return d.showAgentPage(c, v, detail, newGrant(), failure)
}

func (d *Dashboard) setAgentStatus(c *gin.Context, v visitor) error {
	id, err := pathID(c, "agent")
	if err != nil {
		return err
	}
	form, err := readForm(c)
	if err != nil {
		return err
	}
	status, word := models.AgentActive, flashAgentResumed
	switch form.Get("status") {
	case string(models.AgentActive):
	case string(models.AgentSuspended):
		status, word = models.AgentSuspended, flashAgentSuspended
	default:
		return fault.Field("status", "An agent is %q or %q.", models.AgentActive, models.AgentSuspended)
	}
	if _, err := d.deps.Agents.Update(c.Request.Context(), v.principal, client(c), id, agents.UpdateInput{Status: &status}); err != nil {
		return err
	}
	return d.done(c, agentPath(id), word)
}

func (d *Dashboard) rotateKeyPage(c *gin.Context, v visitor) error {
	detail, err := d.detail(c, v)
	if err != nil {
		return err
	}
	path := agentPath(detail.Agent.ID)
	return d.confirm(c, v, "agents", confirmation{
		Question: "Replace the key of " + detail.Agent.Name + "?",
		Lost: append([]string{
			"There is no overlap: the key that the agent uses now is refused at once, here and within a second at every other replica. The agent has none until you give it the new one, which is shown once.",
			"What it fetched before stays valid at its provider.",
		}, keptByNewKey(v)...),
		Do: "Replace the key", Action: path + "/rotate-key", Back: path,
	})
}

// keptByNewKey says what an agent has of its grants under another key. A webhook does
// not know agents' keys; what platform vaults still hold is sealed to them.
func keptByNewKey(v visitor) []string {
	if bound(v) {
		return []string{
			"What it was granted stays. Only of what this server still keeps sealed, it loses what this session does not open; and if nobody else can open that, it is deleted.",
		}
	}
	return []string{
		"What it was granted stays, as far as this session opens it.",
		"A credential in a vault that this session does not open stays behind: the agent loses it, and if nobody else can open it, it is deleted.",
	}
}

func (d *Dashboard) rotateKey(c *gin.Context, v visitor) error {
	id, err := pathID(c, "agent")
	if err != nil {
		return err
	}
	made, err := d.deps.Agents.RotateKey(c.Request.Context(), v.principal, client(c), id)
	if err != nil {
		return err
	}
	return d.showKey(c, v, http.StatusOK, made, true)
}

func (d *Dashboard) detail(c *gin.Context, v visitor) (agents.Detail, error) {
	id, err := pathID(c, "agent")
	if err != nil {
		return agents.Detail{}, err
	}
	return d.deps.Agents.Get(c.Request.Context(), v.principal, id)
}

func (d *Dashboard) deleteAgentPage(c *gin.Context, v visitor) error {
	detail, err := d.detail(c, v)
	if err != nil {
		return err
	}
	path := agentPath(detail.Agent.ID)
	return d.confirm(c, v, "agents", confirmation{
		Question: "Delete the agent " + detail.Agent.Name + "?",
		Lost: []string{
			"Its key is refused from now on, and cannot be had back.",
			"Its credential grants (" + strconv.Itoa(len(detail.Grants)) + ") end. The tokens themselves stay in the vaults that somebody opens.",
			"A credential that nobody but this agent can open is deleted.",
			"What the record says about it stays.",
		},
		Do: "Delete the agent", Action: path + "/delete", Back: path,
	})
}

func (d *Dashboard) deleteAgent(c *gin.Context, v visitor) error {
	id, err := pathID(c, "agent")
	if err != nil {
		return err
	}
	if _, err := d.deps.Agents.Delete(c.Request.Context(), v.principal, client(c), id); err != nil {
		return err
	}
	return d.done(c, "/agents", flashAgentDeleted)
}
