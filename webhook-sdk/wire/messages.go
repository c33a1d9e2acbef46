package wire

import "encoding/json"

// RegisterURL is the answer of GET /v1/register-url.
type RegisterURL struct {
	RegistrationURL string `json:"registrationUrl"`
	Code            string `json:"code"`
	ExpiresIn       int    `json:"expiresIn"` // seconds
	WebhookURL      string `json:"webhookUrl"`
	HMACHash        string `json:"hmacHash,omitempty"`
}

// ExchangeRequest redeems a registration code.
type ExchangeRequest struct {
	Code string `json:"code"`
}

// ExchangeResponse hands the binding secret over, once. HMACSecret is standard
// base64; turn it into a Secret and drop it.
type ExchangeResponse struct {
	HMACSecret   string   `json:"hmacSecret"`
	WebhookID    string   `json:"webhookId"`
	Version      string   `json:"version"`
	Capabilities []string `json:"capabilities"`
	SealKey      *SealKey `json:"sealKey,omitempty"`
	SignKey      string   `json:"signKey,omitempty"` // Ed25519 public key, standard base64
}

// SealKey is the HPKE public key of a webhook (capability outbox).
type SealKey struct {
	ID  string `json:"id"`
	KEM string `json:"kem"`
	Key string `json:"key"` // standard base64
}

// HealthResponse is the answer of /v1/health.
type HealthResponse struct {
	Status        string   `json:"status"` // "healthy"
	Version       string   `json:"version"`
	KeyConfigured bool     `json:"keyConfigured"`
	Capabilities  []string `json:"capabilities"`
	Uptime        int64    `json:"uptime"` // seconds
	TokenCount    int      `json:"tokenCount"`
	RequestID     string   `json:"requestId,omitempty"`
	WebhookID     string   `json:"webhookId,omitempty"`
	SealKey       *SealKey `json:"sealKey,omitempty"`
	SignKey       string   `json:"signKey,omitempty"`
}

// StatusHealthy is the status of a healthy webhook.
const StatusHealthy = "healthy"

// Operations of /v1/storage.
const (
	OpGet       = "get"
	OpList      = "list"
	OpSet       = "set"
	OpDelete    = "delete"
	OpListBatch = "list_batch"
)

// Collections of /v1/storage.
const (
	CollectionTokens       = "tokens"
	CollectionProxyConfigs = "proxy_configs"
	CollectionAudit        = "audit"
	CollectionVaultConfig  = "vault_config"
)

// StorageRequest asks for metadata; it never moves credential material.
type StorageRequest struct {
	RequestID   string          `json:"requestId"`
	Operation   string          `json:"operation"`
	Collection  string          `json:"collection,omitempty"`
	Key         string          `json:"key,omitempty"`
	Data        json.RawMessage `json:"data,omitempty"`
	Options     *ListOptions    `json:"options,omitempty"`
	Collections []string        `json:"collections,omitempty"`
}

// ListOptions narrows a list. Since is RFC 3339 or Unix milliseconds as the
// items' own timestamps are; After is the nextCursor of the page before.
type ListOptions struct {
	Filters map[string]any `json:"filters,omitempty"`
	Since   any            `json:"since,omitempty"`
	After   string         `json:"after,omitempty"`
	Limit   int            `json:"limit,omitempty"`
}

// StorageResponse answers every operation; which fields are set depends on it.
// A list sets Items to a non-nil slice, so that an empty list is [] on the wire.
type StorageResponse struct {
	RequestID  string                `json:"requestId"`
	Status     string                `json:"status,omitempty"` // "ok" for set and delete
	Data       json.RawMessage       `json:"data,omitempty"`
	Items      []StorageItem         `json:"items,omitzero"`
	Pagination *Pagination           `json:"pagination,omitempty"`
	Results    map[string]ListAnswer `json:"results,omitzero"`
}

// ListAnswer is one collection's part of a list_batch. Items is not nil, so that
// an empty list is [] on the wire.
type ListAnswer struct {
	Items      []StorageItem `json:"items"`
	Pagination *Pagination   `json:"pagination,omitempty"`
}

