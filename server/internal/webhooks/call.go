package webhooks

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/go-resty/resty/v2"

	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// backoff is the pause before the second and third attempt (protocol.md §1.4).
var backoff = [...]time.Duration{wire.RetryAfterFirst, wire.RetryAfterSecond}

// A failure is why an attempt did not succeed, and whether another one may.
type failure struct {
	fault *fault.Error
	retry bool // 5xx, timeout, connection failure
}

// A request is a signed POST that is harmless to be carried out twice: an answer that
// was lost is asked for again.
type request struct {
	path  string
	limit int64                      // of the answer, in bytes
	body  func(requestID string) any // for one attempt, around its request id
	hush  bool                       // what the webhook says of a refusal is for nobody
}

// signed makes a signed POST, up to three times, and decodes the answer into out.
func (c *Client) signed(ctx context.Context, t Target, path string, limit int64, body func(requestID string) any, out any) error {
	return c.call(ctx, t, request{path: path, limit: limit, body: body}, out)
}

func (c *Client) call(ctx context.Context, t Target, r request, out any) error {
	if t.Secret.IsZero() {
		return fault.New(fault.WebhookNotConfigured, "No webhook is bound. Bind one first.")
	}
	for attempt := 0; ; attempt++ {
		failed := c.attempt(ctx, t, r, out)
		if failed == nil {
			return nil
		}
		if !failed.retry || attempt == len(backoff) {
			return failed.fault
		}
		c.logger.InfoContext(ctx, "webhook call failed and is made again",
			"attempt", attempt+1, "path", r.path, "error", clip(failed.fault.Error(), 500))
		if err := c.wait(ctx, backoff[attempt]); err != nil {
			return fault.Wrap(err, failed.fault.Code, "%s", failed.fault.Message)
		}
	}
}

// attempt is one signed call with a timestamp, request id and signature of its own.
func (c *Client) attempt(ctx context.Context, t Target, r request, out any) *failure {
	id := c.requestID()
	raw, err := json.Marshal(r.body(id))
	if err != nil {
		return &failure{fault: fault.From(err)}
	}
	if len(raw) > wire.MaxBody {
		return &failure{fault: fault.New(fault.TooLarge, "The request to the webhook would be larger than %d bytes.", wire.MaxBody)}
	}
	header := jsonHeader()
	wire.Sign(header, t.Secret, raw, id, c.now())
	answer, failed := c.send(ctx, http.MethodPost, t.BaseURL+r.path, header, raw, r.limit)
	if failed != nil {
		return failed
	}
	if !answer.success() {
		if r.hush {
			answer.hush()
		}
		return answer.refusal(true)
	}
	return answer.decode(id, out)
}

// send makes one HTTP request and reads its answer within limit bytes.
func (c *Client) send(ctx context.Context, method, url string, header http.Header, body []byte, limit int64) (*answer, *failure) {
	attempt, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	response, err := c.do(attempt, method, url, header, body)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	defer func() { _ = response.RawBody().Close() }()
	a, err := readAnswer(response.RawResponse, limit)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	return a, nil
}

func (c *Client) do(ctx context.Context, method, url string, header http.Header, body []byte) (*resty.Response, error) {
	request := c.http.R().SetContext(ctx).SetHeaderMultiValues(header)
	if body != nil {
		request.SetBody(body)
	}
	return request.Execute(method, url)
}
