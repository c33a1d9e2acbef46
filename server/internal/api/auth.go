package api

import (
	"context"
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

// user is the adapter of what a person may do, and an API key that has the scope.
func (a *API) user(scope string, h userHandler) gin.HandlerFunc {
	return web.JSON(func(c *gin.Context) error {
		p, cookie, err := a.principal(c, models.GrantSession, models.GrantAPIKey)
		if err != nil {
			return err
		}
		if err := grants.Require(p, scope); err != nil {
			return err
		}
		if cookie && p.RotateDue {
			web.FollowSession(c, a.deps.Cookies, a.follow(p))
		}
		return h(c, p)
	})
}

// principal authenticates a person or an API key, if it is of one of the kinds: an
// Authorization header counts before the cookie, because it was sent on purpose. A
// cookie bears nothing but a session. A request that bears nothing but an agent's
// key is judged by it, and so refused as every bad token is.
func (a *API) principal(c *gin.Context, kinds ...models.GrantKind) (p grants.Principal, cookie bool, err error) {
	token, given := web.Bearer(c.Request)
	if !given {
		if token = a.deps.Cookies.Session(c.Request); token != "" {
			cookie, kinds = true, []models.GrantKind{models.GrantSession}
		}
	}
	if token == "" && !given {
		if c.Request.Header[web.HeaderAgentKey] == nil {
			return p, false, fault.New(fault.SignInRequired, "Sign in first: send the session cookie, or an Authorization: Bearer header.")
		}
		token = web.AgentKey(c.Request)
	}
	p, err = a.deps.Auth.Authenticate(c.Request.Context(), token, kinds...)
	return p, cookie, err
}

// follow makes the token that follows a session's, for its cookie.
func (a *API) follow(p grants.Principal) web.NextSession {
	return func(ctx context.Context) (string, time.Time, error) {
		next, expires, err := a.deps.Sessions.Rotate(ctx, p)
		return next.Reveal(), expires, err
	}
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
		web.CheckText("email", in.Email, maxName), web.CheckText("displayName", in.DisplayName, maxName), checkPassword("password", in.Password),
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
	if err := first(
		web.CheckText("email", in.Email, maxName), checkPassword("password", in.Password), web.CheckText("code", in.Code, maxName),
	); err != nil {
		return err
	}
	signIn, err := a.deps.Accounts.Login(c.Request.Context(), accounts.LoginInput(in), client(c))
	if err != nil {
		return err
	}
	if signIn.Challenge != "" { // pages go on with it; here the code comes along
		needed := fault.New(fault.LoginFailed, "This account has a second factor. Send its current code, or a recovery code, as well.")
		needed.Field = "code"
		return needed
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
	p, _, err := a.principal(c, models.GrantSession)
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
