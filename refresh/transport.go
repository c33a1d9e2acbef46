package refresh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
)

var errTooLarge = fmt.Errorf("the answer is larger than %d bytes", maxAnswer)

func readLimited(r io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxAnswer+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxAnswer {
		return nil, errTooLarge
	}
	return body, nil
}

// unanswered says what it means that a request got no answer.
func unanswered(ctx context.Context, err error, secrets []Secret) error {
	// The request's own context may bear a deadline of ours; a caller that leaves cancels it.
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("refresh: calling the provider: %w", context.Canceled)
	}
	if isTimeout(err) || ctx.Err() != nil {
		return refuse(ReasonProviderTimeout, 0, "")
	}
	// A url.Error repeats method and URL, which the reader knows.
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return refuse(ReasonProviderUnreachable, 0, describe(err.Error(), secrets...))
}

// isTimeout reports whether time ran out, on any side.
func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}
