package api

import (
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/web"
)

type apiKeyJSON struct {
	ID         uuid.UUID  `json:"id"`
	Name       string     `json:"name"`
	Scopes     []string   `json:"scopes"`
	VaultID    *uuid.UUID `json:"vaultId"` // null: it opens no platform vault
	CreatedAt  time.Time  `json:"createdAt"`
	ExpiresAt  *time.Time `json:"expiresAt"`  // null: until revoked
	LastUsedAt *time.Time `json:"lastUsedAt"` // coarse; null: never
}

// apiKeyOnceJSON is an API key in the one answer that shows it.
type apiKeyOnceJSON struct {
	apiKeyJSON
	Key string `json:"key"`
}

func showAPIKey(v grants.View) apiKeyJSON {
	return apiKeyJSON{
		ID: v.ID, Name: v.Label, Scopes: append([]string{}, v.Scopes...), VaultID: idOrNull(v.VaultID),
		CreatedAt: v.CreatedAt.UTC(), ExpiresAt: utc(v.ExpiresAt), LastUsedAt: utc(v.LastUsedAt),
	}
}

func idOrNull(id uuid.UUID) *uuid.UUID {
	if id == uuid.Nil {
		return nil
	}
	return &id
}

// showOnce is an API key with its token: the last time that anybody sees it.
func showOnce(made grants.Issued) apiKeyOnceJSON {
	g := made.Grant
	return apiKeyOnceJSON{Key: made.Token.Reveal(), apiKeyJSON: apiKeyJSON{
		ID: g.ID, Name: g.Label, Scopes: append([]string{}, g.Scopes...), VaultID: g.VaultID,
		CreatedAt: g.CreatedAt.UTC(), ExpiresAt: utc(g.ExpiresAt), LastUsedAt: utc(g.LastUsedAt),
	}}
}

func (a *API) listKeys(c *gin.Context, p grants.Principal) error {
	list, err := a.deps.Keys.APIKeys(c.Request.Context(), p)
	if err != nil {
		return err
	}
	out := make([]apiKeyJSON, len(list))
	for i, v := range list {
		out[i] = showAPIKey(v)
	}
	return ok(c, struct {
		Keys []apiKeyJSON `json:"keys"`
	}{out})
}

type createKeyBody struct {
	Name      string   `json:"name"`
	Scopes    []string `json:"scopes"`
	ExpiresAt *string  `json:"expiresAt"`
}

func (b createKeyBody) input() (grants.CreateKeyInput, error) {
	in := grants.CreateKeyInput{Name: b.Name, Scopes: b.Scopes}
	if err := web.CheckText("name", b.Name, maxName); err != nil {
		return in, err
	}
	if len(b.Scopes) > maxScopes {
		return in, fault.Field("scopes", "There are more than %d scopes.", maxScopes)
	}
	for _, s := range b.Scopes {
		if err := web.CheckText("scopes", s, maxService); err != nil {
			return in, err
		}
	}
	if b.ExpiresAt == nil || *b.ExpiresAt == "" {
		return in, nil
	}
	expires, err := time.Parse(time.RFC3339, *b.ExpiresAt)
	if err != nil {
		return in, fault.Field("expiresAt", "The time in expiresAt is not one of RFC 3339, like 2027-01-31T12:00:00Z. Leave it out for a key until revoked.")
	}
	in.ExpiresAt = &expires
	return in, nil
}

func (a *API) createKey(c *gin.Context, p grants.Principal) error {
	var body createKeyBody
	if err := web.ReadJSON(c, &body, web.IgnoreUnknown); err != nil {
		return err
	}
	in, err := body.input()
	if err != nil {
		return err
	}
	made, err := a.deps.Keys.CreateKey(c.Request.Context(), p, client(c), in)
	if err != nil {
		return err
	}
	return created(c, showOnce(made))
}

func (a *API) rotateAPIKey(c *gin.Context, p grants.Principal) error {
	id, err := pathID(c, "API key")
	if err != nil {
		return err
	}
	made, err := a.deps.Keys.RotateKey(c.Request.Context(), p, client(c), id)
	if err != nil {
		return err
	}
	return ok(c, showOnce(made))
}
