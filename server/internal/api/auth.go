package api

import (
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/accounts"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/web"
)

type userHandler func(c *gin.Context, p grants.Principal) error

// user is the adapter of what only a person may do.
func (a *API) user(h userHandler) gin.HandlerFunc {
	return web.JSON(func(c *gin.Context) error {
		p, err := a.principal(c)
		if err != nil {
			return err
		}
		return h(c, p)
	})
}

// principal authenticates a person: an Authorization header counts before the
// cookie, because it was sent on purpose. A request that bears nothing but an
// agent's key is judged by it, and so refused as every bad token is.
func (a *API) principal(c *gin.Context) (grants.Principal, error) {
	token, given := web.Bearer(c.Request)
	if !given {
		token = a.deps.Cookies.Session(c.Request)
	}
	if token == "" && !given {
		if c.Request.Header[web.HeaderAgentKey] == nil {
			return grants.Principal{}, fault.New(fault.SignInRequired, "Sign in first: send the session cookie, or an Authorization: Bearer header.")
		}
		token = web.AgentKey(c.Request)
	}
	return a.deps.Auth.Authenticate(c.Request.Context(), token, models.GrantSession)
}

type registerBody struct {
	Email       string `json:"email"`
	Password    string `json:"password"`
	DisplayName string `json:"displayName"`
}

type loginBody struct {
	Email    string `json:"email"`
	Password string `json:"password"`
	Code     string `json:"code"`
}

type signInJSON struct {
	AccountID uuid.UUID `json:"accountId"`
	GrantID   uuid.UUID `json:"grantId"`
	ExpiresAt time.Time `json:"expiresAt"`
}

func (a *API) register(c *gin.Context) error {
	var in registerBody
	if err := web.ReadJSON(c, &in, web.RefuseUnknown); err != nil {
		return err
	}
	if err := first(
		web.CheckText("email", in.Email, maxName), web.CheckText("displayName", in.DisplayName, maxName), checkPassword(in.Password),
	); err != nil {
		return err
	}
	signIn, err := a.deps.Accounts.Register(c.Request.Context(), accounts.RegisterInput(in), client(c))
	if err != nil {
		return err
	}
	return a.signedIn(c, http.StatusCreated, signIn)
}

func (a *API) login(c *gin.Context) error {
	var in loginBody
	if err := web.ReadJSON(c, &in, web.RefuseUnknown); err != nil {
		return err
	}
	if err := first(web.CheckText("email", in.Email, maxName), checkPassword(in.Password)); err != nil {
		return err
	}
	if in.Code != "" {
		return fault.Field("code", "This version has no second factor: leave the code out.")
	}
	signIn, err := a.deps.Accounts.Login(c.Request.Context(), accounts.LoginInput{Email: in.Email, Password: in.Password}, client(c))
	if err != nil {
		return err
	}
	return a.signedIn(c, http.StatusOK, signIn)
}

// signedIn hands the session over in the cookie alone: the body is for scripts
// of a page, which must not see it.
func (a *API) signedIn(c *gin.Context, status int, s accounts.SignIn) error {
	a.deps.Cookies.SetSession(c.Writer, s.Token.Reveal(), s.ExpiresAt)
	return web.WriteJSON(c, status, signInJSON{AccountID: s.AccountID, GrantID: s.GrantID, ExpiresAt: s.ExpiresAt.UTC()})
}

func (a *API) logout(c *gin.Context) error {
	p, err := a.principal(c)
	if err != nil {
		if fault.CodeOf(err) == fault.InvalidKey {
			a.deps.Cookies.EndSession(c.Writer) // it is good for nothing
		}
		return err
	}
	if err := a.deps.Accounts.Logout(c.Request.Context(), p, client(c)); err != nil {
		return err
	}
	a.deps.Cookies.EndSession(c.Writer)
	return web.NoContent(c)
}
