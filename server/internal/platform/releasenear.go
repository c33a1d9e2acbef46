package platform

import (
	"context"
	"encoding/json"

	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/webhook-sdk/credential"
)

// releaseNear is ReleaseTo of what may be due for a refresh: the ciphertext says
// whether it is.
func (s *Service) releaseNear(ctx context.Context, h *custody.Holder, known *held, key agentCredential, by *reader, room []byte) (answer json.RawMessage, waited bool, err error) {
	l, err := s.lookAsAgent(ctx, h, known)
	if err == nil {
		if due, _ := freshness(l.credential, s.deps.Now()); due {
			l.clear()
			l = nil
		}
	}
	if l == nil { // due, or replaced: in either case perhaps not any more
		l, err = s.fresh(ctx, by, func(ctx context.Context) (*look, error) {
			known, err := s.loadHeld(ctx, by.principal.AccountID, key)
			if err != nil {
				return nil, err
			}
			return s.lookAsAgent(ctx, h, known)
		})
		if err != nil {
			return nil, by.waited, err
		}
	}
	defer l.clear()
	answer, err = s.answerAgent(ctx, h, &l.token, l.cek, l.row, l.secret, room)
	return answer, by.waited, err
}

// lookAsAgent opens a credential with the agent's key.
func (s *Service) lookAsAgent(ctx context.Context, h *custody.Holder, k *held) (*look, error) {
	cek, row, secret, err := s.recall(ctx, h, k, nil)
	if err != nil {
		return nil, err
	}
	l := &look{token: k.token, cek: cek, row: row, secret: secret}
	if l.credential, err = credential.Decode(l.secret); err != nil {
		l.clear()
		return nil, err
	}
	return l, nil
}
