package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tvzero/tokenvault/refresh"
	webhook "github.com/tvzero/tokenvault/webhook-sdk"
)

// A providerEntry is an entry of TV_WEBHOOK_OAUTH_PROVIDERS. Its names are those of the
// server's TOKENVAULT_PROVIDERS.
type providerEntry struct {
	ID                  string            `json:"id"`
	Name                string            `json:"name"`
	Issuer              string            `json:"issuer"`
	AuthorizationURL    string            `json:"authorizationUrl"`
	TokenURL            string            `json:"tokenUrl"`
	RevocationURL       string            `json:"revocationUrl"`
	UserInfoURL         string            `json:"userInfoUrl"`
	ClientID            string            `json:"clientId"`
	ClientSecret        refresh.Secret    `json:"clientSecret"`
	ClientSecretFile    string            `json:"clientSecretFile"`
	AuthMethod          string            `json:"tokenEndpointAuthMethod"`
	Scopes              []string          `json:"scopes"`
	AuthorizationParams map[string]string `json:"authorizationParams"`
	DefaultLifetime     int64             `json:"defaultLifetimeSeconds"`
	AllowedHosts        []string          `json:"allowedHosts"`
}

const maxLifetime = 10 * 365 * 24 * 3600 // seconds

// readProviders reads the list; what is in it is package webhook's to check. A field
// that is not known is refused: it may be a mistyped one.
func readProviders(env map[string]string, wrong *configErrors) []webhook.Provider {
	text := secret(env, envProviders, wrong)
	if strings.TrimSpace(text) == "" {
		return nil
	}
	var entries []providerEntry
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(&entries)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows the list")
		}
	}
	if err != nil {
		wrong.add("%s is not a JSON list of providers: %v", envProviders, jsonProblem(err))
		return nil
	}
	list := make([]webhook.Provider, 0, len(entries))
	for i, entry := range entries {
		if entry.DefaultLifetime < 0 || entry.DefaultLifetime > maxLifetime {
			wrong.add("%s has an entry %q whose defaultLifetimeSeconds is not from 0 to %d", envProviders, entry.ID, maxLifetime)
			continue
		}
		// A file for each secret, as there is one for the list.
		if entry.ClientSecretFile != "" {
			named := fmt.Sprintf("%s[%d].clientSecret", envProviders, i)
			entry.ClientSecret = refresh.Secret(secret(map[string]string{
				named: string(entry.ClientSecret), named + fileSuffix: entry.ClientSecretFile,
			}, named, wrong))
		}
		list = append(list, entry.provider())
	}
	return list
}

func (e providerEntry) provider() webhook.Provider {
	return webhook.Provider{
		Provider: refresh.Provider{
			ID: e.ID, Issuer: e.Issuer, AuthorizationURL: e.AuthorizationURL, TokenURL: e.TokenURL,
			RevocationURL: e.RevocationURL, UserInfoURL: e.UserInfoURL,
			ClientID: e.ClientID, ClientSecret: e.ClientSecret, AuthMethod: refresh.AuthMethod(e.AuthMethod),
			Scopes: e.Scopes, AuthorizationParams: e.AuthorizationParams,
			DefaultLifetime: time.Duration(e.DefaultLifetime) * time.Second,
		},
		Name: e.Name, AllowedHosts: e.AllowedHosts,
	}
}

// jsonProblem is an error of decoding without the value that it may quote, which may be
// a secret.
func jsonProblem(err error) error {
	var kind *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &kind):
		return fmt.Errorf("at byte %d, %q has the wrong type", kind.Offset, kind.Field)
	case errors.As(err, &syntax):
		return fmt.Errorf("at byte %d it is not JSON", syntax.Offset)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("it breaks off")
	}
	return err // of an unknown field, by its name
}
