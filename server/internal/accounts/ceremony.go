package accounts

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/protocol/webauthncose"
	"github.com/go-webauthn/webauthn/webauthn"
	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

// maxAnswer bounds what a device answers, in bytes.
const maxAnswer = 16 << 10

// A PasskeyRequest is what a browser is asked for (WebAuthn): Options are those of
// navigator.credentials.create or .get, Challenge comes back with the answer.
type PasskeyRequest struct {
	Options   json.RawMessage
	Challenge string
}

// A PasskeyAnswer is what the browser answered: Credential is the JSON of its
// PublicKeyCredential.
type PasskeyAnswer struct {
	Challenge  string
	Credential string
}

// newCeremonies is nil, and why says so, where browsers have no passkeys: a passkey
// belongs to a name, and to https but for localhost.
func newCeremonies(public *url.URL) (_ *webauthn.WebAuthn, why string, _ error) {
	if public == nil {
		return nil, "This server does not know under which address people reach it.", nil
	}
	host := strings.ToLower(public.Hostname()) // as browsers write it
	switch {
	case net.ParseIP(host) != nil:
		return nil, "Passkeys belong to a host name, and this server is reached at the IP address " + host +
			". Its operator can mend that: set TOKENVAULT_PUBLIC_URL to a name, such as http://localhost:" + port(public) + " to try it on one machine, and open that address.", nil
	case public.Scheme != "https" && host != "localhost":
		return nil, "Browsers offer passkeys over https only, and this server is reached by plain http. Its operator can mend that: set TOKENVAULT_PUBLIC_URL to an https address.", nil
	}
	w, err := webauthn.New(&webauthn.Config{
		RPID: host, RPDisplayName: factorIssuer, RPOrigins: []string{(&url.URL{Scheme: public.Scheme, Host: public.Host}).String()},
		AttestationPreference: protocol.PreferNoAttestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementRequired, RequireResidentKey: protocol.ResidentKeyRequired(), UserVerification: protocol.VerificationRequired,
		},
	})
	if err != nil {
		return nil, "", fmt.Errorf("accounts: passkeys: %w", err)
	}
	return w, "", nil
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "https" {
		return "443"
	}
	return "80"
}

// PasskeyHost is the host whose passkeys count here, or why there are none.
func (s *Service) PasskeyHost() (host, why string) {
	if s.ceremonies == nil {
		return "", s.noPasskeys
	}
	return s.ceremonies.Config.RPID, ""
}

func (s *Service) passkeysPossible() error {
	if s.ceremonies == nil {
		return fault.New(fault.Conflict, "%s", s.noPasskeys)
	}
	return nil
}

// A keyholder is an account with its passkeys, as the ceremonies want it.
type keyholder struct {
	account models.Account
	rows    []models.Passkey
}

func (h keyholder) WebAuthnID() []byte          { return h.account.ID[:] }
func (h keyholder) WebAuthnName() string        { return h.account.Email }
func (h keyholder) WebAuthnDisplayName() string { return h.account.DisplayName }

func (h keyholder) WebAuthnCredentials() []webauthn.Credential {
	all := make([]webauthn.Credential, len(h.rows))
	for i, r := range h.rows {
		all[i] = webauthn.Credential{
			ID: r.CredentialID, PublicKey: r.PublicKey, Flags: webauthn.CredentialFlags{UserPresent: true, UserVerified: true, BackupEligible: r.BackupEligible, BackupState: r.BackedUp},
			Authenticator: webauthn.Authenticator{SignCount: uint32(r.SignCount)}, // #nosec G115 -- was one
		}
		for _, t := range r.Transports {
			all[i].Transport = append(all[i].Transport, protocol.AuthenticatorTransport(t))
		}
	}
	return all
}

// keyholder leaves out passkeys that are not authentic, on the log: somebody wrote them
// into the database.
func (s *Service) keyholder(ctx context.Context, a models.Account) (keyholder, error) {
	rows, err := s.deps.Passkeys.Passkeys(ctx, a.ID)
	if err != nil {
		return keyholder{}, err
	}
	h := keyholder{account: a}
	for _, row := range rows {
		if err := s.deps.Sealer.CheckPasskey(&row); err != nil {
			s.deps.Logger.ErrorContext(ctx, "accounts: a passkey is not authentic and does not count", "account", a.ID, "passkey", row.ID, "error", err)
			continue
		}
		h.rows = append(h.rows, row)
	}
	return h, nil
}

