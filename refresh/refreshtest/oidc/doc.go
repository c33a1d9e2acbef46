// Package oidc starts a real OAuth 2.0 and OpenID Connect provider for tests: the npm package oidc-provider, on Node.js
// from npm, as a process on loopback. It is as strict as providers come: every refresh rotates, a refresh token works
// once, and its reuse revokes the whole family; PKCE is required; authorization answers carry iss (RFC 9207). What real
// providers do wrong is not to be had here but in the fakes of package refreshtest.
//
//	provider := oidc.Start(t, oidc.Options{})
//	tokens := provider.Connect(t.Context(), oidc.Connection{})
//
// The provider is a process of its own, which lives until its test ends or Stop is called: servers under test can be
// killed and started beside it as often as a test likes. It keeps a record of the calls of its token endpoint, and its answers
// can be held, delayed and cut off after it has rotated, which is when a crash costs most.
//
// scripts/install-test-deps installs it once (see Folder); a test that does not find it fails and says so. The package knows
// nothing of ours, and keeps no secret: what it hands out is worthless outside its process.
package oidc
