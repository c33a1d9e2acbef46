package accounts

import (
	"context"
	"crypto/subtle"
	"errors"
	"io"
	"log/slog"
	"net/url"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"
	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

// Store keeps accounts.
type Store interface {
	InTx(ctx context.Context, do func(ctx context.Context) error) error
	CreateAccount(ctx context.Context, a *models.Account) error
	AccountByEmail(ctx context.Context, email string) (models.Account, error)
	Account(ctx context.Context, id uuid.UUID) (models.Account, error)
	ClaimFirstAccount(ctx context.Context) (bool, error)
	HasAccounts(ctx context.Context) (bool, error)
}

// Grants makes and ends login sessions.
type Grants interface {
	Issue(ctx context.Context, in grants.IssueInput) (grants.Issued, error)
	End(ctx context.Context, accountID, grantID uuid.UUID) error
}

// Recorder is the audit record.
type Recorder interface {
	Record(ctx context.Context, e audit.Event) error
	Do(ctx context.Context, e audit.Event, do func(ctx context.Context) error) error
}

// Deps is what the service needs. Store, Profiles, Tries, Factors, Codes and Passkeys
// are the same database, Keys and Sealer the same keyring. OpenRegistration lets anyone
// register; the first account always can. PublicURL is where browsers reach the
// server: passkeys belong to its host.
type Deps struct {
	Store            Store
	Profiles         Profiles
	Tries            Tries
	Factors          Factors
	Codes            RecoveryCodes
	Passkeys         PasskeyRows
	Keys             Keys
	Sealer           Sealer
	PublicURL        *url.URL
	Grants           Grants
	Audit            Recorder
	OpenRegistration bool
	Now              func() time.Time
	Random           io.Reader
	Logger           *slog.Logger
}

// Service registers people and signs them in and out. Safe for concurrent use.
type Service struct {
	deps       Deps
	passwords  *passwords
	ceremonies *webauthn.WebAuthn // of passkeys; nil: they are not possible here
	noPasskeys string             // why
}

// New makes the service.
func New(d Deps) (*Service, error) {
	p, err := newPasswords(d.Keys, d.Random)
	if err != nil {
		return nil, err
	}
	ceremonies, why, err := newCeremonies(d.PublicURL)
	if err != nil {
		return nil, err
	}
	return &Service{deps: d, passwords: p, ceremonies: ceremonies, noPasskeys: why}, nil
}

// RegistrationOpen reports whether Register would take a new account.
func (s *Service) RegistrationOpen(ctx context.Context) (bool, error) {
	if s.deps.OpenRegistration {
		return true, nil
	}
	has, err := s.deps.Store.HasAccounts(ctx)
	return !has, err
}

// Register makes an account and signs it in. REGISTRATION_CLOSED, CONFLICT when
// the e-mail has an account, INVALID_REQUEST with the field.
func (s *Service) Register(ctx context.Context, in RegisterInput, c audit.Client) (SignIn, error) {
	if err := in.normalize(); err != nil {
		return SignIn{}, err
	}
	if open, err := s.RegistrationOpen(ctx); err != nil {
		return SignIn{}, err
	} else if !open {
		return SignIn{}, closed()
	}
	if _, err := s.deps.Store.AccountByEmail(ctx, in.Email); err == nil {
		return SignIn{}, taken()
	} else if !errors.Is(err, models.ErrNotFound) {
		return SignIn{}, err
	}
	id := models.NewID()
	hash, err := s.passwords.hash(ctx, id, in.Password)
	if err != nil {
		return SignIn{}, err
	}
	now := models.Stamp(s.deps.Now())
	account := models.Account{
		ID: id, Email: in.Email, DisplayName: in.DisplayName, PasswordHash: hash, CreatedAt: now, UpdatedAt: now,
	}
	var issued grants.Issued
	err = s.deps.Audit.Do(ctx, signInEvent(account.ID, c, "registered"), func(ctx context.Context) error {
		return s.deps.Store.InTx(ctx, func(ctx context.Context) error {
			if err := s.create(ctx, &account); err != nil {
				return err
			}
			issued, err = s.session(ctx, account.ID, c)
			return err
		})
	})
	if err != nil {
		return SignIn{}, err
	}
	return signIn(issued), nil
}

// create makes the account, inside a transaction.
func (s *Service) create(ctx context.Context, a *models.Account) error {
	first, err := s.deps.Store.ClaimFirstAccount(ctx)
	if err != nil {
		return err
	}
	if !first && !s.deps.OpenRegistration {
		return closed()
	}
	err = s.deps.Store.CreateAccount(ctx, a)
	if errors.Is(err, models.ErrConflict) {
		return taken()
	}
	return err
}

// Login signs an account in. A wrong e-mail and a wrong password answer alike, in the
// same time: LOGIN_FAILED. Of an account with a second factor, a code is needed as
// well: without one, the answer is a SignIn with a Challenge and no token, for
// LoginCode; a wrong one is LOGIN_FAILED with the field, or RATE_LIMITED.
func (s *Service) Login(ctx context.Context, in LoginInput, c audit.Client) (SignIn, error) {
	account, err := s.checkPassword(ctx, in, c)
	if err != nil {
		return SignIn{}, err
	}
	f, on, err := s.factor(ctx, account.ID)
	switch {
	case err != nil:
		return SignIn{}, err
	case !on:
		return s.begin(ctx, account.ID, c, proof{use: s.stillEnough(account)})
	case in.Code == "":
		return s.challenge(ctx, account, c)
	}
	return s.second(ctx, &f, in.Code, c, nil)
}

// checkPassword is the account of who knows its password: LOGIN_FAILED.
func (s *Service) checkPassword(ctx context.Context, in LoginInput, c audit.Client) (models.Account, error) {
	if in.Email == "" || len(in.Email) > maxEmail {
		return models.Account{}, fault.Field("email", "Enter the e-mail address of your account.")
	}
	if in.Password == "" || len(in.Password) > maxPassword {
		return models.Account{}, fault.Field("password", "Enter your password.")
	}
	if len(in.Code) > maxCode {
		return models.Account{}, fault.Field("code", "This is no code of a second factor.")
	}
	account, err := s.deps.Store.AccountByEmail(ctx, models.NormalizeEmail(in.Email))
	if err != nil && !errors.Is(err, models.ErrNotFound) {
		return models.Account{}, err
	}
	matches, err := s.passwords.matches(ctx, account.ID, in.Password, account.PasswordHash)
	if err != nil {
		return models.Account{}, err
	}
	if !matches {
		// An unknown e-mail is recorded, under no account, as a wrong password is:
		// the wait for the record would tell them apart.
		refused := audit.Event{AccountID: account.ID, Type: audit.SignIn, Source: audit.Direct, Outcome: fault.LoginFailed, Client: c}
		if err := s.deps.Audit.Record(ctx, refused); err != nil {
			return models.Account{}, err
		}
		return models.Account{}, fault.New(fault.LoginFailed, "E-mail address or password is wrong. Check both and try again.")
	}
	account.PasswordHash = s.refresh(ctx, account, in.Password)
	return account, nil
}

// stillEnough demands that the password that was right is still the one, and still
// enough: to compare it took a while, longer when many sign in, and its owner may have
// changed it meanwhile, and ended all sessions.
func (s *Service) stillEnough(was models.Account) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		account, err := s.deps.Store.Account(ctx, was.ID)
		if err != nil && !errors.Is(err, models.ErrNotFound) {
			return err
		}
		_, on, errFactor := s.factor(ctx, was.ID)
		if errFactor != nil {
			return errFactor
		}
		if on || subtle.ConstantTimeCompare(account.PasswordHash, was.PasswordHash) != 1 {
			return fault.New(fault.LoginFailed, "How this account signs in was changed at this moment. Start again.")
		}
		return nil
	}
}