// request seals what the library wants to remember of a ceremony, with of.
func (s *Service) request(purpose string, of challenge, options any, session *webauthn.SessionData) (PasskeyRequest, error) {
	state, err := json.Marshal(session)
	if err != nil {
		return PasskeyRequest{}, fmt.Errorf("accounts: passkeys: %w", err)
	}
	r := PasskeyRequest{}
	if r.Options, err = json.Marshal(options); err != nil {
		return PasskeyRequest{}, fmt.Errorf("accounts: passkeys: %w", err)
	}
	of.Data = state
	r.Challenge, err = s.seal(purpose, of)
	return r, err
}

// remembered is the ceremony that an answer belongs to. LOGIN_FAILED.
func (s *Service) remembered(purpose string, account uuid.UUID, answer PasskeyAnswer) (*challenge, *webauthn.SessionData, error) {
	of := s.opened(purpose, answer.Challenge)
	if of == nil || of.Account != account || len(answer.Credential) > maxAnswer {
		return nil, nil, tooLate()
	}
	session := &webauthn.SessionData{}
	if err := json.Unmarshal(of.Data, session); err != nil {
		return nil, nil, tooLate()
	}
	return of, session, nil
}

func (s *Service) askForNew(h keyholder) (PasskeyRequest, error) {
	options, session, err := s.ceremonies.BeginRegistration(h,
		webauthn.WithExclusions(webauthn.Credentials(h.WebAuthnCredentials()).CredentialDescriptors()),
		webauthn.WithCredentialParameters([]protocol.CredentialParameter{
			{Type: protocol.PublicKeyCredentialType, Algorithm: webauthncose.AlgES256},
			{Type: protocol.PublicKeyCredentialType, Algorithm: webauthncose.AlgEdDSA},
			{Type: protocol.PublicKeyCredentialType, Algorithm: webauthncose.AlgRS256},
		}))
	if err != nil {
		return PasskeyRequest{}, fmt.Errorf("accounts: passkeys: %w", err)
	}
	return s.request(forNewKey, challenge{Account: h.account.ID, Proof: passwordProof(h.account)}, options.Response, session)
}

