// Package webhooks is the client of customers' webhooks: it signs, sends,
// retries, and distrusts what comes back.
//
// Addresses and answers are chosen by somebody else. So every call goes through
// netguard (addresses checked on the dialled socket, no redirects, no proxies of
// the environment), takes a limited time, and reads a limited answer of limited
// depth whose content type is JSON. Failures are faults with a sentence for the
// owner of the webhook: what it did wrong and what to do.
//
// The package speaks of metadata, and has no method that could read an access token or
// any other secret field, but for one: RefreshGet, which webhooks serve only if their
// operator permits it. Store and RefreshUpdate hand secrets over. It knows neither accounts nor storage; who calls gives it a Target.
package webhooks

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-resty/resty/v2"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/webhook-sdk/netguard"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// Limits of an answer, in bytes.
const (
	maxAnswer = 1 << 20
	maxPage   = 4 << 20 // a page of a storage list
	maxError  = 64 << 10
)

const userAgent = "TokenVault/" + wire.Version

// Options of a Client. The zero value is what production uses.
type Options struct {
	// AllowPrivate permits private addresses and plain http: development and tests.
	AllowPrivate bool
	// Timeout is for one attempt, reading the answer included; 0 = wire.CallTimeout.
	Timeout time.Duration
	// Now dates signatures; nil = time.Now.
	Now func() time.Time
	// Wait pauses between attempts and returns early, with the context's error, when
	// the context ends; nil = a timer.
	Wait func(ctx context.Context, d time.Duration) error
	// RequestID makes an id that no other attempt bears; nil = a UUIDv7.
	RequestID func() string
	// Logger is told of attempts that failed and are made again; nil = nobody.
	Logger *slog.Logger
}

// A Target is a bound webhook: where it is and what calls to it are signed with.
type Target struct {
	BaseURL string // as ParseBaseURL leaves it
	Secret  wire.Secret
}

// A Client calls webhooks. It holds one pool of connections for all of them and
// may be used concurrently.
type Client struct {
	http         *resty.Client
	timeout      time.Duration
	allowPrivate bool
	now          func() time.Time
	wait         func(context.Context, time.Duration) error
	requestID    func() string
	logger       *slog.Logger
}

// New makes a Client.
func New(o Options) *Client {
	if o.Timeout <= 0 {
		o.Timeout = wire.CallTimeout
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Wait == nil {
		o.Wait = waitTimer
	}
	if o.RequestID == nil {
		o.RequestID = func() string { return models.NewID().String() }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	guarded := netguard.Policy{AllowPrivate: o.AllowPrivate, Timeout: o.Timeout, MaxBody: maxPage}
	client := resty.NewWithClient(guarded.Client()).
		SetHeader("User-Agent", userAgent).
		SetHeader("Accept", "application/json").
		SetLogger(silent{}). // resty's own words name URLs
		SetDoNotParseResponse(true)
	return &Client{
		http: client, timeout: o.Timeout, allowPrivate: o.AllowPrivate, now: o.Now, wait: o.Wait, requestID: o.RequestID, logger: o.Logger,
	}
}

// CloseIdle closes connections that no call uses.
func (c *Client) CloseIdle() { c.http.GetClient().CloseIdleConnections() }

func waitTimer(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// silent is a resty.Logger that says nothing.
type silent struct{}

func (silent) Errorf(string, ...any) {}
func (silent) Warnf(string, ...any)  {}
func (silent) Debugf(string, ...any) {}

// jsonHeader is the header of a request with a JSON body.
func jsonHeader() http.Header { return http.Header{"Content-Type": {"application/json"}} }
