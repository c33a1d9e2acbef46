package api

import (
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/server/internal/web"
)

// roomForCredential is how long a released credential may be without an allocation, and, at
// a sixth of it, without a look at how much it grows in JSON: in bytes.
const roomForCredential = 8 << 10

// release sends an agent to its credential or, in platform mode, answers with
// it; without a service it lists what was granted. In webhook mode the answer is an
// address with a single-use ticket. The engine has set Cache-Control and
// Referrer-Policy, so that nothing on the way keeps either or passes it on.
func (a *API) release(c *gin.Context) error {
	service, given, err := web.QueryValue(c.Request.URL.RawQuery, "service")
	if err != nil {
		return err
	}
	key := web.AgentKey(c.Request)
	if !given {
		return a.granted(c, key)
	}
	if service == "" {
		return fault.Field("service", "Name the token in service, or leave the parameter out to list what was granted.")
	}
	if err := web.CheckText("service", service, maxService); err != nil {
		return err
	}
	room := a.rooms.Get().(*[]byte) //nolint:errcheck // nothing else is put there
	defer a.rooms.Put(room)
	defer clear((*room)[:cap(*room)])
	released, err := a.deps.Releases.Release(c.Request.Context(), key, client(c), service, *room)
	if err != nil {
		return err
	}
	if released.Credential != nil {
		web.WriteBody(c, http.StatusOK, released.Credential)
		clear(released.Credential) // it may have outgrown the room; what was written is net/http's now
		return nil
	}
	c.Writer.Header()["Location"] = []string{released.Location}
	c.Status(http.StatusTemporaryRedirect)
	return nil
}

// releaseHead refuses: a release must be a GET, for HEAD would spend a ticket
// that nobody gets.
func (a *API) releaseHead(c *gin.Context) error {
	c.Header("Allow", http.MethodGet)
	return fault.New(fault.MethodNotAllowed, "A credential is released to a GET alone.")
}

type grantedJSON struct {
	ServiceName    string               `json:"serviceName"`
	TokenType      string               `json:"tokenType"` // empty: the token is gone
	GrantExpiresAt *time.Time           `json:"grantExpiresAt,omitempty"`
	RefreshPolicy  models.RefreshPolicy `json:"refreshPolicy"`
	Trust          vaults.Trust         `json:"trust"` // empty: the token is gone
}

func (a *API) granted(c *gin.Context, key string) error {
	list, err := a.deps.Releases.Granted(c.Request.Context(), key)
	if err != nil {
		return err
	}
	out := make([]grantedJSON, len(list))
	for i, v := range list {
		out[i] = grantedJSON{
			ServiceName: v.Grant.ServiceName, TokenType: v.Token.Token.TokenType, GrantExpiresAt: utc(v.Grant.ExpiresAt),
			RefreshPolicy: v.Grant.RefreshPolicy, Trust: v.Token.Trust,
		}
	}
	return ok(c, struct {
		Grants []grantedJSON `json:"grants"`
	}{out})
}

type principalJSON struct {
	Type string    `json:"type"`
	ID   uuid.UUID `json:"id"`
	Name string    `json:"name"`
}

type whoamiJSON struct {
	Principal principalJSON    `json:"principal"`
	UserID    uuid.UUID        `json:"userId"`
	Kind      models.GrantKind `json:"kind"`
	Scopes    []string         `json:"scopes"`
	ExpiresAt *time.Time       `json:"expiresAt"` // null: until revoked
}

func (a *API) whoami(c *gin.Context) error {
	id, err := a.deps.Releases.Whoami(c.Request.Context(), web.AgentKey(c.Request))
	if err != nil {
		return err
	}
	out := whoamiJSON{
		Principal: principalJSON{Type: "agent", ID: id.Agent.ID, Name: id.Agent.Name},
		UserID:    id.AccountID, Kind: models.GrantAgentKey, Scopes: []string{},
	}
	if !id.ExpiresAt.IsZero() {
		out.ExpiresAt = utc(&id.ExpiresAt)
	}
	return ok(c, out)
}