// StorageItem is one entry of a list. Only audit items carry Data.
type StorageItem struct {
	Key  string          `json:"key"`
	Meta json.RawMessage `json:"meta,omitempty"`
	Data json.RawMessage `json:"data,omitempty"`
}

// Pagination is present when a limit was asked for.
type Pagination struct {
	HasMore    bool   `json:"hasMore"`
	NextCursor string `json:"nextCursor,omitempty"`
	TotalCount int    `json:"totalCount"`
}

// StoreRequest is what a browser or client posts to the webhook itself.
type StoreRequest struct {
	Ticket    string                     `json:"ticket"`
	Service   string                     `json:"service"`
	TokenData map[string]json.RawMessage `json:"tokenData"`
}

// StoreResponse answers a store with the metadata that was derived.
type StoreResponse struct {
	Status  string         `json:"status"` // "stored"
	Service string         `json:"service"`
	Meta    map[string]any `json:"meta"`
}

// TicketRequest is the body of /v1/credential and /v1/totp-code; both also take
// it as a query.
type TicketRequest struct {
	Ticket  string `json:"ticket"`
	Service string `json:"service"`
}

// CredentialResponse wraps the released token's fields.
type CredentialResponse struct {
	Token map[string]any `json:"token"`
}

// TOTPResponse is the answer of /v1/totp-code.
type TOTPResponse struct {
	Code             string `json:"code"`
	RemainingSeconds int    `json:"remainingSeconds"`
	Period           int    `json:"period"` // seconds
	Digits           int    `json:"digits"`
}

// ProxyRequest asks the webhook to make an upstream call with a credential in
// it; ${TOKEN} in a template stands for the credential.
type ProxyRequest struct {
	RequestID       string            `json:"requestId,omitempty"`
	Ticket          string            `json:"ticket"`
	Service         string            `json:"service"`
	Upstream        ProxyUpstream     `json:"upstream"`
	HeaderTemplates map[string]string `json:"headerTemplates"`
}

// ProxyUpstream is the call to make. Body is standard base64.
type ProxyUpstream struct {
	URL     string            `json:"url"`
	Method  string            `json:"method"`
	Headers map[string]string `json:"headers,omitempty"`
	Body    string            `json:"body,omitempty"`
}

// TemplateToken is the placeholder of a header template.
const TemplateToken = "${TOKEN}"

// RefreshHint tells a webhook which provider TV believes a token to be of; the
// webhook takes nothing from it.
type RefreshHint struct {
	Provider string `json:"provider,omitempty"`
	TokenURL string `json:"tokenUrl,omitempty"`
	ClientID string `json:"clientId,omitempty"`
}

// RefreshNotifyRequest tells a webhook that a token is about to expire.
type RefreshNotifyRequest struct {
	RequestID   string      `json:"requestId"`
	Service     string      `json:"service"`
	Reason      string      `json:"reason"`
	RefreshHint RefreshHint `json:"refreshHint"`
}

// Statuses of a RefreshNotifyResponse.
const (
	NotifyRefreshed      = "refreshed"
	NotifyAcknowledged   = "acknowledged"
	NotifyNoToken        = "no_token"
	NotifyNoRefreshToken = "no_refresh_token"
	NotifyFailed         = "refresh_failed"
)

// RefreshNotifyResponse says what the webhook did about it.
type RefreshNotifyResponse struct {
	RequestID    string `json:"requestId"`
	Status       string `json:"status"`
	NewExpiresAt string `json:"newExpiresAt,omitempty"` // RFC 3339
	Message      string `json:"message,omitempty"`
	// Reason, RetryAt (RFC 3339) and NeedsReauthorization are extensions that say of
	// refresh_failed what to do next: why it failed, in a word; when to try again; and
	// that it takes a person, whom a new notification does not replace. Without any of
	// them the refresh goes on, or the webhook is another's.
	Reason               string `json:"reason,omitempty"`
	RetryAt              string `json:"retryAt,omitempty"`
	NeedsReauthorization bool   `json:"needsReauthorization,omitempty"`
}