// begin makes a session for an account, and uses up what proved that it may.
func (s *Service) begin(ctx context.Context, accountID uuid.UUID, c audit.Client, p proof) (SignIn, error) {
	var issued grants.Issued
	err := s.deps.Audit.Do(ctx, signInEvent(accountID, c, p.detail), func(ctx context.Context) error {
		return s.deps.Store.InTx(ctx, func(ctx context.Context) (err error) {
			if p.use != nil {
				if err := p.use(ctx); err != nil {
					return err
				}
			}
			issued, err = s.session(ctx, accountID, c)
			return err
		})
	})
	if err != nil {
		return SignIn{}, err
	}
	return signIn(issued), nil
}

// refresh makes a hash under an older server key anew, now that the password is
// at hand, and returns the one that stands. That it cannot is no reason to refuse who
// knows the password.
func (s *Service) refresh(ctx context.Context, a models.Account, password string) models.Opaque {
	if !s.passwords.stale(a.PasswordHash) {
		return a.PasswordHash
	}
	hash, err := s.passwords.hash(ctx, a.ID, password)
	if err == nil {
		err = s.deps.Profiles.ReplacePasswordHash(ctx, a.ID, a.PasswordHash, hash)
	}
	if err != nil {
		if !errors.Is(err, models.ErrNotFound) { // another sign-in was faster
			s.deps.Logger.WarnContext(ctx, "accounts: a password stays under an older server key", "account", a.ID, "error", err)
		}
		return a.PasswordHash
	}
	return hash
}

// Logout ends the session that p signed in with; with the last grant that opens a
// platform vault, the vault ends (grants.LastOfVault).
func (s *Service) Logout(ctx context.Context, p grants.Principal, c audit.Client) error {
	e := signInEvent(p.AccountID, c, "signed out")
	e.GrantID = p.GrantID
	return s.deps.Audit.Do(ctx, e, func(ctx context.Context) error {
		err := s.deps.Grants.End(ctx, p.AccountID, p.GrantID)
		if errors.Is(err, models.ErrNotFound) { // another request signed out first
			return nil
		}
		return err
	})
}

// Account returns the account that p speaks for.
func (s *Service) Account(ctx context.Context, p grants.Principal) (models.Account, error) {
	return s.deps.Store.Account(ctx, p.AccountID)
}

func (s *Service) session(ctx context.Context, accountID uuid.UUID, c audit.Client) (grants.Issued, error) {
	return s.deps.Grants.Issue(ctx, grants.IssueInput{
		AccountID: accountID, Kind: models.GrantSession, Label: grants.DeviceLabel(c.UserAgent), Client: clip(c.UserAgent, 200), Address: c.Address,
		Life: grants.SessionLife, TokenLife: grants.SessionTokenLife,
	})
}

func signIn(i grants.Issued) SignIn {
	return SignIn{AccountID: i.Grant.AccountID, GrantID: i.Grant.ID, ExpiresAt: i.ExpiresAt, Token: i.Token}
}

func signInEvent(accountID uuid.UUID, c audit.Client, detail string) audit.Event {
	return audit.Event{AccountID: accountID, Type: audit.SignIn, Source: audit.Direct, Client: c, Detail: detail}
}

func taken() error {
	return fault.New(fault.Conflict, "There is an account with this e-mail address already. Sign in instead.")
}

func closed() error {
	return fault.New(fault.RegistrationClosed,
		"Registration is closed on this server. Ask its operator for an account (TOKENVAULT_REGISTRATION=open lets anyone register).")
}
