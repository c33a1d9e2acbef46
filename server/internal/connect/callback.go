package connect

import (
	"context"
	"crypto/subtle"
	"errors"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

// Limits of what a provider sends a browser back with, in bytes.
const (
	maxCode   = 4096
	maxIssuer = 2048
	maxError  = 64
)

// Callback is what came back: the browser's cookie, and the parameters of RFC 6749
// section 4.1.2 and RFC 9207.
type Callback struct {
	Cookie string
	State  string
	Code   refresh.Secret
	Issuer string // iss
	Error  string
}

// Finish ends a flow: it exchanges the code and stores the tokens, in place of those
// that were there when the flow began. A flow counts once; the door drops the cookie,
// whatever comes of it.
//
// INVALID_REQUEST: no flow is under way in this browser and session, it took too long, or
// the answer is not one to it, or the owner or the provider refused; CONFLICT: it was finished already, or
// the name, or where tokens are kept, is another by now; UNAVAILABLE: the provider or its
// configuration fails. After an error nothing is stored.
func (s *Service) Finish(ctx context.Context, p grants.Principal, client audit.Client, in Callback) (Connected, error) {
	if err := session(p); err != nil {
		return Connected{}, err
	}
	f, err := s.match(p, in)
	if err != nil {
		return Connected{}, s.refused(ctx, p, client, f, err)
	}
	summary, ok := s.deps.Providers.Describe(f.Provider)
	if !ok {
		return Connected{}, fault.New(fault.Conflict, "The provider %s was taken away from this server meanwhile.", f.Provider)
	}
	provider, err := s.deps.Providers.Provider(ctx, f.Provider)
	if err != nil {
		return Connected{}, err
	}
	if err := checkIssuer(provider, in.Issuer); err != nil {
		return Connected{}, s.refused(ctx, p, client, f, err)
	}
	// From here on it is used, whatever comes of it: a provider takes a code that is
	// sent twice for a stolen one, and ends what it gave for it.
	err = s.deps.Used.UseConnect(ctx, p.AccountID, f.ID, time.Unix(f.Expires, 0).Add(skew))
	if errors.Is(err, models.ErrConflict) {
		return Connected{}, s.refused(ctx, p, client, f, fault.New(fault.Conflict, "This connection was finished already. Look at the token; if it is not there, start again."))
	}
	if err != nil {
		return Connected{}, err
	}
	if err := answered(in, summary.Name); err != nil {
		return Connected{}, s.refused(ctx, p, client, f, err)
	}
	if err := s.sameTarget(ctx, p, f); err != nil {
		return Connected{}, s.refused(ctx, p, client, f, err)
	}
	back, err := s.takeSlot(ctx)
	if err != nil {
		return Connected{}, err
	}
	defer back()
	// A browser that leaves now must not cost its owner the tokens.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	tokens, err := s.deps.Client.Exchange(ctx, provider, refresh.CodeExchange{
		Code: in.Code, Verifier: refresh.Secret(f.Verifier), RedirectURI: s.redirectURI(),
	})
	if err != nil {
		return Connected{}, s.refused(ctx, p, client, f, s.exchangeFailed(ctx, f.Provider, summary.Name, err))
	}
	out, err := s.keep(ctx, p, client, f, provider, summary, tokens)
	if err != nil { // what was issued is known to the provider alone now
		return Connected{}, s.refused(ctx, p, client, f, err)
	}
	return out, nil
}

// match finds the flow that an answer is to. The flow is returned beside an error, too,
// if there is one.
func (s *Service) match(p grants.Principal, in Callback) (*flow, error) {
	const again = " Start again from the token, or from the list of providers."
	if in.Cookie == "" {
		return nil, fault.Field("state", "No connection is under way in this browser, or it took more than ten minutes."+again)
	}
	f, err := s.open(p, in.Cookie)
	if err != nil {
		return nil, fault.Wrap(err, fault.InvalidRequest, "This connection was not begun by the session that is signed in now."+again)
	}
	switch {
	case subtle.ConstantTimeCompare([]byte(in.State), []byte(f.State)) != 1:
		return f, fault.Field("state", "This is not the answer to the connection that this browser began last; perhaps another was begun in another tab."+again)
	case f.expired(s.deps.Now()):
		return f, fault.Field("state", "This connection took more than ten minutes."+again)
	}
	return f, nil
}

// checkIssuer is RFC 9207: an answer is of the server that was asked, or of none that
// is to be believed.
func checkIssuer(p refresh.Provider, iss string) error {
	switch {
	case iss == "" && p.RequireIss:
		return fault.Field("iss", "The answer does not say which provider it is from, though %s always does. Nothing was connected; start again.", p.ID)
	case iss == "" || iss == p.Issuer:
		return nil
	case p.Issuer == "":
		return fault.Field("iss", "The answer names a provider, and this server does not know the name of %s: the operator is to set its issuer. Nothing was connected.", p.ID)
	}
	return fault.Field("iss", "The answer is from another provider than %s. Nothing was connected. If you did not mix up two tabs, somebody may have tried to trick you.", p.ID)
}

// answered turns what is no code into a sentence for who waits before the browser.
func answered(in Callback, name string) error {
	switch {
	case in.Error != "":
		return providerError(in.Error, name)
	case in.Code == "":
		return fault.Field("code", "%s sent neither a code nor a reason. Nothing was connected; start again.", name)
	case len(in.Code) > maxCode || len(in.Issuer) > maxIssuer:
		return fault.Field("code", "%s sent more than anybody needs. Nothing was connected.", name)
	}
	return nil
}

// sameTarget refuses to store elsewhere than where the flow began for.
func (s *Service) sameTarget(ctx context.Context, p grants.Principal, f *flow) error {
	c, err := s.deps.Vaults.Custody(ctx, p.AccountID)
	switch {
	case err != nil:
		return err
	case c.Locked:
		return fault.New(fault.VaultLocked, "The owner has locked the vault meanwhile: nothing was connected.")
	case bindingOf(c) != f.Binding:
		return fault.New(fault.Conflict, "Where this account keeps its tokens has changed meanwhile: nothing was connected. Start again.")
	}
	return nil
}

// refused puts a refusal on record. What cannot be recorded is refused all the same.
func (s *Service) refused(ctx context.Context, p grants.Principal, client audit.Client, f *flow, err error) error {
	service, detail := "", "connect: "+fault.From(err).Message
	if f != nil {
		service, detail = f.Ref.Service, "connect at "+f.Provider+": "+fault.From(err).Message
	}
	e := event(audit.Refusal, p, client, service)
	e.Outcome, e.Detail = fault.CodeOf(err), detail
	if failed := s.deps.Audit.Record(context.WithoutCancel(ctx), e); failed != nil {
		s.deps.Logger.ErrorContext(ctx, "connect: a refusal could not be recorded", "outcome", e.Outcome, "error", failed)
	}
	return err
}
