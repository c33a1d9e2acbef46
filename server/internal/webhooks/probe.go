package webhooks

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// A ProbeRequest is one call whose answer is looked at for its status only.
type ProbeRequest struct {
	Path   string
	Signed bool                       // with the target's secret
	Body   func(requestID string) any // nil: {"requestId": …}
}

// A ProbeAnswer is how a webhook took a probe.
type ProbeAnswer struct {
	Status  int
	Code    wire.ErrorCode // of its error, empty when it gave none
	Latency time.Duration
}

// Probe posts once and reports how the webhook took it; a refusal is an answer
// and no error. What a webhook gives out on success is not read: a probe must
// never bring a credential here.
func (c *Client) Probe(ctx context.Context, t Target, p ProbeRequest) (ProbeAnswer, error) {
	if p.Body == nil {
		p.Body = func(id string) any { return healthRequest{RequestID: id} }
	}
	id := c.requestID()
	raw, err := json.Marshal(p.Body(id))
	if err != nil {
		return ProbeAnswer{}, err
	}
	header, began := jsonHeader(), c.now()
	if p.Signed {
		wire.Sign(header, t.Secret, raw, id, began)
	}
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	response, err := c.do(limited, http.MethodPost, t.BaseURL+p.Path, header, raw)
	latency := c.now().Sub(began)
	if err != nil {
		return ProbeAnswer{Latency: latency}, c.unreachable(ctx, err).fault
	}
	defer func() { _ = response.RawBody().Close() }()
	answered := ProbeAnswer{Status: response.StatusCode(), Latency: latency}
	if answered.Status/100 != 2 {
		// Only an error's body is read, and only as much as an error needs.
		if refused, err := readAnswer(response.RawResponse, maxError); err == nil {
			answered.Code = refused.refused().Code
		}
	}
	return answered, nil
}
