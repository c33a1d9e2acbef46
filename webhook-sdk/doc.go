// Package webhook is the customer's side of Token Vault in webhook mode: an
// http.Handler that keeps credentials, and gives them out for tickets that the Token
// Vault server (TV) signs. TV's own process never holds a credential.
//
// # Mounting it
//
// The command tv-webhook serves it by itself. To have it in a server of your own,
// open the keys and a storage, make a Webhook and mount it under any path:
//
//	keys, err := custody.LoadOrCreate("/var/lib/webhook/keys.json", rand.Reader)
//	files, err := storage.OpenFile("/var/lib/webhook", storage.FileOptions{})
//	wh, err := webhook.New(webhook.Config{
//		Keys:          keys,
//		Storage:       files,
//		ExternalURL:   "https://example.com/vault",
//		TokenVaultURL: "https://tokenvault.example.com",
//		AdminSecret:   webhook.AdminSecret(os.Getenv("TV_WEBHOOK_ADMIN_SECRET")),
//	})
//	mux.Handle("/vault/", http.StripPrefix("/vault", wh))
//
// The server around it needs TLS, and time limits such as Server has: a webhook
// limits the size of what it reads and how long a body may take, not how long a
// client may dawdle over headers. Handlers around it must not log queries or
// headers: tickets are in them.
//
// # Binding
//
// Open ExternalURL + "/bind" in a browser. The page leads to TV, whose consent
// page must show the same fingerprint. Before the first binding this takes the admin
// secret or a set-up link (SetupLink), unless everything is on loopback; after it,
// the admin secret.
//
// # What it gives out, and on what terms
//
// A ticket is good for one call, for one service and purpose, and for under a
// minute. /v1/credential gives the stored fields; of a TOTP secret only a code, of
// a raw credential only what a Minter makes of it. /v1/proxy puts the credential
// into a request to one of the token's allowedHosts, and to no other. What TV itself
// reads and writes (/v1/storage) is metadata. Each release is first written to the
// webhook's own log: no record, no release.
//
// Who has the binding secret can sign tickets. Config.Deny keeps the addresses of
// TV away from credentials, and Config.Purposes restricts what is served: both are
// tripwires, and the log shows what they miss.
//
// Request ids, signatures and nonces that were used are remembered in memory, so
// that one process serves one binding. What is dated before the start of a process
// is refused.
//
// # Keeping tokens fresh
//
// With Config.Providers the webhook is an OAuth client itself: it connects accounts
// (GET /connect/<ID>), refreshes their tokens when TV says that they expire
// (/v1/refresh-notify), and revokes what is deleted. Client secrets, refresh tokens and
// the calls stay on this side. Leases, and connections under way, live in memory: one
// process serves one storage. A refresh outlives the request that caused it: call Close
// before the storage is closed.
//
// With Config.TVRefresh, TV refreshes tokens of providers whose client secret it holds
// (/v1/refresh): it sees them in transit, which is why it is off by default.
//
// The package knows the protocol and nothing of TV's accounts, agents or policies;
// keys and documents are package custody's, files package storage's.
package webhook
