// Package refresh keeps OAuth access tokens fresh: when a refresh is due, that it
// happens once whatever the number of callers and processes, and what a provider's
// answer means.
//
// A Client speaks to an authorization server (RFC 6749): it refreshes, exchanges
// codes (with PKCE, RFC 7636), revokes (RFC 7009) and discovers (OpenID Connect
// Discovery, RFC 8414). An Engine refreshes one credential at a time through a
// Place, which is where the credential is kept: it takes a lease there, reads again
// under it, calls the provider and commits. Every attempt ends in one of four
// outcomes: rotated, still valid, retry at, needs reauthorization.
//
// The package knows nothing of databases, vaults, webhooks, accounts or users, and
// keeps no token longer than it takes to commit it. Whom a Client may call is the
// business of the http.Client that it is given. Everything in it may be used
// concurrently.
package refresh
