package app

import (
	"net/http"

	"github.com/tvzero/tokenvault/server/internal/api"
	"github.com/tvzero/tokenvault/server/internal/dashboard"
	"github.com/tvzero/tokenvault/server/internal/mcpserver"
	"github.com/tvzero/tokenvault/server/internal/web"
)

// doors makes the handler of everything that the server answers.
func (a *App) doors() (http.Handler, error) {
	cookies := web.NewCookies(a.config.PublicURL)
	pages, err := dashboard.New(dashboard.Deps{
		Auth: a.grants, Accounts: a.accounts, Profiles: a.accounts, Guards: a.accounts, Factors: a.accounts, Passkeys: a.accounts, Deletion: a.accounts, Together: a.grants,
		Tokens: a.vaults, Vault: a.vaults, Webhook: a.vaults,
		Agents: a.agents, Grants: a.agents, Platform: a.platform, Keys: a.grants, Sessions: a.grants, Linking: a.platform,
		Moves: a.vaults, DueKeys: a.platform, Refresh: a.renew, Connect: a.connect, Known: a.providers, Audit: a.audit, Chain: a.verifier, Health: a.health, Cookies: cookies, PublicURL: a.config.PublicURL,
	})
	if err != nil {
		return nil, err
	}
	engine := web.NewEngine(web.Options{
		Logger: a.logger, PublicURL: a.config.PublicURL, Quiet: api.Quiet(), ErrorPage: pages.ErrorPage,
	})
	api.New(api.Deps{
		Auth: a.grants, Accounts: a.accounts, Tokens: a.vaults, Vault: a.vaults, Webhook: a.vaults,
		Agents: a.agents, Grants: a.agents, Releases: a.agents, Platform: a.platform, Keys: a.grants, Sessions: a.grants,
		Linking: a.platform, Moves: a.vaults, Refresh: a.renew, Connect: a.connect, Known: a.providers,
		Audit: a.audit, Cookies: cookies, PublicURL: a.config.PublicURL, Ready: a.store.Ready,
	}).Routes(engine)
	mcpserver.New(mcpserver.Deps{Releases: a.agents, Logger: a.logger}).Routes(engine)
	pages.Routes(engine)
	return engine, nil
}
