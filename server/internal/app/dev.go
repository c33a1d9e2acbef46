package app

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	webhook "github.com/tvzero/tokenvault/webhook-sdk"
	"github.com/tvzero/tokenvault/webhook-sdk/agent"
	webhookcustody "github.com/tvzero/tokenvault/webhook-sdk/custody"
	"github.com/tvzero/tokenvault/webhook-sdk/mint"
	"github.com/tvzero/tokenvault/webhook-sdk/netguard"
	"github.com/tvzero/tokenvault/webhook-sdk/storage"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"

	"github.com/tvzero/tokenvault/server/internal/config"
)

// devCommand shows the whole product on one machine: everything goes over the
// real protocol and nothing is kept. What it starts ends with it.
type devCommand struct {
	Listen        string `default:"127.0.0.1:8000" placeholder:"HOST:PORT" help:"Address of the server."`
	WebhookListen string `default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Address of the bundled webhook."`
	Verbose       bool   `help:"Show the logs of server and webhook."`
}

// Run starts a server, a webhook and a token endpoint, plays an owner and an
// agent, prints what the agent got, and stays up until it is told to stop.
func (c *devCommand) Run(in *invocation) (err error) {
	if err := harden(); err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "tokenvault-dev-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	level := slog.LevelError
	if c.Verbose {
		level = slog.LevelDebug
	}
	d := &devStage{folder: folder, out: in.stdout, logger: newLogger(in.stderr, level)}
	ctx, cancel := context.WithCancel(in.ctx)
	ended := d.start(ctx, c)
	err = d.failure
	if err == nil {
		err = d.show(ctx)
	}
	if err == nil {
		select {
		case <-ctx.Done():
		case err = <-ended:
		}
	}
	cancel()
	return errors.Join(err, d.stop())
}

// A devStage is what runs in development mode.
type devStage struct {
	folder  string
	out     io.Writer
	logger  *slog.Logger
	server  *App
	webhook *http.Server
	handler *webhook.Webhook
	google  *devTokenEndpoint
	sample  *devProvider    // of accounts
	account *rsa.PrivateKey // of the sample service account
	files   *storage.File
	failure error // of start

	webhookURL string
	served     chan error
}

// start brings everything up; the channel gets the error of what ended first.
func (d *devStage) start(ctx context.Context, c *devCommand) <-chan error {
	ended := make(chan error, 4)
	fail := func(err error) <-chan error {
		d.failure = err
		return ended
	}
	var err error
	if d.sample, err = startProvider(ctx); err != nil {
		return fail(err)
	}
	go func() { ended <- d.sample.serve() }()
	providers, err := d.sample.config()
	if err != nil {
		return fail(err)
	}
	checked, err := config.Flags{
		Listen: c.Listen, PublicURL: "http://" + c.Listen, DatabaseURL: "sqlite:" + filepath.Join(d.folder, "tokenvault.db"),
		AllowPrivateNetworks: true, Registration: "closed", Providers: providers,
	}.Check(makeKeys)
	if err != nil {
		return fail(err)
	}
	if d.server, err = New(ctx, checked, d.logger); err != nil {
		return fail(fmt.Errorf("%w\nAnother address: tokenvault dev --listen 127.0.0.1:9000", err))
	}
	d.served = make(chan error, 1)
	go func() {
		err := d.server.Run(ctx)
		d.served <- err
		ended <- err
	}()
	if d.account, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		return fail(err)
	}
	if d.google, err = startTokenEndpoint(ctx, &d.account.PublicKey); err != nil {
		return fail(err)
	}
	go func() { ended <- d.google.serve() }()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.WebhookListen)
	if err != nil {
		return fail(fmt.Errorf("the webhook: %w\nAnother address: tokenvault dev --webhook-listen 127.0.0.1:9080", err))
	}
	d.webhookURL = "http://" + listener.Addr().String()
	if d.handler, err = d.newWebhook(); err != nil {
		_ = listener.Close()
		return fail(err)
	}
	d.webhook = webhook.Server("", d.handler)
	go func() {
		if err := d.webhook.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			ended <- err
		}
	}()
	return ended
}

