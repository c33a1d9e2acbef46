package wire_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

func TestEveryErrorCodeHasTheStatusOfTheProtocol(t *testing.T) {
	t.Parallel()
	for code, want := range map[wire.ErrorCode]int{
		"invalid_request": 400, "not_totp": 400, "too_large": 413,
		"auth_failed": 401, "ticket_invalid": 401, "ticket_expired": 401,
		"setup_required": 403, "forbidden": 403, "token_not_found": 404,
		"already_exists": 409, "stale_creation": 409, "code_expired": 410, "code_used": 410,
		"internal_error": 500, "totp_failed": 500, "gcp_mint_failed": 500, "mint_failed": 500,
		"provider_error": 502, "upstream_error": 502, "provider_timeout": 504, "upstream_timeout": 504,
		"": 500, "something_else": 500,
	} {
		if got := code.Status(); got != want {
			t.Errorf("%q: got %d, want %d", code, got, want)
		}
	}
}

func TestTheConstantsSpellTheCodesOfTheProtocol(t *testing.T) {
	t.Parallel()
	for got, want := range map[wire.ErrorCode]wire.ErrorCode{
		wire.CodeInvalidRequest: "invalid_request", wire.CodeNotTOTP: "not_totp", wire.CodeTooLarge: "too_large",
		wire.CodeAuthFailed: "auth_failed", wire.CodeTicketInvalid: "ticket_invalid", wire.CodeTicketExpired: "ticket_expired",
		wire.CodeSetupRequired: "setup_required", wire.CodeForbidden: "forbidden", wire.CodeTokenNotFound: "token_not_found",
		wire.CodeAlreadyExists: "already_exists", wire.CodeStaleCreation: "stale_creation",
		wire.CodeCodeExpired: "code_expired", wire.CodeCodeUsed: "code_used", wire.CodeInternal: "internal_error",
		wire.CodeTOTPFailed: "totp_failed", wire.CodeGCPMintFailed: "gcp_mint_failed", wire.CodeMintFailed: "mint_failed",
		wire.CodeProviderError: "provider_error", wire.CodeUpstreamError: "upstream_error",
		wire.CodeProviderTimeout: "provider_timeout", wire.CodeUpstreamTimeout: "upstream_timeout",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestAnErrorIsItsCodeAndMessage(t *testing.T) {
	t.Parallel()
	e := &wire.Error{Code: wire.CodeTokenNotFound, Message: "there is no token of this name"}
	if got, want := e.Error(), "token_not_found: there is no token of this name"; got != want {
		t.Errorf("Error: got %q, want %q", got, want)
	}
	out, err := json.Marshal(e)
	if want := `{"error":"token_not_found","message":"there is no token of this name"}`; err != nil || string(out) != want {
		t.Errorf("JSON: got %s, %v, want %s", out, err, want)
	}
	var found *wire.Error
	if !errors.As(fmt.Errorf("storing: %w", e), &found) || found.Code != wire.CodeTokenNotFound {
		t.Errorf("errors.As: got %v, want the error back", found)
	}
}
