package mcpserver

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/agents"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/server/internal/web"
)

// Names of the tools: part of the API.
const (
	ListCredentials = "list_credentials"
	GetCredential   = "get_credential"
)

const maxService = 1 << 10 // bytes of what is looked at as a service name

// JSON schemas of the tools' arguments.
const (
	noArguments     = `{"type": "object", "additionalProperties": false}`
	serviceArgument = `{"type": "object", "additionalProperties": false, "required": ["service"],
		"properties": {"service": {"type": "string", "description": "The name of the credential, as list_credentials says it."}}}`
)

func (d *Door) addTools(s *mcp.Server, who caller) {
	s.AddTool(&mcp.Tool{
		Name: ListCredentials, Title: "List credentials", InputSchema: json.RawMessage(noArguments),
		Description: "Lists the credentials that this agent may fetch: service name, type, and until when it may.",
		Annotations: &mcp.ToolAnnotations{ReadOnlyHint: true},
	}, d.tool(who, func(ctx context.Context, arguments json.RawMessage) (any, error) {
		if err := decode(arguments, &struct{}{}); err != nil {
			return nil, err
		}
		return d.list(ctx, who)
	}))
	s.AddTool(&mcp.Tool{
		Name: GetCredential, Title: "Get a credential", InputSchema: json.RawMessage(serviceArgument),
		Description: "Fetches a credential. The answer is the credential itself, or, when its owner keeps credentials at a server of their own, " +
			"an address to GET it from, once and within seconds. Every call is on record.",
		// It changes nothing, and yet is no harmless look: clients should ask first.
		Annotations: &mcp.ToolAnnotations{ReadOnlyHint: false},
	}, d.tool(who, func(ctx context.Context, arguments json.RawMessage) (any, error) {
		var in struct {
			Service string `json:"service"`
		}
		if err := decode(arguments, &in); err != nil {
			return nil, err
		}
		return d.get(ctx, who, in.Service)
	}))
}

// granted is a credential grant as an agent sees it.
type granted struct {
	ServiceName    string               `json:"serviceName"`
	TokenType      string               `json:"tokenType"` // empty: the token is gone
	GrantExpiresAt *time.Time           `json:"grantExpiresAt,omitempty"`
	RefreshPolicy  models.RefreshPolicy `json:"refreshPolicy"`
	Trust          vaults.Trust         `json:"trust"` // empty: the token is gone
}

func (d *Door) list(ctx context.Context, who caller) (any, error) {
	list, err := d.deps.Releases.Granted(ctx, who.key)
	if err != nil {
		return nil, err
	}
	out := struct {
		Grants []granted `json:"grants"`
	}{Grants: make([]granted, len(list))}
	for i, v := range list {
		out.Grants[i] = granted{
			ServiceName: v.Grant.ServiceName, TokenType: v.Token.Token.TokenType, RefreshPolicy: v.Grant.RefreshPolicy, Trust: v.Token.Trust,
		}
		if at := v.Grant.ExpiresAt; at != nil {
			utc := at.UTC()
			out.Grants[i].GrantExpiresAt = &utc
		}
	}
	return out, nil
}

// ticketed says where a webhook's credential is fetched.
type ticketed struct {
	ServiceName string `json:"serviceName"`
	URL         string `json:"url"` // a secret until it was used or has expired
	Method      string `json:"method"`
	ExpiresIn   int    `json:"expiresInSeconds"`
	HowTo       string `json:"howTo"`
}

func (d *Door) get(ctx context.Context, who caller, service string) (any, error) {
	if service == "" {
		return nil, fault.Field("service", "Name the credential in service. %s says what there is.", ListCredentials)
	}
	if err := web.CheckText("service", service, maxService); err != nil {
		return nil, err
	}
	released, err := d.deps.Releases.Release(ctx, who.key, who.client, service, nil)
	if err != nil {
		return nil, err
	}
	if released.Credential != nil {
		return released.Credential, nil
	}
	return ticketed{
		ServiceName: service, URL: released.Location, Method: "GET", ExpiresIn: int(agents.TicketLife / time.Second),
		HowTo: "GET this address once, now, without the agent's key. The answer is {\"token\": {…}}. The owner's own server gives it out; this one never has it. Do not log the address.",
	}, nil
}

// decode reads a call's arguments strictly: what nobody understands is refused.
func decode(arguments json.RawMessage, out any) error {
	if len(bytes.TrimSpace(arguments)) == 0 {
		arguments = []byte("{}")
	}
	decoder := json.NewDecoder(bytes.NewReader(arguments))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(out); err != nil {
		return fault.New(fault.InvalidRequest, "The arguments are not what the tool's schema asks for.")
	}
	return nil
}

// tool is the adapter of tools: what fails is a result that says so, with the same
// code and sentence as the API's. A panic is hidden, since it would end the process
// from a goroutine of the SDK.
func (d *Door) tool(who caller, do func(ctx context.Context, arguments json.RawMessage) (any, error)) mcp.ToolHandler {
	return func(ctx context.Context, r *mcp.CallToolRequest) (result *mcp.CallToolResult, err error) {
		defer func() {
			if v := recover(); v != nil {
				result, err = d.refused(ctx, who, fmt.Errorf("panic: %.500v\n%s", v, debug.Stack())), nil
			}
		}()
		value, failed := do(ctx, r.Params.Arguments)
		if failed != nil {
			return d.refused(ctx, who, failed), nil
		}
		text, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("mcpserver: %w", err)
		}
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: string(text)}}, StructuredContent: json.RawMessage(text)}, nil
	}
}

// refusal is what an agent is told of a failure.
type refusal struct {
	Code       fault.Code `json:"code"`
	Detail     string     `json:"detail"`
	ConnectURL string     `json:"connectUrl,omitempty"`
	RetryAfter int        `json:"retryAfterSeconds,omitempty"`
}

// refused says what failed. What is our fault goes to the log with its cause.
func (d *Door) refused(ctx context.Context, who caller, err error) *mcp.CallToolResult {
	failure := fault.From(err)
	if web.Status(failure.Code) >= http.StatusInternalServerError {
		d.deps.Logger.ErrorContext(ctx, "mcp: a tool failed", "requestId", who.client.RequestID, "error", err)
	}
	said := refusal{Code: failure.Code, Detail: failure.Message, ConnectURL: failure.ConnectURL, RetryAfter: int(failure.RetryAfter.Round(time.Second) / time.Second)}
	return &mcp.CallToolResult{
		IsError: true, StructuredContent: said,
		Content: []mcp.Content{&mcp.TextContent{Text: fmt.Sprintf("%s: %s", said.Code, said.Detail)}},
	}
}
