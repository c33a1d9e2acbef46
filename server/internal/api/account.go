package api

import (
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/accounts"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/web"
)

// owner is the adapter of what a person alone may do, and no key.
func (a *API) owner(h userHandler) gin.HandlerFunc {
	return web.JSON(func(c *gin.Context) error {
		p, cookie, err := a.principal(c, models.GrantSession)
		if err != nil {
			return err
		}
		if cookie && p.RotateDue {
			web.FollowSession(c, a.deps.Cookies, a.follow(p))
		}
		return h(c, p)
	})
}

type profileBody struct {
	DisplayName     *string `json:"displayName"`
	Email           *string `json:"email"`
	CurrentPassword string  `json:"currentPassword"`
}

type accountJSON struct {
	ID          uuid.UUID `json:"accountId"`
	Email       string    `json:"email"`
	DisplayName string    `json:"displayName"`
	CreatedAt   time.Time `json:"createdAt"`
}

func (a *API) updateProfile(c *gin.Context, p grants.Principal) error {
	var in profileBody
	if err := web.ReadJSON(c, &in, web.RefuseUnknown); err != nil {
		return err
	}
	for name, text := range map[string]*string{"displayName": in.DisplayName, "email": in.Email} {
		if text != nil {
			if err := web.CheckText(name, *text, maxName); err != nil {
				return err
			}
		}
	}
	if err := checkPassword("currentPassword", in.CurrentPassword); err != nil {
		return err
	}
	account, err := a.deps.Accounts.UpdateProfile(c.Request.Context(), p, client(c), accounts.ProfileInput(in))
	if err != nil {
		return err
	}
	return ok(c, accountJSON{ID: account.ID, Email: account.Email, DisplayName: account.DisplayName, CreatedAt: account.CreatedAt.UTC()})
}

type passwordBody struct {
	CurrentPassword string `json:"currentPassword"`
	NewPassword     string `json:"newPassword"`
}

func (a *API) changePassword(c *gin.Context, p grants.Principal) error {
	var in passwordBody
	if err := web.ReadJSON(c, &in, web.RefuseUnknown); err != nil {
		return err
	}
	if err := first(checkPassword("currentPassword", in.CurrentPassword), checkPassword("newPassword", in.NewPassword)); err != nil {
		return err
	}
	if err := a.deps.Accounts.ChangePassword(c.Request.Context(), p, client(c), accounts.PasswordInput(in)); err != nil {
		return err
	}
	return web.NoContent(c)
}