// newWebhook makes the bundled webhook as a customer would mount it.
func (d *devStage) newWebhook() (*webhook.Webhook, error) {
	keys, err := webhookcustody.LoadOrCreate(filepath.Join(d.folder, "webhook-keys.json"), rand.Reader)
	if err != nil {
		return nil, err
	}
	if d.files, err = storage.OpenFile(filepath.Join(d.folder, "webhook"), storage.FileOptions{}); err != nil {
		return nil, err
	}
	return webhook.New(webhook.Config{
		Keys: keys, Storage: d.files, ExternalURL: d.webhookURL, TokenVaultURL: d.server.URL(), LoopbackListener: true,
		Minters:  mint.Set{mint.GCP{AllowedTokenHosts: []string{d.google.host()}}},
		Outbound: netguard.Policy{AllowPrivate: true}, Logger: d.logger,
	})
}

// stop ends what start began, in the opposite order.
func (d *devStage) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var errs []error
	if d.webhook != nil {
		errs = append(errs, d.webhook.Shutdown(ctx))
	}
	if d.handler != nil {
		errs = append(errs, d.handler.Close()) // a refresh outlives the request that caused it
	}
	if d.files != nil {
		errs = append(errs, d.files.Close())
	}
	if d.google != nil {
		errs = append(errs, d.google.close())
	}
	if d.served != nil {
		errs = append(errs, <-d.served)
	}
	if d.sample != nil {
		errs = append(errs, d.sample.close())
	}
	return errors.Join(errs...)
}

// show plays the owner and the agent and prints what happened.
func (d *devStage) show(ctx context.Context) error {
	d.say("Token Vault in development mode. All of it is gone when this ends.\n\n")
	d.say("  server   %s\n", d.server.URL())
	d.say("  webhook  %s  keeps the keys and the credentials (here it shares the process; deploy it on a machine of your own)\n", d.webhookURL)
	d.say("  google   %s  stands in for Google's token endpoint: it verifies each signed assertion\n", d.google.url())
	d.say("  sample   %s  stands in for a provider at which accounts are connected: it agrees to everything\n\n", d.sample.url())

	owner := &devOwner{server: d.server.URL(), email: "dev@example.com", password: rand.Text()}
	if err := owner.register(ctx); err != nil {
		return err
	}
	samples, err := devSamples(d.google.url(), d.account)
	if err != nil {
		return err
	}
	key, err := owner.createAgent(ctx, "sample-agent")
	if err != nil {
		return err
	}
	client, err := agent.New(d.server.URL(), key, agent.Options{})
	if err != nil {
		return err
	}
	if err := d.platformMode(ctx, owner, client); err != nil {
		return err
	}
	fingerprint, err := owner.bind(ctx, d.webhookURL)
	if err != nil {
		return err
	}
	d.say("Webhook mode. Bound the webhook to the account of %s; its secret's fingerprint is %s.\n", owner.email, fingerprint[:16])
	for _, s := range samples {
		if err := owner.store(ctx, s.service, s.data); err != nil {
			return fmt.Errorf("store %s: %w", s.service, err)
		}
		if err := owner.grant(ctx, s.service); err != nil {
			return fmt.Errorf("grant %s: %w", s.service, err)
		}
	}
	d.say("Stored %d sample tokens straight into the webhook, past the server, and granted them to an agent.\n\n", len(samples))
	d.say("What the agent fetched: key to the server, which records it and answers with a ticket; ticket to the webhook.\n\n")
	for _, s := range samples {
		got, err := client.Credential(ctx, s.service)
		if err != nil {
			return fmt.Errorf("fetch %s: %w", s.service, err)
		}
		d.say("  %-12s %-22s %s\n", s.service, s.what, describe(got))
	}
	if seen := d.google.verified(); seen != "" {
		d.say("\n  The token endpoint says: %s\n", seen)
	}
	d.say("\nDo it again (curl since 7.83 sends the key to the server only, not to the webhook):\n\n")
	d.say("  curl -sSL -H 'Authorization: Bearer %s' '%s/api/agents/credentials?service=%s'\n\n", key, d.server.URL(), samples[0].service)
	d.say("In platform mode the answer is the credential itself:\n\n")
	d.say("  curl -sS -H 'Authorization: Bearer %s' '%s/api/agents/credentials?service=%s'\n\n", key, d.server.URL(), platformSample)
	d.say("See it as the owner: %s/login  e-mail %s  password %s\n\n", d.server.URL(), owner.email, owner.password)
	d.say("Ctrl-C ends it.\n")
	return nil
}

