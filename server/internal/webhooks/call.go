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

// signed makes a signed POST, up to three times, and decodes the answer into out.
// body builds the request for one attempt around its request id. It must be
// harmless to be carried out twice: an answer that was lost is asked for again.
func (c *Client) signed(ctx context.Context, t Target, path string, limit int64, body func(requestID string) any, out any) error {
	if t.Secret.IsZero() {
		return fault.New(fault.WebhookNotConfigured, "No webhook is bound. Bind one first.")
	}
	for attempt := 0; ; attempt++ {
		failed := c.attempt(ctx, t, path, limit, body, out)
		if failed == nil {
			return nil
		}
		if !failed.retry || attempt == len(backoff) {
			return failed.fault
		}
		c.logger.InfoContext(ctx, "webhook call failed and is made again",
			"attempt", attempt+1, "path", path, "error", clip(failed.fault.Error(), 500))
		if err := c.wait(ctx, backoff[attempt]); err != nil {
			return fault.Wrap(err, failed.fault.Code, "%s", failed.fault.Message)
		}
	}
}

// attempt is one signed call with a timestamp, request id and signature of its own.
func (c *Client) attempt(ctx context.Context, t Target, path string, limit int64, body func(string) any, out any) *failure {
	id := c.requestID()
	raw, err := json.Marshal(body(id))
	if err != nil {
		return &failure{fault: fault.From(err)}
	}
	if len(raw) > wire.MaxBody {
		return &failure{fault: fault.New(fault.TooLarge, "The request to the webhook would be larger than %d bytes.", wire.MaxBody)}
	}
	header := jsonHeader()
	wire.Sign(header, t.Secret, raw, id, c.now())
	answer, failed := c.send(ctx, http.MethodPost, t.BaseURL+path, header, raw, limit)
	if failed != nil {
		return failed
	}
	if answer.status/100 != 2 {
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