// checkNew is the passkey of an answer to askForNew: its half that is stored.
func (s *Service) checkNew(h keyholder, answer PasskeyAnswer) (*models.Passkey, *challenge, error) {
	if err := s.passkeysPossible(); err != nil {
		return nil, nil, err
	}
	of, session, err := s.remembered(forNewKey, h.account.ID, answer)
	if err != nil {
		return nil, nil, err
	}
	if subtle.ConstantTimeCompare(of.Proof, passwordProof(h.account)) != 1 {
		return nil, nil, tooLate()
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes([]byte(answer.Credential))
	if err != nil {
		return nil, nil, notThat(err)
	}
	made, err := s.ceremonies.CreateCredential(h, *session, parsed)
	if err != nil {
		return nil, nil, notThat(err)
	}
	row := &models.Passkey{
		CredentialID: made.ID, PublicKey: made.PublicKey, BackupEligible: made.Flags.BackupEligible, BackedUp: made.Flags.BackupState,
		SignCount: int64(made.Authenticator.SignCount),
	}
	for _, t := range made.Transport {
		row.Transports = append(row.Transports, clip(string(t), 32))
	}
	return row, of, nil
}

// ask is for an answer of a passkey: of one account, or of whoever has one.
func (s *Service) ask(purpose string, account uuid.UUID) (PasskeyRequest, error) {
	if err := s.passkeysPossible(); err != nil {
		return PasskeyRequest{}, err
	}
	options, session, err := s.ceremonies.BeginDiscoverableLogin(webauthn.WithUserVerification(protocol.VerificationRequired))
	if err != nil {
		return PasskeyRequest{}, fmt.Errorf("accounts: passkeys: %w", err)
	}
	return s.request(purpose, challenge{Account: account}, options.Response, session)
}

// An assertion is an answer that is right, and not used up yet.
type assertion struct {
	account uuid.UUID
	use     func(ctx context.Context) error // in a transaction, for all replicas
}

// check is the account whose passkey answered. LOGIN_FAILED, on record as e unless no
// account is concerned: an answer costs next to nothing to check, and strangers must
// not fill the record.
func (s *Service) check(ctx context.Context, e audit.Event, purpose string, account uuid.UUID, answer PasskeyAnswer) (assertion, error) {
	if err := s.passkeysPossible(); err != nil {
		return assertion{}, err
	}
	of, session, err := s.remembered(purpose, account, answer)
	if err != nil {
		return assertion{}, err
	}
	refuse := func(detail string, cause error) (assertion, error) {
		if e.AccountID == uuid.Nil {
			return assertion{}, notThat(cause)
		}
		e.Outcome, e.Detail = fault.LoginFailed, detail
		if err := s.deps.Audit.Record(ctx, e); err != nil {
			return assertion{}, err
		}
		return assertion{}, notThat(cause)
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes([]byte(answer.Credential))
	if err != nil {
		return refuse("an answer that no passkey gives", err)
	}
	var h keyholder
	var away error // the database could not be asked: no fault of the passkey's
	_, found, err := s.ceremonies.ValidatePasskeyLogin(func(_, handle []byte) (webauthn.User, error) {
		id, err := uuid.FromBytes(handle)
		if err != nil || account != uuid.Nil && id != account {
			return nil, fmt.Errorf("%w: the account of a passkey", models.ErrNotFound)
		}
		a, err := s.deps.Store.Account(ctx, id)
		if err == nil {
			e.AccountID = id
			h, err = s.keyholder(ctx, a)
		}
		if err != nil && !errors.Is(err, models.ErrNotFound) {
			away = err
		}
		return h, err
	}, *session, parsed)
	if away != nil {
		return assertion{}, away
	}
	if err != nil {
		return refuse("a passkey that is unknown, or answered wrongly", err)
	}
	for _, row := range h.rows {
		if string(row.CredentialID) != string(found.ID) {
			continue
		}
		if found.Authenticator.CloneWarning {
			return refuse("the counter of the passkey "+row.Name+" went back: it may have been copied", models.ErrInvalid)
		}
		return assertion{h.account.ID, func(ctx context.Context) error {
			if err := s.answered(ctx, h.account.ID, of); err != nil {
				return err
			}
			err := s.deps.Passkeys.PasskeyUsed(ctx, h.account.ID, row.ID, row.SignCount, int64(found.Authenticator.SignCount), found.Flags.BackupState)
			if errors.Is(err, models.ErrNotFound) { // deleted, or used at the same moment
				return notThat(err)
			}
			return err
		}}, nil
	}
	return refuse("a passkey that is unknown", models.ErrNotFound)
}

// notThat is the one refusal of answers, whatever is wrong with them.
func notThat(cause error) error {
	return fault.Wrap(cause, fault.LoginFailed, "This passkey was not accepted: it is not one of this account, or its answer is not right. Try again, or use another way.")
}

// BeginPasskeyLogin asks for any passkey, for LoginPasskey. CONFLICT where passkeys are
// not possible.
func (s *Service) BeginPasskeyLogin(context.Context) (PasskeyRequest, error) {
	return s.ask(forPasskey, uuid.Nil)
}

// LoginPasskey signs in the account whose passkey answered. The device has verified its
// owner, so that it counts as both factors. LOGIN_FAILED.
func (s *Service) LoginPasskey(ctx context.Context, answer PasskeyAnswer, c audit.Client) (SignIn, error) {
	right, err := s.check(ctx, signInEvent(uuid.Nil, c, ""), forPasskey, uuid.Nil, answer)
	if err != nil {
		return SignIn{}, err
	}
	return s.begin(ctx, right.account, c, proof{"with a passkey", right.use})
}

// BeginDeletion asks for a passkey of p's account, for DeleteAccount. CONFLICT where
// passkeys are not possible.
func (s *Service) BeginDeletion(_ context.Context, p grants.Principal) (PasskeyRequest, error) {
	if err := ownerOnly(p); err != nil {
		return PasskeyRequest{}, err
	}
	return s.ask(forDeletion, p.AccountID)
}

// freshPasskey demands an answer to BeginDeletion.
func (s *Service) freshPasskey(ctx context.Context, p grants.Principal, c audit.Client, answer PasskeyAnswer, purpose string) error {
	right, err := s.check(ctx, event(p, c, purpose), forDeletion, p.AccountID, answer)
	if err != nil {
		return err
	}
	return s.deps.Store.InTx(ctx, right.use)
}
