package dashboard

import (
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/vaults"
)

type tokenPage struct {
	tokenCard
	Token      models.Token
	WebhookURL string
	Host       string
	Shown      []secretRow // revealed, by the POST that asked for it
	Code       *oneTimeCode
	Name       field
	Notes      field
	TagsField  field
}

func (d *Dashboard) tokenPage(c *gin.Context, v visitor) error {
	service, err := pathService(c)
	if err != nil {
		return err
	}
	token, err := d.deps.Tokens.Token(c.Request.Context(), v.principal, service)
	if err != nil {
		return err
	}
	return d.showTokenPage(c, v, token, shown{}, nil)
}

func (d *Dashboard) showTokenPage(c *gin.Context, v visitor, token vaults.TokenView, s shown, failure *fault.Error) error {
	p := tokenPage{
		tokenCard: d.card(token), Token: token.Token, Shown: s.secrets, Code: s.code,
		Name:      field{Name: "displayName", Label: "Display name", Type: "text", Value: token.Token.DisplayName, MaxLength: 100},
		Notes:     field{Name: "notes", Label: "Notes", Type: "area", Value: token.Token.Notes, MaxLength: 2000},
		TagsField: field{Name: "tags", Label: "Tags", Type: "text", Value: strings.Join(token.Token.Tags, ", "), Hint: "Separated by commas.", MaxLength: 900},
	}
	status := statusOf(failure)
	if s.refreshing != nil && p.Refresh == nil {
		failure = s.refreshing
	} else if s.refreshing != nil {
		p.Refresh.Problem, status = s.refreshing, statusOf(s.refreshing)
	}
	connect := ""
	if bound(v) && !p.Sealed {
		p.WebhookURL, p.Host, connect = v.vault.Binding.URL, hostOf(v.vault.Binding.URL), origin(v.vault.Binding.URL)
	}
	return d.render(c, max(status, statusOf(failure)), "token", view{
		Title: token.Token.ServiceName, Section: "tokens", Connect: connect, Page: &p, Problem: mark(failure, &p.Name, &p.Notes, &p.TagsField),
	}, &v)
}

func (d *Dashboard) updateToken(c *gin.Context, v visitor) error {
	service, err := pathService(c)
	if err != nil {
		return err
	}
	form, err := readForm(c)
	if err != nil {
		return err
	}
	name, notes, tags := form.Get("displayName"), unixLines(form.Get("notes")), splitTags(form.Get("tags"))
	saved, err := d.deps.Tokens.UpdateMetadata(c.Request.Context(), v.principal, client(c), service,
		vaults.MetadataInput{DisplayName: &name, Notes: &notes, Tags: &tags})
	if err == nil {
		word := flashTokenSaved
		if saved.Mode == models.ModePlatform {
			word = flashMetadataSaved
		}
		return d.done(c, tokenPath(service), word)
	}
	failure, ok := mendable(err)
	if !ok || failure.Code == fault.TokenNotFound {
		return err
	}
	token, err := d.deps.Tokens.Token(c.Request.Context(), v.principal, service)
	if err != nil {
		return err
	}
	token.Token.DisplayName, token.Token.Notes, token.Token.Tags = name, notes, tags
	return d.showTokenPage(c, v, token, shown{}, failure)
}

// unixLines undoes what browsers do to the lines of a text area.
func unixLines(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") }

func splitTags(text string) []string {
	tags := []string{}
	for tag := range strings.SplitSeq(text, ",") {
		if tag = strings.TrimSpace(tag); tag != "" {
			tags = append(tags, tag)
		}
	}
	return tags
}

func (d *Dashboard) deleteTokenPage(c *gin.Context, v visitor) error {
	service, err := pathService(c)
	if err != nil {
		return err
	}
	token, err := d.deps.Tokens.Token(c.Request.Context(), v.principal, service)
	if err != nil {
		return err
	}
	gone := "The credential is deleted at your webhook. If you have it nowhere else, it is gone."
	if token.Mode == models.ModePlatform {
		gone = "The credential is deleted from this server's database. If you have it nowhere else, it is gone. A copy of the database that somebody made earlier still has it, sealed with the keys of its time."
	}
	return d.confirm(c, v, "tokens", confirmation{
		Question: "Delete the token " + service + "?",
		Lost: []string{
			gone,
			"Agents that were granted it can no longer fetch it.",
			"The credential itself stays valid at its provider: revoke it there if it may have leaked.",
		},
		Do: "Delete the token", Action: tokenPath(service) + "/delete", Back: tokenPath(service),
	})
}

func (d *Dashboard) deleteToken(c *gin.Context, v visitor) error {
	service, err := pathService(c)
	if err != nil {
		return err
	}
	if _, err := d.deps.Tokens.DeleteTokens(c.Request.Context(), v.principal, client(c), service); err != nil {
		return err
	}
	if bound(v) {
		return d.done(c, "/", flashTokenDeleted)
	}
	return d.done(c, "/", flashDeleted)
}
