package vaults

import (
	"context"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
	"github.com/tvzero/tokenvault/server/internal/webhooks"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// Limits of what people may enter, in characters.
const (
	maxDisplayName = 100
	maxNotes       = 2000
	maxTags        = 20
	maxTag         = 40
)

// maxBulk is how many tokens one call deletes.
const maxBulk = 100

// UpdateMetadata changes display name, notes or tags of a token: of a webhook's at
// the webhook first and then in the index. What is nil stays. INVALID_REQUEST names the field.
func (s *Service) UpdateMetadata(ctx context.Context, p grants.Principal, client audit.Client, service string, in MetadataInput) (TokenView, error) {
	if err := user(p); err != nil {
		return TokenView{}, err
	}
	in, err := checkMetadata(in)
	if err != nil {
		return TokenView{}, err
	}
	found, err := s.Find(ctx, p, service)
	if err != nil {
		return TokenView{}, err
	}
	if found.Mode == models.ModePlatform {
		t, err := s.deps.Platform.UpdateMetadata(ctx, p, client, platform.Ref{Service: service}, platform.MetadataInput(in))
		if err != nil {
			return TokenView{}, err
		}
		return s.viewed(ctx, models.ModePlatform, t)
	}
	t := found.Token
	in.apply(&t)
	e := event(audit.Store, p, client)
	e.Service, e.Detail = service, "metadata changed: "+in.names()
	err = s.deps.Audit.Do(ctx, e, func(ctx context.Context) error {
		return s.withWebhook(ctx, p.AccountID, func(c *Custody) error {
			meta := webhooks.Metadata{DisplayName: t.DisplayName, Notes: t.Notes, Tags: t.Tags}
			if err := s.deps.Documents.SetMetadata(ctx, c.target(), service, meta); fault.CodeOf(err) != fault.TokenNotFound && err != nil {
				return err
			}
			// What the webhook made of it is what the index shows, gone tokens included.
			result, err := s.readOne(ctx, c, service)
			if err == nil && !result.found {
				err = tokenNotFound(service)
			}
			return err
		})
	})
	if err != nil {
		return TokenView{}, err
	}
	return s.Token(ctx, p, service)
}

func (in MetadataInput) apply(t *models.Token) {
	if in.DisplayName != nil {
		t.DisplayName = *in.DisplayName
	}
	if in.Notes != nil {
		t.Notes = *in.Notes
	}
	if in.Tags != nil {
		t.Tags = *in.Tags
	}
}

// names lists what is changed, for the record.
func (in MetadataInput) names() string {
	var names []string
	if in.DisplayName != nil {
		names = append(names, "displayName")
	}
	if in.Notes != nil {
		names = append(names, "notes")
	}
	if in.Tags != nil {
		names = append(names, "tags")
	}
	return strings.Join(names, ", ")
}

func checkMetadata(in MetadataInput) (MetadataInput, error) {
	if in.DisplayName == nil && in.Notes == nil && in.Tags == nil {
		return in, fault.Field("displayName", "Give displayName, notes or tags to change.")
	}
	if in.DisplayName != nil {
		name := strings.TrimSpace(*in.DisplayName)
		if !readable(name, maxDisplayName, false) {
			return in, fault.Field("displayName", "The display name may have at most %d characters on one line.", maxDisplayName)
		}
		in.DisplayName = &name
	}
	if in.Notes != nil {
		notes := strings.ReplaceAll(*in.Notes, "\r\n", "\n") // as forms send it
		if !readable(notes, maxNotes, true) {
			return in, fault.Field("notes", "Notes may have at most %d readable characters.", maxNotes)
		}
		in.Notes = &notes
	}
	if in.Tags == nil {
		return in, nil
	}
	tags := []string{}
	for _, tag := range *in.Tags {
		tag = strings.TrimSpace(tag)
		if tag == "" || !readable(tag, maxTag, false) {
			return in, fault.Field("tags", "A tag has 1–%d characters.", maxTag)
		}
		if !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
	}
	if len(tags) > maxTags {
		return in, fault.Field("tags", "A token may have at most %d tags.", maxTags)
	}
	in.Tags = &tags
	return in, nil
}

// readable reports whether s is at most most characters that a page can show.
func readable(s string, most int, lines bool) bool {
	if !utf8.ValidString(s) || utf8.RuneCountInString(s) > most {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) && !(lines && (r == '\n' || r == '\t')) {
			return false
		}
	}
	return true
}

// DeleteTokens deletes tokens, a webhook's there and then from the index, and returns
// the names of those that are gone by it. Of several, those that do not exist are
// passed over; a single one is TOKEN_NOT_FOUND. After another error the ones
// returned are deleted and the rest are not.
func (s *Service) DeleteTokens(ctx context.Context, p grants.Principal, client audit.Client, services ...string) ([]string, error) {
	if err := user(p); err != nil {
		return nil, err
	}
	if len(services) == 0 || len(services) > maxBulk {
		return nil, fault.Field("serviceNames", "Name between 1 and %d tokens.", maxBulk)
	}
	for _, service := range services {
		if err := validService(service); err != nil {
			return nil, err
		}
	}
	deleted := []string{}
	for _, service := range services {
		if slices.Contains(deleted, service) {
			continue
		}
		err := s.deleteToken(ctx, p, client, service)
		switch {
		case err == nil:
			deleted = append(deleted, service)
		case fault.CodeOf(err) != fault.TokenNotFound || len(services) == 1:
			return deleted, err
		}
	}
	return deleted, nil
}

func (s *Service) deleteToken(ctx context.Context, p grants.Principal, client audit.Client, service string) error {
	// A webhook need not say that there was nothing to delete.
	found, err := s.Find(ctx, p, service)
	if err != nil {
		return err
	}
	if found.Mode == models.ModePlatform {
		return s.deps.Platform.Delete(ctx, p, client, platform.Ref{Service: service})
	}
	e := event(audit.Delete, p, client)
	e.Service = service
	return s.deps.Audit.Do(ctx, e, func(ctx context.Context) error {
		return s.withWebhook(ctx, p.AccountID, func(c *Custody) error {
			err := s.deps.Documents.Delete(ctx, c.target(), wire.CollectionTokens, service)
			if err != nil && fault.CodeOf(err) != fault.TokenNotFound { // gone already is gone, too
				return err
			}
			return indexError(ignoreMissing(s.deps.Index.DeleteToken(ctx, p.AccountID, c.Binding.VaultID, service)))
		})
	})
}