// Tokens that the server keeps.
const (
	platformSample = "weather"
	expiredSample  = "inbox"
)

// platformMode shows what there is before a webhook is bound: the server keeps
// ciphertext that opens with its owner's session and the agent's own key.
func (d *devStage) platformMode(ctx context.Context, owner *devOwner, client *agent.Client) error {
	const service = platformSample
	err := owner.keep(ctx, service, map[string]any{
		"tokenType": wire.TypePlainText, wire.FieldAccessToken: "wx_sample_" + rand.Text(), "displayName": "Weather (sample)"})
	if err == nil {
		err = owner.grant(ctx, service)
	}
	if err != nil {
		return fmt.Errorf("store %s: %w", service, err)
	}
	got, err := client.Credential(ctx, service)
	if err != nil {
		return fmt.Errorf("fetch %s: %w", service, err)
	}
	d.say("Platform mode. Without a webhook, the server keeps ciphertext that opens with a token of the owner or of a granted agent only.\n\n")
	d.say("  %-12s %-22s %s\n", service, "API key", describe(got))
	return d.refreshed(ctx, owner, client)
}

// refreshed stores a token that has expired, and has the agent read it.
func (d *devStage) refreshed(ctx context.Context, owner *devOwner, client *agent.Client) error {
	err := owner.keep(ctx, expiredSample, map[string]any{
		"tokenType": wire.TypeOAuth, wire.FieldAccessToken: "sample-expired-" + rand.Text(), wire.FieldRefreshToken: d.sample.issue(),
		"expiresAt": time.Now().Add(-time.Hour).UTC().Format(time.RFC3339), "provider": devProviderID, "displayName": "Inbox (sample)"})
	if err == nil {
		err = owner.grant(ctx, expiredSample)
	}
	if err != nil {
		return fmt.Errorf("store %s: %w", expiredSample, err)
	}
	got, err := client.Credential(ctx, expiredSample)
	if err != nil {
		return fmt.Errorf("fetch %s: %w", expiredSample, err)
	}
	d.say("  %-12s %-22s %s\n\n", expiredSample, "OAuth access token", describe(got))
	d.say("  The last had expired an hour ago: the agent's reading refreshed it, by %d call at the sample provider. Connect another account on the page of tokens.\n\n", d.sample.refreshes())
	return nil
}

func (d *devStage) say(format string, args ...any) { _, _ = fmt.Fprintf(d.out, format, args...) }

// describe shows what an agent got: that is the point of development mode, whose
// secrets are made up.
func describe(c agent.Credential) string {
	text := c.AccessToken()
	switch {
	case c.Type() == wire.TypeTOTP:
		return fmt.Sprintf("%s  (valid for %.0f s more)", text, c.Remaining().Seconds())
	case c.Type() == wire.TypeSSHKey:
		return "an SSH private key"
	}
	if at, ok := c.ExpiresAt(); ok {
		return fmt.Sprintf("%s  (until %s)", text, at.Local().Format("15:04:05"))
	}
	return text
}
