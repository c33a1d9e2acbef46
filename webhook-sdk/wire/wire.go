// Package wire is the protocol between the Token Vault server (TV), a customer's
// webhook, an agent and a browser: names, JSON shapes, signatures and tickets.
//
// Both ends import it, so that a shape is written once. It knows neither HTTP
// handlers nor storage nor how a credential is kept; it holds no state, and every
// function in it may be called concurrently.
package wire

import "time"

// Version is the protocol version that this implementation reports.
const Version = "2.4.0"

// Paths under a webhook's base URL.
const (
	PathExchange      = "/v1/exchange"
	PathHealth        = "/v1/health"
	PathStorage       = "/v1/storage"
	PathRefreshNotify = "/v1/refresh-notify"
	PathRefresh       = "/v1/refresh"
	PathProxy         = "/v1/proxy"
	PathStore         = "/v1/store"
	PathCredential    = "/v1/credential"
	PathTOTPCode      = "/v1/totp-code"
	PathRegisterURL   = "/v1/register-url"
	PathBind          = "/bind"
	PathConnect       = "/connect/"

	// PathConsent is TV's page to which a registration URL leads.
	PathConsent = "/vault/webhook-bind"
)

// Headers of a signed request (TV to webhook), and of the webhook's own surface.
const (
	HeaderTimestamp      = "X-TokenVault-Timestamp"
	HeaderRequestID      = "X-TokenVault-Request-Id"
	HeaderSignature      = "X-TokenVault-Signature"
	HeaderUpstreamStatus = "X-Upstream-Status"
	HeaderAdminSecret    = "X-TV-Admin-Secret"
)

// Time limits of the protocol.
const (
	SignatureSkew        = 300 * time.Second // |now − timestamp| at most
	ReplayMemory         = 600 * time.Second // request ids and signatures are remembered
	BindCodeLife         = 300 * time.Second
	PreviousSecretLife   = 120 * time.Second // after a re-bind was closed
	TicketLife           = 60 * time.Second
	AgentTicketLife      = 15 * time.Second
	CallTimeout          = 10 * time.Second
	ProxyCallTimeout     = 30 * time.Second
	RetryAfterFirst      = 1 * time.Second
	RetryAfterSecond     = 3 * time.Second
	MaxBody              = 1 << 20 // bytes of a request body that a webhook reads
	MaxServiceNameLength = 128
)

// Purpose says what a ticket permits.
type Purpose string

// The purposes of a ticket.
const (
	PurposeAgentCredential Purpose = "agent_credential"
	PurposeUserReveal      Purpose = "user_reveal"
	PurposeTOTPCode        Purpose = "totp_code"
	PurposeStore           Purpose = "store"
	PurposeProxy           Purpose = "proxy"
	PurposeConnect         Purpose = "connect"
)

// Store modes that a ticket may demand (capability ticketConstraints).
const (
	ModeCreate    = "create"
	ModeOverwrite = "overwrite"
)

// Capabilities that a webhook reports.
const (
	CapStorage           = "storage"
	CapCredential        = "credential"
	CapStore             = "store"
	CapProxy             = "proxy"
	CapRefresh           = "refresh"
	CapTVRefresh         = "tv-refresh"
	CapTOTP              = "totp"
	CapTicketConstraints = "ticketConstraints"
	CapMint              = "mint"
	CapConnect           = "connect"
	CapOutbox            = "outbox"
	CapTwoKey            = "two-key"
)

// Token types, as they stand in a token's tokenType.
const (
	TypeOAuth         = "OAuth"
	TypeJWT           = "JWT"
	TypePlainText     = "PlainText"
	TypeCertificate   = "Certificate"
	TypeSSHKey        = "SSHKey"
	TypeTOTP          = "TOTP"
	TypeRawCredential = "RawCredential"
)

// TokenTypes lists the token types in the order in which people are offered them.
func TokenTypes() []string {
	return []string{TypePlainText, TypeOAuth, TypeJWT, TypeTOTP, TypeSSHKey, TypeCertificate, TypeRawCredential}
}

// Fields of a token that hold credential material: encrypted at rest, never listed.
const (
	FieldAccessToken      = "accessToken"
	FieldRefreshToken     = "refreshToken"
	FieldCertificateData  = "certificateData"
	FieldPrivateKeyData   = "privateKeyData"
	FieldCertificateChain = "certificateChain"
	FieldSSHPrivateKey    = "sshPrivateKey"
	FieldTOTPSecret       = "totpSecret"
	FieldClientSecret     = "clientSecret"
	FieldPassword         = "password"
	FieldPassphrase       = "passphrase"
)

// SensitiveFields lists the fields that must not leak.
func SensitiveFields() []string {
	return []string{
		FieldAccessToken, FieldRefreshToken, FieldCertificateData, FieldPrivateKeyData, FieldCertificateChain,
		FieldSSHPrivateKey, FieldTOTPSecret, FieldClientSecret, FieldPassword, FieldPassphrase,
	}
}

// IsSensitive reports whether a token's field holds credential material.
func IsSensitive(field string) bool {
	switch field {
	case FieldAccessToken, FieldRefreshToken, FieldCertificateData, FieldPrivateKeyData, FieldCertificateChain,
		FieldSSHPrivateKey, FieldTOTPSecret, FieldClientSecret, FieldPassword, FieldPassphrase:
		return true
	}
	return false
}

// ValidServiceName reports whether name can name a token: 1–128 characters of
// A–Z a–z 0–9 . _ : @ - and space, beginning with a letter or digit, and none
// of the reserved words "audit-log" and "bulk".
func ValidServiceName(name string) bool {
	if name == "" || len(name) > MaxServiceNameLength || name == "audit-log" || name == "bulk" {
		return false
	}
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case i > 0 && (c == '.' || c == '_' || c == ':' || c == '@' || c == '-' || c == ' '):
		default:
			return false
		}
	}
	return true
}
