package dashboard

import (
	"context"
	"encoding/json"
	"net/url"
	"strings"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
)

// Platform keeps the credentials of platform vaults.
type Platform interface {
	Store(ctx context.Context, p grants.Principal, client audit.Client, ref platform.Ref, fields map[string]json.RawMessage) (models.Token, error)
	Reveal(ctx context.Context, p grants.Principal, client audit.Client, ref platform.Ref) (map[string]any, error)
	Superseded(ctx context.Context, p grants.Principal) ([]models.Token, error)
	Restore(ctx context.Context, p grants.Principal, client audit.Client, tokenID uuid.UUID, newName string) (models.Token, error)
	Discard(ctx context.Context, p grants.Principal, client audit.Client, tokenID uuid.UUID) error
}

// storeToken seals what the form holds into the session's vault.
func (d *Dashboard) storeToken(c *gin.Context, v visitor) error {
	if bound(v) {
		return fault.New(fault.WrongVaultMode, "Your webhook has custody: this server takes no credentials. Add the token on the page for new tokens, which sends it to your webhook.")
	}
	form, err := readForm(c)
	if err != nil {
		return err
	}
	ctx, service := c.Request.Context(), form.Get("serviceName")
	fields, err := sealedData(form)
	if err == nil && form.Get("replace") == "" {
		err = d.absent(c, v, service)
	}
	if err == nil {
		_, err = d.deps.Platform.Store(ctx, v.principal, client(c), platform.Ref{Service: service}, fields)
	}
	if err == nil {
		return d.done(c, tokenPath(service), flashStored)
	}
	failure, ok := mendable(err)
	if !ok {
		return err
	}
	return d.showAdd(c, v, form, "", beside(failure, form))
}

// beside names the field of the form that a failure is about, and in its message
// calls it as the form does.
func beside(failure *fault.Error, form url.Values) *fault.Error {
	name, found := strings.CutPrefix(failure.Field, "tokenData.")
	if !found {
		return failure
	}
	message := failure.Message
	for _, f := range fieldsOf(sealedType(form).Value, form) {
		if f.Name == name {
			message = strings.ReplaceAll(message, failure.Field, "“"+f.Label+"”")
		}
	}
	return &fault.Error{Code: failure.Code, Field: name, Message: message}
}

// absent keeps who forgot that there is a token of a name from replacing it.
func (d *Dashboard) absent(c *gin.Context, v visitor, service string) error {
	_, err := d.deps.Tokens.Token(c.Request.Context(), v.principal, service)
	switch {
	case err == nil:
		return &fault.Error{Code: fault.Conflict, Field: "serviceName", Message: "There is a token of this name already. Tick the box to replace it, or choose another name."}
	case fault.CodeOf(err) == fault.TokenNotFound, fault.CodeOf(err) == fault.InvalidRequest: // storing says what is wrong with a name
		return nil
	}
	return err
}
